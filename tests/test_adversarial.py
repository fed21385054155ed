"""Adversarial training: a ring of eight modes found and lost, gradients against separate losses, and the VAE-GAN."""

import keras
import numpy as np
import pytest
import scipy.stats
from keras import ops

from autoencoder_utils import architectures, metrics
from autoencoder_utils.adversarial import (
    AdversarialVariationalAutoencoder,
    GenerativeAdversarialNetwork,
    adversarial_losses,
    opinions,
)
from autoencoder_utils.training import JIT, SINGLE_STEPS, Batches

SHAPE = (6, 5, 1)
FEW = {"jit_compile": True} if JIT else {"run_eagerly": True}  # a few steps take less time than tracing one
RING_SHAPE = (1, 2, 1)  # an image of two pixels is a point of the unit square
TURNS = np.arange(8) * np.pi / 4
MODES = 0.5 + 0.35 * np.stack([np.cos(TURNS), np.sin(TURNS)], axis=1)


def build(shape=SHAPE, hidden=(8,), latent_dim=4, **options):
    return GenerativeAdversarialNetwork(architectures.dense_decoder(shape, latent_dim, hidden),
                                        architectures.dense_encoder(shape, 1, hidden), **options)


def build_vae_gan(**options):
    return AdversarialVariationalAutoencoder(
        architectures.dense_encoder(SHAPE, 4, (8,)), architectures.dense_decoder(SHAPE, 2, (8,)),
        architectures.dense_encoder(SHAPE, 1, (8,)), **options)


BUILDERS = pytest.mark.parametrize("builder", [build, build_vae_gan])


def random_images(count=20, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), "float32")


def ring(count, seed):
    """Images of two pixels: points around eight places on a circle."""
    rng = np.random.default_rng(seed)
    points = MODES[rng.integers(8, size=count)] + 0.02 * rng.standard_normal((count, 2))
    return points.clip(0, 1).astype("float32").reshape(count, *RING_SHAPE)


def share_of_modes(images):
    """Share of the images that lie near each mode, (8,)."""
    distances = np.linalg.norm(images.reshape(-1, 1, 2) - MODES, axis=2)
    near = distances.min(axis=1) < 0.1
    return np.bincount(distances.argmin(axis=1)[near], minlength=8) / len(images)


# -- gradients --------------------------------------------------------------------------------------------------------

def slopes(weights, loss):
    """Of `loss()` along one number of each weight, by central differences: (weight, place, slope)."""
    found = []
    for weight in weights:
        array = ops.convert_to_numpy(weight).copy()
        place = tuple(np.random.default_rng(0).integers(size) for size in array.shape)
        values = []
        for step in (1e-2, -1e-2):
            moved = array.copy()
            moved[place] += step
            weight.assign(moved)
            values.append(float(loss()))
        weight.assign(array)
        found.append((weight, place, (values[0] - values[1]) / 2e-2))
    return found


def discriminator_loss(said, gradient_penalty):
    real, fake, slope = (ops.convert_to_numpy(said[name]).astype("float64") for name in ("real", "fake", "slope"))
    return np.mean(np.logaddexp(0, -real) + np.logaddexp(0, fake) + gradient_penalty / 2 * slope)


def generator_loss(said):
    return np.mean(np.logaddexp(0, -ops.convert_to_numpy(said["fake"]).astype("float64")))


def check_one_step(model, images, generator_weights, whole_generator_loss):
    """One step of gradient descent must move either side by the gradient of its own loss."""
    state = ops.convert_to_numpy(model.noise.state).copy()

    def said():
        model.noise.state.assign(state)  # the same noise each time
        return model.call(images)

    expected = slopes(model.discriminator.weights, lambda: discriminator_loss(said(), model.gradient_penalty))
    expected += slopes(generator_weights, lambda: whole_generator_loss(said()))
    before = [ops.convert_to_numpy(weight).copy() for weight, _, _ in expected]
    model.compile(keras.optimizers.SGD(1.0), **FEW)
    model.noise.state.assign(state)
    model.train_on_batch(images)
    for old, (weight, place, slope) in zip(before, expected):
        taught = old[place] - ops.convert_to_numpy(weight)[place]  # the gradient, at a rate of 1
        assert taught == pytest.approx(slope, abs=2e-3, rel=0.02), weight.path


def test_one_loss_gives_each_side_its_own_gradient():
    model = build(gradient_penalty=0.5)
    check_one_step(model, random_images(64), model.generator.weights, generator_loss)


def test_a_vae_gans_encoder_and_decoder_also_learn_from_the_evidence_lower_bound():
    model, images = build_vae_gan(gradient_penalty=0.5, adversarial_weight=7.0), random_images(64)

    def whole_loss(said):
        logits, mean, log_var = (ops.convert_to_numpy(said[name]).astype("float64")
                                 for name in ("logits", "z_mean", "z_log_var"))
        nats = (np.logaddexp(0, logits) - images * logits).sum((1, 2, 3))
        kl = 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var).sum(1)
        return np.mean(nats + kl) + 7 * generator_loss(said)

    check_one_step(model, images, model.encoder.weights + model.decoder.weights, whole_loss)


def linear_discriminator(direction, shift):
    """D(x) = direction . x + shift."""
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.set_weights([direction[:, None], np.array([shift])])
    return model


def test_the_slope_of_a_linear_discriminator_is_its_directions_squared_length_on_average():
    direction = np.random.default_rng(0).normal(size=30).astype("float32")
    discriminator = linear_discriminator(direction, 0.3)
    model = GenerativeAdversarialNetwork(build().generator, discriminator)
    images = random_images(20_000)
    said = opinions(model, *map(ops.convert_to_tensor, (images, images[::-1].copy())), training=False)
    slope = ops.convert_to_numpy(said["slope"])[:, 0] / np.square(direction).sum()
    assert slope.mean() == pytest.approx(1, abs=0.05)  # five standard errors
    assert scipy.stats.kstest(slope, scipy.stats.chi2(1).cdf).pvalue > 1e-3  # a squared normal number
    for name, shown in (("real", images), ("fake", images[::-1]), ("fixed", images[::-1])):
        expected = shown.reshape(-1, 30) @ direction + 0.3
        np.testing.assert_allclose(ops.convert_to_numpy(said[name])[:, 0], expected, atol=1e-4)


def test_losses_are_the_formulas_and_the_generators_has_the_value_0():
    model = build(gradient_penalty=0.4)
    said = {"real": 2.0, "fake": -1.0, "fixed": -1.0, "slope": 3.0}
    said = {name: ops.full((20, 1), value) for name, value in said.items()}
    discriminator, generator = adversarial_losses(model, said)
    expected = np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))
    assert float(discriminator) == pytest.approx(expected + 0.4 / 2 * 3, rel=1e-5)
    assert float(generator) == pytest.approx(0, abs=1e-6)
    assert float(model.discriminator_tracker.result()) == pytest.approx(expected, rel=1e-5)  # without the penalty
    assert float(model.generator_tracker.result()) == pytest.approx(np.log1p(np.exp(1)), rel=1e-5)


def test_weight_0_and_no_penalty_leave_a_variational_autoencoder_beside_a_discriminator():
    model, images = build_vae_gan(adversarial_weight=0.0, gradient_penalty=0.0), random_images()
    model.compile("sgd", **FEW)
    report = model.evaluate(images, verbose=0, return_dict=True)
    parts = report["reconstruction_loss"] + report["kl_loss"] + report["discriminator_loss"]
    assert report["loss"] == pytest.approx(parts, rel=1e-5)


# -- a ring of eight modes --------------------------------------------------------------------------------------------

def trained_on_the_ring(gradient_penalty):
    """Shares of the samples near each mode, before and after 640 steps."""
    keras.utils.set_random_seed(0)
    model = GenerativeAdversarialNetwork(architectures.dense_decoder(RING_SHAPE, 4, (64, 64), "relu"),
                                         architectures.dense_encoder(RING_SHAPE, 1, (64, 64), "relu"), gradient_penalty)
    untrained = share_of_modes(model.sample(1000, 0))
    optimizer = keras.optimizers.Adam(0.003, beta_1=0.5, beta_2=0.9, use_ema=True, ema_momentum=0.98)
    model.compile(optimizer, jit_compile=JIT)
    model.fit(Batches(ring(128 * 128, 0), 128, stack=32), epochs=5, verbose=0)
    return untrained, share_of_modes(model.sample(1000, 0))


def test_with_the_penalty_training_finds_every_mode_and_without_it_loses_most():
    untrained, trained = trained_on_the_ring(0.3)
    anywhere = share_of_modes(np.random.default_rng(0).random((1000, *RING_SHAPE)))
    assert untrained.sum() < 0.1 and anywhere.sum() < 0.3
    assert trained.sum() > 0.5 and trained.min() > 0.02
    _, unpunished = trained_on_the_ring(0.0)
    assert unpunished.sum() < 0.6 * trained.sum() and (unpunished > 0.02).sum() <= 5


# -- what every model keeps -------------------------------------------------------------------------------------------

@BUILDERS
def test_one_step_moves_every_weight(builder):
    model, images = builder(), random_images()
    model.compile(keras.optimizers.SGD(0.1), **FEW)
    before = [ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    model.train_on_batch(images)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = ops.convert_to_numpy(variable)
        assert np.isfinite(new).all() and (new != old).any(), f"{variable.path} has no gradient"


@BUILDERS
def test_loaded_model_is_the_same_and_trains_on(tmp_path, builder):
    model, images = builder(gradient_penalty=0.2), random_images()
    model.compile(keras.optimizers.Adam(0.01), **FEW)
    model.fit(images, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.gradient_penalty == 0.2
    np.testing.assert_array_equal(loaded.sample(3, 0), model.sample(3, 0))
    loaded.fit(images, verbose=0)


def test_averaged_weights_replace_the_weights_and_train_on():
    """With a momentum of 1 the averages stay what the first step made of the weights, whatever comes after it."""
    model, images = build(), random_images()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=1.0), **FEW)
    start = model.get_weights()
    model.fit(images, epochs=1, verbose=0)  # one step
    first = model.get_weights()
    for _ in range(2):
        model.fit(images, epochs=2, verbose=0)
        model.evaluate(images, verbose=0)
        for old, held, new in zip(start, first, model.get_weights()):
            assert (old != held).any()
            np.testing.assert_array_equal(new, held)


@BUILDERS
def test_training_is_reproduced_by_its_seed(builder):
    samples = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        model = builder(seed=seed)
        model.compile(keras.optimizers.Adam(0.01), **FEW)
        model.fit(random_images(), epochs=2, batch_size=10, verbose=0)
        samples.append(model.sample(3, 0))
    np.testing.assert_allclose(samples[0], samples[1], rtol=1e-5)
    assert (samples[0] != samples[2]).any()


@BUILDERS
def test_samples_are_images_and_depend_on_their_seed_only(builder):
    model = builder()
    first, again, other = (model.sample(250, seed) for seed in (1, 1, 2))
    assert first.shape == (250, *SHAPE) and first.dtype == "float32" and 0 <= first.min() and first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_samples_are_the_generators_of_standard_normal_codes():
    model = build()
    codes = np.random.default_rng(5).standard_normal((3, 4), dtype="float32")
    expected = 1 / (1 + np.exp(-ops.convert_to_numpy(model.generator(codes))))
    np.testing.assert_allclose(model.sample(3, 5), expected, atol=1e-6)


@BUILDERS
def test_stacked_batches_train_like_single_ones(builder):
    samples, images = [], random_images()
    for stack in (None, 4):
        keras.utils.set_random_seed(0)
        model = builder()
        model.compile(keras.optimizers.SGD(0.1), jit_compile=JIT)
        model.fit(Batches(images, 5, stack=stack), verbose=0)
        samples.append(model.sample(3, 0))
    np.testing.assert_allclose(samples[0], samples[1], atol=1e-5)


def test_vae_gan_still_learns_to_reconstruct():
    keras.utils.set_random_seed(0)
    model = build_vae_gan(adversarial_weight=0.1)
    rng = np.random.default_rng(0)
    shades = rng.random((200, 1, 1, 1), "float32") * np.ones((1, *SHAPE), "float32")  # one number says it all
    model.compile(keras.optimizers.Adam(0.02), jit_compile=JIT, steps_per_execution=1 if SINGLE_STEPS else 10)
    model.fit(shades, epochs=20, batch_size=20, verbose=0)
    baseline = metrics.mean_squared_error(shades, metrics.mean_image_reconstruction(shades, shades))
    assert metrics.mean_squared_error(shades, model.reconstruct(shades)) < 0.3 * baseline


def test_bad_input_is_refused():
    model = build()
    model.compile("adam", **FEW)
    with pytest.raises(ValueError, match=r"Expected images of shape \(batch, 6, 5, 1\)"):
        model.fit(255 * random_images(), verbose=0)
    with pytest.raises(ValueError, match="at least 1. Received: count=0"):
        model.sample(0, 0)
    with pytest.raises(ValueError, match="`gradient_penalty` must be at least 0. Received: gradient_penalty=-1"):
        build(gradient_penalty=-1)
    with pytest.raises(ValueError, match="put out one number. Received: generator output"):
        GenerativeAdversarialNetwork(model.generator, architectures.dense_encoder(SHAPE, 2))
    with pytest.raises(ValueError, match="`adversarial_weight` must be at least 0. Received: adversarial_weight=-2"):
        build_vae_gan(adversarial_weight=-2)
