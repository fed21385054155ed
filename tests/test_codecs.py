"""Autoencoders for compression: rates against closed forms, gradients by differences, refining by the real coder."""

import keras
import numpy as np
import pytest
import scipy.stats
from scipy.fft import dctn
from scipy.special import expit, logsumexp

from autoencoder_utils import architectures, codecs
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.codecs import LappedTransform, RateDistortionAutoencoder, refine_codes
from autoencoder_utils.compression import MixtureCoder
from autoencoder_utils.training import JIT

SHAPE, LATENT = (8, 8, 1), 3
RNG = np.random.default_rng(0)
BLOBS = expit(RNG.normal(size=(240, 3)) @ RNG.normal(size=(3, 64)) * 2).reshape(-1, *SHAPE).astype("float32")


def build(weight=20.0, seed=0):
    keras.utils.set_random_seed(1)
    return RateDistortionAutoencoder(architectures.dense_encoder(SHAPE, LATENT, (16,)),
                                     architectures.dense_decoder(SHAPE, LATENT, (16,)), weight, seed)


def train(model, epochs):
    model.compile(keras.optimizers.Adam(0.01), jit_compile=JIT)
    return model.fit(BLOBS, batch_size=60, epochs=epochs, verbose=0).history


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def rewind(model):
    model.noise.state.assign(keras.random.SeedGenerator(model.seed).state)


# -- the autoencoder --------------------------------------------------------------------------------------------------

def test_mean_rate_of_blurred_codes_is_the_gaussian_closed_form():
    """Of codes N(m, s^2) with uniform noise, by N(mu, d^2):
    log d + log(2 pi) / 2 + (s^2 + 1/12 + (m - mu)^2) / 2 d^2 for each number."""
    model, m, s = build(), np.array([0.0, 2, -5]), np.array([0.1, 1, 3])
    mu, d = np.array([0.5, 2, -4]), np.array([0.7, 1, 4])
    model.means.assign(mu)
    model.log_deviations.assign(np.log(d))
    codes = (m + s * np.random.default_rng(1).standard_normal((100_000, 3))).astype("float32")
    expected = np.log(d) + np.log(2 * np.pi) / 2 + (s**2 + 1 / 12 + (m - mu) ** 2) / (2 * d**2)
    assert array(model.rate(model.blur(codes))).mean() == pytest.approx(expected.sum(), rel=0.01)
    np.testing.assert_allclose(array(model.rate(codes[:50])), -scipy.stats.norm(mu, d).logpdf(codes[:50]).sum(1),
                               rtol=1e-4)


def test_evaluation_rounds_and_adds_up_error_and_rate():
    model = build()
    model.compile("sgd", metrics=["mse"])
    report = model.evaluate(BLOBS, batch_size=80, verbose=0, return_dict=True)
    codes = np.round(model.encode(BLOBS))
    error = np.square(model.decode(codes) - BLOBS).sum((1, 2, 3)).mean()
    rate = -scipy.stats.norm(0, np.e).logpdf(codes).sum(1).mean()  # what it starts with
    assert set(report) == {"loss", "mse", "squared_error", "rate"}
    assert report["squared_error"] == pytest.approx(error, rel=1e-4)
    assert report["mse"] == pytest.approx(error / 64, rel=1e-4)
    assert report["rate"] == pytest.approx(rate, rel=1e-4)
    assert report["loss"] == pytest.approx(20 * error + rate, rel=1e-4)


def test_one_step_follows_the_gradient_by_finite_differences():
    model, images, step = build(), BLOBS[:32], 1e-2
    model.compile(keras.optimizers.SGD(1.0))
    slopes, places = [], [(w, np.unravel_index(array(w).size // 3, w.shape))
                          for w in model.trainable_variables]

    def loss():
        rewind(model)
        return float(array(model.compute_loss(images, None, model(images, training=True))))

    for weight, place in places:
        old, ends = array(weight).copy(), []
        for sign in (1, -1):
            nudged = old.copy()
            nudged[place] += sign * step
            weight.assign(nudged)
            ends.append(loss())
        weight.assign(old)
        slopes.append((ends[0] - ends[1]) / (2 * step))
    before = [array(weight)[place] for weight, place in places]
    rewind(model)
    model.train_on_batch(images)
    taught = [old - array(weight)[place] for old, (weight, place) in zip(before, places)]
    np.testing.assert_allclose(taught, slopes, rtol=0.05, atol=0.02)
    assert np.count_nonzero(taught) >= len(taught) - 2  # a ReLU may sleep


def test_training_lowers_the_loss_and_learns_the_spread_of_the_codes():
    model = build(weight=40.0)
    history = train(model, 150)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    spread = np.sqrt(model.encode(BLOBS).var(axis=0) + 1 / 12)
    np.testing.assert_allclose(np.exp(array(model.log_deviations)), spread, rtol=0.25)


def test_seed_decides_and_loaded_model_is_the_same_and_trains_on(tmp_path):
    one, two = build(seed=3), build(seed=3)
    for model in (one, two):
        model.compile(keras.optimizers.SGD(0.001))
        model.fit(BLOBS, batch_size=60, shuffle=False, verbose=0)
    for a, b in zip(one.get_weights(), two.get_weights()):
        np.testing.assert_array_equal(a, b)
    one.save(tmp_path / "codec.keras")
    loaded = keras.models.load_model(tmp_path / "codec.keras")
    np.testing.assert_array_equal(loaded.encode(BLOBS), one.encode(BLOBS))
    np.testing.assert_array_equal(array(loaded.log_deviations), array(one.log_deviations))
    assert (loaded.weight, loaded.seed) == (20.0, 3)
    loaded.fit(BLOBS, verbose=0)


@pytest.mark.parametrize("weight", [0, -1.0])
def test_weight_must_be_positive(weight):
    with pytest.raises(ValueError, match="Received: weight"):
        build(weight)


# -- refining ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def trained():
    model = build(weight=60.0)
    train(model, 60)
    return model, MixtureCoder(model.encode(BLOBS), components=3)


def cost(model, coder, codes, images, step, weight):
    """weight * squared error + nats of the real coder, each image's, after rounding."""
    indices = coder.round(codes, step)
    error = np.square(model.decode(step * indices) - images).sum((1, 2, 3))
    return weight * error + np.log(2) * coder.bits(indices, step)


def test_refining_lowers_what_the_real_coder_and_the_error_cost(trained, monkeypatch):
    model, coder = trained
    images, weights = BLOBS[:50], [w.copy() for w in model.get_weights()]
    monkeypatch.setattr(codecs, "CHUNK", 30)  # two, the last one filled up
    for step, weight in ((1.0, 30.0), (1.0, 0.01)):
        before = cost(model, coder, model.encode(images), images, step, weight).mean()
        codes = refine_codes(model, coder, images, step, weight, iterations=30)
        assert codes.shape == (50, LATENT) and codes.dtype == "float32"
        assert cost(model, coder, codes, images, step, weight).mean() < 0.97 * before
    for old, new in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert all(layer.trainable for layer in (model.encoder, model.decoder))


def test_each_image_may_have_a_step_and_a_weight_of_its_own(trained):
    model, coder = trained
    images, few = np.concatenate([BLOBS[:20]] * 2), {"iterations": 30}
    codes = refine_codes(model, coder, images, np.repeat([0.5, 2], 20), np.repeat([100.0, 0.01], 20), **few)
    errors = np.square(model.decode(codes) - images).sum((1, 2, 3))
    assert errors[:20].mean() < errors[20:].mean()
    assert coder.bits(coder.round(codes[20:], 1.0), 1.0).mean() < coder.bits(coder.round(codes[:20], 1.0), 1.0).mean()


def test_refiner_rate_is_the_mixture_density_and_its_gradient_that_of_the_loss(trained):
    model, coder = trained
    codes = model.encode(BLOBS[:10])
    refiner = codecs._Refiner(model.decoder, coder, 10, 0)
    logs = [np.log(share) + scipy.stats.multivariate_normal(mean, factor @ factor.T).logpdf(codes)
            for share, mean, factor in zip(coder.shares, coder.means, coder.factors)]
    expected = -logsumexp(logs, axis=0) - LATENT / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(array(refiner.rate(codes)), expected, rtol=1e-3, atol=1e-3)
    assert [weight.name for weight in refiner.trainable_variables] == ["codes"]


def test_without_iterations_in_effect_codes_are_the_encoders(trained):
    model, coder = trained
    codes = refine_codes(model, coder, BLOBS[:5], 1.0, 1.0, iterations=2, rate=1e-9)
    np.testing.assert_allclose(codes, model.encode(BLOBS[:5]), atol=1e-5)


@pytest.mark.parametrize(("step", "weight"), [(0, 1), (1, -1), ([1, 2], 1), (1, np.ones((5, 1)))])
def test_refining_refuses_steps_and_weights_out_of_form(trained, step, weight):
    with pytest.raises(ValueError, match="positive, one number.*Received: "):
        refine_codes(*trained, BLOBS[:5], step, weight)


def test_any_autoencoder_can_be_refined():
    model = Autoencoder(architectures.dense_encoder(SHAPE, LATENT, ()), architectures.dense_decoder(SHAPE, LATENT, ()))
    coder = MixtureCoder(model.encode(BLOBS), components=1)
    assert refine_codes(model, coder, BLOBS[:3], 0.1, 10.0, iterations=2).shape == (3, LATENT)


# -- the lapped transform ---------------------------------------------------------------------------------------------

def pictures(count=4, height=32, width=24, seed=0):
    return np.random.default_rng(seed).random((count, height, width, 1), "float32")


def test_transform_starts_as_scipys_cosines_of_each_block_and_loses_nothing():
    transform, images = LappedTransform(), pictures()
    blocks = images[..., 0].reshape(4, 4, 8, 3, 8).swapaxes(2, 3) - 0.5
    expected = dctn(blocks, axes=(3, 4), norm="ortho")
    codes = transform.encode(images)
    assert codes.shape == (4, 4, 3, 64)
    np.testing.assert_allclose(codes[..., 0], expected[..., 0, 0], atol=1e-5)  # the mean, for a start
    np.testing.assert_allclose(np.sort(codes, -1), np.sort(expected.reshape(codes.shape), -1), atol=1e-5)
    np.testing.assert_allclose(transform.decode(codes), images, atol=1e-5)


def test_rate_is_that_of_a_rounded_logistic_number():
    transform, codes = LappedTransform(), np.random.default_rng(0).normal(size=(5, 2, 3, 64)).astype("float32")
    steps, scales = np.full((5, 1, 1, 1), 0.4, "float32"), np.linspace(0.3, 1, 64)
    transform.log_scales.assign(np.log(scales))
    logistic = scipy.stats.logistic(scale=scales)
    expected = -np.log(logistic.cdf(codes + 0.2) - logistic.cdf(codes - 0.2)).sum((1, 2, 3))
    np.testing.assert_allclose(array(transform.rate(codes, steps)), expected, rtol=1e-3)


def test_training_beats_the_cosines_at_error_and_rate():
    rng = np.random.default_rng(0)
    images = expit(np.cumsum(np.cumsum(rng.normal(size=(48, 48, 48, 1)), 1), 2) / 20)[:, 16:, 16:].astype("float32")
    transform = LappedTransform((0.2, 0.2))
    transform.compile(keras.optimizers.Adam(1e-3), jit_compile=JIT)
    before = transform.evaluate(images[:16], verbose=0)
    transform.fit(images[16:], batch_size=8, epochs=20, verbose=0)
    assert transform.evaluate(images[:16], verbose=0) < 0.95 * before
    assert all(np.any(weight != old) for weight, old in zip(transform.get_weights(), LappedTransform().get_weights()))


def test_loaded_transform_is_the_same(tmp_path):
    transform = LappedTransform((0.1, 0.2), weight=0.3, seed=5)
    transform.compile(keras.optimizers.SGD(1e-3))
    transform.fit(pictures(), verbose=0)
    transform.save(tmp_path / "transform.keras")
    loaded = keras.models.load_model(tmp_path / "transform.keras")
    np.testing.assert_array_equal(loaded.encode(pictures()), transform.encode(pictures()))
    assert (tuple(loaded.steps), loaded.weight, loaded.seed) == ((0.1, 0.2), 0.3, 5)


@pytest.mark.parametrize("options", [{"steps": (0, 1)}, {"steps": (2, 1)}, {"weight": 0}])
def test_transform_refuses_impossible_options(options):
    with pytest.raises(ValueError, match="Received: "):
        LappedTransform(**options)


@pytest.mark.parametrize("images", [pictures(width=20), np.zeros((1, 8, 8, 3), "float32"), 2 + pictures()])
def test_transform_refuses_pictures_out_of_form(images):
    with pytest.raises(ValueError, match="Received: "):
        LappedTransform().encode(images)
