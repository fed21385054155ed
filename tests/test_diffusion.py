"""Diffusion over codes, against the exact differential equation of a Gaussian and a known mixture in two dimensions."""

import functools
import math

import keras
import numpy as np
import pytest
import scipy.stats
from scipy.special import logsumexp

from autoencoder_utils import architectures
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.diffusion import CodeDiffusion, residual_denoiser
from autoencoder_utils.training import JIT, SINGLE_STEPS, warmup_cosine

SHAPE = (6, 5, 1)
FEW = {"jit_compile": True} if JIT else {"run_eagerly": True}  # a few steps take less time than tracing one
SHARES = np.array([0.5, 0.3, 0.2])
CENTRES = np.array([[4.0, 0.0], [-2.0, 3.0], [-2.0, -3.0]])
SPREADS = np.array([[[0.5, 0.3], [0.3, 0.4]], [[0.2, 0.0], [0.0, 0.8]], [[0.6, -0.4], [-0.4, 0.5]]])


def build(latent_dim=2, width=8, blocks=1, num_classes=0, seed=0):
    autoencoder = Autoencoder(architectures.dense_encoder(SHAPE, latent_dim, ()),
                              architectures.dense_decoder(SHAPE, latent_dim, ()))
    return CodeDiffusion(autoencoder, residual_denoiser(latent_dim, width, blocks, num_classes), num_classes, seed)


def random_images(count=20, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), "float32")


def mixture(count, seed):
    """Draws (count, 2) from the known mixture, and which component each comes from."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=SHARES)
    noise = rng.standard_normal((count, 2))
    factors = np.linalg.cholesky(SPREADS)
    return (CENTRES[labels] + np.einsum("nij,nj->ni", factors[labels], noise)).astype("float32"), labels


def component_log_densities(codes):
    """log share + log density of each component, (n, 3)."""
    return np.stack([math.log(share) + scipy.stats.multivariate_normal.logpdf(codes, centre, spread)
                     for share, centre, spread in zip(SHARES, CENTRES, SPREADS)], axis=1)


# -- the sampler, with a denoiser that is exact -----------------------------------------------------------------------

def gaussian_direction(deviation):
    """The best direction for codes with N(0, deviation^2): that of a straight regression of it on z."""
    def denoiser(inputs):
        codes, angles, _ = inputs
        cos, sin = np.cos(angles), np.sin(angles)
        return codes * cos * sin * (1 - deviation**2) / (cos**2 * deviation**2 + sin**2)

    return denoiser


def test_sampler_follows_the_exact_path_of_a_gaussian_and_its_error_is_of_second_order():
    model = build()
    noise = np.random.default_rng(3).standard_normal((50, 2), dtype="float32")
    model.denoiser.predict_on_batch = gaussian_direction(0.5)
    errors = [np.abs(model.sample_codes(50, 3, steps=steps) - 0.5 * noise).max() for steps in (10, 20, 40)]
    assert errors[2] < 2e-3 * np.abs(noise).max()
    assert 3 < errors[0] / errors[1] < 6 and 3 < errors[1] / errors[2] < 6


def test_noise_and_codes_of_a_gaussian_are_straight_images_of_one_another():
    """For codes with N(m, s^2), in each direction, the equation's map is code = m + s * noise."""
    model, deviations = build(num_classes=2), np.array([0.5, 2.0])
    model.code_mean.assign([3.0, -1.0])
    model.code_scale.assign([0.2, 5.0])  # what the denoiser meets is normalised
    model.denoiser.predict_on_batch = gaussian_direction(deviations)
    noise = np.random.default_rng(0).standard_normal((50, 2), dtype="float32")
    codes = [3.0, -1.0] + deviations * [0.2, 5.0] * noise
    labels = np.arange(50) % 2
    np.testing.assert_allclose(model.noise_to_codes(noise, labels, steps=200), codes, atol=1e-3)
    np.testing.assert_allclose(model.codes_to_noise(codes, labels, steps=200), noise, atol=1e-3)


def test_directions_are_mixed_by_share_and_then_guided():
    model = build(num_classes=2)
    model.denoiser.predict_on_batch = lambda inputs: np.array([1.0, 10.0, -4.0])[inputs[2]][:, None] * [1, 1]
    noise, share = np.zeros((3, 2)), np.array([[0.0], [0.5], [1.0]])
    codes = model.noise_to_codes(noise, [0, 0, 0], 3, 2.0, [1, 1, 1], share)
    wanted = -math.pi / 2 * np.array([[6.0], [15.0], [24.0]]) * [1, 1]  # -4 + 2 (1 - -4), and so on
    np.testing.assert_allclose(codes, wanted, rtol=1e-5)
    np.testing.assert_allclose(model.noise_to_codes(noise, [0, 0, 0], 3, 1.0, [1, 1, 1], 0.5),
                               np.full((3, 2), -5.5 * math.pi / 2), rtol=1e-5)


def mixture_direction(inputs):
    """The exact mean of e cos(a) - x sin(a) given z, for codes x from the mixture."""
    codes, angles, _ = (np.asarray(part, "float64") for part in inputs)
    cos, sin = math.cos(angles[0, 0]), math.sin(angles[0, 0])
    spreads = cos**2 * SPREADS + sin**2 * np.eye(2)  # of z, in each component
    means, logs = [], []
    for share, centre, spread, noisy in zip(SHARES, CENTRES, SPREADS, spreads):
        gap = codes - cos * centre
        cross = cos * sin * (np.eye(2) - spread)  # of the direction with z
        means.append(-sin * centre + gap @ np.linalg.solve(noisy, cross))
        logs.append(math.log(share) + scipy.stats.multivariate_normal.logpdf(codes, cos * centre, noisy))
    weights = np.exp(np.stack(logs) - logsumexp(logs, axis=0))
    return np.einsum("kn,knd->nd", weights, np.stack(means)).astype("float32")


@functools.cache
def mean_log_likelihood():
    """Of the mixture's own draws."""
    return logsumexp(component_log_densities(mixture(30_000, 0)[0]), axis=1).mean()


def check_against_mixture(codes, tolerance):
    """Shares, means and covariances of the components, and the mean log-likelihood, must be the mixture's."""
    logs = component_log_densities(codes)
    nearest = logs.argmax(axis=1)
    assert logsumexp(logs, axis=1).mean() == pytest.approx(mean_log_likelihood(), abs=tolerance)
    for k in range(3):
        part = codes[nearest == k]
        assert len(part) / len(codes) == pytest.approx(SHARES[k], abs=tolerance / 4)
        np.testing.assert_allclose(part.mean(axis=0), CENTRES[k], atol=tolerance / 2)
        np.testing.assert_allclose(np.cov(part.T), SPREADS[k], atol=tolerance)


def test_sampler_with_the_exact_direction_draws_from_the_mixture():
    model = build()
    model.denoiser.predict_on_batch = mixture_direction
    check_against_mixture(model.sample_codes(4000, 0, steps=60), 0.12)


# -- training ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def trained():
    """A model trained on the known mixture, with the components as its classes."""
    keras.utils.set_random_seed(0)
    model = build(width=64, blocks=2, num_classes=3)
    codes, labels = mixture(10_000, 1)
    epochs = 12
    model.compile(keras.optimizers.Adam(warmup_cosine(0.005, epochs * 40), use_ema=True, ema_momentum=0.99),
                  jit_compile=JIT, steps_per_execution=1 if SINGLE_STEPS else 10)
    history = model.fit(codes, labels, batch_size=250, epochs=epochs, verbose=0)
    return model, history.history["loss"]


def test_trained_model_recovers_the_mixture(trained):
    check_against_mixture(trained[0].sample_codes(4000, 0), 0.25)


def test_without_a_label_every_component_appears(trained):
    codes = trained[0].sample_codes(1000, 0, guidance=0.0)  # one label in ten was hidden in training
    shares = np.bincount(component_log_densities(codes).argmax(axis=1), minlength=3) / 1000
    assert shares.min() > 0.05


def test_labels_choose_the_component(trained):
    labels = np.repeat([0, 1, 2], 200)
    codes = trained[0].sample_codes(600, 0, labels)
    assert np.mean(component_log_densities(codes).argmax(axis=1) == labels) > 0.98
    further = trained[0].sample_codes(600, 0, labels, guidance=3.0)
    assert not np.allclose(codes, further, atol=0.1)
    assert np.mean(component_log_densities(further).argmax(axis=1) == labels) > 0.98


def test_codes_become_noise_and_codes_again(trained):
    model, (codes, labels) = trained[0], mixture(2000, 5)
    noise = model.codes_to_noise(codes, labels, steps=60)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.2)
    gaps = np.abs(model.noise_to_codes(noise, labels, steps=60) - codes).max(axis=1)
    assert np.quantile(gaps, 0.99) < 0.02 and np.quantile(np.abs(codes), 0.5) > 1


def test_samples_are_codes_of_their_seeds_noise(trained):
    noise = np.random.default_rng(7).standard_normal((30, 2), dtype="float32")
    labels = np.arange(30) % 3
    np.testing.assert_array_equal(trained[0].noise_to_codes(noise, labels, 5, 1.5),
                                  trained[0].sample_codes(30, 7, labels, 5, 1.5))


def test_loss_is_near_the_least_possible(trained):
    model, losses = trained
    codes, labels = mixture(10_000, 2)
    model_loss = model.evaluate(codes, labels, batch_size=1000, verbose=0, return_dict=True)["loss"]
    assert losses[0] > losses[-1]
    normalised = (codes - codes.mean(0)) / codes.std(0)
    rng, angles = np.random.default_rng(0), np.random.default_rng(1).uniform(0, math.pi / 2, (10_000, 1))
    noise = rng.standard_normal(codes.shape)
    target = np.cos(angles) * noise - np.sin(angles) * normalised
    baseline = np.mean(np.square(target))  # the loss of 0, without skill
    assert baseline == pytest.approx(1, abs=0.03)
    assert model_loss < 0.6 * baseline


# -- what every model keeps -------------------------------------------------------------------------------------------

def test_images_are_encoded_normalised_and_their_labels_counted():
    model, images = build(num_classes=3), random_images()
    model.compile("adam", **FEW)
    model.fit(images, np.repeat([0, 1, 2], [10, 6, 4]), verbose=0)
    codes = model.autoencoder.encode(images)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.code_mean), codes.mean(0), atol=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.code_scale), codes.std(0), atol=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.class_shares), [0.5, 0.3, 0.2], atol=1e-6)


def test_one_step_moves_every_weight_but_the_autoencoders():
    model, images = build(num_classes=2), random_images()
    model.compile(keras.optimizers.SGD(0.1), **FEW)
    frozen = [w.copy() for w in model.autoencoder.get_weights()]
    model.denoiser.get_layer("direction").bias.assign([0.1, -0.1])
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    assert len(before) == len(model.denoiser.trainable_variables)
    model.fit(images, np.arange(20) % 2, epochs=10, batch_size=20, verbose=0)  # labels are hidden now and then
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        assert np.isfinite(new).all() and (new != old).any(), f"{variable.path} has no gradient"
    for old, new in zip(frozen, model.autoencoder.get_weights()):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("num_classes", [0, 2])
def test_loaded_model_is_the_same_and_trains_on(tmp_path, num_classes):
    model, images = build(num_classes=num_classes), random_images()
    labels = np.arange(20) % 2 if num_classes else None
    model.autoencoder.compile("adam", **FEW)
    model.compile(keras.optimizers.Adam(0.01), **FEW)
    model.fit(images, labels, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.sample(3, 0, steps=3), model.sample(3, 0, steps=3))
    loaded.fit(images, labels, verbose=0)


def test_samples_are_images_and_depend_on_their_seed_only():
    model = build()
    model.compile("adam", **FEW)
    model.fit(random_images(), verbose=0)
    first, again, other = (model.sample(5, seed, steps=3) for seed in (1, 1, 2))
    assert first.shape == (5, *SHAPE) and first.dtype == "float32" and 0 <= first.min() and first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_training_is_reproduced_by_its_seed():
    losses = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        model = build(seed=seed)
        model.compile(keras.optimizers.Adam(0.01), **FEW)
        losses.append(model.fit(random_images(), epochs=2, verbose=0).history["loss"][-1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6) != losses[2]


def test_averaged_weights_replace_the_weights_and_train_on():
    """With a momentum of 1 the averages stay what the first step made of the weights, whatever comes after it."""
    model, images = build(), random_images()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=1.0), **FEW)
    start = model.denoiser.get_weights()
    model.fit(images, verbose=0)  # one step
    first = model.denoiser.get_weights()
    assert all((old != new).any() for old, new in zip(start[-2:], first[-2:]))  # of the last layer, at least
    for _ in range(2):
        model.fit(images, epochs=2, verbose=0)
        model.evaluate(images, verbose=0)
        for held, new in zip(first, model.denoiser.get_weights()):
            np.testing.assert_array_equal(new, held)


def test_validation_images_are_encoded_too():
    model = build()
    model.compile(keras.optimizers.SGD(0.01, use_ema=True), **FEW)
    report = model.fit(random_images(), validation_data=random_images(10, 1), verbose=0)
    assert math.isfinite(report.history["val_loss"][0])


def test_bad_input_is_refused():
    model, images = build(num_classes=2), random_images()
    model.compile("adam", **FEW)
    with pytest.raises(ValueError, match=r"codes of shape \(batch, 2\). Received: shape \(20, 3\)"):
        model.fit(np.zeros((20, 3), "float32"), np.zeros(20, int))
    with pytest.raises(ValueError, match=r"Expected images of shape \(batch, 6, 5, 1\)"):
        model.fit(255 * images, np.zeros(20, int))
    with pytest.raises(ValueError, match="`labels` are needed"):
        model.fit(images)
    with pytest.raises(ValueError, match=r"whole numbers from 0 to 1. Received: .* values from 0 to 2"):
        model.fit(images, np.arange(20) % 3)
    with pytest.raises(ValueError, match="Expected 5 labels"):
        model.sample(5, 0, labels=[0, 1])
    with pytest.raises(ValueError, match="at least 1. Received: count=0"):
        model.sample(0, 0)
    with pytest.raises(ValueError, match="at least 1. Received: count=2, steps=0"):
        model.sample(2, 0, steps=0)
    for walk in (model.noise_to_codes, model.codes_to_noise):
        with pytest.raises(ValueError, match=r"shape \(batch, 2\), and .* Received: shape \(4, 3\), steps=20"):
            walk(np.zeros((4, 3)), np.zeros(4, int))
        with pytest.raises(ValueError, match="at least 1 step. Received: .* steps=0"):
            walk(np.zeros((4, 2)), np.zeros(4, int), steps=0)
        with pytest.raises(ValueError, match="Expected 4 labels, whole numbers from 0 to 1"):
            walk(np.zeros((4, 2)), np.full(4, 2))
        with pytest.raises(ValueError, match="`labels` are needed"):
            walk(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="Expected 4 labels"):
        model.noise_to_codes(np.zeros((4, 2)), np.zeros(4, int), others=[0, 1])
    with pytest.raises(ValueError, match="`labels` are needed if there are classes, and only then"):
        build().sample(2, 0, labels=[0, 0])
    with pytest.raises(ValueError, match="The denoiser must put out 2 numbers"):
        CodeDiffusion(model.autoencoder, residual_denoiser(3))
    with pytest.raises(ValueError, match="Received: latent_dim=0"):
        residual_denoiser(0)
