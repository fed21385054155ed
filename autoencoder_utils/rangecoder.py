"""From whole numbers to bytes and back, given how likely each number is: a range coder."""

from bisect import bisect_right

import numpy as np

TOTAL = 1 << 24  # the sum of a table of frequencies: fine enough for 65,536 symbols and for probabilities near 1
TOP, BOTTOM = 1 << 64, 1 << 56  # the coder's interval is at most TOP long, and is stretched when below BOTTOM


def integer_frequencies(probabilities):
    """Probabilities as whole numbers that sum to exactly `TOTAL`, each at least 1, so that every symbol can be coded.

    Args:
        probabilities: Array-like (..., alphabet), at least 0; each row is divided by its sum. At most 65,536 symbols.

    Returns:
        int64 array of the same shape.

    Raises:
        ValueError: negative numbers or none, not-a-number, rows that sum to 0 or to infinity, an alphabet too large.
    """
    probabilities = np.asarray(probabilities, "float64")
    if probabilities.ndim == 0 or not 1 <= probabilities.shape[-1] <= 1 << 16:
        raise ValueError(f"Expected from 1 to 65,536 probabilities. Received: shape {probabilities.shape}")
    sums = probabilities.sum(axis=-1, keepdims=True)
    if not (np.all(probabilities >= 0) and np.all((sums > 0) & (sums < np.inf))):
        raise ValueError("Expected probabilities of at least 0 with a positive sum. Received: values from "
                         f"{probabilities.min():.4g} to {probabilities.max():.4g}, least sum {sums.min():.4g}")
    counts = 1 + np.floor(probabilities / sums * (TOTAL - probabilities.shape[-1])).astype("int64")
    likeliest = counts.argmax(axis=-1)[..., None]
    rest = TOTAL - counts.sum(axis=-1, keepdims=True)  # what rounding down has left over
    np.put_along_axis(counts, likeliest, np.take_along_axis(counts, likeliest, -1) + rest, -1)
    return counts


class RangeEncoder:
    """Turns symbols into bytes, in hardly more bits than the sum of -log2 of their probabilities.

    A message is a number in [0, 1): each symbol shrinks the interval in which the number lies to a part as long as the
    symbol's probability, and the digits on which both ends agree are written down. Martin, "Range encoding: an
    algorithm for removing redundancy from a digitised message", Video and Data Recording Conference, 1979. Call
    `encode` as often as you like, then `finish`.
    """

    def __init__(self):
        self._low, self._length, self._bytes = 0, TOP, bytearray()

    def encode(self, symbols, frequencies, rows=None):
        """Appends symbols to the message.

        Args:
            symbols: Whole numbers (n,), from 0 to alphabet - 1.
            frequencies: One table for all symbols, (alphabet,), or tables (m, alphabet), from `integer_frequencies`.
            rows: Which of the m tables holds for each symbol, (n,); None takes one after the other.

        Raises:
            ValueError: a symbol that the alphabet does not have, a wrong number of symbols or rows.
        """
        symbols = np.asarray(symbols)
        tables, rows = _cumulative(frequencies, rows, len(symbols))
        if len(symbols) and not (np.issubdtype(symbols.dtype, np.integer) and symbols.ndim == 1
                                 and 0 <= symbols.min() <= symbols.max() < tables.shape[1] - 1):
            raise ValueError(f"Expected symbols (n,), whole numbers from 0 to {tables.shape[1] - 2}. Received: "
                             f"{symbols.dtype}, shape {symbols.shape}, {symbols.min()} to {symbols.max()}")
        starts, ends = tables[rows, symbols].tolist(), tables[rows, symbols + 1].tolist()
        low, length, done = self._low, self._length, self._bytes
        for start, end in zip(starts, ends):
            unit = length // TOTAL
            low, length = low + unit * start, unit * (end - start)
            while length < BOTTOM:
                done.append(_carry(done, low) >> 56)
                low, length = (low << 8) % TOP, length << 8
        self._low, self._length = low, length

    def finish(self):
        """The message, as short as it can be made: bytes. The coder is then ready for the next message."""
        low, length, done = self._low, self._length, self._bytes
        size = next(size for size in range(9) if -(-low >> 64 - 8 * size) << 64 - 8 * size < low + length)
        last = _carry(done, -(-low >> 64 - 8 * size) << 64 - 8 * size)
        self.__init__()
        return bytes(done + last.to_bytes(8, "big")).rstrip(b"\0")  # the decoder reads zeros behind the end


class RangeDecoder:
    """Turns the bytes of a `RangeEncoder` into symbols again, given the same tables in the same order.

    Args:
        message: bytes.
    """

    def __init__(self, message):
        self._rest = iter(message)
        self._length, self._value = TOP, 0  # the value: how far the message's number lies above the interval's low end
        for _ in range(8):
            self._value = self._value << 8 | next(self._rest, 0)

    def decode(self, frequencies, rows=None):
        """The next symbols of the message.

        Args:
            frequencies, rows: As `RangeEncoder.encode` had them. One symbol for each of `rows`, or, where it is None,
                of the tables (m, alphabet); a single table (alphabet,) needs rows, zeros (n,).

        Returns:
            int64 array (n,).

        Raises:
            ValueError: tables or rows of another form.
        """
        tables, rows = _cumulative(frequencies, rows)
        tables = tables.tolist()
        return np.array([self.symbol(tables[row]) for row in rows.tolist()], "int64")

    def symbol(self, cumulative):
        """The next symbol, given its cumulative frequencies: a list of alphabet + 1 numbers, from 0 to TOTAL."""
        unit = self._length // TOTAL
        symbol = bisect_right(cumulative, min(self._value // unit, TOTAL - 1)) - 1
        start, end = cumulative[symbol], cumulative[symbol + 1]
        self._value, self._length = self._value - unit * start, unit * (end - start)
        while self._length < BOTTOM:
            self._value, self._length = self._value << 8 | next(self._rest, 0), self._length << 8
        return symbol


def _carry(done, low):
    """Adds 1 to the bytes that are written if `low` has run over the top; returns what is below the top."""
    if low >= TOP:
        place = len(done) - 1
        while done[place] == 255:
            done[place] = 0
            place -= 1
        done[place] += 1
    return low % TOP


def _cumulative(frequencies, rows, count=None):
    """Tables of cumulative frequencies (m, alphabet + 1), and for each symbol its row, (n,)."""
    tables = np.atleast_2d(np.asarray(frequencies))
    if tables.ndim != 2 or not np.issubdtype(tables.dtype, np.integer) or np.any(tables.sum(axis=1) != TOTAL):
        raise ValueError(f"Expected tables (m, alphabet) from `integer_frequencies`, that sum to {TOTAL}. Received: "
                         f"{tables.dtype}, shape {tables.shape}")
    if rows is None:
        rows = np.zeros(count, "int64") if np.ndim(frequencies) == 1 and count is not None else np.arange(len(tables))
    rows = np.asarray(rows, "int64")
    if rows.ndim != 1 or len(rows) not in (count, len(rows) if count is None else count):
        raise ValueError(f"Expected a row for each symbol, ({count},). Received: shape {rows.shape}")
    return np.pad(np.cumsum(tables, axis=1), ((0, 0), (1, 0))), rows
