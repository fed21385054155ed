"""Losses against closed forms, numerical integration, SciPy, Keras's own losses and finite differences."""

import keras
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import trapezoid
from scipy.special import entr, expit, logit

from autoencoder_utils.losses import (
    bernoulli_loss,
    gaussian_kl,
    gaussian_loss,
    get_reconstruction_loss,
    laplace_loss,
)

SHAPE = (5, 4, 3, 2)
LOSSES = {"bernoulli": bernoulli_loss, "gaussian": gaussian_loss, "laplace": laplace_loss}


def floats(shape, low, high):
    return hnp.arrays("float32", shape, elements=st.floats(low, high, width=32))


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def images_and_logits(seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(SHAPE, "float32"), rng.normal(0, 2, SHAPE).astype("float32")


def gradient(loss, images, logits):
    """The gradient by the logits, whatever the backend: one step of size 1 on a model whose only weight they are."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(logits.size, use_bias=False),
                              keras.layers.Reshape(logits.shape[1:])])
    model.layers[0].set_weights([logits.reshape(1, -1)])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, a: loss(y, a))
    model.train_on_batch(np.ones((1, 1), "float32"), images)
    return logits - model.get_weights()[0].reshape(logits.shape)


def test_bernoulli_is_the_sum_of_keras_cross_entropies():
    images, logits = images_and_logits()
    pixels = keras.losses.binary_crossentropy(images[..., None], logits[..., None], from_logits=True)
    np.testing.assert_allclose(numbers(bernoulli_loss(images, logits)), numbers(pixels).sum((1, 2, 3)), rtol=1e-5)


def test_bernoulli_of_a_perfect_reconstruction_is_the_entropy_of_the_pixels():
    images = images_and_logits()[0].clip(0.01, 0.99)
    expected = (entr(images.astype("float64")) + entr(1 - images.astype("float64"))).sum((1, 2, 3))
    np.testing.assert_allclose(numbers(bernoulli_loss(images, logit(images))), expected, rtol=1e-5)


@pytest.mark.parametrize(("pixel", "a", "nats"), [(0, 100, 100), (1, 100, 0), (0, -100, 0), (1, -100, 100),
                                                  (0.25, 100, 75), (0.25, -100, 25), (0, 1e4, 1e4)])
def test_bernoulli_is_finite_and_exact_at_extreme_logits(pixel, a, nats):
    image = np.full((1, 1, 1, 1), pixel, "float32")
    np.testing.assert_allclose(numbers(bernoulli_loss(image, np.full_like(image, a))), [nats], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(floats((2, 3, 2, 1), 0, 1), floats((2, 3, 2, 1), -60, 60))
def test_bernoulli_equals_its_formula_in_double_precision(images, logits):
    x, a = images.astype("float64"), logits.astype("float64")
    expected = (x * np.logaddexp(0, -a) + (1 - x) * np.logaddexp(0, a)).sum((1, 2, 3))
    np.testing.assert_allclose(numbers(bernoulli_loss(images, logits)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variance", [0.02, 1.0, 3.0])
def test_gaussian_is_the_density_of_scipy(variance):
    images, logits = images_and_logits()
    expected = -scipy.stats.norm.logpdf(images, expit(logits), np.sqrt(variance)).sum((1, 2, 3))
    np.testing.assert_allclose(numbers(gaussian_loss(images, logits, variance)), expected, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
def test_laplace_is_the_density_of_scipy(scale):
    images, logits = images_and_logits()
    expected = -scipy.stats.laplace.logpdf(images, expit(logits), scale).sum((1, 2, 3))
    np.testing.assert_allclose(numbers(laplace_loss(images, logits, scale)), expected, rtol=1e-4)


@pytest.mark.parametrize("loss", [gaussian_loss, laplace_loss])
@pytest.mark.parametrize("width", [0.05, 1.0])
@pytest.mark.parametrize("a", [-2.0, 0.0, 5.0])
def test_likelihoods_integrate_to_one_around_the_sigmoid_of_the_logit(loss, width, a):
    pixel = np.linspace(expit(a) - 40 * width, expit(a) + 40 * width, 20_001, dtype="float32").reshape(-1, 1, 1, 1)
    density = np.exp(-numbers(loss(pixel, np.full_like(pixel, a), width)).astype("float64"))
    x = pixel.ravel().astype("float64")
    assert trapezoid(density, x) == pytest.approx(1, abs=1e-3)
    assert trapezoid(x * density, x) == pytest.approx(expit(a), abs=2e-3)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_losses_sum_over_pixels_and_keep_images_apart(loss):
    images, logits = images_and_logits()
    pixels = numbers(loss(images.reshape(-1, 1, 1, 1), logits.reshape(-1, 1, 1, 1)))  # as images of one pixel
    np.testing.assert_allclose(numbers(loss(images, logits)), pixels.reshape(len(images), -1).sum(1), rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    rng = np.random.default_rng(1)
    images, logits = rng.random((1, 2, 3, 1), "float32"), rng.normal(0, 2, (1, 2, 3, 1)).astype("float32")
    step, differences = 0.02, np.empty(logits.size)
    for i in range(logits.size):
        shift = step * np.eye(logits.size, dtype="float32")[i].reshape(logits.shape)
        differences[i] = (loss(images, logits + shift)[0] - loss(images, logits - shift)[0]) / (2 * step)
    np.testing.assert_allclose(gradient(loss, images, logits).ravel(), differences, atol=2e-3)


@pytest.mark.parametrize("a", [-100, -1, 0, 1, 100])
def test_gradient_of_bernoulli_is_sigmoid_minus_pixel_everywhere(a):
    images = np.array([0, 0.3, 1], "float32").reshape(1, 3, 1, 1)
    np.testing.assert_allclose(gradient(bernoulli_loss, images, np.full_like(images, a)), expit(a) - images, atol=1e-5)


def test_kl_agrees_with_monte_carlo():
    rng = np.random.default_rng(0)
    mean, log_var = rng.normal(0, 1, (3, 2)), rng.normal(0, 0.7, (3, 2))
    spread = np.exp(log_var / 2)
    z = mean + spread * rng.standard_normal((100_000, 3, 2))
    draws = (scipy.stats.norm.logpdf(z, mean, spread) - scipy.stats.norm.logpdf(z)).sum(-1)  # (100000, 3)
    error = draws.std(0) / np.sqrt(len(draws))
    kl = numbers(gaussian_kl(mean.astype("float32"), log_var.astype("float32")))
    assert (abs(kl - draws.mean(0)) < 4 * error).all()
    assert (error < 0.02).all()  # else the line above would say little


@settings(deadline=None, max_examples=25)
@given(floats((3, 4), -5, 5), floats((3, 4), -8, 4))
def test_kl_equals_its_closed_form_and_is_never_negative(z_mean, z_log_var):
    mean, var = z_mean.astype("float64"), np.exp(z_log_var.astype("float64"))
    expected = -0.5 * (1 + np.log(var) - mean**2 - var).sum(1)
    kl = numbers(gaussian_kl(z_mean, z_log_var))
    np.testing.assert_allclose(kl, expected, rtol=1e-4, atol=1e-5)
    assert (kl >= -1e-6).all()


def test_kl_is_zero_at_the_standard_normal_only():
    zeros = np.zeros((2, 3), "float32")
    np.testing.assert_array_equal(numbers(gaussian_kl(zeros, zeros)), 0)
    assert (numbers(gaussian_kl(zeros + 0.1, zeros)) > 0.01).all()
    assert (numbers(gaussian_kl(zeros, zeros - 0.2)) > 0.01).all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_found_by_name(name):
    assert get_reconstruction_loss(name) is LOSSES[name]


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match=r"Unknown reconstruction loss.*bernoulli, gaussian, laplace.*Received: 'l3'"):
        get_reconstruction_loss("l3")
