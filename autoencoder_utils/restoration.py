"""Restoring images without a network: filters, the best linear estimator, a posterior mean. Arrays in, arrays out.

They are what a learned restoration has to beat. Each has one strength, which `best_strength` chooses on validation
images, so that the comparison with a trained network is a fair one.
"""

import itertools

import numpy as np
from scipy.ndimage import median_filter
from scipy.special import softmax
from skimage.restoration import denoise_nl_means

from autoencoder_utils.corruption import blur
from autoencoder_utils.data import check_images
from autoencoder_utils.metrics import psnr

CHUNK = 100  # noisy images that are compared with all training images at a time


def median(images, side):
    """The median of the `side` x `side` pixels around each pixel (edges reflected), each channel on its own.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        side: Of the window, in pixels, at least 1.

    Returns:
        float32, same shape.
    """
    return median_filter(check_images(images), (1, side, side, 1))


def non_local_means(images, strength):
    """Averages pixels whose surroundings, 5 x 5 pixels, look alike (scikit-image's `denoise_nl_means`).

    Buades, Coll and Morel, "A non-local algorithm for image denoising", CVPR 2005.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        strength: How unlike surroundings may be, in pixel units, above 0 (its parameter `h`).

    Returns:
        float32, same shape.
    """
    images = check_images(images)
    restored = [denoise_nl_means(image, patch_size=5, patch_distance=6, h=strength, channel_axis=-1)
                for image in images]
    return np.reshape(restored, images.shape)  # scikit-image drops a single channel


def total_variation(images, weight, iterations=50):
    """Minimises |u - image|^2 / 2 + weight * TV(u), each image and channel on its own: flat areas with sharp edges.

    The model of Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 60,
    1992; the algorithm of Chambolle, "An algorithm for total variation minimization and applications", Journal of
    Mathematical Imaging and Vision 20, 2004. Equals scikit-image's `denoise_tv_chambolle`, for a batch at a time.

    Args:
        images: float32 (batch, height, width, channels), of any range.
        weight: Above 0, in pixel units.
        iterations: At least 1.

    Returns:
        float32, same shape.

    Raises:
        ValueError: impossible weight, too few iterations.
    """
    if weight <= 0 or iterations < 1:
        raise ValueError(f"`weight` must be positive and `iterations` at least 1. Received: weight={weight}, "
                         f"iterations={iterations}")
    images, step = np.asarray(images, "float32"), np.float32(0.25)
    down, right, restored = np.zeros_like(images), np.zeros_like(images), images  # the dual field, and the estimate
    for i in range(iterations):
        if i:
            restored = images - down - right  # image minus the field's divergence
            restored[:, 1:] += down[:, :-1]
            restored[:, :, 1:] += right[:, :, :-1]
        slope_down, slope_right = np.zeros_like(images), np.zeros_like(images)
        np.subtract(restored[:, 1:], restored[:, :-1], out=slope_down[:, :-1])
        np.subtract(restored[:, :, 1:], restored[:, :, :-1], out=slope_right[:, :, :-1])
        shrink = 1 + step / np.float32(weight) * np.sqrt(slope_down**2 + slope_right**2)
        down, right = (down - step * slope_down) / shrink, (right - step * slope_right) / shrink
    return restored


def cycle_spin(restore, images, shifts):
    """Restores the images at every shift, down and to the right, shifts the results back, and takes their mean.

    What a method owes to where its grid, or its network's strides, happen to lie averages out: Coifman and Donoho,
    "Translation-invariant de-noising", 1995. What leaves the image on one side enters on the other.

    Args:
        restore: Function of images to restored ones of the same shape.
        images: (batch, height, width, channels).
        shifts: Whole pixels, such as (-1, 0, 1), which asks `restore` nine times.

    Returns:
        float32, same shape.
    """
    moves = list(itertools.product(shifts, repeat=2))
    made = (np.roll(restore(np.roll(images, move, (1, 2))), np.negative(move), (1, 2)) for move in moves)
    return sum(made) / np.float32(len(moves))


def wavelet_shrinkage(images, threshold, levels=2):
    """Moves Haar wavelet coefficients towards 0 by `threshold`, averaged over all shifts of the wavelets' grid.

    Donoho, "De-noising by soft-thresholding", IEEE Transactions on Information Theory 41, 1995; `cycle_spin` removes
    block edges.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1]; height and width are multiples of 2 ** levels.
        threshold: At least 0, in pixel units.
        levels: How often the image is halved, at least 1.

    Returns:
        float32, same shape, clipped to [0, 1].

    Raises:
        ValueError: images out of form, sides that can't be halved so often, a negative threshold.
    """
    images, block = check_images(images), 2**levels
    if levels < 1 or any(side % block for side in images.shape[1:3]):
        raise ValueError(f"`levels` must be at least 1 and 2 ** levels divide the image's sides, {images.shape[1:3]}. "
                         f"Received: levels={levels}")
    if threshold < 0:
        raise ValueError(f"`threshold` must be at least 0. Received: threshold={threshold}")
    return cycle_spin(lambda shifted: _shrink(shifted, np.float32(threshold), levels), images, range(block)).clip(0, 1)


def _shrink(images, threshold, levels):
    """Soft-thresholds the orthonormal Haar coefficients of images (n, height, width, channels)."""
    if levels == 0:
        return images
    a, b, c, d = images[:, ::2, ::2], images[:, ::2, 1::2], images[:, 1::2, ::2], images[:, 1::2, 1::2]
    means = _shrink((a + b + c + d) / 2, threshold, levels - 1)
    rows, columns, cross = (np.sign(detail) * np.maximum(np.abs(detail) - threshold, 0)
                            for detail in ((a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2))
    restored = np.empty_like(images)
    restored[:, ::2, ::2], restored[:, ::2, 1::2] = means + rows + columns + cross, means + rows - columns - cross
    restored[:, 1::2, ::2], restored[:, 1::2, 1::2] = means - rows + columns - cross, means - rows - columns + cross
    restored /= 2
    return restored


CLASSICAL_DENOISERS = {  # name: (function of images and a strength, strengths to try)
    "Gaussian": (blur, (0.5, 0.7, 0.9, 1.1, 1.4)),
    "median": (median, (3, 5, 7)),
    "non-local means": (non_local_means, (0.1, 0.2, 0.3, 0.4, 0.6)),
    "total variation": (total_variation, (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)),
    "wavelet": (wavelet_shrinkage, (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)),
}


def best_strength(restore, strengths, spoilt, images):
    """The strength with which `restore(spoilt, strength)` comes closest to the images, in mean PSNR.

    Args:
        restore: Function (spoilt, strength) to restored images; what leaves [0, 1] is clipped.
        strengths: Candidates.
        spoilt: float32 (batch, height, width, channels): what `restore` is given.
        images: float32 (batch, height, width, channels) in [0, 1]: the truth. Validation images, not test images.

    Returns:
        One of the strengths.
    """
    return max(strengths, key=lambda strength: psnr(images, np.clip(restore(spoilt, strength), 0, 1)))


class LinearEstimator:
    """The linear function of a spoilt image that has the least squared error: the Wiener filter of the training images.

    The mean image, plus C_xy C_yy^-1 times how the spoilt image y differs from the mean spoilt image, with covariances
    estimated from pairs. Wiener, "Extrapolation, interpolation, and smoothing of stationary time series", 1949, has it
    for signals whose statistics are everywhere the same; this one learns them pixel by pixel.

    Args:
        spoilt: float32 (n, height, width, channels): draws of what will be seen.
        images: float32 (n, height, width, channels): the truths.
        ridge: Added to the diagonal of C_yy, at least 0; needed where pairs are few, or pixels constant.

    Raises:
        ValueError: arrays of different lengths, a negative ridge.
    """

    def __init__(self, spoilt, images, ridge=0.0):
        spoilt, images = check_images(spoilt, name="spoilt"), check_images(images)
        if len(spoilt) != len(images) or ridge < 0:
            raise ValueError(f"Expected one spoilt image for each image, and a ridge of at least 0. Received: "
                             f"{len(spoilt)} spoilt, {len(images)} images, ridge={ridge}")
        self.image_shape, self.spoilt_shape = images.shape[1:], spoilt.shape[1:]
        seen, truth = (array.reshape(len(array), -1) for array in (spoilt, images))
        self.seen_mean, self.mean = seen.mean(axis=0, dtype="float64"), truth.mean(axis=0, dtype="float64")
        gram = (seen.T @ seen) / len(seen) - np.outer(self.seen_mean, self.seen_mean)  # C_yy
        cross = (seen.T @ truth) / len(seen) - np.outer(self.seen_mean, self.mean)  # C_yx
        self.matrix = np.linalg.solve(gram + ridge * np.eye(len(gram)), cross)

    def __call__(self, spoilt):
        """Spoilt images, float32 (batch, height, width, channels), to restored ones, clipped to [0, 1]."""
        spoilt = check_images(spoilt, self.spoilt_shape, "spoilt")
        restored = self.mean + (spoilt.reshape(len(spoilt), -1) - self.seen_mean) @ self.matrix
        return restored.reshape(-1, *self.image_shape).clip(0, 1).astype("float32")


def kernel_posterior_mean(train_images, noisy, sigma):
    """The mean of the training images, each weighed by how likely it would become the noisy one.

    Exactly the posterior mean, the estimator with the least squared error, if the training images were all that exist
    and the noise Gaussian and not clipped. With `sigma` above the noise's, neighbours count for more. Nadaraya, "On
    estimating regression", and Watson, "Smooth regression analysis", both 1964.

    Args:
        train_images: float32 (n, height, width, channels) in [0, 1].
        noisy: float32 (batch, height, width, channels).
        sigma: Standard deviation of the noise, above 0.

    Returns:
        float32 (batch, height, width, channels).

    Raises:
        ValueError: images out of form, sigma of 0 or less.
    """
    train_images = check_images(train_images)
    noisy = check_images(noisy, train_images.shape[1:], "noisy")
    if sigma <= 0:
        raise ValueError(f"`sigma` must be positive. Received: sigma={sigma}")
    known, seen = (images.reshape(len(images), -1) for images in (train_images, noisy))
    half, restored = np.einsum("ij,ij->i", known, known) / 2, np.empty_like(seen)
    for start in range(0, len(seen), CHUNK):  # all at once would need a matrix (batch, n)
        part = slice(start, start + CHUNK)
        closeness = seen[part] @ known.T - half  # minus half the squared distance, but for |seen|^2 / 2
        restored[part] = softmax(closeness / np.float32(sigma**2), axis=1) @ known
    return restored.reshape(noisy.shape).clip(0, 1)
