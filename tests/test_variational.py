"""Decoder variance and importance weights of the variational autoencoder, against linear Gaussian models."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
from scipy.special import expit

from autoencoder_utils import architectures, metrics
from autoencoder_utils.corruption import downsample
from autoencoder_utils.data import load_images
from autoencoder_utils.priors import MixturePrior
from autoencoder_utils.training import JIT, SINGLE_STEPS, Batches, warmup_cosine
from autoencoder_utils.variational import ConditionalVariationalAutoencoder, VariationalAutoencoder

SHAPE, LATENT = (6, 5, 1), 2
FEW = {"jit_compile": True} if JIT else {"run_eagerly": True}  # a few steps take less time than tracing one


def build(shape=SHAPE, hidden=(16,), **options):
    options.setdefault("reconstruction_loss", "gaussian")
    return VariationalAutoencoder(architectures.dense_encoder(shape, 2 * LATENT, hidden),
                                  architectures.dense_decoder(shape, LATENT, hidden), **options)


def random_images(count=20, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((count, *shape), "float32")


def almost_linear(spread=0.02, variance=0.003):
    """A model whose decoder is so flat that the sigmoid is its tangent, and data drawn from it.

    Pixels are then Gaussian: mean 1/2, covariance A'A + variance. Returns model, images and their log-likelihoods.
    """
    rng = np.random.default_rng(0)
    slopes = rng.normal(0, 4 * spread, (LATENT, 30)).astype("float32")  # of the logits; the sigmoid's own slope is 1/4
    model = build(hidden=(), decoder_variance=variance)
    model.decoder.set_weights([slopes, np.zeros(30)])
    exact_mean, exact_covariance = posterior(slopes / 4, variance)
    code = np.concatenate([exact_mean, np.zeros_like(exact_mean)], axis=1)  # encoder: x - 1/2 to mean and log-variance
    log_var = np.log(np.diag(exact_covariance)) + 1.0  # wider than the best, so that the bounds differ
    model.encoder.set_weights([code, np.concatenate([-0.5 * exact_mean.sum(0), log_var])])
    covariance = slopes.T @ slopes / 16 + variance * np.eye(30)
    images = rng.multivariate_normal(np.full(30, 0.5), covariance, 12).astype("float32")
    exact = scipy.stats.multivariate_normal.logpdf(images, np.full(30, 0.5), covariance)
    return model, images.reshape(-1, *SHAPE), exact


def posterior(loadings, variance):
    """Of the code of a linear Gaussian model: the matrix that maps centred pixels to its mean, and its covariance."""
    covariance = np.linalg.inv(np.eye(LATENT) + loadings @ loadings.T / variance)
    return loadings.T @ covariance / variance, covariance


# -- the decoder's variance -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("variance", [0.02, 1.0, 3])
def test_gaussian_loss_has_the_variance_that_was_given(variance):
    model, images = build(decoder_variance=variance), random_images()
    model.encoder.get_layer("code").set_weights([np.zeros((16, 4)), np.array([0.3, -0.2, -60, -60], "float32")])
    model.compile("sgd", **FEW)
    expected = -scipy.stats.norm.logpdf(images, model.reconstruct(images), math.sqrt(variance)).sum((1, 2, 3)).mean()
    report = model.evaluate(images, verbose=0, return_dict=True)
    assert report["reconstruction_loss"] == pytest.approx(expected, rel=1e-4)
    assert report["loss"] == pytest.approx(report["reconstruction_loss"] + report["kl_loss"], rel=1e-5)


def test_learned_variance_follows_the_squared_error_in_training_only():
    model, images = build(decoder_variance="learned"), random_images()
    model.encoder.get_layer("code").set_weights([np.zeros((16, 4)), np.array([0.3, -0.2, -60, -60], "float32")])
    model.compile(keras.optimizers.SGD(0.0), **FEW)
    error = metrics.mean_squared_error(images, model.reconstruct(images))
    assert float(model.variance) == pytest.approx(1 / 12)
    expected = -scipy.stats.norm.logpdf(images, model.reconstruct(images), math.sqrt(1 / 12)).sum((1, 2, 3)).mean()
    report = model.evaluate(images, verbose=0, return_dict=True)
    assert report["reconstruction_loss"] == pytest.approx(expected, rel=1e-4)
    assert float(model.variance) == pytest.approx(1 / 12)
    model.fit(images, epochs=2, batch_size=20, verbose=0)
    assert float(model.variance) == pytest.approx(0.95**2 / 12 + (1 - 0.95**2) * error, rel=1e-5)


def test_the_squared_error_is_the_variance_that_makes_images_likeliest():
    images = random_images()
    loss = {}
    for variance in (0.5, 0.95, 1.0, 1.05, 2.0):
        keras.utils.set_random_seed(0)
        probe = build()
        error = metrics.mean_squared_error(images, probe.reconstruct(images))
        keras.utils.set_random_seed(0)
        model = build(decoder_variance=variance * error)
        logits = model.decoder(model.encode(images))
        loss[variance] = float(np.mean(keras.ops.convert_to_numpy(model.reconstruction_nats(images, logits))))
    assert min(loss, key=loss.get) == 1.0


@pytest.fixture(scope="module")
def trained():
    """A model with learned variance, the digits at half size that it saw, and others."""
    data = load_images()
    train, unseen = downsample(data.train.images[:1000], 2), downsample(data.validation.images, 2)
    keras.utils.set_random_seed(0)
    model = VariationalAutoencoder(architectures.dense_encoder((14, 14, 1), 16, (64,)),
                                   architectures.dense_decoder((14, 14, 1), 8, (64,)), "gaussian",
                                   decoder_variance="learned")
    model.compile(keras.optimizers.Adam(warmup_cosine(0.01, 20 * 20)), metrics=["mse"], jit_compile=JIT,
                  steps_per_execution=1 if SINGLE_STEPS else 10)
    model.fit(train, epochs=20, batch_size=50, verbose=0)
    return model, train, unseen


def test_learned_variance_is_the_mean_squared_error(trained):
    model, train, _ = trained
    errors = [model.evaluate(train, verbose=0, return_dict=True)["mse"] for _ in range(4)]  # each draws its codes
    assert float(model.variance) == pytest.approx(np.mean(errors), rel=0.02)


def test_learning_beats_the_best_gaussian_without_a_code(trained):
    model, train, unseen = trained
    mean, error = train.mean(0), metrics.mean_squared_error(train, metrics.mean_image_reconstruction(train, train))
    baseline = scipy.stats.norm.logpdf(unseen, mean, math.sqrt(error)).sum((1, 2, 3)).mean()
    bound = metrics.importance_bound(model.log_weights(unseen[:200], 20, seed=0)).mean()
    assert bound > baseline + 20
    assert float(model.variance) < 0.5 * error


@pytest.mark.parametrize("variance", [0.5, "learned"])
def test_one_step_moves_every_weight(variance):
    model, images = build(decoder_variance=variance), random_images()
    model.compile(keras.optimizers.SGD(0.01), **FEW)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    halves = len(model.encoder.trainable_variables) + len(model.decoder.trainable_variables)
    assert len(before) == halves  # the learned variance is no weight of the optimiser's
    model.train_on_batch(images)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        assert np.isfinite(new).all() and (new != old).any(), f"{variable.path} has no gradient"


@pytest.mark.parametrize("variance", [0.05, "learned"])
def test_loaded_model_is_the_same_and_trains_on(tmp_path, variance):
    model, images = build(decoder_variance=variance), random_images()
    model.compile(keras.optimizers.Adam(0.01), **FEW)
    model.fit(images, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.decoder_variance == variance and float(loaded.variance) == float(model.variance)
    np.testing.assert_array_equal(loaded.sample(3, 0), model.sample(3, 0))
    np.testing.assert_array_equal(loaded.log_weights(images, 3, 0), model.log_weights(images, 3, 0))
    loaded.fit(images, verbose=0)
    assert (float(loaded.variance) != float(model.variance)) == (variance == "learned")


def test_training_with_learned_variance_is_reproduced_by_its_seed():
    images, variances = random_images(), []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        model = build(decoder_variance="learned", seed=seed)
        model.compile(keras.optimizers.Adam(0.01), **FEW)
        model.fit(images, epochs=2, batch_size=10, verbose=0)
        variances.append(float(model.variance))
    assert variances[0] == pytest.approx(variances[1], rel=1e-6) != variances[2]


def test_stacked_batches_train_the_variance_as_well():
    model, images = build(decoder_variance="learned"), random_images()
    model.compile(keras.optimizers.SGD(0.0), jit_compile=JIT)
    model.encoder.get_layer("code").set_weights([np.zeros((16, 4)), np.array([0.3, -0.2, -60, -60], "float32")])
    model.fit(Batches(images, 5, stack=4), verbose=0)  # four steps
    error = metrics.mean_squared_error(images, model.reconstruct(images))
    assert float(model.variance) == pytest.approx(0.95**4 / 12 + (1 - 0.95**4) * error, rel=1e-3)


@pytest.mark.parametrize("variance", [0, -1.0, float("nan"), "optimal"])
def test_impossible_variances_are_refused(variance):
    with pytest.raises(ValueError, match=rf"positive number or 'learned'. Received: decoder_variance={variance!r}"):
        build(decoder_variance=variance)


@pytest.mark.parametrize("loss", ["bernoulli", "laplace"])
@pytest.mark.parametrize("variance", [0.1, "learned"])
def test_losses_without_a_variance_refuse_one(loss, variance):
    with pytest.raises(ValueError, match=rf"Only .* 'gaussian' has a `decoder_variance`. Received: .*'{loss}'"):
        build(reconstruction_loss=loss, decoder_variance=variance)


# -- importance weights -----------------------------------------------------------------------------------------------

def test_the_bound_approaches_the_exact_log_likelihood_from_below():
    model, images, exact = almost_linear()
    weights = model.log_weights(images, 2000, seed=1)
    gaps = np.array([exact.mean() - metrics.importance_bound(weights, k).mean() for k in (1, 10, 2000)])
    assert gaps[0] > gaps[1] > 0.02  # the proposal is too wide on purpose
    assert abs(gaps[2]) < 0.02
    np.testing.assert_allclose(metrics.importance_bound(weights), exact, atol=0.15)


def test_the_mean_weight_is_the_evidence_lower_bound_of_evaluate():
    model, images = build(decoder_variance=0.1, beta=3.0), random_images(50)
    model.compile("sgd", **FEW)
    reports = [model.evaluate(images, batch_size=50, verbose=0, return_dict=True) for _ in range(20)]
    draws = [-report["reconstruction_loss"] - report["kl_loss"] for report in reports]  # beta plays no part
    weights = model.log_weights(images, 200, seed=0)
    error = np.hypot(np.std(draws) / math.sqrt(20), weights.mean(0).std() / math.sqrt(200))
    assert abs(weights.mean() - np.mean(draws)) < 4 * error


def moments(model, images):
    """Mean and standard deviation of the encoder's Gaussians, float64 (images, 1, latent_dim)."""
    mean, log_var = np.split(keras.ops.convert_to_numpy(model.encoder(images)).astype("float64")[:, None], 2, axis=2)
    return mean, np.exp(log_var / 2)


def draws_by_hand(model, images):
    """The same, and the codes that `log_weights(images, 2, seed=7)` draws, (images, 2, latent_dim)."""
    mean, deviation = moments(model, images)
    epsilon = np.random.default_rng(7).standard_normal((2 * len(images), LATENT), dtype="float32")
    return mean, deviation, mean + deviation * epsilon.reshape(len(images), 2, LATENT)


@pytest.mark.parametrize("loss", ["bernoulli", "gaussian", "laplace"])
def test_weights_are_the_ratio_of_densities(loss):
    model, images = build(reconstruction_loss=loss), random_images(3)
    mean, deviation, z = draws_by_hand(model, images)
    p = expit(keras.ops.convert_to_numpy(model.decoder(z.reshape(6, LATENT).astype("float32")))).astype("float64")
    p, x = p.reshape(3, 2, -1), images.reshape(3, 1, -1).astype("float64")
    likelihood = {"bernoulli": x * np.log(p) + (1 - x) * np.log(1 - p), "gaussian": scipy.stats.norm.logpdf(x, p),
                  "laplace": scipy.stats.laplace.logpdf(x, p)}[loss].sum(2)
    q = scipy.stats.norm.logpdf(z, mean, deviation).sum(2)
    expected = likelihood + scipy.stats.norm.logpdf(z).sum(2) - q
    np.testing.assert_allclose(model.log_weights(images, 2, seed=7), expected, rtol=1e-4, atol=1e-4)


def test_a_fitted_prior_takes_the_place_of_the_standard_normal():
    model, images = build(), random_images(300)
    codes = model.draw_codes(images, 0)
    prior = MixturePrior(LATENT, 1).fit(codes)
    theirs = scipy.stats.multivariate_normal(codes.mean(0), np.cov(codes.T, bias=True))
    *_, z = draws_by_hand(model, images[:3])
    gain = model.log_weights(images[:3], 2, 7, prior=prior) - model.log_weights(images[:3], 2, 7)
    np.testing.assert_allclose(gain, theirs.logpdf(z) - scipy.stats.norm.logpdf(z).sum(2), rtol=1e-2, atol=1e-2)


def test_drawn_codes_have_the_encoders_mean_and_variance():
    model, image = build(), random_images(1)
    mean, deviation = (values[0, 0] for values in moments(model, image))
    codes = model.draw_codes(np.repeat(image, 4000, axis=0), 5)
    assert codes.shape == (4000, LATENT) and codes.dtype == "float32"
    assert (np.abs(codes.mean(0) - mean) < 4 * deviation / np.sqrt(4000)).all()
    np.testing.assert_allclose(codes.std(0), deviation, rtol=0.06)
    np.testing.assert_allclose(codes[:1], model.draw_codes(image, 5), rtol=1e-5)  # another shape may round otherwise


def test_weights_depend_on_their_seed_only():
    model, images = build(), random_images()
    first, again, other = (model.log_weights(images, 30, seed) for seed in (3, 3, 4))
    assert first.shape == (20, 30) and first.dtype == "float64"
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_bad_input_to_log_weights_is_refused():
    model, images = build(), random_images()
    with pytest.raises(ValueError, match=r"`samples` must be at least 1. Received: samples=0"):
        model.log_weights(images, 0, seed=0)
    with pytest.raises(ValueError, match=r"Expected images of shape \(batch, 6, 5, 1\)"):
        model.log_weights(255 * images, 2, seed=0)


# -- told the class ---------------------------------------------------------------------------------------------------

def build_conditional(classes=3, **options):
    return ConditionalVariationalAutoencoder(architectures.dense_encoder(SHAPE, 2 * LATENT, (16,)),
                                             architectures.dense_decoder(SHAPE, LATENT + classes, (16,)), **options)


def stripes(count=120):
    """Images of three classes, lit in the first, middle or last two rows as brightly as chance wills, and labels."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 3
    images = np.full((count, *SHAPE), 0.05, "float32")
    for image, label in zip(images, labels):
        image[2 * label : 2 * label + 2] = rng.uniform(0.5, 0.9)
    return images, labels


def test_labels_choose_what_is_sampled():
    keras.utils.set_random_seed(0)
    model, (images, labels) = build_conditional(), stripes()
    model.compile(keras.optimizers.Adam(0.02), jit_compile=JIT, steps_per_execution=1 if SINGLE_STEPS else 6)
    model.fit(images, labels, validation_data=(images[:6], labels[:6]), validation_freq=40, epochs=40, batch_size=20,
              verbose=0)
    wanted = np.repeat([0, 1, 2], 10)
    drawn = model.sample(30, 0, wanted).reshape(30, 3, 2, 5).mean(axis=(2, 3))  # brightness of each pair of rows
    np.testing.assert_array_equal(drawn.argmax(axis=1), wanted)
    assert set(model.sample(60, 1).reshape(60, 3, 10).mean(axis=2).argmax(axis=1)) == {0, 1, 2}
    baseline = metrics.mean_squared_error(images, metrics.mean_image_reconstruction(images, images))
    assert metrics.mean_squared_error(images, model.reconstruct(images, labels)) < 0.1 * baseline
    other = model.decode(np.concatenate([model.encode(images, labels)[:, :2], np.eye(3)[(labels + 1) % 3]], axis=1))
    np.testing.assert_array_equal(other.reshape(-1, 3, 10).mean(axis=2).argmax(axis=1), (labels + 1) % 3)


def test_conditional_codes_are_shifted_means_and_the_class():
    model, images = build_conditional(), random_images(3)
    shift = np.random.default_rng(0).normal(size=(3, 2 * LATENT)).astype("float32")
    model.shift.set_weights([shift])
    codes = model.encode(images, [2, 0, 1])
    means = keras.ops.convert_to_numpy(model.encoder(images))[:, :LATENT] + shift[[2, 0, 1], :LATENT]
    np.testing.assert_allclose(codes, np.concatenate([means, np.eye(3)[[2, 0, 1]]], axis=1), atol=1e-6)
    np.testing.assert_array_equal(model.predict(images, [2, 0, 1]), model.decode(codes))


def test_conditional_model_moves_every_weight_and_is_saved(tmp_path):
    model, (images, labels) = build_conditional(), stripes()
    model.compile(keras.optimizers.SGD(0.01), metrics=["mse"], **FEW)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    model.fit(images, labels, batch_size=120, verbose=0)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert (keras.ops.convert_to_numpy(variable) != old).any(), f"{variable.path} has no gradient"
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.sample(3, 0), model.sample(3, 0))
    np.testing.assert_array_equal(loaded.reconstruct(images, labels), model.reconstruct(images, labels))
    report = loaded.evaluate(images, labels, verbose=0, return_dict=True)
    assert report["loss"] == pytest.approx(report["reconstruction_loss"] + report["kl_loss"], rel=1e-5)


def test_bad_input_to_a_conditional_model_is_refused():
    model, (images, labels) = build_conditional(), stripes()
    with pytest.raises(ValueError, match="Expected 120 labels, whole numbers from 0 to 2. Received: .* from 0 to 3"):
        model.fit(images, labels + labels // 2)
    with pytest.raises(ValueError, match="Expected 120 labels"):
        model.encode(images, labels[:5])
    with pytest.raises(ValueError, match="Expected 2 labels, .* Received: float64"):
        model.sample(2, 0, [0.0, 1.0])
    with pytest.raises(ValueError, match="a number for each class. Received: encoder output"):
        build_conditional(classes=0)
    with pytest.raises(NotImplementedError):
        model.log_weights(images, 1, 0)
    with pytest.raises(NotImplementedError):
        model.draw_codes(images, 0)
