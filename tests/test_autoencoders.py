"""The plain, the regularised and the variational autoencoders: what they compute, learn, refuse, save and load."""

import math
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.stats
from scipy.special import expit, logit

from autoencoder_utils import architectures, metrics
from autoencoder_utils.autoencoders import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
)
from autoencoder_utils.corruption import downsample
from autoencoder_utils.data import load_images
from autoencoder_utils.variational import VariationalAutoencoder

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPE, LATENT = (12, 12, 1), 3
KINDS = ("dense", "convolutional", "recurrent")
SMALL = {"dense": {"hidden": (16,)}, "convolutional": {"filters": (4, 6)}, "recurrent": {"units": 8}}
MODELS = {"plain": Autoencoder, "denoising": DenoisingAutoencoder, "sparse": SparseAutoencoder,
          "contractive": ContractiveAutoencoder, "variational": VariationalAutoencoder}
CLASSES = tuple(MODELS)
PENALISED = ("sparse", "contractive")
ALL_MODELS = [*((kind, "plain") for kind in KINDS), *(("dense", which) for which in CLASSES[1:])]


def half(name, kind, shape=SHAPE, latent_dim=LATENT):
    return getattr(architectures, f"{kind}_{name}")(shape, latent_dim, **SMALL[kind])


def build(kind="dense", which="plain", decoder=None, shape=SHAPE, **options):
    encoder = half("encoder", kind, shape, LATENT * (2 if which == "variational" else 1))
    decoder = half("decoder", decoder or kind, shape)
    if which == "denoising":
        options.setdefault("corruption", keras.layers.GaussianNoise(0.3, seed=1))
    if which in PENALISED:
        options.setdefault("weight", 0.1)
    return MODELS[which](encoder, decoder, **options)


def compiled(*arguments, rate=0.01, **options):
    model = build(*arguments, **options)
    model.compile(keras.optimizers.SGD(rate), metrics=["mse"])
    return model


def random_images(count=20, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((count, *shape), "float32")


def outputs(model, array):
    return keras.ops.convert_to_numpy(model(array))


def weights_of(model):
    return [w.copy() for w in model.get_weights()]


def nats_by_hand(name, images, pixels):
    """Nats an image (batch,) of a reconstruction loss, from pixels rather than logits."""
    x, p = images.astype("float64"), pixels.astype("float64")
    nats = {"bernoulli": -x * np.log(p) - (1 - x) * np.log(1 - p), "gaussian": -scipy.stats.norm.logpdf(x, p),
            "laplace": -scipy.stats.laplace.logpdf(x, p)}[name]
    return nats.sum((1, 2, 3))


def kl_by_hand(model, images):
    mean, log_var = np.split(outputs(model.encoder, images).astype("float64"), 2, axis=1)
    return 0.5 * (mean**2 + np.exp(log_var) - log_var - 1).sum(1)


def set_posterior(model, mean, log_var):
    """Makes a variational encoder put out the same Gaussian for every image."""
    code = model.encoder.get_layer("code")
    code.set_weights([np.zeros_like(code.get_weights()[0]), np.concatenate([mean, log_var]).astype("float32")])


def identity_decoder(latent_dim):
    """A decoder whose logits are the code itself, as an image of one row."""
    decoder = architectures.dense_decoder((1, latent_dim, 1), latent_dim, hidden=())
    decoder.set_weights([np.eye(latent_dim), np.zeros(latent_dim)])
    return decoder


# -- what the models compute ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("loss", ["bernoulli", "gaussian", "laplace"])
def test_loss_and_metrics_are_those_of_the_reconstructions(loss):
    model, images = compiled(reconstruction_loss=loss), random_images(22)
    report = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)  # the last batch is shorter
    pixels = model.decode(model.encode(images))
    assert report["loss"] == pytest.approx(nats_by_hand(loss, images, pixels).mean(), rel=5e-5)
    assert report["mse"] == pytest.approx(metrics.mean_squared_error(images, pixels), rel=1e-5)


def test_encode_decode_reconstruct_and_predict_are_the_two_halves():
    model, images = build(), random_images()
    codes = outputs(model.encoder, images)
    pixels = expit(outputs(model.decoder, codes))
    np.testing.assert_allclose(model.encode(images), codes, atol=1e-6)
    for result in (model.decode(codes), model.reconstruct(images), model.predict(images), model.predict(images, 7)):
        assert result.dtype == "float32"
        np.testing.assert_allclose(result, pixels, atol=1e-6)
    np.testing.assert_allclose(expit(outputs(model, images)), pixels, atol=1e-6)
    assert (model.latent_dim, model.image_shape) == (LATENT, SHAPE)


def test_targets_that_are_not_the_input_are_what_the_loss_compares_with():
    model, images, targets = compiled(), random_images(), random_images(seed=1)
    report = model.evaluate(images, targets, verbose=0, return_dict=True)
    pixels = model.reconstruct(images)
    assert report["loss"] == pytest.approx(nats_by_hand("bernoulli", targets, pixels).mean(), rel=5e-5)
    assert report["mse"] == pytest.approx(metrics.mean_squared_error(targets, pixels), rel=1e-5)


@pytest.mark.parametrize(("which", "form"), [("plain", "images"), ("plain", "pair"), ("denoising", "images")])
def test_validation_measures_the_trained_model(which, form):
    model, images, others = compiled(which=which), random_images(), random_images(12, seed=1)
    validation = others if form == "images" else (others, others)
    history = model.fit(images, epochs=2, batch_size=5, validation_data=validation, verbose=0).history
    pixels = model.reconstruct(others)
    assert history["val_mse"][-1] == pytest.approx(metrics.mean_squared_error(others, pixels), rel=1e-4)
    assert history["val_loss"][-1] == pytest.approx(nats_by_hand("bernoulli", others, pixels).mean(), rel=5e-5)


def test_sample_weights_weigh_images():
    model, images = compiled(), random_images(10)
    weight = np.linspace(0, 2, 10).astype("float32")
    nats = nats_by_hand("bernoulli", images, model.reconstruct(images))
    loss = model.evaluate(images, images, sample_weight=weight, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx((weight * nats).mean(), rel=5e-5)


def test_weights_of_validation_images_are_not_taken_for_images():
    model, images = compiled(), random_images(10)
    weight = np.linspace(0, 2, 10).astype("float32")
    history = model.fit(images, validation_data=(images, images, weight), verbose=0).history
    nats = nats_by_hand("bernoulli", images, model.reconstruct(images))
    assert history["val_loss"][0] == pytest.approx((weight * nats).mean(), rel=5e-5)


def test_regularisers_of_layers_are_added():
    code = keras.layers.Dense(LATENT, kernel_regularizer=keras.regularizers.L2(0.5))
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), code])
    model, images = Autoencoder(encoder, half("decoder", "dense")), random_images()
    model.compile("sgd")
    expected = nats_by_hand("bernoulli", images, model.reconstruct(images)).mean()
    expected += 0.5 * (code.get_weights()[0].astype("float64") ** 2).sum()
    assert model.evaluate(images, verbose=0) == pytest.approx(expected, rel=5e-5)


def test_denoising_spoils_its_input_in_training_only_and_aims_at_the_clean_image():
    model, images = compiled(which="denoising", corruption=keras.layers.Rescaling(0.0)), random_images(8)
    model.set_weights([1.7 * w for w in model.get_weights()])  # so that the two losses below are far apart
    blank = nats_by_hand("bernoulli", images, model.reconstruct(np.zeros_like(images))).mean()
    clean = nats_by_hand("bernoulli", images, model.reconstruct(images)).mean()
    assert abs(blank - clean) > 0.1
    assert model.evaluate(images, verbose=0, return_dict=True)["loss"] == pytest.approx(clean, rel=5e-5)
    assert model.train_on_batch(images, return_dict=True)["loss"] == pytest.approx(blank, rel=5e-5)


def test_corruption_is_drawn_anew_for_every_batch():
    model, images = build(which="denoising"), random_images(4)
    one, two = (keras.ops.convert_to_numpy(model(images, training=True)) for _ in range(2))
    assert (one != two).any()
    np.testing.assert_array_equal(outputs(model, images), outputs(model, images))


# -- sparse and contractive -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("which", PENALISED)
def test_penalised_loss_is_reconstruction_plus_weight_times_penalty(which, weight):
    model, images = compiled(which=which, weight=weight), random_images(22)
    report = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    assert set(report) == {"loss", "mse", "reconstruction_loss", "penalty"}
    assert report["loss"] == pytest.approx(report["reconstruction_loss"] + weight * report["penalty"], rel=1e-5)
    pixels = model.reconstruct(images)
    assert report["reconstruction_loss"] == pytest.approx(nats_by_hand("bernoulli", images, pixels).mean(), rel=5e-5)
    assert report["mse"] == pytest.approx(metrics.mean_squared_error(images, pixels), rel=1e-5)
    if which == "sparse":
        assert report["penalty"] == pytest.approx(abs(model.encode(images)).sum(1).mean(), rel=1e-5)
    trained = model.train_on_batch(images, return_dict=True)
    assert trained["loss"] == pytest.approx(trained["reconstruction_loss"] + weight * trained["penalty"], rel=1e-5)


def jacobian_norms(model, images, step=1e-2):
    """Squared Frobenius norm of the encoder's Jacobian at each image, one pixel after the other."""
    pixels = images[0].size
    columns = step * np.eye(pixels, dtype="float32").reshape(pixels, *images.shape[1:])
    results = []
    for image in images:
        change = outputs(model.encoder, image + columns) - outputs(model.encoder, image - columns)
        results.append(np.square(change.astype("float64") / (2 * step)).sum())
    return np.array(results)


@pytest.mark.parametrize("kind", KINDS)
def test_contractive_penalty_estimates_the_jacobian(kind):
    model, images, count = build(kind, "contractive"), random_images(2), 4000
    for image, exact in zip(images, jacobian_norms(model, images)):
        repeated = np.repeat(image[None], count, axis=0)
        draws = keras.ops.convert_to_numpy(model.penalty(repeated, model.encoder(repeated))).astype("float64")
        assert abs(draws.mean() - exact) < 4 * draws.std() / math.sqrt(count) + 0.002 * exact


def test_contractive_penalty_of_a_linear_encoder_is_the_sum_of_its_squared_weights():
    encoder = architectures.dense_encoder(SHAPE, LATENT, ())
    model = ContractiveAutoencoder(encoder, half("decoder", "dense"), 1.0)
    exact = np.square(encoder.get_layer("code").get_weights()[0].astype("float64")).sum()
    images = np.repeat(random_images(), 200, axis=0)
    draws = keras.ops.convert_to_numpy(model.penalty(images, model.encoder(images))).astype("float64")
    assert abs(draws.mean() - exact) < 4 * draws.std() / math.sqrt(len(draws)) + 1e-3 * exact
    assert len(np.unique(draws)) > 0.9 * len(draws)  # each image has noise of its own


@pytest.mark.parametrize("which", PENALISED)
def test_weight_makes_codes_sparse_or_insensitive(which):
    size = {}
    for weight in (0.0, 3.0):
        keras.utils.set_random_seed(0)
        model, images = compiled(which=which, weight=weight, rate=0.003), random_images()
        model.fit(images, epochs=20, batch_size=10, verbose=0)
        size[weight] = abs(model.encode(images)).mean() if which == "sparse" else jacobian_norms(model, images).mean()
    assert size[3.0] < 0.5 * size[0.0]


# -- the variational autoencoder --------------------------------------------------------------------------------------

@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_variational_loss_is_reconstruction_plus_beta_times_divergence(beta):
    model, images = compiled(which="variational", beta=beta), random_images(22)
    report = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    assert set(report) == {"loss", "mse", "reconstruction_loss", "kl_loss"}
    assert report["loss"] == pytest.approx(report["reconstruction_loss"] + beta * report["kl_loss"], rel=1e-5)
    assert report["kl_loss"] == pytest.approx(kl_by_hand(model, images).mean(), rel=1e-4)
    assert report["kl_loss"] > 0.01


def test_variational_training_reports_the_same_parts():
    model, images = compiled(which="variational"), random_images()
    expected = kl_by_hand(model, images).mean()  # before the step
    report = model.train_on_batch(images, return_dict=True)
    assert report["kl_loss"] == pytest.approx(expected, rel=1e-4)
    assert report["loss"] == pytest.approx(report["reconstruction_loss"] + report["kl_loss"], rel=1e-5)


def test_beta_presses_the_codes_to_the_prior():
    divergence = {}
    for beta in (0.0, 20.0):
        keras.utils.set_random_seed(0)
        model, images = compiled(which="variational", beta=beta, rate=0.002), random_images()
        model.fit(images, epochs=10, batch_size=20, verbose=0)
        divergence[beta] = kl_by_hand(model, images).mean()
    assert divergence[20.0] < 0.5 * divergence[0.0]


def test_without_spread_the_variational_model_is_a_plain_one():
    model, images = compiled(which="variational"), random_images()
    kernel, bias = model.encoder.get_layer("code").get_weights()
    kernel[:, LATENT:], bias[LATENT:] = 0, -60  # the deviation is exp(-30)
    model.encoder.get_layer("code").set_weights([kernel, bias])
    pixels = model.reconstruct(images)
    report = model.evaluate(images, verbose=0, return_dict=True)
    assert report["mse"] == pytest.approx(metrics.mean_squared_error(images, pixels), rel=1e-5)
    assert report["reconstruction_loss"] == pytest.approx(nats_by_hand("bernoulli", images, pixels).mean(), rel=5e-5)


def test_codes_are_drawn_from_the_encoders_gaussian():
    mean, log_var, count = np.array([1.0, -2.0]), np.log([0.25, 4.0]), 20_000
    model = VariationalAutoencoder(architectures.dense_encoder((1, 2, 1), 4, ()), identity_decoder(2))
    set_posterior(model, mean, log_var)
    result = model(np.zeros((count, 1, 2, 1), "float32"))
    codes = keras.ops.convert_to_numpy(result["logits"]).reshape(count, 2).astype("float64")
    spread = np.exp(log_var / 2)
    assert (abs(codes.mean(0) - mean) < 4 * spread / math.sqrt(count)).all()
    assert (abs(codes.std(0) - spread) < 4 * spread / math.sqrt(2 * count)).all()
    assert abs(np.corrcoef(codes.T)[0, 1]) < 4 / math.sqrt(count)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(result["z_mean"])[0], mean, atol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(result["z_log_var"])[0], log_var, atol=1e-6)


def test_every_image_and_every_call_has_noise_of_its_own():
    model = build(which="variational")
    same = np.repeat(random_images(1), 4, axis=0)
    draws = np.concatenate([keras.ops.convert_to_numpy(model(same)["logits"]) for _ in range(2)])
    assert len(np.unique(draws.reshape(8, -1), axis=0)) == 8


def test_encode_gives_means_and_reconstruct_draws_nothing():
    model, images = build(which="variational"), random_images()
    means = outputs(model.encoder, images)[:, :LATENT]
    np.testing.assert_allclose(model.encode(images), means, atol=1e-6)
    np.testing.assert_array_equal(model.reconstruct(images), model.reconstruct(images))
    np.testing.assert_allclose(model.predict(images), expit(outputs(model.decoder, means)), atol=1e-6)


def test_samples_depend_on_their_seed_only():
    model = build(which="variational")
    images = [model.sample(5, seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()
    assert images[0].shape == (5, *SHAPE) and images[0].dtype == "float32"


def test_samples_are_decoded_from_the_standard_normal():
    model = VariationalAutoencoder(architectures.dense_encoder((1, 2, 1), 4, ()), identity_decoder(2))
    codes = logit(model.sample(4000, 0).astype("float64")).reshape(4000, 2)
    for numbers in codes.T:
        assert scipy.stats.kstest(numbers, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(codes.T)[0, 1]) < 4 / math.sqrt(4000)


# -- learning ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def digits():
    """500 digits to learn from and 500 to measure with, at half their size."""
    data = load_images()
    return downsample(data.train.images[:500], 2), downsample(data.validation.images, 2)


def learner(kind, which):
    keras.utils.set_random_seed(0)
    sizes = {"dense": ({"hidden": (64,)},) * 2, "convolutional": ({"filters": (8, 16)}, {"filters": (16, 8)}),
             "recurrent": ({"units": 48},) * 2}[kind]
    latent_dim = 4 if which == "variational" else 16
    size = 2 * latent_dim if which == "variational" else latent_dim
    encoder = getattr(architectures, f"{kind}_encoder")((14, 14, 1), size, **sizes[0])
    decoder = getattr(architectures, f"{kind}_decoder")((14, 14, 1), latent_dim, **sizes[1])
    options = {"denoising": {"corruption": keras.layers.GaussianNoise(0.5, seed=1)}, "sparse": {"weight": 0.01},
               "contractive": {"weight": 0.01}}.get(which, {})
    model = MODELS[which](encoder, decoder, **options)
    model.compile(keras.optimizers.Adam(0.01))
    return model


@pytest.mark.parametrize(("kind", "which"), ALL_MODELS)
def test_learning_beats_the_mean_image_on_unseen_digits(digits, kind, which):
    train, unseen = digits
    model = learner(kind, which)
    model.fit(train, epochs=6 if kind == "recurrent" else 5, batch_size=25, verbose=0)
    baseline = metrics.mean_image_reconstruction(train, unseen)
    loss = model.evaluate(unseen, verbose=0, return_dict=True)["loss"]  # for the variational one, divergence included
    assert loss < unseen[0].size * metrics.binary_cross_entropy(unseen, baseline)
    if which == "denoising":
        noisy = np.clip(unseen + 0.5 * np.random.default_rng(0).standard_normal(unseen.shape, "float32"), 0, 1)
        restored = model.reconstruct(noisy)
        error = metrics.mean_squared_error(unseen, restored)
        assert error < 0.5 * metrics.mean_squared_error(unseen, noisy)
        assert error < metrics.mean_squared_error(unseen, baseline)


@pytest.mark.parametrize(("kind", "which"), ALL_MODELS)
def test_one_step_moves_every_weight(kind, which):
    model = compiled(kind, which)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    assert len(before) == len(model.encoder.trainable_variables) + len(model.decoder.trainable_variables)
    model.train_on_batch(random_images())
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        assert np.isfinite(new).all() and (new != old).any(), f"{variable.path} has no gradient"


@pytest.mark.parametrize("which", CLASSES)
def test_training_is_reproduced_by_its_seed(which):
    images, results = random_images(), []
    for seed in (1, 1):
        keras.utils.set_random_seed(seed)
        model = compiled(which=which)
        model.fit(images, epochs=2, batch_size=5, verbose=0)
        results.append(model.reconstruct(images))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    keras.utils.set_random_seed(2)
    assert abs(build(which=which).reconstruct(images) - results[0]).max() > 1e-2


@pytest.mark.parametrize("encoder", KINDS)
@pytest.mark.parametrize("decoder", KINDS)
def test_any_encoder_fits_any_decoder_at_odd_sizes(encoder, decoder):
    shape = (13, 10, 3)
    which = "variational" if encoder == decoder else "plain"
    pixels = build(encoder, which, decoder, shape).reconstruct(random_images(6, shape))
    assert pixels.shape == (6, *shape)
    assert (np.ptp(pixels, axis=0) > 0).all()  # every pixel depends on what was put in


def test_convolutional_model_trains_at_odd_sizes():
    model, images = compiled("convolutional", shape=(13, 10, 3), rate=0.001), random_images(6, (13, 10, 3))
    losses = model.fit(images, epochs=3, batch_size=6, verbose=0).history["loss"]
    assert losses[2] < losses[1] < losses[0]


# -- saving and loading -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "which"), ALL_MODELS)
def test_loaded_model_puts_out_the_same(tmp_path, kind, which):
    options = {"variational": {"beta": 2.5, "seed": 7}, "sparse": {"weight": 2.5},
               "contractive": {"weight": 2.5, "seed": 7}}.get(which, {})
    model, images = build(kind, which, reconstruction_loss="laplace", **options), random_images()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model) and loaded.reconstruction_loss == "laplace"
    np.testing.assert_array_equal(loaded.reconstruct(images), model.reconstruct(images))
    if which == "variational":
        assert (loaded.beta, loaded.seed) == (2.5, 7)
        np.testing.assert_array_equal(loaded.sample(3, 0), model.sample(3, 0))
    if which in PENALISED:
        assert loaded.weight == 2.5 and getattr(loaded, "seed", 7) == 7
    if which == "denoising":
        assert loaded.corruption.get_config() == model.corruption.get_config()


def test_loaded_model_goes_on_training_in_the_same_way(tmp_path):
    model, images = build(), random_images()
    model.compile(keras.optimizers.Adam(0.01), metrics=["mse"])
    model.fit(images, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    history = [each.fit(images, epochs=2, shuffle=False, verbose=0).history for each in (model, loaded)]
    assert set(history[0]) == set(history[1]) == {"loss", "mse"}
    np.testing.assert_allclose(history[0]["loss"], history[1]["loss"], rtol=1e-6)
    np.testing.assert_allclose(loaded.reconstruct(images), model.reconstruct(images), atol=1e-6)


def test_copies_from_a_config_share_no_weights():
    model = build(which="variational", beta=3.0)
    copy = VariationalAutoencoder.from_config(model.get_config())
    assert copy.beta == 3.0 and copy.name == model.name
    before = weights_of(model)
    copy.set_weights([w + 1 for w in copy.get_weights()])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_model_loads_in_a_new_process_that_imports_its_module(tmp_path):
    model, images = compiled(which="variational"), random_images()
    model.fit(images, verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "arrays.npz", images=images, expected=model.reconstruct(images), sample=model.sample(4, 5))
    code = """
import autoencoder_utils.variational, keras, numpy as np
arrays = np.load("arrays.npz")
model = keras.models.load_model("model.keras")
print(abs(model.reconstruct(arrays["images"]) - arrays["expected"]).max() < 1e-6,
      abs(model.sample(4, 5) - arrays["sample"]).max() < 1e-6)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path,
                            env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert result.stdout.split() == ["True", "True"], result.stderr


# -- what they refuse -------------------------------------------------------------------------------------------------

BAD_IMAGES = {
    "uint8": lambda x: (x * 255).astype("uint8"), "above 1": lambda x: x * 255, "below 0": lambda x: x - 1,
    "nan": lambda x: np.where(x > 0.9, np.nan, x), "rank": lambda x: x[0], "flat": lambda x: x.reshape(len(x), -1),
    "another shape": lambda x: x[:, :11], "empty": lambda x: x[:0],
}
USES = {
    "fit": lambda model, bad, good: model.fit(bad, verbose=0),
    "fit, targets": lambda model, bad, good: model.fit(good, bad, verbose=0),
    "evaluate": lambda model, bad, good: model.evaluate(bad, verbose=0),
    "evaluate, targets": lambda model, bad, good: model.evaluate(good, bad, verbose=0),
    "validation images": lambda model, bad, good: model.fit(good, validation_data=bad, verbose=0),
    "validation pair": lambda model, bad, good: model.fit(good, validation_data=(good, bad), verbose=0),
    "predict": lambda model, bad, good: model.predict(bad),
    "encode": lambda model, bad, good: model.encode(bad),
    "reconstruct": lambda model, bad, good: model.reconstruct(bad),
}


@pytest.fixture(scope="module", params=CLASSES)
def refusing(request):
    return compiled(which=request.param)


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("use", USES)
def test_images_out_of_form_are_refused_before_anything_is_trained(refusing, use, kind):
    good = random_images()
    before = weights_of(refusing)
    with pytest.raises(ValueError, match=r"Expected images of shape \(batch, 12, 12, 1\), floats in \[0, 1\]. Rec"):
        USES[use](refusing, BAD_IMAGES[kind](good), good)
    for old, new in zip(before, refusing.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("codes", [np.zeros((2, LATENT + 1)), np.zeros(LATENT), np.zeros((0, LATENT)),
                                   np.zeros((2, LATENT, 1))], ids=lambda codes: str(codes.shape))
def test_codes_of_another_shape_are_refused(refusing, codes):
    with pytest.raises(ValueError, match=rf"Expected codes of shape \(batch, {LATENT}\). Received: shape"):
        refusing.decode(codes)


@pytest.mark.parametrize("which", ["plain", "variational"])
@pytest.mark.parametrize(("shape", "latent_dim"), [(SHAPE, LATENT + 1), ((12, 10, 1), LATENT), ((12, 12, 3), LATENT)])
def test_halves_that_do_not_fit_are_refused(which, shape, latent_dim):
    model = {"plain": Autoencoder, "variational": VariationalAutoencoder}[which]
    encoder = half("encoder", "dense", latent_dim=LATENT * (1 + (which == "variational")))
    with pytest.raises(ValueError, match="Received: encoder"):
        model(encoder, half("decoder", "dense", shape, latent_dim))


def test_encoder_that_puts_out_maps_instead_of_codes_is_refused():
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(LATENT, 3)])  # (batch, 10, 10, LATENT)
    with pytest.raises(ValueError, match="Received: encoder output"):
        Autoencoder(encoder, half("decoder", "dense"))


def test_plain_encoder_is_refused_by_the_variational_model():
    with pytest.raises(ValueError, match=rf"z_mean and z_log_var, {2 * LATENT} numbers.*Received: encoder output"):
        VariationalAutoencoder(half("encoder", "dense"), half("decoder", "dense"))


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match=r"`beta` must be at least 0. Received: beta=-1"):
        build(which="variational", beta=-1)
    for which in PENALISED:
        with pytest.raises(ValueError, match=r"`weight` must be at least 0. Received: weight=-1"):
            build(which=which, weight=-1)
    with pytest.raises(ValueError, match=r"Unknown reconstruction loss.*Received: 'mse'"):
        build(reconstruction_loss="mse")
