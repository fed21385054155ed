"""The range coder: exact round trips, on random and on extreme messages, in hardly more bytes than the entropy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autoencoder_utils.rangecoder import TOTAL, RangeDecoder, RangeEncoder, integer_frequencies

SHARES = st.floats(0, 1e6) | st.sampled_from([1.0, 1e-300, 1e-9, 1e300])


def round_trip(symbols, frequencies, rows=None):
    """Encodes, checks that decoding gives the same symbols, and returns bytes and the ideal number of bits."""
    symbols, tables = np.asarray(symbols, "int64"), np.atleast_2d(frequencies)
    if rows is None:
        rows = np.zeros(len(symbols), int) if np.ndim(frequencies) == 1 else np.arange(len(symbols))
    encoder = RangeEncoder()
    encoder.encode(symbols, frequencies, rows)
    message = encoder.finish()
    np.testing.assert_array_equal(RangeDecoder(message).decode(frequencies, rows), symbols)
    return message, -np.log2(tables[rows, symbols] / TOTAL).sum()


def check_size(message, bits):
    assert bits / 8 - 1 < len(message) or message == message.rstrip(b"\0")  # zeros at the end need not be written
    assert len(message) <= bits / 8 * 1.0001 + 2


@st.composite
def messages(draw):
    alphabet = draw(st.integers(1, 40))
    shares = draw(hnp.arrays("float64", alphabet, elements=SHARES).filter(lambda a: 0 < a.sum() < np.inf))
    return draw(st.lists(st.integers(0, alphabet - 1), max_size=80)), integer_frequencies(shares)


@settings(deadline=None, max_examples=150)
@given(messages())
def test_random_messages_come_back(message):
    check_size(*round_trip(*message))


@settings(deadline=None, max_examples=60)
@given(st.lists(messages(), max_size=5))
def test_pieces_with_tables_of_their_own_share_one_message(pieces):
    encoder = RangeEncoder()
    for symbols, frequencies in pieces:
        encoder.encode(np.array(symbols, "int64"), frequencies)
    decoder = RangeDecoder(encoder.finish())
    for symbols, frequencies in pieces:
        assert decoder.decode(frequencies, np.zeros(len(symbols), int)).tolist() == symbols


@pytest.mark.parametrize("alphabet", [1, 2, 256, 65536])
@pytest.mark.parametrize("count", [0, 1, 2000])
@pytest.mark.parametrize("spread", [0.02, 1, 100])
def test_alphabets_of_every_size(alphabet, count, spread):
    rng = np.random.default_rng(alphabet + count)
    frequencies = integer_frequencies(rng.dirichlet(np.full(alphabet, spread)) + 1e-12)
    message, bits = round_trip(rng.choice(alphabet, count, p=frequencies / TOTAL), frequencies)
    check_size(message, bits)
    if alphabet == 1 or count == 0:
        assert message == b""


def test_long_message_costs_its_entropy():
    rng = np.random.default_rng(0)
    shares = np.array([0.7, 0.2, 0.09, 0.01])
    message, bits = round_trip(rng.choice(4, 200_000, p=shares), integer_frequencies(shares))
    entropy = -(shares * np.log2(shares)).sum() * 200_000  # Shannon's, of the source
    assert len(message) * 8 == pytest.approx(bits, abs=16)
    assert len(message) * 8 == pytest.approx(entropy, rel=0.01)


@pytest.mark.parametrize("rare", [[], [0], [99_999], [500, 501, 502]])
def test_a_symbol_that_is_nearly_certain_costs_nearly_nothing(rare):
    symbols = np.zeros(100_000, int)
    symbols[rare] = 1
    message, _ = round_trip(symbols, integer_frequencies([1, 0]))
    assert len(message) <= 3 * len(rare) + 2  # 24 bits for each impossible one


@pytest.mark.parametrize("symbol", [0, 1, 2])
def test_unlikely_symbols_only_and_carries(symbol):
    check_size(*round_trip(np.full(3000, symbol), integer_frequencies([1e-9, 1, 1e-9])))
    check_size(*round_trip([1] * 2999 + [symbol], integer_frequencies([1e-9, 1, 1])))


def test_a_carry_runs_through_bytes_of_255():
    frequencies = np.array([TOTAL // 2, TOTAL // 2 - 1, 1])
    for tail in range(1, 60):
        round_trip([0] + [1] * tail + [2] * 3, frequencies)
        round_trip([0] + [2] * tail + [1, 0], frequencies)
        round_trip([2] * tail, frequencies)


def test_each_symbol_may_have_its_own_table_and_tables_may_be_shared():
    rng = np.random.default_rng(1)
    tables = integer_frequencies(rng.dirichlet(np.ones(9), 30))
    symbols = rng.integers(9, size=30)
    first, bits = round_trip(symbols, tables)
    check_size(first, bits)
    encoder = RangeEncoder()
    encoder.encode(symbols, tables)  # one after the other is the default
    assert encoder.finish() == first
    np.testing.assert_array_equal(RangeDecoder(first).decode(tables), symbols)
    check_size(*round_trip(rng.integers(9, size=500), tables, rng.integers(30, size=500)))


def test_an_encoder_starts_afresh_after_finish():
    encoder, frequencies = RangeEncoder(), integer_frequencies([1, 2, 3])
    found = []
    for _ in range(2):
        encoder.encode(np.array([2, 0, 1, 1]), frequencies)
        found.append(encoder.finish())
    assert found[0] == found[1] and encoder.finish() == b""


def test_a_damaged_message_decodes_to_something_or_other():
    frequencies = integer_frequencies([5, 1, 1])
    for message in (b"", b"\xff" * 3, b"\xff" * 100, bytes(range(256))):
        symbols = RangeDecoder(message).decode(frequencies, np.zeros(500, int))
        assert symbols.shape == (500,) and 0 <= symbols.min() <= symbols.max() <= 2


@settings(deadline=None, max_examples=100)
@given(hnp.arrays("float64", st.tuples(st.integers(1, 4), st.integers(1, 50)), elements=SHARES))
def test_frequencies_are_whole_sum_to_the_total_and_are_near(shares):
    sums = shares.sum(axis=-1)
    if not np.all((sums > 0) & (sums < np.inf)):
        with pytest.raises(ValueError, match="Received: "):
            integer_frequencies(shares)
        return
    frequencies = integer_frequencies(shares)
    assert frequencies.dtype == "int64" and frequencies.min() >= 1
    np.testing.assert_array_equal(frequencies.sum(axis=-1), TOTAL)
    np.testing.assert_allclose(frequencies / TOTAL, shares / sums[:, None], atol=51 / TOTAL)


def test_frequencies_cost_little_even_with_the_largest_alphabet():
    shares = np.random.default_rng(0).dirichlet(np.full(65536, 0.1))
    extra = (shares * np.log2(np.maximum(shares, 1e-300) / (integer_frequencies(shares) / TOTAL))).sum()
    assert 0 <= extra < 0.006  # bits a symbol


@pytest.mark.parametrize("shares", [[], [0, 0], [-1, 2], [1, math.nan], [1, math.inf], 3.0, np.ones(65537)])
def test_probabilities_out_of_form_are_refused(shares):
    with pytest.raises(ValueError, match="Received: "):
        integer_frequencies(shares)


def test_encoder_and_decoder_refuse_what_they_cannot_code():
    encoder, frequencies = RangeEncoder(), integer_frequencies([1, 1])
    for symbols in ([2], [-1], [0.5], [[0]]):
        with pytest.raises(ValueError, match="Expected symbols.*Received: "):
            encoder.encode(np.array(symbols), frequencies)
    for tables in ([1, 1], [0.5, 0.5], frequencies / 1.0):
        with pytest.raises(ValueError, match="integer_frequencies.*Received: "):
            encoder.encode(np.array([0]), tables)
        with pytest.raises(ValueError, match="integer_frequencies.*Received: "):
            RangeDecoder(b"").decode(tables)
    with pytest.raises(ValueError, match="row for each symbol.*Received: "):
        encoder.encode(np.array([0, 1]), np.stack([frequencies] * 3))
