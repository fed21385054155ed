"""Reconstruction likelihoods and divergences, one formula each, in nats an image: summed over pixels, not averaged.

Every loss takes a batch and returns one number an image, so that a model can average, weight or report them.
"""

import math

from keras import ops


def bernoulli_loss(images, logits):
    """Cross-entropy: minus the log-likelihood of pixels x under Bernoulli(p), p = sigmoid(logit).

    -x log p - (1 - x) log(1 - p), written as log(1 + exp(a)) - a x with the logit a, which neither overflows nor loses
    digits. For grey pixels it is a loss with a floor above 0 (the entropy of each pixel) rather
    than a likelihood: Loaiza-Ganem and Cunningham, "The continuous Bernoulli", NeurIPS 2019.

    Args:
        images: (batch, height, width, channels) in [0, 1].
        logits: Same shape, unbounded.

    Returns:
        Nats an image, (batch,).
    """
    return ops.sum(ops.softplus(logits) - ops.multiply(logits, images), axis=(1, 2, 3))


def gaussian_loss(images, logits, variance=1.0):
    """Minus the log-likelihood of pixels x under a Gaussian with mean sigmoid(logit) and one variance for all.

    (x - m)^2 / (2 v) + log(2 pi v) / 2, summed over pixels. With a fixed variance this is the squared error, scaled and
    shifted.

    Args:
        images: (batch, height, width, channels) in [0, 1].
        logits: Same shape, unbounded.
        variance: v, positive, in squared pixel units.

    Returns:
        Nats an image, (batch,).
    """
    squared_error = ops.square(ops.subtract(images, ops.sigmoid(logits)))
    return ops.sum(squared_error / (2 * variance) + 0.5 * ops.log(2 * math.pi * variance), axis=(1, 2, 3))


def laplace_loss(images, logits, scale=1.0):
    """Minus the log-likelihood of pixels x under a Laplace distribution around sigmoid(logit): the absolute error.

    |x - m| / b + log(2 b), summed over pixels.

    Args:
        images: (batch, height, width, channels) in [0, 1].
        logits: Same shape, unbounded.
        scale: b, positive, in pixel units.

    Returns:
        Nats an image, (batch,).
    """
    absolute_error = ops.abs(ops.subtract(images, ops.sigmoid(logits)))
    return ops.sum(absolute_error / scale + ops.log(2.0 * scale), axis=(1, 2, 3))


def gaussian_kl(z_mean, z_log_var):
    """Divergence of N(z_mean, exp(z_log_var)) from the standard normal, summed over the code's dimensions.

    KL = (mu^2 + sigma^2 - log sigma^2 - 1) / 2 a dimension: Kingma and Welling, "Auto-Encoding Variational Bayes",
    ICLR 2014, appendix B.

    Args:
        z_mean: (batch, latent_dim).
        z_log_var: (batch, latent_dim), the logarithm of the variance (not of the standard deviation).

    Returns:
        Nats an image, (batch,), at least 0.
    """
    return 0.5 * ops.sum(ops.square(z_mean) + ops.exp(z_log_var) - z_log_var - 1, axis=-1)


RECONSTRUCTION_LOSSES = {"bernoulli": bernoulli_loss, "gaussian": gaussian_loss, "laplace": laplace_loss}


def get_reconstruction_loss(name):
    """The reconstruction loss of that name, a function of images and logits, both (batch, height, width, channels).

    Raises:
        ValueError: unknown name.
    """
    if name not in RECONSTRUCTION_LOSSES:
        raise ValueError(f"Unknown reconstruction loss. Expected one of {', '.join(RECONSTRUCTION_LOSSES)}. "
                         f"Received: {name!r}")
    return RECONSTRUCTION_LOSSES[name]
