"""Metrics and baselines against scikit-image, SciPy and a singular value decomposition by hand."""

import numpy as np
import pytest
import skimage.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import entr

from autoencoder_utils.metrics import (
    binary_cross_entropy,
    importance_bound,
    mean_image_reconstruction,
    mean_squared_error,
    pca_reconstruction,
    psnr,
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
