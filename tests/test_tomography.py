"""The scanner against scikit-image, its noise against Poisson's moments, phantoms against geometry."""

import numpy as np
import pytest
from skimage.transform import iradon, radon

from autoencoder_utils import tomography
from autoencoder_utils.metrics import psnr
from autoencoder_utils.tomography import ABSORPTION, Scanner, photon_noise, random_phantoms


@pytest.mark.parametrize("side, angles", [(32, 7), (33, 4), (128, 30)])
def test_scanner_equals_scikit_image(side, angles):
    scanner, images = Scanner(side, angles), random_phantoms(2, side, 0)
    turns = np.linspace(0, 180, angles, endpoint=False)
    for image, sinogram in zip(images, scanner.project(images)):
        expected = radon(image[..., 0].astype("float64"), turns)  # (side, angles)
        np.testing.assert_allclose(sinogram[..., 0].T, expected, atol=1e-3)  # of values up to about 60
        restored = scanner.filtered_back_projection(sinogram[None])[0, ..., 0]
        np.testing.assert_allclose(restored, iradon(sinogram[..., 0].T, turns, filter_name="hann"), atol=1e-4)


def test_radon_transform_of_a_disc_is_the_length_of_the_chord():
    side, radius = 128, 40
    y, x = np.mgrid[:side, :side] - side // 2
    disc = (x**2 + y**2 <= radius**2).astype("float32")[None, ..., None]
    chord = 2 * np.sqrt(np.maximum(radius**2 - (np.arange(side) - side // 2) ** 2, 0))
    projected = Scanner(side, 9).project(disc)[0, ..., 0]
    assert np.abs(projected - chord).mean() < 1 and np.abs(projected[:, 54:75] - chord[54:75]).max() < 2


def test_many_angles_without_noise_give_the_image_back():
    images, scores = random_phantoms(2, 64, 0), []
    for scanner in (Scanner(64, 8), Scanner(64, 90)):
        scores.append(psnr(images, scanner.filtered_back_projection(scanner.project(images)).clip(0, 1)))
    assert scores[1] > scores[0] + 4


def test_total_variation_is_closer_to_truth_and_measurement_than_filtered_back_projection():
    scanner, images = Scanner(64, 20), random_phantoms(3, 64, 0)
    sinograms = photon_noise(scanner.project(images), 20_000, 0)
    plain = scanner.filtered_back_projection(sinograms).clip(0, 1)
    sparse = scanner.total_variation(sinograms, 0.02)
    assert psnr(images, sparse) > psnr(images, plain) + 1
    assert np.abs(scanner.project(sparse) - sinograms).mean() < np.abs(scanner.project(plain) - sinograms).mean()
    assert sparse.min() >= 0 and sparse.max() <= 1


def test_total_variation_treats_each_sinogram_alone_however_many_there_are():
    scanner, images = Scanner(16, 5), random_phantoms(tomography.CHUNK + 3, 16, 0)
    sinograms = scanner.project(images)
    together = scanner.total_variation(sinograms, 0.02, rounds=3)
    alone = [scanner.total_variation(sinograms[i : i + 1], 0.02, rounds=3)[0] for i in (0, len(images) - 1)]
    assert together.shape == images.shape
    np.testing.assert_allclose(together[[0, -1]], alone, atol=1e-5)


def test_photon_noise_has_poisson_moments():
    sinograms = np.full((1, 200, 500, 1), 20.0)
    noisy = photon_noise(sinograms, 10_000, 0)
    counts = 10_000 * np.exp(-ABSORPTION * 20)  # the logarithm's deviation is 1 / sqrt(counts), for many counts
    assert abs(noisy.mean() - 20) < 0.01 and noisy.dtype == "float32"
    assert abs(noisy.std() * ABSORPTION * np.sqrt(counts) - 1) < 0.02
    assert np.isfinite(photon_noise(sinograms, 0.1, 0)).all()
    np.testing.assert_array_equal(noisy, photon_noise(sinograms, 10_000, 0))


def test_random_phantoms_fill_their_range_inside_the_disc():
    phantoms = random_phantoms(8, 64, 0)
    y, x = np.mgrid[:64, :64] - 32
    assert phantoms.shape == (8, 64, 64, 1) and phantoms.dtype == "float32"
    assert not phantoms[:, x**2 + y**2 > 32**2].any()
    np.testing.assert_allclose(phantoms.max(axis=(1, 2, 3)), 1)
    assert phantoms.min() == 0 and len({phantom.tobytes() for phantom in phantoms}) == 8
    np.testing.assert_array_equal(phantoms, random_phantoms(8, 64, 0))
    assert (phantoms != random_phantoms(8, 64, 1)).any()


def test_an_ellipse_is_where_geometry_says():
    """Half axes 3 and 1, turned by 30 degrees, about (2, 1): the quadratic form is 1 on its edge."""
    form = tomography._quadratic(np.array([[2.0], [1.0]]), np.array([[3.0], [1.0]]), np.array([np.pi / 6]))[0]
    along, turn = np.linspace(0, 2 * np.pi, 50), np.pi / 6
    u, v = 3 * np.cos(along), np.sin(along)
    x, y = 2 + np.cos(turn) * u - np.sin(turn) * v, 1 + np.sin(turn) * u + np.cos(turn) * v
    np.testing.assert_allclose(form @ np.stack([x * x, x * y, y * y, x, y, np.ones_like(x)]), 1, atol=1e-5)


@pytest.mark.parametrize("call", [
    lambda: Scanner(1, 3), lambda: Scanner(8, 0), lambda: Scanner(8, 3).project(np.zeros((2, 9, 9, 1))),
    lambda: Scanner(8, 3).filtered_back_projection(np.zeros((2, 8, 3, 1))),
    lambda: photon_noise(np.zeros((1, 1)), 0, 0)])
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match="Received"):
        call()
