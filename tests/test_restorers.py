"""Restoring networks against NumPy with the same weights, and training on pairs against the best linear estimator."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

from autoencoder_utils import architectures
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.corruption import gaussian_noise
from autoencoder_utils.restoration import LinearEstimator
from autoencoder_utils.restorers import Pairs, correcting_network, restoring_network, train_on_pairs
from autoencoder_utils.training import Batches

SHAPE = (8, 12, 2)
BUILDERS = {"restorer": functools.partial(restoring_network, filters=(2, 3), hidden=4, blocks=1),
            "corrector": functools.partial(correcting_network, filters=(2, 3))}
noise = functools.partial(gaussian_noise, sigma=0.1)


def spoil(images, seed):
    return noise(images, seed=seed)


def random_images(count=20, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((count, *shape), "float32")


def build(name, shape=SHAPE, seed=0, **options):
    keras.utils.set_random_seed(seed)
    return BUILDERS[name](shape, **options)


# -- the networks -----------------------------------------------------------------------------------------------------

def convolution(x, kernel, stride=1, bias=0.0):
    """Keras's "same" convolution: what padding is odd goes below and to the right."""
    size = kernel.shape[0]
    sides = [-(-side // stride) for side in x.shape[1:3]]
    margin = [max((n - 1) * stride + size - side, 0) for n, side in zip(sides, x.shape[1:3])]
    x = np.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in margin), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("bijcuv,uvco->bijo", windows, kernel) + bias


def blocks(x):
    """(n, rows, columns, 4 c) to (n, 2 rows, 2 columns, c)."""
    n, rows, columns, channels = x.shape
    x = x.reshape(n, rows, columns, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * rows, 2 * columns, channels // 4)


def normalised(x, gamma, beta, mean, variance):
    return np.maximum((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0)


def randomise(model):
    """Random weights; what a variance will be is positive. Returns them, layer by layer, in float64."""
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.2, 1, w.shape) if "variance" in v.name else rng.normal(0, 0.4, w.shape)
                       for v, w in zip(model.weights, model.get_weights(), strict=True)])
    return [w.astype("float64") for layer in model.layers if layer.weights for w in layer.get_weights()]


def test_restoring_network_by_hand():
    model, images = build("restorer"), random_images(3)
    w = iter(randomise(model))
    take = lambda count: [next(w) for _ in range(count)]  # noqa: E731

    def block(x, stride=1):
        (kernel,), statistics = take(1), take(4)
        return normalised(convolution(x, kernel, stride), *statistics)

    across = block(images, 2)
    h = block(across, 2)
    (squeeze,), statistics, (kernel, bias) = take(1), take(4), take(2)
    h = h + (normalised(h.reshape(3, -1) @ squeeze, *statistics) @ kernel + bias).reshape(h.shape)
    h = h + block(block(h))
    h = blocks(convolution(h, next(w), 1, next(w))) + across
    expected = blocks(convolution(h, next(w), 1, next(w)))
    assert next(w, None) is None and model.output_shape == (None, *SHAPE)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), expected, atol=1e-4)


def test_correcting_network_by_hand():
    model, images = build("corrector", channels=1), random_images(3)
    w = iter(randomise(model))

    def relu(x, stride=1):
        return np.maximum(convolution(x, next(w), stride, next(w)), 0)

    across = relu(relu(images, 2))
    h = blocks(convolution(relu(relu(across, 2)), next(w), 1, next(w))) + across
    expected = images[..., :1] + 0.1 * blocks(convolution(relu(h), next(w), 1, next(w)))
    assert next(w, None) is None and model.output_shape == (None, *SHAPE[:2], 1)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), expected, atol=1e-4)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", [(8, 8), (8, 0, 1), (8, 8.0, 1), (None, 8, 1)])
def test_impossible_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"`image_shape` must be.*Received: image_shape="):
        BUILDERS[name](shape)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", [(6, 8, 1), (8, 9, 1)])
def test_sides_that_cannot_be_halved_are_refused(name, shape):
    with pytest.raises(ValueError, match="multiples of 4, to be halved 2 times. Received: image_shape="):
        BUILDERS[name](shape)


@pytest.mark.parametrize("channels", [0, 3])
def test_channels_that_do_not_come_in_are_refused(channels):
    with pytest.raises(ValueError, match=f"`channels` must lie between.*Received: channels={channels}"):
        BUILDERS["corrector"](SHAPE, channels=channels)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_weight_gets_a_gradient(name):
    model = build(name)
    before = [ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    train_on_pairs(model, random_images(), spoil, 1, 0.01, 10, loss="mse")
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = ops.convert_to_numpy(variable)
        assert np.isfinite(new).all() and (new != old).any(), f"{variable.path} has no gradient"


@pytest.mark.parametrize("name", BUILDERS)
def test_saved_and_loaded_networks_are_the_same(name, tmp_path):
    model, images = build(name), random_images()
    train_on_pairs(model, images, spoil, 1, 0.01, 10, loss="mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(images)), ops.convert_to_numpy(model(images)))


# -- training on pairs ------------------------------------------------------------------------------------------------

def epochs_of(pairs, count=2):
    epochs = []
    for _ in range(count):
        epochs.append([np.stack(pairs[i]) for i in range(len(pairs))])
        pairs.on_epoch_end()
    return np.array(epochs)  # (epochs, batches, 2, batch, height, width, channels)


def test_pairs_depend_on_seed_and_epoch_only():
    images = random_images()
    first = epochs_of(Pairs(images, spoil, 6, seed=3))
    again = Pairs(images, spoil, 6, seed=3)
    again.epoch = 1
    np.testing.assert_array_equal(epochs_of(again, 1)[0], first[1])
    assert (first[0] != first[1]).any() and (epochs_of(Pairs(images, spoil, 6, seed=4)) != first).any()


def test_pairs_are_what_batches_are_and_the_same_spoilt_after_it_was_varied():
    images, vary = random_images(), lambda images, seed: images[:, ::-1]
    pairs, batches = Pairs(images, spoil, 6, 3, vary), Batches(images, 6, 3, vary)
    assert len(pairs) == len(batches) == 3
    for i in range(3):
        spoilt, clean = pairs[i]
        np.testing.assert_array_equal(clean, batches[i][0])
        assert 0.01 < np.abs(spoilt - clean).mean() < 0.1
    halves = Pairs(images, lambda images, seed: images / 2, 6, 3)
    np.testing.assert_array_equal(halves[0][0], halves[0][1] / 2)
    draws = Pairs(images, lambda images, seed: np.random.default_rng(seed).random(images.shape), 6, 3,
                  lambda images, seed: np.random.default_rng(seed).random(images.shape))
    assert (draws[0][0] != draws[0][1]).all()  # the two don't share their random numbers


def test_pairs_that_exist_already_are_varied_together():
    images, spoilt = random_images(), random_images(shape=(*SHAPE[:2], 3), seed=1)
    pairs, batches = Pairs(images, spoilt, 6, 3, lambda images, seed: images[:, ::-1]), Batches(images, 6, 3)
    for i in range(3):
        given, clean = pairs[i]
        np.testing.assert_array_equal(clean, batches[i][0][:, ::-1])
        rows = [np.flatnonzero((images[:, ::-1] == image).all(axis=(1, 2, 3)))[0] for image in clean]
        np.testing.assert_array_equal(given, spoilt[rows, ::-1])
    with pytest.raises(ValueError, match="one spoilt image of the same size for each image. Received: shapes"):
        Pairs(images, spoilt[:5])


def test_a_linear_network_learns_the_best_linear_estimator():
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 0.05, (3, 16))
    images = (0.5 + rng.standard_normal((3000, 3)) @ mixing).clip(0.1, 0.9).astype("float32").reshape(-1, 4, 4, 1)
    best = LinearEstimator(np.concatenate([spoil(images, i) for i in range(10)]), np.concatenate([images] * 10))
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(16), layers.Reshape((4, 4, 1))])
    train_on_pairs(model, images, spoil, 30, 0.01, 50, loss="mse")
    noisy = spoil(images[:500], 99)
    expected, learnt = best(noisy), ops.convert_to_numpy(model(noisy))
    error = np.mean((expected - images[:500]) ** 2)
    assert error < 0.5 * np.mean((noisy - images[:500]) ** 2)
    assert np.mean((learnt - expected) ** 2) < 0.05 * error
    assert np.mean((learnt - images[:500]) ** 2) < 1.05 * error


def test_training_on_pairs_depends_on_the_seed_and_lowers_the_loss():
    results = {}
    for run, seed in enumerate((1, 1, 2)):
        model = build("corrector")
        bright = 0.5 + random_images() / 2
        history = train_on_pairs(model, bright, lambda images, seed: images / 2, 8, 0.01, 5, seed, loss="mse")
        results[run] = ops.convert_to_numpy(model(random_images()))
        assert history.history["loss"][-1] < 0.9 * history.history["loss"][0]
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


def test_an_autoencoder_with_its_own_loss_learns_from_pairs():
    keras.utils.set_random_seed(0)
    model = Autoencoder(architectures.dense_encoder(SHAPE, 4, ()), architectures.dense_decoder(SHAPE, 4, ()))
    images = np.repeat(random_images(2), 20, axis=0)
    loss = train_on_pairs(model, images, spoil, 20, 0.02, 10).history["loss"]
    assert loss[-1] < 0.95 * loss[0]
