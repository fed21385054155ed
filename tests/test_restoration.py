"""Restoration without a network: against scikit-image, scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy.stats import norm
from skimage.restoration import cycle_spin as their_cycle_spin
from skimage.restoration import denoise_tv_chambolle
from sklearn.linear_model import Ridge

from autoencoder_utils import restoration
from autoencoder_utils.corruption import gaussian_noise
from autoencoder_utils.metrics import psnr
from autoencoder_utils.restoration import (
    CLASSICAL_DENOISERS,
    LinearEstimator,
    best_strength,
    cycle_spin,
    kernel_posterior_mean,
    total_variation,
    wavelet_shrinkage,
)


def squares(count=6, side=16):
    """Bright squares on black: what every classical method is good at."""
    images = np.zeros((count, side, side, 1), "float32")
    for i, image in enumerate(images):
        image[3 : 9 + i % 3, 4 : 10 + i % 4] = 0.8
    return images


@pytest.mark.parametrize("name", CLASSICAL_DENOISERS)
def test_classical_denoisers_remove_noise_and_keep_the_form(name):
    restore, strengths = CLASSICAL_DENOISERS[name]
    images = squares()
    noisy = gaussian_noise(images, 0.2, 0)
    restored = np.clip(restore(noisy, best_strength(restore, strengths, noisy, images)), 0, 1)
    assert restored.dtype == "float32" and restored.shape == images.shape
    assert psnr(images, restored) > psnr(images, noisy) + 1


@pytest.mark.parametrize("name", CLASSICAL_DENOISERS)
def test_classical_denoisers_treat_images_and_channels_alone(name):
    restore, strengths = CLASSICAL_DENOISERS[name]
    noisy = np.repeat(gaussian_noise(squares(3), 0.2, 0), 3, axis=-1)
    together = restore(noisy, strengths[1])
    np.testing.assert_allclose(together[1:2], restore(noisy[1:2], strengths[1]), atol=1e-6)
    np.testing.assert_allclose(together[..., 0], together[..., 2], atol=1e-6)


def test_best_strength_takes_the_best():
    def dim(images, strength):
        return images * strength

    assert best_strength(dim, (0.4, 0.5, 0.9, 2.0), squares(), squares() / 2) == 0.5


@pytest.mark.parametrize("weight, iterations", [(0.1, 1), (0.1, 30), (0.5, 80)])
def test_total_variation_equals_scikit_image(weight, iterations):
    images = np.random.default_rng(0).random((3, 12, 15, 2), "float32")
    expected = [denoise_tv_chambolle(image, weight, eps=0, max_num_iter=iterations, channel_axis=-1)
                for image in images]
    np.testing.assert_allclose(total_variation(images, weight, iterations), expected, atol=2e-5)


def test_total_variation_of_a_step_is_the_closed_form():
    """A step of height 1 between two halves of k columns each: each half moves by weight / k towards the other."""
    step = np.zeros((1, 6, 10, 1), "float32")
    step[:, :, 5:] = 1
    restored = total_variation(step, 0.5, iterations=3000)
    np.testing.assert_allclose(restored[0, :, :5], 0.1, atol=2e-3)
    np.testing.assert_allclose(restored[0, :, 5:], 0.9, atol=2e-3)


def haar_matrix(size):
    """The orthonormal Haar basis of `size` = 2 ** k points, one function a row, by the textbook's recursion."""
    if size == 1:
        return np.ones((1, 1))
    return np.concatenate([np.kron(haar_matrix(size // 2), [1, 1]), np.kron(np.eye(size // 2), [1, -1])]) / np.sqrt(2)


def test_haar_shrinkage_equals_the_matrix_form():
    """One level: rows and columns times the 2 x 2 Haar matrix, every coefficient but the means moved towards 0."""
    images = np.random.default_rng(0).random((2, 4, 6, 1))
    rows, columns = (np.kron(np.eye(side // 2), haar_matrix(2)) for side in (4, 6))
    coefficients = rows @ images[..., 0] @ columns.T
    mean = (np.arange(4) % 2 == 0)[:, None] & (np.arange(6) % 2 == 0)
    soft = np.sign(coefficients) * np.maximum(np.abs(coefficients) - 0.15, 0)
    expected = rows.T @ np.where(mean, coefficients, soft) @ columns
    np.testing.assert_allclose(restoration._shrink(images, 0.15, 1)[..., 0], expected, atol=1e-12)


def test_wavelet_shrinkage_at_its_limits():
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    np.testing.assert_allclose(wavelet_shrinkage(images, 0.0, levels=3), images, atol=1e-6)
    flat = wavelet_shrinkage(images, 100.0, levels=3)  # nothing is left but each channel's mean
    np.testing.assert_allclose(flat, np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), flat.shape), atol=1e-6)


@pytest.mark.filterwarnings("ignore:The optional dask dependency")
def test_cycle_spin_equals_scikit_image():
    images, fixed = np.random.default_rng(0).random((2, 2, 6, 8, 3), "float32")  # a grid that does not move along
    ours = cycle_spin(lambda shifted: shifted * fixed, images, range(3))
    theirs = their_cycle_spin(images, lambda shifted: shifted * fixed, (0, 2, 2, 0))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    both_ways = cycle_spin(lambda shifted: shifted * fixed, np.roll(images, (1, 1), (1, 2)), (-1, 0, 1))
    np.testing.assert_allclose(np.roll(both_ways, (-1, -1), (1, 2)), theirs, atol=1e-6)


def test_linear_estimator_equals_ridge_regression():
    rng = np.random.default_rng(0)
    images, spoilt, seen = (rng.random((count, 3, 4, 1), "float32") for count in (200, 200, 30))
    ridge = Ridge(alpha=200 * 0.01).fit(spoilt.reshape(200, -1), images.reshape(200, -1))
    expected = ridge.predict(seen.reshape(30, -1))
    np.testing.assert_allclose(LinearEstimator(spoilt, images, 0.01)(seen).reshape(30, -1), expected, atol=1e-4)


def test_linear_estimator_approaches_the_wiener_filter():
    """Correlated Gaussian pixels in white noise: matrix C (C + s^2)^-1, from the true covariance."""
    rng = np.random.default_rng(0)
    covariance = 0.01 * 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    images = 0.5 + rng.multivariate_normal(np.zeros(8), covariance, 40_000)
    spoilt = images + 0.1 * rng.standard_normal(images.shape)
    kept = (np.minimum(images, spoilt).min(axis=1) >= 0) & (np.maximum(images, spoilt).max(axis=1) <= 1)
    images, spoilt = (array[kept].reshape(-1, 2, 4, 1).astype("float32") for array in (images, spoilt))
    expected = covariance @ np.linalg.inv(covariance + 0.01 * np.eye(8))
    np.testing.assert_allclose(LinearEstimator(spoilt, images).matrix.T, expected, atol=0.02)


def test_linear_estimator_may_change_the_form():
    small = np.random.default_rng(0).random((50, 2, 2, 1), "float32")
    large = np.repeat(np.repeat(small, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(LinearEstimator(small, large)(small), large, atol=1e-4)


def test_kernel_posterior_mean_is_bayes_rule():
    rng = np.random.default_rng(0)
    known, seen, sigma = rng.random((5, 2, 3, 1), "float32"), rng.random((4, 2, 3, 1), "float32"), 0.4
    likelihood = np.array([[norm.pdf(y, x, sigma).prod() for x in known] for y in seen])
    posterior = likelihood / likelihood.sum(axis=1, keepdims=True)
    expected = np.einsum("ij,jhwc->ihwc", posterior, known)
    np.testing.assert_allclose(kernel_posterior_mean(known, seen, sigma), expected, atol=1e-5)
    np.testing.assert_allclose(kernel_posterior_mean(known, known, 0.01), known, atol=1e-5)  # nearest neighbour
    everyone = np.broadcast_to(known.mean(axis=0), seen.shape)
    np.testing.assert_allclose(kernel_posterior_mean(known, seen, 1e3), everyone, atol=1e-5)  # the mean image


@pytest.mark.parametrize("call", [
    lambda images: total_variation(images, 0), lambda images: total_variation(images, 0.1, 0),
    lambda images: wavelet_shrinkage(images, -1), lambda images: wavelet_shrinkage(images, 0.1, levels=5),
    lambda images: kernel_posterior_mean(images, images, 0), lambda images: LinearEstimator(images, images[:2]),
    lambda images: LinearEstimator(images, images, -1),
    lambda images: LinearEstimator(images, images, 1)(images[:, 1:])])
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match="Received"):
        call(squares())
