"""Coders of rounded codes: exact round trips, and costs against SciPy's densities."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from autoencoder_utils.compression import MixtureCoder, NeighbourCoder

COVARIANCE = np.array([[4, 3, 0], [3, 4, 1], [0, 1, 2]])


def correlated(count=4000, seed=0):
    return np.random.default_rng(seed).multivariate_normal([0, 5, -20], COVARIANCE, count)


def clusters(count=3000, seed=0):
    """Eight far corners of a cube: nearly all there is to know is which."""
    rng = np.random.default_rng(seed)
    return 20 * rng.integers(2, size=(count, 3)) + rng.normal(size=(count, 3))


@settings(deadline=None, max_examples=25)
@given(st.floats(0.05, 100), st.integers(1, 40), st.integers(0, 9))
def test_codes_come_back_at_every_step(step, count, seed):
    coder, codes = MixtureCoder(clusters(200), 4), 3 * clusters(count, seed)  # many lie outside of what was seen
    indices = coder.round(codes, step)
    message = coder.encode(indices, step)
    np.testing.assert_array_equal(coder.decode(message, count, step), indices)
    assert len(message) <= coder.bits(indices, step).sum() / 8 * 1.001 + 2


def test_rounding_is_to_the_nearest_step_inside_what_was_seen():
    codes = clusters()
    coder = MixtureCoder(codes, 2)
    assert np.abs(0.7 * coder.round(codes, 0.7) - codes).max() <= 0.35 + 1e-9
    far = coder.round(np.array([[1e6] * 3, [-1e6] * 3]), 0.7) * 0.7
    assert np.all(np.abs(far[0] - codes.max(axis=0)) < 0.7) and np.all(np.abs(far[1] - codes.min(axis=0)) < 0.7)


def test_fine_steps_cost_the_density_of_a_correlated_gaussian():
    coder, codes, step = MixtureCoder(correlated(20_000), 1), correlated(500, seed=1), 0.1
    indices = coder.round(codes, step)
    density = scipy.stats.multivariate_normal([0, 5, -20], COVARIANCE).logpdf(indices * step)
    expected = -(density + 3 * np.log(step)) / np.log(2)  # -log2 of density times volume
    assert coder.bits(indices, step).mean() == pytest.approx(expected.mean(), abs=0.05)


def test_coarse_steps_cost_the_probability_of_a_box():
    coder, step = MixtureCoder(correlated(20_000), 1), 3.0
    lower = np.array([0, 5, -20]) // step * step - step / 2
    box = scipy.stats.multivariate_normal(coder.means[0], coder.factors[0] @ coder.factors[0].T).cdf(
        lower + step, lower_limit=lower)
    found = coder.bits(np.round((lower + step / 2) / step).astype(int)[None], step)[0]
    assert found == pytest.approx(-np.log2(box), abs=0.5)  # the known numbers enter by their middle, not their range


def test_a_mixture_knows_that_corners_are_likely():
    codes = clusters()
    coder, independent = MixtureCoder(codes, 8), MixtureCoder(codes, 1)
    assert coder.bits(coder.round(codes, 20.0), 20.0).mean() == pytest.approx(3, abs=0.1)  # one of eight corners
    assert coder.bits(coder.round(codes, 5.0), 5.0).mean() < independent.bits(coder.round(codes, 5.0), 5.0).mean() - 4


def test_the_code_is_a_probability():
    """Over all boxes 2^-bits sums to 1."""
    coder, step = MixtureCoder(correlated(500), 3), 6.0
    ends = coder.round([[-1e9] * 3, [1e9] * 3], step)
    axes = [np.arange(first, last + 1) for first, last in ends.T]
    boxes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    assert np.sum(2.0 ** -coder.bits(boxes, step)) == pytest.approx(1, abs=1e-6)


def test_out_of_form_is_refused():
    coder = MixtureCoder(correlated(100), 2)
    for codes, components in ((np.zeros((5,)), 1), (np.zeros((3, 2)), 4)):
        with pytest.raises(ValueError, match="Received: "):
            MixtureCoder(codes, components)
    for indices in (np.zeros((2, 2), int), np.zeros((2, 3)), np.full((1, 3), 10**6)):
        with pytest.raises(ValueError, match="Received: "):
            coder.encode(indices, 1.0)
    with pytest.raises(ValueError, match="positive"):
        coder.round(np.zeros((1, 3)), 0)


def stormy(height, width, seed, channels=4):
    """Maps that are calm here and rough there, in all channels alike, around a smooth first channel."""
    rng = np.random.default_rng(seed)
    rough = gaussian_filter(rng.standard_normal((height, width)), 3)
    rough = np.exp(1.2 * rough / rough.std())[..., None]
    smooth = gaussian_filter(300 * rng.standard_normal((height, width)), 4)
    numbers = rough * rng.standard_normal((height, width, channels)) * np.linspace(6, 1, channels)
    numbers[..., 0] += smooth
    return np.round(numbers).astype("int64")


def shuffled(numbers, seed=0):
    """Each channel's numbers at other places: what neighbours could tell is gone."""
    places = numbers.reshape(-1, numbers.shape[-1])
    return np.random.default_rng(seed).permuted(places, axis=0).reshape(numbers.shape)


@pytest.fixture(scope="module")
def neighbours():
    return NeighbourCoder([stormy(32, 24 + 8 * seed, seed) for seed in range(6)])


@settings(deadline=None, max_examples=40)
@given(hnp.arrays("int64", st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(4)),
                  elements=st.integers(-16_383, 16_383) | st.integers(-3, 3)))
def test_maps_of_any_numbers_and_sides_come_back(neighbours, numbers):
    np.testing.assert_array_equal(neighbours.decode(neighbours.encode(numbers), *numbers.shape[:2]), numbers)


def test_maps_like_those_of_training_come_back_and_neighbours_are_worth_something(neighbours):
    without = NeighbourCoder([shuffled(stormy(32, 24 + 8 * seed, seed)) for seed in range(6)])
    for seed in (100, 101):
        numbers = stormy(40, 33, seed)
        message = neighbours.encode(numbers)
        np.testing.assert_array_equal(neighbours.decode(message, 40, 33), numbers)
        assert len(message) < 0.95 * len(without.encode(shuffled(numbers)))


def test_noise_costs_its_entropy_and_zeros_nothing():
    def noise(seed):
        return np.random.default_rng(seed).integers(-3, 4, size=(64, 64, 2))

    message = NeighbourCoder([noise(seed) for seed in range(8)]).encode(noise(100))
    assert 8 * len(message) / (64 * 64 * 2) == pytest.approx(np.log2(7), rel=0.02)  # nothing there is to be learned
    empty = np.zeros((64, 64, 2), int)
    assert len(NeighbourCoder([empty] * 4).encode(empty)) <= 8


def test_a_map_that_its_neighbours_tell_costs_little():
    ramp = np.add.outer(np.arange(32), 2 * np.arange(32))[..., None]  # each is left + above - above left
    coder = NeighbourCoder([ramp, ramp + 5, 2 * ramp])
    assert len(coder.encode(ramp + 9)) < 0.3 * len(coder.encode(shuffled(ramp)))  # edges cost something
    np.testing.assert_array_equal(coder.decode(coder.encode(ramp + 9), 32, 32), ramp + 9)


def test_neighbour_coder_refuses_what_is_out_of_form(neighbours):
    for numbers in (np.zeros((3, 3), int), np.zeros((3, 3, 5), int), np.zeros((3, 3, 4)),
                    np.zeros((0, 3, 4), int), np.full((3, 3, 4), 1 << 14)):
        with pytest.raises(ValueError, match="Received: "):
            neighbours.encode(numbers)
    with pytest.raises(ValueError, match="Received: "):
        NeighbourCoder([np.zeros((3, 3, 2), int), np.zeros((3, 3, 3), int)])
