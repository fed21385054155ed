"""How good is a reconstruction, a density or a code? Errors, PSNR, SSIM, bounds, probes, and simple baselines."""

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import logsumexp, xlog1py, xlogy
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

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


def linear_probe(train_features, train_labels, features, labels, strength=1.0):
    """How much a linear classifier reads off some features: its share of right answers.

    Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016. Logistic regression
    (scikit-learn's) on features that are centred and divided by *one* number, so that their mean variance is 1: turning
    or scaling the features as a whole changes nothing.

    Args:
        train_features, train_labels: What it learns from, (n, features) and (n,), of two classes at least.
        features, labels: What it is tested on, (m, features) and (m,).
        strength: How freely it may fit, above 0: scikit-learn's C, the inverse of the penalty on the weights.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: arrays that don't fit together, features without variance.
    """
    train_features, train_labels = _check_labelled(train_features, train_labels)
    features, labels = _check_labelled(features, labels, train_features.shape[1])
    mean, scale = train_features.mean(axis=0), np.sqrt(train_features.var(axis=0).mean())
    if not scale > 0:
        raise ValueError(f"Expected features that vary. Received: {len(train_features)} rows that are all equal")
    known, asked = (train_features - mean) / scale, (features - mean) / scale
    if len(known) < known.shape[1]:  # the best weights are a mixture of the rows: only their span matters
        span = np.linalg.svd(known, full_matrices=False)[2].T  # (features, n), orthonormal
        known, asked = known @ span, asked @ span
    probe = LogisticRegression(C=strength, max_iter=1000).fit(known, train_labels)
    return float(probe.score(asked, labels))


def retrieval_precision(features, labels, queries, query_labels, count=10):
    """Precision at `count`: of the nearest features to each query, the share that have the query's label.

    Args:
        features, labels: Of what is searched, (n, features) and (n,).
        queries, query_labels: What is searched for, (m, features) and (m,).
        count: How many are looked at, by Euclidean distance, from 1 to n.

    Returns:
        A float in [0, 1], the mean over the queries.

    Raises:
        ValueError: arrays that don't fit together, an impossible count.
    """
    features, labels = _check_labelled(features, labels)
    queries, query_labels = _check_labelled(queries, query_labels, features.shape[1])
    if not 1 <= count <= len(features):
        raise ValueError(f"`count` must lie in [1, {len(features)}]. Received: count={count}")
    nearest = NearestNeighbors(n_neighbors=count).fit(features).kneighbors(queries, return_distance=False)  # (m, count)
    return float(np.mean(labels[nearest] == query_labels[:, None]))


def rate_difference(points, others):
    """Percent of bits that one codec needs beyond another at equal quality; below 0 where it needs fewer.

    Bjøntegaard, "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33, 2001: the mean over the
    qualities that both reach of the difference between curves of log bits, here monotone cubics.

    Args:
        points, others: Of the two, (n, 2): bits above 0 (in any unit) and quality (PSNR in dB, say), 2 points at least.

    Raises:
        ValueError: points of another form, qualities of one that are equal, or all beyond the other's.
    """
    sides = [np.asarray(side, "float64") for side in (points, others)]
    if any(side.ndim != 2 or side.shape[1] != 2 or len(side) < 2 or not np.all(side[:, 0] > 0) for side in sides):
        raise ValueError(f"Expected points (n, 2), bits above 0 and quality. Received: {points} and {others}")
    sides = [side[side[:, 1].argsort()] for side in sides]
    low, high = max(side[0, 1] for side in sides), min(side[-1, 1] for side in sides)
    if low >= high or any(np.any(np.diff(side[:, 1]) == 0) for side in sides):
        raise ValueError(f"Expected distinct qualities that overlap. Received: {points} and {others}")
    areas = [PchipInterpolator(side[:, 1], np.log(side[:, 0])).integrate(low, high) for side in sides]
    return float(100 * np.expm1((areas[0] - areas[1]) / (high - low)))


def _check_labelled(features, labels, size=None):
    features, labels = np.asarray(features, "float64"), np.asarray(labels)
    fits = features.ndim == 2 and features.size and size in (None, features.shape[1])
    if not fits or labels.shape != features.shape[:1] or not np.isfinite(features).all():
        raise ValueError(f"Expected finite features of shape (n, {size or 'features'}) and n labels. Received: shapes "
                         f"{features.shape} and {labels.shape}")
    return features, labels


def _check_pair(images, reconstructions):
    images = check_images(images)
    reconstructions = check_images(reconstructions, images.shape[1:], "reconstructions")
    if len(images) != len(reconstructions):
        raise ValueError(f"Expected reconstructions of all {len(images)} images, one each. Received: "
                         f"{len(reconstructions)} reconstructions")
    return images, reconstructions
