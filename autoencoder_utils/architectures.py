"""Encoders and decoders: dense, convolutional, recurrent. Any encoder fits any decoder of the same code size.

An encoder maps images (batch, height, width, channels) to codes (batch, latent_dim); a decoder maps codes to logits
(batch, height, width, channels), whose sigmoid is a pixel. Every function returns a Keras functional model.
"""

import math

import keras
from keras import layers


def dense_encoder(image_shape, latent_dim, hidden=(512, 256), activation="gelu"):
    """Flattens the image and maps it through dense layers to a linear code.

    Args:
        image_shape: (height, width, channels).
        latent_dim: Numbers in the code, at least 1 (a variational encoder needs twice the code's size).
        hidden: Units of the hidden layers; () makes a linear encoder.
        activation: Of the hidden layers.

    Returns:
        A model (batch, height, width, channels) to (batch, latent_dim).

    Raises:
        ValueError: impossible shape or code size.
    """
    _check(image_shape, latent_dim)
    images = keras.Input(image_shape, name="images")
    h = layers.Flatten(name="pixels")(images)  # (batch, height * width * channels)
    for units in hidden:
        h = layers.Dense(units, activation)(h)  # (batch, units)
    return keras.Model(images, layers.Dense(latent_dim, name="code")(h), name="encoder")


def dense_decoder(image_shape, latent_dim, hidden=(256, 512), activation="gelu"):
    """Maps a code through dense layers to one logit a pixel: `dense_encoder` turned around.

    Args:
        image_shape: (height, width, channels).
        latent_dim: Numbers in the code, at least 1.
        hidden: Units of the hidden layers; () makes a linear decoder.
        activation: Of the hidden layers.

    Returns:
        A model (batch, latent_dim) to logits (batch, height, width, channels).

    Raises:
        ValueError: impossible shape or code size.
    """
    _check(image_shape, latent_dim)
    code = h = keras.Input((latent_dim,), name="code")
    for units in hidden:
        h = layers.Dense(units, activation)(h)  # (batch, units)
    h = layers.Dense(math.prod(image_shape), name="pixels")(h)  # (batch, height * width * channels)
    return keras.Model(code, layers.Reshape(image_shape, name="logits")(h), name="decoder")


def convolutional_encoder(image_shape, latent_dim, filters=(32, 64), activation="gelu"):
    """Halves the image once for each entry of `filters` by convolutions of stride 2, then maps it to a linear code.

    Args:
        image_shape: (height, width, channels); an odd side is rounded up when it is halved.
        latent_dim: Numbers in the code, at least 1.
        filters: Channels after each halving.
        activation: Of the convolutions.

    Returns:
        A model (batch, height, width, channels) to (batch, latent_dim).

    Raises:
        ValueError: impossible shape or code size.
    """
    _check(image_shape, latent_dim)
    images = h = keras.Input(image_shape, name="images")
    for channels in filters:
        h = layers.Conv2D(channels, 3, strides=2, padding="same", activation=activation)(h)  # half the height and width
    h = layers.Flatten()(h)
    return keras.Model(images, layers.Dense(latent_dim, name="code")(h), name="encoder")


def convolutional_decoder(image_shape, latent_dim, filters=(64, 32), activation="gelu"):
    """Maps a code to a small picture of features and doubles it by transposed convolutions to the image's size.

    The last doubling is `double_sides`, which costs less than a transposed convolution at full size.

    Args:
        image_shape: (height, width, channels); what stands over after doubling is cropped.
        latent_dim: Numbers in the code, at least 1.
        filters: Channels before each doubling, at least one entry.
        activation: Of the convolutions.

    Returns:
        A model (batch, latent_dim) to logits (batch, height, width, channels).

    Raises:
        ValueError: impossible shape or code size.
    """
    _check(image_shape, latent_dim)
    if not filters:
        raise ValueError(f"`filters` needs at least one entry, one for each doubling. Received: filters={filters}")
    height, width, channels = image_shape
    scale = 2 ** len(filters)
    small = (math.ceil(height / scale), math.ceil(width / scale))
    code = keras.Input((latent_dim,), name="code")
    h = layers.Dense(math.prod(small) * filters[0], activation)(code)
    h = layers.Reshape((*small, filters[0]))(h)  # (batch, height / scale, width / scale, filters[0])
    for count in filters[1:]:
        h = layers.Conv2DTranspose(count, 3, strides=2, padding="same", activation=activation)(h)  # twice the sides
    h = double_sides(h, channels)
    crop = ((0, h.shape[1] - height), (0, h.shape[2] - width))
    return keras.Model(code, layers.Cropping2D(crop, name="logits")(h), name="decoder")


def double_sides(h, channels):
    """A convolution to 4 numbers a place for each channel, which are laid out as 2 x 2 pixels.

    The sub-pixel convolution of Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
    Sub-Pixel Convolutional Neural Network", CVPR 2016.

    Args:
        h: Symbolic Keras tensor (batch, rows, columns, any number of channels).
        channels: Of the result.

    Returns:
        Symbolic Keras tensor (batch, 2 rows, 2 columns, channels).
    """
    h = layers.Conv2D(4 * channels, 3, padding="same")(h)  # (batch, rows, columns, 4 channels)
    rows, columns = h.shape[1:3]
    h = layers.Reshape((rows, columns, 2, 2, channels))(h)
    h = layers.Permute((1, 3, 2, 4, 5))(h)  # (batch, rows, 2, columns, 2, channels)
    return layers.Reshape((2 * rows, 2 * columns, channels))(h)


def recurrent_encoder(image_shape, latent_dim, units=64):
    """Reads the image as a sequence of rows, downwards and upwards, with a GRU each; the code maps their last states.

    Both directions, because what a recurrent network read last it remembers best, and the last rows of a centred image
    are empty. The GRU: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", EMNLP 2014. Train it with clipped gradients (`clipnorm=1`).

    Args:
        image_shape: (height, width, channels): height steps of width * channels numbers.
        latent_dim: Numbers in the code, at least 1.
        units: Size of the state in each direction.

    Returns:
        A model (batch, height, width, channels) to (batch, latent_dim).

    Raises:
        ValueError: impossible shape or code size.
    """
    _check(image_shape, latent_dim)
    height, width, channels = image_shape
    images = keras.Input(image_shape, name="images")
    rows = layers.Reshape((height, width * channels), name="rows")(images)
    h = layers.Bidirectional(layers.GRU(units))(rows)  # (batch, 2 * units)
    return keras.Model(images, layers.Dense(latent_dim, name="code")(h), name="encoder")


def recurrent_decoder(image_shape, latent_dim, units=64):
    """Writes the image row by row, downwards and upwards, with a GRU each, from a linear view of the code for each row.

    A decoder that is given the same code at every step has to count rows before it can draw, and learns far slower.

    Args:
        image_shape: (height, width, channels).
        latent_dim: Numbers in the code, at least 1.
        units: Size of the state in each direction.

    Returns:
        A model (batch, latent_dim) to logits (batch, height, width, channels).

    Raises:
        ValueError: impossible shape or code size.
    """
    _check(image_shape, latent_dim)
    height, width, channels = image_shape
    code = keras.Input((latent_dim,), name="code")
    size = max(units // 2, 1)
    views = layers.Reshape((height, size))(layers.Dense(height * size)(code))  # (batch, height, units / 2)
    h = layers.Bidirectional(layers.GRU(units, return_sequences=True))(views)  # (batch, height, 2 * units)
    rows = layers.Dense(width * channels, name="rows")(h)  # (batch, height, width * channels)
    return keras.Model(code, layers.Reshape(image_shape, name="logits")(rows), name="decoder")


def check_image_shape(image_shape):
    """Refuses what is not (height, width, channels), three whole numbers of at least 1.

    Raises:
        ValueError: it is not.
    """
    if len(image_shape) != 3 or not all(isinstance(side, int) and side > 0 for side in image_shape):
        raise ValueError(f"`image_shape` must be (height, width, channels). Received: image_shape={image_shape}")


def _check(image_shape, latent_dim):
    check_image_shape(image_shape)
    if not isinstance(latent_dim, int) or latent_dim < 1:
        raise ValueError(f"`latent_dim`, the size of the code, must be a whole number of at least 1. "
                         f"Received: latent_dim={latent_dim}")
