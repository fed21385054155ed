"""Networks that restore images, in the shape of a U, and training on pairs: what comes in, and what should come out."""

import math

import keras
import numpy as np
from keras import layers

from autoencoder_utils.architectures import check_image_shape, double_sides
from autoencoder_utils.training import JIT, SINGLE_STEPS, Batches, warmup_cosine


def restoring_network(image_shape, filters=(24, 48), hidden=256, blocks=2):
    """Spoilt images to the logits of restored ones, for images that are alike: digits, say.

    It halves the sides twice and doubles them again, and looks across at what it saw at half the size: the U of
    Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015. At
    the bottom, dense layers see the whole image at once, then residual blocks polish.

    Args:
        image_shape: (height, width, channels); height and width are multiples of 4.
        filters: Channels at half and at a quarter of the sides.
        hidden: Units of the dense layer at the bottom.
        blocks: Residual blocks of two convolutions, at the bottom.

    Returns:
        A model (batch, height, width, channels) to logits of the same shape.

    Raises:
        ValueError: impossible shape, sides that can't be halved twice.
    """
    _check_sides(image_shape, 2)
    spoilt, (wide, deep) = keras.Input(image_shape, name="spoilt"), filters
    across = _convolve(spoilt, wide, stride=2, size=5)  # (batch, height / 2, width / 2, wide)
    h = _convolve(across, deep, stride=2)  # (batch, height / 4, width / 4, deep)
    whole = layers.Dense(hidden, use_bias=False)(layers.Flatten()(h))
    whole = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(whole))
    h = h + layers.Reshape(h.shape[1:])(layers.Dense(math.prod(h.shape[1:]))(whole))
    for _ in range(blocks):
        h = h + _convolve(_convolve(h, deep), deep)
    h = double_sides(h, wide) + across
    return keras.Model(spoilt, double_sides(h, image_shape[-1]), name="restorer")


def correcting_network(image_shape, filters=(16, 32, 64), channels=None):
    """Spoilt images to corrected ones, for images of any content: adds a correction that is small at first.

    A U like that of `restoring_network`, with a look across at every size, neither dense layers nor normalisation. It
    starts as nearly the identity, so feed it the best guess there is; Jin, McCann, Froustey and Unser, "Deep
    convolutional neural network for inverse problems in imaging", IEEE Transactions on Image Processing 26, 2017.

    Args:
        image_shape: (height, width, channels) of the input; height and width are multiples of 2 ** len(filters).
        filters: Channels after each halving.
        channels: The first so many of the input are the guess, which is corrected; the others are there to be looked
            at. None takes all.

    Returns:
        A model (batch, height, width, channels of the input) to (batch, height, width, channels): pixels, not logits.

    Raises:
        ValueError: impossible shape, sides that can't be halved so often, more channels than come in.
    """
    _check_sides(image_shape, len(filters))
    channels = image_shape[-1] if channels is None else channels
    if not 1 <= channels <= image_shape[-1]:
        raise ValueError(f"`channels` must lie between 1 and the input's. Received: channels={channels}, "
                         f"image_shape={image_shape}")
    spoilt = h = keras.Input(image_shape, name="spoilt")
    sizes = []
    for count in filters:
        h = _convolve(_convolve(h, count, stride=2, normalise=False), count, normalise=False)
        sizes.append(h)  # (batch, height / 2, width / 2, filters[0]), and so on
    for count, across in zip(filters[-2::-1], sizes[-2::-1]):
        h = _convolve(double_sides(h, count) + across, count, normalise=False)
    return keras.Model(spoilt, spoilt[..., :channels] + 0.1 * double_sides(h, channels), name="corrector")


class Pairs(Batches):
    """Batches of (spoilt, clean) images; which, and how they are spoilt, depends on `seed` and the epoch only.

    Args:
        images, batch_size, seed, vary: As for `training.Batches`: float32 (n, height, width, channels), and so on.
            What `vary` makes of a batch is the clean one.
        spoil: Function (images, seed) to what the network will be given, such as `corruption.gaussian_noise` with its
            level filled in; it is called anew in every epoch. Or an array (n, height, width, channels) of images that
            are spoilt already, which `vary` turns in the same way as the clean ones.

    Raises:
        ValueError: images out of form; an array of spoilt images that don't fit the clean ones.
    """

    def __init__(self, images, spoil, batch_size=64, seed=0, vary=None):
        self.spoil, self.channels = spoil, np.shape(images)[-1]
        if not callable(spoil):
            if np.shape(spoil)[:-1] != np.shape(images)[:-1]:
                raise ValueError(f"Expected one spoilt image of the same size for each image. Received: shapes "
                                 f"{np.shape(spoil)} and {np.shape(images)}")
            images = np.concatenate([images, spoil], axis=-1)
        super().__init__(images, batch_size, seed, vary)

    def __getitem__(self, index):
        (clean,) = super().__getitem__(index)
        if callable(self.spoil):
            return self.spoil(clean, [self.seed, self.epoch, index, 1]), clean  # `vary` has the seed without the 1
        return clean[..., self.channels :], clean[..., : self.channels]


def train_on_pairs(model, images, spoil, epochs, peak, batch_size=64, seed=0, vary=None, loss=None):
    """Teaches a model to undo what `spoil` does: Adam with `warmup_cosine`, an epoch in one compiled call.

    Args:
        model: Any Keras model whose `fit` takes (x, y): the networks of this module, or an `Autoencoder`.
        images, spoil, batch_size, seed, vary: As for `Pairs`: (n, height, width, channels), and so on.
        epochs, peak: How many, and the highest learning rate.
        loss: Of the restored images against the clean ones; None for a model that has its own.

    Returns:
        A Keras `History`.
    """
    pairs = Pairs(images, spoil, batch_size, seed, vary)
    adam = keras.optimizers.Adam(warmup_cosine(peak, epochs * len(pairs)), beta_2=0.99)
    model.compile(adam, **({} if loss is None else {"loss": loss}), jit_compile=JIT,
                  steps_per_execution=1 if SINGLE_STEPS else len(pairs))
    history = model.fit(pairs, epochs=epochs, shuffle=False, verbose=0)
    pairs.images = None  # TensorFlow keeps the data set that Keras makes of `pairs` for ever
    return history


def _check_sides(image_shape, halvings):
    check_image_shape(image_shape)
    if any(side % 2**halvings for side in image_shape[:2]):
        raise ValueError(f"Height and width must be multiples of {2**halvings}, to be halved {halvings} times. "
                         f"Received: image_shape={image_shape}")


def _convolve(h, filters, stride=1, size=3, normalise=True):
    """Convolution, batch normalisation if asked for, ReLU."""
    h = layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=not normalise)(h)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(h) if normalise else h)
