"""Encoders and decoders against the same arithmetic in NumPy, with the models' own weights."""

import math

import keras
import numpy as np
import pytest
from scipy.special import erf, expit

from autoencoder_utils import architectures

KINDS = ("dense", "convolutional", "recurrent")
BUILDERS = [getattr(architectures, f"{kind}_{half}") for kind in KINDS for half in ("encoder", "decoder")]
IMAGE_SHAPES = [(12, 12, 1), (13, 10, 3), (5, 8, 1)]
SMALL = {"dense": {"hidden": (16,)}, "convolutional": {"filters": (4, 6)}, "recurrent": {"units": 8}}


def build(kind, half, image_shape, latent_dim):
    return getattr(architectures, f"{kind}_{half}")(image_shape, latent_dim, **SMALL[kind])


def randomise(model, seed=0):
    """Gives every weight, biases too, a random value, so that none of them is idle, and returns the weights."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return [w.astype("float64") for w in model.get_weights()]


def outputs(model, array):
    return keras.ops.convert_to_numpy(model(array))


def normal(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype("float32")


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def dense_by_hand(weights, x):
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = gelu(x @ kernel + bias)
    return x @ weights[-2] + weights[-1]


def gru_by_hand(kernel, recurrent, bias, sequence):
    """Cho et al. 2014 in Keras's form: the reset gate acts after the recurrent product. Returns all states."""
    h, states = np.zeros((len(sequence), len(recurrent))), []  # (batch, units)
    for step in range(sequence.shape[1]):
        z_x, r_x, h_x = np.split(sequence[:, step] @ kernel + bias[0], 3, axis=1)
        z_h, r_h, h_h = np.split(h @ recurrent + bias[1], 3, axis=1)
        z, r = expit(z_x + z_h), expit(r_x + r_h)
        h = z * h + (1 - z) * np.tanh(h_x + r * h_h)
        states.append(h)
    return np.stack(states, axis=1)  # (batch, steps, units)


@pytest.mark.parametrize("hidden", [(), (7,), (9, 7)])
def test_dense_models_are_chains_of_matrices(hidden):
    images, codes = normal(4, 5, 8, 2), normal(4, 3)
    encoder = architectures.dense_encoder((5, 8, 2), 3, hidden)
    decoder = architectures.dense_decoder((5, 8, 2), 3, hidden)
    assert len(encoder.weights) == len(decoder.weights) == 2 * len(hidden) + 2
    expected = dense_by_hand(randomise(encoder), images.reshape(4, -1))
    np.testing.assert_allclose(outputs(encoder, images), expected, atol=1e-4)
    expected = dense_by_hand(randomise(decoder), codes).reshape(4, 5, 8, 2)
    np.testing.assert_allclose(outputs(decoder, codes), expected, atol=1e-4)


def test_activation_is_the_one_asked_for():
    encoder = architectures.dense_encoder((4, 4, 1), 2, (6,), activation="relu")
    w1, b1, w2, b2 = randomise(encoder)
    images = normal(3, 4, 4, 1)
    expected = np.maximum(images.reshape(3, -1) @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(outputs(encoder, images), expected, atol=1e-4)


def test_recurrent_encoder_reads_rows_downwards_and_upwards():
    encoder = architectures.recurrent_encoder((5, 4, 2), 3, units=6)
    *grus, kernel, bias = randomise(encoder)
    images = normal(2, 5, 4, 2)
    rows = images.reshape(2, 5, 8)
    last = [gru_by_hand(*grus[:3], rows)[:, -1], gru_by_hand(*grus[3:], rows[:, ::-1])[:, -1]]
    np.testing.assert_allclose(outputs(encoder, images), np.hstack(last) @ kernel + bias, atol=1e-4)


def test_recurrent_decoder_writes_rows_from_a_view_of_the_code_for_each():
    decoder = architectures.recurrent_decoder((5, 4, 2), 3, units=6)
    view, offset, *grus, kernel, bias = randomise(decoder)
    codes = normal(2, 3)
    views = (codes @ view + offset).reshape(2, 5, 3)  # (batch, rows, units / 2)
    down, up = gru_by_hand(*grus[:3], views), gru_by_hand(*grus[3:], views[:, ::-1])[:, ::-1]
    states = np.concatenate([down, up], axis=-1)  # (batch, rows, 2 * units)
    np.testing.assert_allclose(outputs(decoder, codes), (states @ kernel + bias).reshape(2, 5, 4, 2), atol=1e-4)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
def test_convolutional_encoder_is_strided_convolutions_and_a_linear_map(image_shape):
    encoder = architectures.convolutional_encoder(image_shape, 3, (4, 6))
    weights = randomise(encoder)
    x = normal(2, *image_shape)
    for kernel, bias in (weights[:2], weights[2:4]):
        below, above = x.shape[1:3], [math.ceil(side / 2) for side in x.shape[1:3]]
        margin = [2 * n + 1 - side for n, side in zip(above, below, strict=True)]  # "same": the odd one goes last
        x = np.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in margin), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2]
        x = gelu(np.einsum("bijcuv,uvco->bijo", windows, kernel) + bias)
        assert list(x.shape[1:3]) == above
    expected = x.reshape(2, -1) @ weights[4] + weights[5]
    np.testing.assert_allclose(outputs(encoder, normal(2, *image_shape)), expected, atol=1e-4)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
def test_convolutional_decoder_lays_out_its_last_channels_as_blocks_and_crops(image_shape):
    height, width, channels = image_shape
    decoder = architectures.convolutional_decoder(image_shape, 3, (6, 4))
    randomise(decoder)
    code = normal(2, 3)
    last = [layer for layer in decoder.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    features = outputs(keras.Model(decoder.input, last.output), code)  # (batch, rows, columns, 4 channels)
    assert features.shape[1:] == (2 * math.ceil(height / 4), 2 * math.ceil(width / 4), 4 * channels)
    logits = outputs(decoder, code)
    for i in range(height):
        for j in range(width):
            block = features[:, i // 2, j // 2].reshape(2, 2, 2, channels)  # (batch, 2, 2, channels)
            np.testing.assert_array_equal(logits[:, i, j], block[:, i % 2, j % 2])


def test_one_doubling_of_a_convolutional_decoder_by_hand():
    decoder = architectures.convolutional_decoder((6, 4, 1), 3, (5,))
    dense, offset, kernel, bias = randomise(decoder)
    code = normal(2, 3)
    small = gelu(code @ dense + offset).reshape(2, 3, 2, 5)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(small, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 2))
    features = np.einsum("bijcuv,uvco->bijo", windows, kernel) + bias  # (2, 3, 2, 4)
    expected = features.reshape(2, 3, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(2, 6, 4, 1)
    np.testing.assert_allclose(outputs(decoder, code), expected, atol=1e-4)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_moves_the_code_and_every_number_of_the_code_moves_the_image(kind, image_shape):
    encoder, decoder = (build(kind, half, image_shape, 5) for half in ("encoder", "decoder"))
    assert (encoder.name, decoder.name) == ("encoder", "decoder")
    assert encoder.output_shape == (None, 5) == decoder.input_shape
    assert encoder.input_shape == (None, *image_shape) == decoder.output_shape
    randomise(encoder), randomise(decoder)
    pixels = math.prod(image_shape)
    images = np.concatenate([np.zeros((1, pixels)), np.eye(pixels)]).reshape(-1, *image_shape).astype("float32")
    codes = outputs(encoder, images)
    assert (codes[1:] != codes[0]).any(axis=1).all()
    logits = outputs(decoder, np.concatenate([np.zeros((1, 5)), np.eye(5)]).astype("float32"))
    assert (logits[1:] != logits[0]).any(axis=(1, 2, 3)).all()
    assert np.ptp(logits, axis=0).min() > 0  # no pixel is left constant


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
@pytest.mark.parametrize("latent_dim", [0, -1, 1.5, "2", None])
def test_impossible_code_sizes_are_refused(builder, latent_dim):
    with pytest.raises(ValueError, match=f"`latent_dim`.*at least 1.*Received: latent_dim={latent_dim}"):
        builder((8, 8, 1), latent_dim)


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
@pytest.mark.parametrize("image_shape", [(8, 8), (8, 0, 1), (8, 8, -1), (8, 8.5, 1), (None, 8, 1)])
def test_impossible_image_shapes_are_refused(builder, image_shape):
    with pytest.raises(ValueError, match=r"`image_shape` must be \(height, width, channels\). Received: image_shape="):
        builder(image_shape, 2)


def test_convolutional_decoder_without_a_doubling_is_refused():
    with pytest.raises(ValueError, match=r"`filters`.*Received: filters=\(\)"):
        architectures.convolutional_decoder((8, 8, 1), 2, ())
