"""Corruptions against counts, moments within standard errors, SciPy and scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.measure import block_reduce

from autoencoder_utils import corruption
from autoencoder_utils.corruption import (
    CRISP,
    binarise,
    blur,
    downsample,
    gaussian_noise,
    mask_square,
    random_affine,
    salt_and_pepper,
)
from autoencoder_utils.data import load_images

SHAPES = st.tuples(st.integers(1, 3), st.integers(4, 9), st.integers(4, 9), st.sampled_from([1, 3]))
IMAGES = SHAPES.flatmap(lambda shape: hnp.arrays("float32", shape, elements=st.floats(0, 1, width=32)))
RANDOM = {"gaussian_noise": 0.3, "salt_and_pepper": 0.4, "mask_square": 3}  # with a middling strength
PLAIN = {"blur": 1.2, "downsample": 2}


def grey(shape, value=0.5):
    return np.full(shape, value, "float32")


def first(result):
    return result[0] if isinstance(result, tuple) else result


@settings(deadline=None, max_examples=25)
@given(IMAGES, st.integers(0, 2**32))
def test_binarised_pixels_are_zeros_and_ones_and_certain_pixels_stay(images, seed):
    drawn = binarise(images, seed)
    assert drawn.shape == images.shape and drawn.dtype == "float32" and set(np.unique(drawn)) <= {0, 1}
    certain = (images == 0) | (images == 1)
    np.testing.assert_array_equal(drawn[certain], images[certain])
    np.testing.assert_array_equal(drawn, binarise(images, seed))


def test_a_binarised_pixel_is_one_as_often_as_its_grey_says():
    shades, count = np.array([0.05, 0.3, 0.5, 0.9], "float32"), 40_000
    images = np.tile(shades.reshape(4, 1, 1), (count, 1, 1, 1))
    drawn = binarise(images, 1)
    error = drawn.mean(axis=(0, 2, 3)) - shades
    assert np.all(np.abs(error) < 4 * np.sqrt(shades * (1 - shades) / count))
    pairs = np.corrcoef(drawn[..., 0, 0].T)  # pixels are drawn one by one
    assert np.abs(pairs - np.eye(4)).max() < 5 / np.sqrt(count)
    assert (drawn != binarise(images, 2)).any()


@settings(deadline=None, max_examples=25)
@given(IMAGES, st.sampled_from(sorted(RANDOM)), st.integers(0, 2**32))
def test_random_corruptions_keep_the_form_and_leave_their_input_alone(images, name, seed):
    before = images.copy()
    result = first(getattr(corruption, name)(images, RANDOM[name], seed))
    np.testing.assert_array_equal(images, before)
    assert result.shape == images.shape and result.dtype == "float32"
    assert result.min() >= 0 and result.max() <= 1


@pytest.mark.parametrize("name", RANDOM)
def test_seed_decides_the_draw(name):
    images = np.random.default_rng(0).random((4, 12, 12, 3), "float32")
    draw = [first(getattr(corruption, name)(images, RANDOM[name], seed)) for seed in (5, 5, 6, [5, 0, 1])]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert (draw[0] != draw[2]).any() and (draw[0] != draw[3]).any()


@pytest.mark.parametrize("name", RANDOM)
def test_images_of_a_batch_and_global_state_are_not_tied_to_each_other(name):
    np.random.seed(3)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    result = first(getattr(corruption, name)(grey((6, 12, 12, 1)), RANDOM[name], 0))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert len({image.tobytes() for image in result}) == 6


@pytest.mark.parametrize("name", RANDOM)
def test_strength_zero_changes_nothing(name):
    images = np.random.default_rng(0).random((3, 9, 9, 3), "float32")
    np.testing.assert_array_equal(first(getattr(corruption, name)(images, 0, 1)), images)


def test_gaussian_noise_has_its_mean_and_deviation():
    sigma, images = 0.05, grey((10, 100, 100, 1))  # ten deviations from the edges, so that nothing is clipped
    noise = (gaussian_noise(images, sigma, 0) - images).astype("float64")
    assert abs(noise.mean()) < 4 * sigma / np.sqrt(noise.size)
    assert abs(noise.std() - sigma) < 4 * sigma / np.sqrt(2 * noise.size)


def test_gaussian_noise_is_clipped_to_the_pixel_range():
    noisy = gaussian_noise(grey((4, 50, 50, 1), 0.0), 0.5, 0)
    share, n = (noisy == 0).mean(), noisy.size
    assert abs(share - 0.5) < 4 * np.sqrt(0.25 / n)  # half of the noise is negative


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_salt_and_pepper_hits_its_share_in_equal_parts_and_whole_pixels(share):
    spoilt = salt_and_pepper(grey((10, 60, 60, 3)), share, 0)
    assert (spoilt == spoilt[..., :1]).all()
    pixels = spoilt[..., 0]
    for value in (0, 1):
        error = np.sqrt(share / 2 * (1 - share / 2) / pixels.size)
        assert abs((pixels == value).mean() - share / 2) < 4 * error
    assert set(np.unique(pixels)) <= {0, 0.5, 1}
    if share == 1:
        assert not (pixels == 0.5).any()


@settings(deadline=None, max_examples=25)
@given(SHAPES, st.integers(0, 4), st.integers(0, 1000))
def test_mask_is_one_square_of_the_asked_side(shape, side, seed):
    images = np.random.default_rng(seed).random(shape, "float32") * 0.9 + 0.1
    masked, mask = mask_square(images, side, seed)
    assert mask.shape == (*shape[:3], 1) and mask.dtype == "float32"
    np.testing.assert_array_equal(masked, np.where(mask == 1, images, 0))
    for kept in mask[..., 0]:
        rows, columns = np.nonzero(kept == 0)
        assert len(rows) == side**2
        if side:
            assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (side, side)


def test_mask_reaches_every_place_equally_often():
    _, mask = mask_square(grey((4000, 6, 5, 1)), 4, 0)  # 3 x 2 places
    corners = [(row, column) for row in range(3) for column in range(2)]
    counts = [int((mask[:, r : r + 4, c : c + 4] == 0).all((1, 2, 3)).sum()) for r, c in corners]
    assert sum(counts) == 4000
    assert (abs(np.array(counts) - 4000 / 6) < 4 * np.sqrt(4000 * 5 / 36)).all()


def test_blur_is_scipys_filter_of_every_channel():
    images = np.random.default_rng(0).random((3, 12, 10, 3), "float32")
    result = blur(images, 1.3)
    for i in range(3):
        for c in range(3):
            np.testing.assert_allclose(result[i, ..., c], gaussian_filter(images[i, ..., c], 1.3), atol=1e-6)
    np.testing.assert_array_equal(blur(images, 0), images)


def test_blur_of_a_point_is_a_gaussian_of_that_width():
    image = grey((1, 41, 41, 1), 0.0)
    image[0, 20, 20] = 1
    result = blur(image, 2.0)[0, ..., 0].astype("float64")
    distance = np.arange(41) - 20
    assert result.sum() == pytest.approx(1, abs=1e-4)
    assert (result.sum(0) * distance**2).sum() == pytest.approx(4, rel=0.02)  # variance in square pixels
    assert (result.sum(1) * distance**2).sum() == pytest.approx(4, rel=0.02)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3]), st.integers(0, 99))
def test_downsampling_is_scikit_images_block_average(factor, rows, columns, channels, seed):
    images = np.random.default_rng(seed).random((2, rows * factor, columns * factor, channels), "float32")
    result = downsample(images, factor)
    assert result.dtype == "float32"
    np.testing.assert_allclose(result, block_reduce(images, (1, factor, factor, 1), np.mean), atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(IMAGES, st.integers(0, 2**32))
def test_deformation_keeps_the_form_and_its_input(images, seed):
    before = images.copy()
    result = random_affine(images, seed)
    np.testing.assert_array_equal(images, before)
    assert result.shape == images.shape and result.dtype == "float32"
    assert result.min() >= 0 and result.max() <= 1
    np.testing.assert_array_equal(random_affine(images, seed), result)
    np.testing.assert_allclose(random_affine(images, seed, 0, 0, 0, 0), images, atol=1e-6)


def entropy(images):
    """Nats an image, of pixels that are white with the probability that they say."""
    shares = np.stack([images, 1 - images]).clip(1e-7, 1)
    return -(shares * np.log(shares)).sum() / len(images)


def test_contrast_gives_digits_back_the_entropy_that_interpolation_added():
    images = load_images("digits").train.images[:1000]
    own, soft, crisp = (entropy(each) for each in (images, random_affine(images, 0, 10, 0.15, 0.1, 1), random_affine(
        images, 0, 10, 0.15, 0.1, 1, contrast=CRISP)))
    assert soft > 1.5 * own and crisp == pytest.approx(own, rel=0.03)
    still = random_affine(images, 0, 0, 0, 0, 0, contrast=CRISP)
    np.testing.assert_allclose(still, (0.5 + CRISP * (images - 0.5)).clip(0, 1), atol=1e-5)


def test_interpolation_is_scipys():
    rng = np.random.default_rng(0)
    images = rng.random((3, 7, 9, 2), "float32")
    places = rng.uniform(-2, 11, (3, 2, 200)).astype("float32")
    result = corruption._interpolate(images, places)
    for i in range(3):
        for c in range(2):
            expected = map_coordinates(images[i, ..., c], places[i], order=1, mode="nearest")
            np.testing.assert_allclose(result[i, :, c], expected, atol=1e-5)


def moments(images):
    """Centre (batch, 2) and covariance (batch, 2, 2) of the brightness, in pixels: rows first."""
    places = np.indices(images.shape[1:3]).reshape(2, -1)
    share = images.reshape(len(images), 1, -1).astype("float64")
    share /= share.sum(-1, keepdims=True)
    centre = (share * places).sum(-1)
    apart = places - centre[..., None]
    return centre, np.einsum("nip,njp->nij", share * apart, apart)


def bar(count):
    """Images of a soft upright bar in the middle: standard deviations of 6 rows and 2 columns."""
    y, x = np.indices((61, 61)) - 30
    return np.repeat(np.exp(-(y**2 / 72 + x**2 / 8))[None, ..., None].astype("float32"), count, axis=0)


def test_rotation_is_uniform_about_the_centre():
    centre, covariance = moments(random_affine(bar(2000), 0, 20, 0, 0, 0))
    np.testing.assert_allclose(centre, 30, atol=1e-3)
    angles = np.rad2deg(0.5 * np.arctan2(2 * covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1]))
    assert np.abs(angles).max() <= 20.01 and angles.mean() == pytest.approx(0, abs=4 * 20 / np.sqrt(3 * 2000))
    assert angles.std() == pytest.approx(20 / np.sqrt(3), rel=0.05)
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance)[:, 1], 36, rtol=0.02)


def test_shift_is_uniform_in_both_directions():
    centre, covariance = moments(random_affine(bar(2000), 0, 0, 0, 0, 3))
    for moved in (centre - 30).T:
        assert np.abs(moved).max() <= 3.01 and moved.std() == pytest.approx(3 / np.sqrt(3), rel=0.05)
    assert abs(np.corrcoef(centre.T)[0, 1]) < 0.1


def test_scale_multiplies_height_and_width_by_at_most_its_exponential():
    _, covariance = moments(random_affine(bar(2000), 0, 0, 0, 0.2, 0))
    for variance, own in zip((covariance[:, 0, 0], covariance[:, 1, 1]), (36, 4)):
        logarithm = 0.5 * np.log(variance / own)
        assert np.abs(logarithm).max() < 0.25 and logarithm.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.1)


def test_shear_moves_rows_sideways_in_proportion_to_their_distance():
    _, covariance = moments(random_affine(bar(2000), 0, 0, 0.3, 0, 0))
    slope = covariance[:, 0, 1] / covariance[:, 0, 0]  # columns a row
    assert np.abs(slope).max() <= 0.305 and slope.std() == pytest.approx(0.3 / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize(("function", "arguments", "message"), [
    (random_affine, (0, 0, 0, 0, 0, 0.0), "`contrast` must be above 0. Received: contrast=0.0"),
    (gaussian_noise, (-0.1, 0), "`sigma` must be at least 0. Received: sigma=-0.1"),
    (salt_and_pepper, (-0.1, 0), r"`share` must lie in \[0, 1\]. Received: share=-0.1"),
    (salt_and_pepper, (1.1, 0), r"`share` must lie in \[0, 1\]. Received: share=1.1"),
    (mask_square, (9, 0), r"`side` must lie in \[0, 8\] pixels. Received: side=9"),
    (mask_square, (-1, 0), r"`side` must lie in \[0, 8\] pixels. Received: side=-1"),
    (blur, (-1,), "`sigma` must be at least 0. Received: sigma=-1"),
    (downsample, (3,), "`factor` must divide the image's sides, 8 and 12. Received: factor=3"),
    (downsample, (0,), "`factor` must divide the image's sides, 8 and 12. Received: factor=0"),
    (downsample, (1.5,), "`factor`.*Received: factor=1.5"),
])
def test_impossible_strengths_are_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(grey((2, 8, 12, 1)), *arguments)


@pytest.mark.parametrize("name", RANDOM | PLAIN)
@pytest.mark.parametrize("bad", [grey((2, 8, 8, 1), 2.0), grey((2, 8, 8, 1), np.nan), np.zeros((2, 8, 8, 1), "uint8"),
                                 grey((8, 8, 1)), grey((0, 8, 8, 1))], ids=["range", "nan", "uint8", "rank", "empty"])
def test_images_out_of_form_are_refused(name, bad):
    seed = (0,) if name in RANDOM else ()
    with pytest.raises(ValueError, match=r"Expected images of shape.*Received"):
        getattr(corruption, name)(bad, (RANDOM | PLAIN)[name], *seed)
