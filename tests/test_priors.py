"""Densities over codes, against SciPy, scikit-learn, and probabilities that are added up."""

import itertools

import keras
import numpy as np
import pytest
import scipy.stats
from sklearn.mixture import GaussianMixture

from autoencoder_utils import architectures, priors
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.priors import AutoregressivePrior, CodeGenerator, MixturePrior
from autoencoder_utils.quantized import VectorQuantizedAutoencoder
from autoencoder_utils.training import JIT, SINGLE_STEPS

POSITIONS, SIZE, SHAPE = 4, 3, (6, 5, 1)
FEW = {"jit_compile": True} if JIT else {"run_eagerly": True}  # a few steps take less time than tracing one


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def clouds(count=600, seed=0):
    """Two elongated clouds in the plane."""
    rng = np.random.default_rng(seed)
    first = rng.multivariate_normal([4, 0], [[1, 0.8], [0.8, 1]], count // 3)
    second = rng.multivariate_normal([-3, 1], [[0.2, -0.1], [-0.1, 0.5]], count - count // 3)
    return rng.permutation(np.concatenate([first, second])).astype("float32")


def every_list(positions=POSITIONS, size=SIZE):
    return np.array(list(itertools.product(range(size), repeat=positions)))


def chain(count, seed=0, stay=0.8):
    """Lists of indices from a Markov chain: each stays as it was with probability `stay`, else moves to another."""
    rng, lists = np.random.default_rng(seed), np.zeros((count, POSITIONS), "int32")
    lists[:, 0] = rng.integers(SIZE, size=count)
    for i in range(1, POSITIONS):
        move = np.where(rng.random(count) < stay, 0, rng.integers(1, SIZE, size=count))
        lists[:, i] = (lists[:, i - 1] + move) % SIZE
    return lists


def chain_nats(stay=0.8):
    """Entropy of `chain`."""
    steps = np.array([stay, *[(1 - stay) / (SIZE - 1)] * (SIZE - 1)])
    return np.log(SIZE) - (POSITIONS - 1) * np.sum(steps * np.log(steps))


def autoregressive(scale=1.0, **options):
    """An untrained prior whose probabilities are far from equal, and the same on every backend."""
    model = AutoregressivePrior(POSITIONS, SIZE, units=16, **options)
    model.set_weights([scale * np.random.default_rng(i).normal(size=w.shape) + (w if w.ndim == 1 else 0)
                       for i, w in enumerate(model.get_weights())])
    return model


def autoencoder(quantized=False):
    encoder, decoder = architectures.dense_encoder(SHAPE, 4, (8,)), architectures.dense_decoder(SHAPE, 4, (8,))
    return VectorQuantizedAutoencoder(encoder, decoder, 4, 3) if quantized else Autoencoder(encoder, decoder)


def random_images(count=40):
    return np.random.default_rng(0).random((count, *SHAPE), "float32")


# -- Gaussians and mixtures -------------------------------------------------------------------------------------------

def test_one_component_is_the_gaussian_with_the_codes_mean_and_covariance():
    codes = clouds()
    prior = MixturePrior(2).fit(codes)
    expected = scipy.stats.multivariate_normal(codes.mean(0), np.cov(codes.T, bias=True)).logpdf(codes)
    np.testing.assert_allclose(prior.log_prob(codes), expected, rtol=1e-3, atol=1e-3)


def test_a_mixture_is_scikit_learns():
    codes, others = clouds(), clouds(100, seed=5) + 1
    ridge = priors.RIDGE * codes.var(axis=0).mean()
    exact = GaussianMixture(5, reg_covar=ridge, random_state=3).fit(codes.astype("float64"))
    prior = MixturePrior(2, 5, seed=3).fit(codes)
    np.testing.assert_allclose(prior.log_prob(others), exact.score_samples(others.astype("float64")), rtol=1e-3)


def test_the_density_integrates_to_one():
    prior = MixturePrior(2, 3).fit(clouds())
    side = np.linspace(-12, 12, 400)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    assert np.exp(prior.log_prob(grid)).sum() * (side[1] - side[0]) ** 2 == pytest.approx(1, abs=1e-3)


def test_samples_have_the_mean_and_covariance_of_the_fitted_codes():
    codes = clouds(3000)
    drawn = MixturePrior(2, 4).fit(codes).sample(20000, seed=1)
    assert drawn.shape == (20000, 2) and drawn.dtype == "float32"
    np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(codes.T), rtol=0.05, atol=0.1)


def test_a_mixture_explains_unseen_clouds_better_than_a_gaussian():
    codes, unseen = clouds(seed=0), clouds(seed=1)
    gaussian, mixture = (MixturePrior(2, k).fit(codes).log_prob(unseen).mean() for k in (1, 2))
    assert mixture > gaussian + 0.5


def test_before_it_is_fitted_it_is_the_standard_normal():
    codes = clouds(20)
    np.testing.assert_allclose(MixturePrior(2, 3).log_prob(codes), scipy.stats.norm.logpdf(codes).sum(1), rtol=1e-5)


def test_codes_that_fill_less_than_their_space_still_fit():
    codes = np.concatenate([clouds(), np.zeros((600, 1), "float32")], axis=1)
    prior = MixturePrior(3, 2).fit(codes)
    assert np.isfinite(prior.log_prob(codes)).all() and np.abs(prior.sample(100, 0)[:, 2]).max() < 0.5


@pytest.mark.parametrize("codes", [np.zeros((9, 3)), np.zeros((0, 2)), np.zeros(2), np.zeros((2, 2))])
def test_codes_of_another_form_are_refused(codes):
    with pytest.raises(ValueError, match=r"at least 3 codes of shape \(n, 2\). Received: shape"):
        MixturePrior(2, 3).fit(codes)


# -- one index after the other ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_probabilities_of_all_lists_sum_to_one(scale):
    log_p = autoregressive(scale).log_prob(every_list())
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    assert log_p.std() > 0.2  # and they are not all the same


def test_each_position_sees_the_earlier_ones_and_no_other():
    model, lists = autoregressive(), every_list()[[5]]
    before = numpy(model(lists))[0]
    for position in range(POSITIONS):
        changed = lists.copy()
        changed[0, position] = (changed[0, position] + 1) % SIZE
        difference = np.abs(numpy(model(changed))[0] - before).max(axis=-1)  # (positions,)
        assert (difference[: position + 1] == 0).all() and (difference[position + 1 :] > 1e-3).all()


def test_samples_come_as_often_as_their_probability_says():
    model, lists = autoregressive(0.3), every_list()
    drawn = model.sample(8000, seed=0, batch_size=2000)
    assert drawn.shape == (8000, POSITIONS) and drawn.dtype == "int32"
    counts = np.bincount(drawn @ SIZE ** np.arange(POSITIONS)[::-1], minlength=len(lists))
    assert scipy.stats.chisquare(counts, 8000 * softmax(model.log_prob(lists))).pvalue > 1e-3


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def test_temperature_is_the_inverse_power_of_the_probabilities():
    cold, warm, lists = autoregressive(0.3, temperature=0.5), autoregressive(0.3), every_list()
    np.testing.assert_array_equal(cold.log_prob(lists), warm.log_prob(lists))
    first = np.exp(warm.log_prob(lists)).reshape(SIZE, -1).sum(1)  # probabilities of the first index
    counts = np.bincount(cold.sample(4000, 0, batch_size=2000)[:, 0], minlength=SIZE)
    assert scipy.stats.chisquare(counts, 4000 * first**2 / np.sum(first**2)).pvalue > 1e-3


def test_loss_is_minus_the_mean_log_probability():
    model, lists = autoregressive(), chain(50)
    model.compile("sgd", **FEW)
    assert model.evaluate(lists, verbose=0) == pytest.approx(-model.log_prob(lists).mean(), rel=1e-5)


def test_learning_comes_close_to_the_entropy_of_a_chain():
    keras.utils.set_random_seed(0)
    model = AutoregressivePrior(POSITIONS, SIZE, units=32, dropout=0.0)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=JIT, steps_per_execution=1 if SINGLE_STEPS else 10)
    model.fit(chain(4000), batch_size=200, epochs=4, verbose=0)
    unseen = chain(4000, seed=1)
    independent = POSITIONS * np.log(SIZE)  # each position on its own is uniform
    assert -model.log_prob(unseen).mean() - chain_nats() < 0.1 * (independent - chain_nats())
    drawn = model.sample(2000, seed=0)
    assert (drawn[:, 1:] == drawn[:, :-1]).mean() == pytest.approx(0.8, abs=0.04)


def test_one_step_moves_every_weight():
    model = autoregressive(0.3)
    model.compile(keras.optimizers.SGD(0.1), **FEW)
    before = [numpy(v).copy() for v in model.trainable_variables]
    model.train_on_batch(chain(50))
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = numpy(variable)
        assert np.isfinite(new).all() and (new != old).any(), f"{variable.path} has no gradient"


@pytest.mark.parametrize("arguments", [{"positions": 0}, {"codebook_size": 1}, {"temperature": 0}])
def test_impossible_priors_are_refused(arguments):
    with pytest.raises(ValueError, match="Expected at least 1 position, 2 indices.*Received"):
        AutoregressivePrior(**{"positions": 2, "codebook_size": 2} | arguments)
    with pytest.raises(ValueError, match="must be at least 1. Received: latent_dim=0"):
        MixturePrior(0)


def test_indices_out_of_range_are_refused():
    with pytest.raises(ValueError, match="whole numbers from 0 to 2. Received: values from 0 to 3"):
        autoregressive().log_prob(np.array([[0, 1, 2, 3]]))


# -- generators -------------------------------------------------------------------------------------------------------

def generator(kind):
    model = autoencoder(quantized=kind == "indices")
    return CodeGenerator(model, MixturePrior(4, 2) if kind == "mixture" else AutoregressivePrior(4, 3, units=8))


@pytest.mark.parametrize("kind", ["mixture", "indices"])
def test_a_generator_decodes_what_its_prior_draws(kind):
    model, images = generator(kind), random_images()
    if kind == "indices":
        model.compile("adam", **FEW)
    before = -model.evaluate(images)
    model.fit(images, **({} if kind == "mixture" else {"epochs": 3, "verbose": 0}))
    assert -model.evaluate(images) > before
    assert -model.evaluate(images) == pytest.approx(model.prior.log_prob(model.autoencoder.encode(images)).mean())
    drawn = model.sample(7, seed=3)
    np.testing.assert_array_equal(drawn, model.autoencoder.decode(model.prior.sample(7, seed=3)))
    assert drawn.shape == (7, *SHAPE) and drawn.dtype == "float32" and 0 <= drawn.min() <= drawn.max() <= 1
    assert (drawn != model.sample(7, seed=4)).any()
    np.testing.assert_array_equal(model.predict(images), model.autoencoder.reconstruct(images))


@pytest.mark.parametrize("kind", ["mixture", "indices"])
def test_a_loaded_generator_is_the_same(tmp_path, kind):
    model, images = generator(kind), random_images()
    if kind == "mixture":
        model.fit(images)
    model.save(tmp_path / "generator.keras")
    loaded = keras.models.load_model(tmp_path / "generator.keras")
    np.testing.assert_array_equal(loaded.sample(5, 0), model.sample(5, 0))
    codes = model.autoencoder.encode(images)
    np.testing.assert_array_equal(loaded.prior.log_prob(codes), model.prior.log_prob(codes))
