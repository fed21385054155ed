"""How good is a reconstruction, or a density? Errors a pixel, PSNR, SSIM, likelihood bounds, and simple baselines."""

import numpy as np
from scipy.special import logsumexp, xlog1py, xlogy
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA

from autoencoder_utils.data import check_images


def mean_squared_error(images, reconstructions):
    """Squared error, averaged over pixels and images.

    Args:
        images, reconstructions: float32 (batch, height, width, channels) in [0, 1].

    Returns:
        A float, in squared pixel units.

    Raises:
        ValueError: images out of form, shapes that differ.
    """
    images, reconstructions = _check_pair(images, reconstructions)
    return float(np.mean(np.square(images - reconstructions), dtype="float64"))


def binary_cross_entropy(images, reconstructions):
    """Cross-entropy in nats a pixel, averaged over pixels and images.

    Its floor, reached where reconstructions equal images, is the mean entropy of the pixels: 0 for black and white,
    more for grey. Reconstructions are kept 1e-7 away from 0 and 1, as Keras does.

    Args:
        images, reconstructions: float32 (batch, height, width, channels) in [0, 1].

    Returns:
        A float, nats a pixel.

    Raises:
        ValueError: images out of form, shapes that differ.
    """
    images, reconstructions = _check_pair(images, reconstructions)
    p = reconstructions.astype("float64").clip(1e-7, 1 - 1e-7)
    return float(np.mean(-xlogy(images, p) - xlog1py(1 - images, -p)))


def psnr(images, reconstructions):
    """Peak signal-to-noise ratio in decibels, averaged over images: 10 log10(1 / mean squared error) of each.

    Args:
        images, reconstructions: float32 (batch, height, width, channels) in [0, 1].

    Returns:
        A float; infinity if an image is reproduced exactly.

    Raises:
        ValueError: images out of form, shapes that differ.
    """
    images, reconstructions = _check_pair(images, reconstructions)
    errors = np.mean(np.square(images - reconstructions), axis=(1, 2, 3), dtype="float64")
    with np.errstate(divide="ignore"):
        return float(np.mean(-10 * np.log10(errors)))


def ssim(images, reconstructions):
    """Structural similarity, averaged over images: scikit-image's, with its default window of 7 x 7 pixels.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE Transactions on Image
    Processing 13, 2004.

    Args:
        images, reconstructions: float32 (batch, height, width, channels) in [0, 1], sides of at least 7 pixels.

    Returns:
        A float, at most 1.

    Raises:
        ValueError: images out of form, shapes that differ.
    """
    pairs = zip(*_check_pair(images, reconstructions))
    return float(np.mean([structural_similarity(a, b, data_range=1.0, channel_axis=-1) for a, b in pairs]))


def importance_bound(log_weights, samples=None):
    """Importance-weighted lower bound on the log-likelihood of each image: log of the mean of `samples` weights.

    With one sample it is the evidence lower bound; it rises with the number of samples, and its limit is the
    log-likelihood: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016. Given more weights
    than `samples`, it averages the bounds of as many groups as there are, which makes it less noisy, not tighter.

    Args:
        log_weights: (n, drawn), log p(x, z) - log q(z | x) in nats for codes z drawn from q, such as
            `VariationalAutoencoder.log_weights` gives.
        samples: From 1 to drawn; None takes all.

    Returns:
        float64 (n,), nats.

    Raises:
        ValueError: weights of another form, an impossible number of samples.
    """
    log_weights = np.asarray(log_weights, "float64")
    if log_weights.ndim != 2 or log_weights.size == 0:
        raise ValueError(f"Expected log-weights of shape (n, drawn). Received: shape {log_weights.shape}")
    samples = log_weights.shape[1] if samples is None else samples
    if not 1 <= samples <= log_weights.shape[1]:
        raise ValueError(f"`samples` must lie in [1, {log_weights.shape[1]}]. Received: samples={samples}")
    groups = log_weights.shape[1] // samples
    weights = log_weights[:, : groups * samples].reshape(len(log_weights), groups, samples)
    return np.mean(logsumexp(weights, axis=2) - np.log(samples), axis=1)


def mean_image_reconstruction(train_images, images):
    """The baseline without a code: the mean training image, whatever the input.

    Args:
        train_images: float32 (n, height, width, channels) in [0, 1].
        images: float32 (batch, height, width, channels) in [0, 1].

    Returns:
        float32, the shape of `images`.

    Raises:
        ValueError: images out of form.
    """
    mean = check_images(train_images).mean(axis=0, dtype="float64").astype("float32")
    return np.broadcast_to(mean, check_images(images, mean.shape).shape)


def pca_reconstruction(train_images, images, latent_dim):
    """The linear baseline: project on the training images' first principal components and back, clipped to [0, 1].

    Args:
        train_images: float32 (n, height, width, channels) in [0, 1].
        images: float32 (batch, height, width, channels) in [0, 1].
        latent_dim: Number of components, at most n and the number of pixels.

    Returns:
        float32, the shape of `images`.

    Raises:
        ValueError: images out of form, too many components.
    """
    train_images = check_images(train_images)
    images = check_images(images, train_images.shape[1:])
    largest = min(len(train_images), train_images[0].size)
    if not 1 <= latent_dim <= largest:
        raise ValueError(f"`latent_dim` must lie in [1, {largest}]. Received: latent_dim={latent_dim}")
    pca = PCA(latent_dim, random_state=0).fit(train_images.reshape(len(train_images), -1))
    projected = pca.inverse_transform(pca.transform(images.reshape(len(images), -1)))
    return projected.reshape(images.shape).clip(0, 1).astype("float32")


def _check_pair(images, reconstructions):
    images = check_images(images)
    reconstructions = check_images(reconstructions, images.shape[1:], "reconstructions")
    if len(images) != len(reconstructions):
        raise ValueError(f"Expected reconstructions of all {len(images)} images, one each. Received: "
                         f"{len(reconstructions)} reconstructions")
    return images, reconstructions
