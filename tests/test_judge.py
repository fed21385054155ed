"""The judge's distances and shares against closed forms and hand-made cases, the judge itself on the digits."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from autoencoder_utils.corruption import blur, random_affine
from autoencoder_utils.data import Split, load_images
from autoencoder_utils.judge import (
    Judge,
    frechet_distance,
    memorised_share,
    nearest_images,
    precision_and_recall,
)


def gaussian_points(mean, covariance, count=50, seed=0):
    """Points whose mean and covariance are exactly the ones given."""
    points = np.random.default_rng(seed).standard_normal((count, len(mean)))
    points -= points.mean(0)
    points = np.linalg.solve(np.linalg.cholesky(np.atleast_2d(np.cov(points, rowvar=False))), points.T).T
    return mean + points @ np.linalg.cholesky(covariance).T


# -- Fréchet distance -------------------------------------------------------------------------------------------------

def test_distance_of_gaussians_along_a_line():
    one, two = gaussian_points([1.0], [[4.0]]), gaussian_points([-2.0], [[0.25]], seed=1)
    assert frechet_distance(one, two) == pytest.approx((1 + 2) ** 2 + (2 - 0.5) ** 2)


def test_distance_of_gaussians_with_common_axes():
    """Variances on the axes: the squared differences of means and of deviations, added up."""
    one = gaussian_points(np.array([0.0, 1.0, 2.0]), np.diag([1.0, 4.0, 9.0]))
    two = gaussian_points(np.array([0.0, 0.0, 0.0]), np.diag([16.0, 4.0, 0.25]), 70, seed=1)
    assert frechet_distance(one, two) == pytest.approx(1 + 4 + (1 - 4) ** 2 + (3 - 0.5) ** 2)


def test_distance_of_any_gaussians_is_the_formula_with_a_matrix_root():
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((60, 5)) @ rng.normal(size=(5, 5)), rng.normal(1, 2, (80, 5))
    a, b = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    gap = one.mean(0) - two.mean(0)
    expected = gap @ gap + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(one, two) == pytest.approx(expected)
    assert frechet_distance(two, one) == pytest.approx(expected)


def test_distance_of_a_turned_cloud_in_a_plane():
    """Variances 9 and 1, turned by a quarter: (3 - 1)^2 twice."""
    one, two = (gaussian_points(np.zeros(2), np.diag(d)) for d in ([9.0, 1.0], [1.0, 9.0]))
    assert frechet_distance(one, two) == pytest.approx(8)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0.1, 10))
def test_distance_follows_shifts_and_scales(seed, shift, scale):
    points = np.random.default_rng(seed).standard_normal((20, 4))
    others = np.random.default_rng(seed + 1).standard_normal((25, 4))
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(points, points + shift) == pytest.approx(4 * shift**2, abs=1e-9, rel=1e-6)
    expected = scale**2 * frechet_distance(points, others)
    assert frechet_distance(scale * points, scale * others) == pytest.approx(expected, rel=1e-6)


def test_features_that_are_always_zero_change_nothing():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 1, (30, 3)), rng.normal(1, 2, (40, 3))
    padded = [np.pad(points, ((0, 0), (0, 2))) for points in (one, two)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(one, two))
    assert frechet_distance(padded[0][:3], padded[1]) > 0  # fewer points than features


# -- precision and recall ---------------------------------------------------------------------------------------------

def test_precision_and_recall_of_a_case_worked_by_hand():
    """Points on a line. Real: balls of radius 1, 1, 2 around 0, 1, 3; generated: 5, 5, 88.5 around 5, 10, 98.5."""
    real, generated = np.array([[0.0], [1.0], [3.0]]), np.array([[5.0], [10.0], [98.5]])
    assert precision_and_recall(real, generated, 1) == (1 / 3, 1.0)  # 5 lies on a ball's edge; 0, 1 and 3 within 5 of 5
    assert precision_and_recall(generated, real, 1) == (1.0, 1 / 3)


def test_a_generator_with_one_mode_is_precise_and_forgetful():
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(50, 1, (200, 2))])
    precision, recall = precision_and_recall(real, rng.normal(0, 1, (400, 2)))
    assert precision > 0.9 and 0.4 < recall <= 0.5
    precision, recall = precision_and_recall(rng.normal(0, 1, (400, 2)), real)
    assert 0.4 < precision <= 0.5 and recall > 0.9


def test_a_cloud_covers_itself_and_nothing_far_away():
    points = np.random.default_rng(0).normal(0, 1, (50, 3))
    assert precision_and_recall(points, points) == (1.0, 1.0)
    assert precision_and_recall(points, points + 100) == (0.0, 0.0)


@pytest.mark.parametrize("neighbours", [1, 3, 7])
def test_precision_and_recall_by_scikit_learns_neighbours(neighbours):
    rng = np.random.default_rng(neighbours)
    real, generated = rng.normal(0, 1, (60, 3)), rng.normal(0.7, 1.2, (50, 3))

    def share(points, cloud):
        radii = NearestNeighbors(n_neighbors=neighbours).fit(cloud).kneighbors()[0][:, -1]  # without the point itself
        return np.mean([any(np.linalg.norm(point - centre) <= radius for centre, radius in zip(cloud, radii))
                        for point in points])

    assert precision_and_recall(real, generated, neighbours) == (share(generated, real), share(real, generated))


# -- memory -----------------------------------------------------------------------------------------------------------

def test_nearest_images_are_found_with_their_distances():
    train = np.zeros((3, 2, 2, 1), "float32")
    train[1, 0, 0], train[2] = 1, 1
    images = np.array([[[0.9, 0], [0, 0]], [[1, 1], [0.5, 1]], [[0, 0], [0, 0]]], "float32")[..., None]
    indices, distances = nearest_images(images, train)
    assert indices.tolist() == [1, 2, 0]
    np.testing.assert_allclose(distances, [0.1, 0.5, 0], atol=1e-6)


def test_copies_are_found_out_and_fresh_images_are_not():
    rng = np.random.default_rng(0)
    train, test, fresh = (rng.random((count, 4, 4, 1), "float32") for count in (300, 1000, 1000))
    assert memorised_share(train, train, test) == 1
    assert memorised_share(fresh, train, test) == pytest.approx(0.05, abs=0.025)
    assert memorised_share(fresh, train, test, close=0.5) == pytest.approx(0.5, abs=0.06)
    half = np.concatenate([train, fresh[:300]])
    assert memorised_share(half, train, test) == pytest.approx(0.525, abs=0.025)


# -- the judge --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def data():
    return load_images()


@pytest.fixture(scope="module")
def judge(data):
    return Judge(data.train, data.test)


def test_the_judge_knows_the_digits(judge, data):
    assert judge.accuracy >= 0.97
    assert judge.accuracy == np.mean(judge.classify(data.test.images) == data.test.labels)


def test_features_of_training_images_tell_the_classes_of_unseen_ones(judge, data):
    train, unseen = judge.features(data.train.images[:1000]), judge.features(data.validation.images)
    assert unseen.shape == (500, 64) and unseen.dtype == "float32"
    reader = LogisticRegression(max_iter=200).fit(train / train.std(), data.train.labels[:1000])
    assert reader.score(unseen / train.std(), data.validation.labels) > 0.95


def test_the_floor_is_the_distance_from_training_to_test_images(judge, data):
    train, test = judge.features(data.train.images), judge.features(data.test.images)
    assert judge.floor == pytest.approx(frechet_distance(train, test)) and judge.floor > 0
    report = judge.report(data.train.images[:1000])
    assert report["ratio"] == pytest.approx(report["frechet_distance"] / judge.floor)
    assert report["memorised_share"] == 1
    report = judge.report(data.test.images)
    assert report["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert (report["precision"], report["recall"]) == (1, 1)
    assert report["memorised_share"] == pytest.approx(0.05, abs=0.002)
    assert report["class_entropy"] == pytest.approx(np.log(10), abs=0.01)


def test_few_samples_meet_as_few_test_images(judge, data):
    every_third = data.test.images[np.linspace(0, 999, 333).astype(int)]
    report = judge.report(every_third)
    assert (report["precision"], report["recall"]) == (1, 1)  # all test images would not all lie near a third of them


def test_reports_tell_better_from_worse(judge, data):
    images = data.validation.images
    fresh, turned, blurred, noise = (judge.report(samples) for samples in (
        images, random_affine(images, 0, rotation=60), blur(images, 2), np.random.default_rng(0).random(images.shape)))
    for worse in (turned, blurred, noise):
        assert fresh["frechet_distance"] < 0.2 * worse["frechet_distance"]
    assert fresh["precision"] > max(turned["precision"] + 0.05, noise["precision"] + 0.5)
    assert fresh["recall"] > max(blurred["recall"], noise["recall"]) + 0.5
    assert fresh["memorised_share"] < 0.1
    assert fresh["class_entropy"] == pytest.approx(np.log(10), abs=0.02)
    ones = judge.report(images[data.validation.labels == 1])
    assert ones["class_entropy"] < 0.3 and ones["recall"] < 0.5 * fresh["recall"]
    assert ones["frechet_distance"] > 10 * fresh["frechet_distance"]
    assert all(type(value) is float for value in fresh.values())


def small(count=60, seed=0):
    """Images of two classes: bright above, bright below."""
    labels = np.arange(count) % 2
    images = np.random.default_rng(seed).random((count, 6, 5, 3), "float32") / 2
    images[labels == 0, :3] += 0.4
    images[labels == 1, 3:] += 0.4
    return Split(images, 7 + labels)


@pytest.fixture(scope="module")
def small_judges():
    return [Judge(small(), small(40, 1), seed, passes=12) for seed in (0, 0, 1)]


def test_any_labels_and_any_images(small_judges):
    assert small_judges[0].accuracy > 0.95
    assert set(small_judges[0].classify(small().images)) == {7, 8}


def test_a_judge_is_reproduced_by_its_seed(small_judges):
    first, again, other = (judge.features(small().images) for judge in small_judges)
    np.testing.assert_allclose(first, again, rtol=1e-4, atol=1e-5)
    assert np.abs(first - other).max() > 0.01


# -- bad input --------------------------------------------------------------------------------------------------------

def test_images_without_labels_can_not_be_judged():
    labelled, unlabelled = small(), Split(small().images)
    for parts in ((unlabelled, labelled), (labelled, unlabelled), (Split(small().images, np.zeros(60, int)), labelled)):
        with pytest.raises(ValueError, match=r"needs images with labels, of two classes at least. Received"):
            Judge(*parts)


def test_images_out_of_form_are_refused(small_judges):
    judge = small_judges[0]
    for bad in (small().images * 255, small().images[:, :5]):
        for method in (judge.features, judge.classify, judge.report):
            with pytest.raises(ValueError, match="Received"):
                method(bad)
        with pytest.raises(ValueError, match="Received"):
            nearest_images(bad, small().images)


@pytest.mark.parametrize("one, two", [((5,), (5, 1)), ((5, 2), (5, 3)), ((1, 2), (5, 2)), ((5, 0), (5, 0))])
def test_features_out_of_form_are_refused(one, two):
    for measure in (frechet_distance, precision_and_recall):
        with pytest.raises(ValueError, match=r"Expected two arrays \(n, features\).*Received: shapes"):
            measure(np.zeros(one), np.zeros(two))
    with pytest.raises(ValueError, match="Expected finite features. Received"):
        frechet_distance(np.full((5, 2), np.nan), np.zeros((5, 2)))


def test_impossible_neighbours_and_shares_are_refused():
    points = np.zeros((5, 2))
    with pytest.raises(ValueError, match="at least 6 rows"):
        precision_and_recall(points, points, 5)
    with pytest.raises(ValueError, match="`neighbours` must be at least 1. Received: neighbours=0"):
        precision_and_recall(points, points, 0)
    for close in (0, 1, -1):
        with pytest.raises(ValueError, match=rf"`close` must lie in \(0, 1\). Received: close={close}"):
            memorised_share(small().images, small().images, small().images, close)
