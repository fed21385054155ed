"""Metrics and baselines against scikit-image, SciPy and a singular value decomposition by hand."""

import math

import numpy as np
import pytest
import skimage.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import entr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KNeighborsClassifier

from autoencoder_utils.metrics import (
    binary_cross_entropy,
    importance_bound,
    linear_probe,
    mean_image_reconstruction,
    mean_squared_error,
    pca_reconstruction,
    psnr,
    rate_difference,
    retrieval_precision,
    ssim,
)

METRICS = [mean_squared_error, binary_cross_entropy, psnr, ssim]
PIXELS = hnp.arrays("float32", (3, 4, 5, 2), elements=st.floats(0, 1, width=32))


def pair(channels=1, count=4, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((count, 12, 11, channels), "float32")
    return images, np.clip(images + noise * rng.standard_normal(images.shape, "float32"), 0, 1)


@settings(deadline=None, max_examples=25)
@given(PIXELS, PIXELS)
def test_errors_equal_their_formulas_in_double_precision(images, reconstructions):
    x, p = images.astype("float64"), reconstructions.astype("float64")
    assert mean_squared_error(images, reconstructions) == pytest.approx(((x - p) ** 2).mean(), rel=1e-5, abs=1e-12)
    p = np.clip(p, 1e-7, 1 - 1e-7)
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).mean()
    assert binary_cross_entropy(images, reconstructions) == pytest.approx(expected, rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(PIXELS, PIXELS)
def test_cross_entropy_has_its_floor_at_the_image_itself(images, reconstructions):
    x = images.astype("float64")
    floor = (entr(x) + entr(1 - x)).mean()
    assert binary_cross_entropy(images, images) == pytest.approx(floor, abs=1e-6)
    assert binary_cross_entropy(images, reconstructions) >= floor - 1e-6


def test_cross_entropy_of_black_and_white_images_with_themselves_is_zero():
    images = np.random.default_rng(0).integers(0, 2, (3, 8, 8, 1)).astype("float32")
    assert binary_cross_entropy(images, images) == pytest.approx(0, abs=1e-6)
    assert binary_cross_entropy(images, 1 - images) == pytest.approx(-np.log(1e-7), rel=1e-3)  # all wrong, yet finite


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_are_scikit_images_averaged_over_images(channels):
    images, others = pair(channels)
    others[0] = images[0] * 0.5  # one image far worse than the rest
    ratios = [skimage.metrics.peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(images, others, strict=True)]
    similarities = [np.mean([skimage.metrics.structural_similarity(a[..., c], b[..., c], data_range=1)
                             for c in range(channels)]) for a, b in zip(images, others, strict=True)]
    assert psnr(images, others) == pytest.approx(np.mean(ratios), rel=1e-5)
    assert ssim(images, others) == pytest.approx(np.mean(similarities), rel=1e-4)


def test_psnr_of_an_error_of_a_tenth_is_twenty_decibels():
    images = np.full((2, 8, 8, 1), 0.5, "float32")
    assert psnr(images, images + 0.1) == pytest.approx(20, abs=1e-4)


def test_perfect_reconstructions():
    images, _ = pair()
    assert (mean_squared_error(images, images), psnr(images, images)) == (0, np.inf)
    assert ssim(images, images) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_plain_floats_that_tell_better_from_worse(metric):
    images, near = pair(noise=0.05)
    _, far = pair(noise=0.5)
    better, worse = metric(images, near), metric(images, far)
    assert type(better) is float
    assert (better > worse) == (metric in (psnr, ssim))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("part", [np.s_[:1], np.s_[:3], np.s_[:, :11], np.s_[..., 0]])
def test_reconstructions_of_another_shape_are_refused(metric, part):
    images, others = pair()
    with pytest.raises(ValueError, match=r"Expected reconstructions.*Received"):
        metric(images, others[part])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [lambda x: x * 255, lambda x: (x * 255).astype("uint8"), lambda x: x * np.nan])
def test_arrays_out_of_form_are_refused(metric, bad):
    images, others = pair()
    with pytest.raises(ValueError, match=r"Expected images.*Received"):
        metric(bad(images), others)
    with pytest.raises(ValueError, match=r"Expected reconstructions.*Received"):
        metric(images, bad(others))


def test_mean_image_is_the_best_constant():
    train, _ = pair(count=30, seed=1)
    baseline = mean_image_reconstruction(train, train[:5])
    assert baseline.dtype == "float32"
    np.testing.assert_allclose(baseline, np.repeat(train.astype("float64").mean(0)[None], 5, 0), atol=1e-6)
    full = mean_image_reconstruction(train, train)
    for shift in (-0.02, 0.02):
        for metric in (mean_squared_error, binary_cross_entropy):
            assert metric(train, full) < metric(train, full + np.float32(shift))


@pytest.mark.parametrize("latent_dim", [1, 3, 20])
def test_pca_is_the_projection_on_the_first_singular_vectors(latent_dim):
    train, _ = pair(channels=3, count=40, seed=1)
    images, _ = pair(channels=3, seed=2)
    flat = train.reshape(40, -1).astype("float64")
    mean = flat.mean(0)
    directions = np.linalg.svd(flat - mean, full_matrices=False)[2][:latent_dim]  # (latent_dim, pixels)
    projected = mean + (images.reshape(4, -1) - mean) @ directions.T @ directions
    result = pca_reconstruction(train, images, latent_dim)
    assert result.dtype == "float32"
    np.testing.assert_allclose(result, projected.reshape(images.shape).clip(0, 1), atol=1e-4)


def test_pca_with_every_component_gives_the_training_images_back():
    train, _ = pair(count=20)
    np.testing.assert_allclose(pca_reconstruction(train, train, 20), train, atol=1e-4)


@pytest.mark.parametrize("latent_dim", [0, -1, 21])
def test_impossible_numbers_of_components_are_refused(latent_dim):
    train, _ = pair(count=20)
    with pytest.raises(ValueError, match=rf"`latent_dim` must lie in \[1, 20\].*Received: latent_dim={latent_dim}"):
        pca_reconstruction(train, train, latent_dim)


def test_baselines_refuse_images_of_another_shape():
    train, _ = pair(count=20)
    with pytest.raises(ValueError, match=r"Wrong shape.*Received"):
        mean_image_reconstruction(train, train[:, :11])
    with pytest.raises(ValueError, match=r"Wrong shape.*Received"):
        pca_reconstruction(train, train[:, :11], 2)


def test_importance_bound_of_known_weights():
    weights = np.log([[1.0, 3.0, 2.0, 2.0], [0.5, 0.5, 0.5, 8.5]])
    np.testing.assert_allclose(importance_bound(weights), np.log([2.0, 2.5]))
    np.testing.assert_allclose(importance_bound(weights, 1), weights.mean(1))
    np.testing.assert_allclose(importance_bound(weights, 2), [np.log(2), (np.log(0.5) + np.log(4.5)) / 2])
    np.testing.assert_allclose(importance_bound(weights, 3), np.log([2.0, 0.5]))  # the fourth makes no group


@pytest.mark.parametrize("shift", [-2000.0, 2000.0])
def test_importance_bound_neither_overflows_nor_underflows(shift):
    weights = np.random.default_rng(0).normal(0, 3, (4, 50))
    np.testing.assert_allclose(importance_bound(weights + shift), importance_bound(weights) + shift, rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(hnp.arrays("float64", (3, 12), elements=st.floats(-500, 500)))
def test_importance_bound_rises_with_its_samples(weights):
    bounds = [importance_bound(weights, k) for k in (1, 2, 4, 12)]  # groups of one are parts of the groups of the next
    assert (np.diff(bounds, axis=0) >= -1e-9).all()
    assert (bounds[-1] <= weights.max(1) + 1e-9).all()


def test_importance_bound_of_log_normal_weights_tends_to_their_exact_mean():
    weights = np.random.default_rng(0).normal(-0.5, 1.0, (400, 1000))  # the mean of exp is 1
    gaps = [-importance_bound(weights, k).mean() for k in (1, 10, 1000)]
    assert gaps[0] == pytest.approx(0.5, abs=0.01)
    assert gaps[1] == pytest.approx((np.e - 1) / 20, rel=0.25)  # half the weights' relative variance over k
    assert abs(gaps[2]) < 0.01


@pytest.mark.parametrize("weights", [np.zeros(3), np.zeros((2, 0)), np.zeros((0, 2)), np.zeros((2, 2, 2))])
def test_weights_out_of_form_are_refused(weights):
    with pytest.raises(ValueError, match=r"Expected log-weights of shape \(n, drawn\). Received: shape"):
        importance_bound(weights)


@pytest.mark.parametrize("samples", [0, -1, 5])
def test_impossible_numbers_of_samples_are_refused(samples):
    with pytest.raises(ValueError, match=rf"`samples` must lie in \[1, 4\]. Received: samples={samples}"):
        importance_bound(np.zeros((2, 4)), samples)


def clouds(count=60, seed=0, apart=1.5):
    """Points of three overlapping Gaussian clouds in four dimensions, and which they are of."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return rng.standard_normal((count, 4)) + apart * np.eye(3, 4)[labels], labels


def test_linear_probe_is_scikit_learns_logistic_regression_on_features_of_mean_variance_one():
    (features, labels), (others, other_labels) = clouds(), clouds(seed=1)
    scale = np.sqrt(features.var(axis=0).mean())
    for strength in (0.01, 1.0):
        expected = LogisticRegression(C=strength, max_iter=1000).fit(features / scale, labels)
        result = linear_probe(features, labels, others, other_labels, strength)
        assert type(result) is float and result == pytest.approx(expected.score(others / scale, other_labels))
        assert 0.4 < result < 1


def test_linear_probe_does_not_care_how_the_features_are_turned_scaled_and_shifted():
    (features, labels), (others, other_labels) = clouds(), clouds(200, seed=1)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    plain = linear_probe(features, labels, others, other_labels)
    assert linear_probe(100 * features @ turn + 7, labels, 100 * others @ turn + 7, other_labels) == plain


def test_linear_probe_of_more_features_than_rows_is_scikit_learns_too():
    rng = np.random.default_rng(0)
    features, others = rng.standard_normal((30, 200)), rng.standard_normal((400, 200))
    labels, other_labels = features[:, :3].argmax(axis=1), others[:, :3].argmax(axis=1)
    centred, scale = features - features.mean(axis=0), np.sqrt(features.var(axis=0).mean())
    expected = LogisticRegression(max_iter=1000, tol=1e-8).fit(centred / scale, labels)
    asked = (others - features.mean(axis=0)) / scale
    assert linear_probe(features, labels, others, other_labels) == pytest.approx(
        expected.score(asked, other_labels), abs=0.006)


def test_linear_probe_reads_lines_and_cannot_read_a_ring():
    angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * np.where(np.arange(100) % 2, 1, 3)[:, None]
    assert linear_probe(ring, ring[:, 0] > 0, ring, ring[:, 0] > 0) > 0.97
    assert linear_probe(ring, np.arange(100) % 2, ring, np.arange(100) % 2) < 0.6


def test_retrieval_precision_counts_the_nearest_as_all_distances_do():
    (features, labels), (queries, query_labels) = clouds(), clouds(25, seed=1)
    order = pairwise_distances(queries, features).argsort(axis=1)
    for count in (1, 4, 60):
        expected = np.mean([np.mean(labels[row[:count]] == label) for row, label in zip(order, query_labels)])
        assert retrieval_precision(features, labels, queries, query_labels, count) == pytest.approx(expected)
    nearest = KNeighborsClassifier(1).fit(features, labels).score(queries, query_labels)
    assert retrieval_precision(features, labels, queries, query_labels, 1) == pytest.approx(nearest)


def test_retrieval_precision_of_clouds_far_apart_is_one():
    assert retrieval_precision(*clouds(apart=50), *clouds(seed=1, apart=50)) == 1


@pytest.mark.parametrize("measure", [linear_probe, retrieval_precision])
@pytest.mark.parametrize("spoil", [
    lambda a, b, c, d: (a[:-1], b, c, d), lambda a, b, c, d: (a, b, c[:, :3], d), lambda a, b, c, d: (a, b, c, d[:-1]),
    lambda a, b, c, d: (a * np.nan, b, c, d), lambda a, b, c, d: (a[:0], b[:0], c, d), lambda a, b, c, d: (b, b, c, d)])
def test_features_and_labels_that_do_not_fit_are_refused(measure, spoil):
    with pytest.raises(ValueError, match=r"Expected finite features of shape .*Received: shapes"):
        measure(*spoil(*clouds(), *clouds(seed=1)))


def test_impossible_probes_are_refused():
    features, labels = clouds()
    with pytest.raises(ValueError, match="features that vary. Received: 60 rows"):
        linear_probe(np.ones_like(features), labels, features, labels)
    for count in (0, 61):
        with pytest.raises(ValueError, match=rf"`count` must lie in \[1, 60\]. Received: count={count}"):
            retrieval_precision(features, labels, features, labels, count)


# -- rate differences -------------------------------------------------------------------------------------------------

def test_rate_difference_of_a_constant_ratio_is_that_ratio_on_curves_of_any_points():
    quality = np.array([30.0, 24, 27, 36])
    points, others = np.stack([0.8 * 2 ** (quality / 3), quality], 1), [(2 ** (q / 3), q) for q in (22, 25, 28, 40)]
    assert rate_difference(points, others) == pytest.approx(-20, abs=1e-9)  # straight lines of log bits
    assert rate_difference(others, points) == pytest.approx(25, abs=1e-9)
    assert rate_difference(points * [1000, 1], np.array(others) * [1000, 1]) == pytest.approx(-20, abs=1e-9)


def test_rate_difference_averages_over_the_common_range_only():
    """Log bits differ by 0.1 (q - 20): over 24 to 30, the common range, by 0.7 on average."""
    points = [(math.exp(0.3 * q), q) for q in (24, 26, 34)]
    others = [(math.exp(0.2 * q + 2), q) for q in (20, 23, 30)]
    assert rate_difference(points, others) == pytest.approx(100 * math.expm1(0.7), abs=1e-9)


@pytest.mark.parametrize("points", [[(1, 20)], [(1, 20), (2, 20)], [(0, 20), (2, 30)], [(1, 40), (2, 50)], [1, 2],
                                    [(1, 2, 3)] * 2])
def test_rate_difference_refuses_what_is_no_curve(points):
    with pytest.raises(ValueError, match="Received: "):
        rate_difference(points, [(1, 20), (2, 30)])
