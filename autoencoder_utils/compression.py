"""Coders of rounded codes: probabilities that are learned from training codes drive the range coder."""

from bisect import bisect_left

import numpy as np
from scipy.special import ndtr
from sklearn.mixture import GaussianMixture

from autoencoder_utils.rangecoder import TOTAL, RangeDecoder, RangeEncoder, integer_frequencies

START = 30  # numbers' worth of trust in a table before anything is counted
FINE = 64  # weights that predict are multiples of 1 / FINE
SPELLED = np.full(1 << 16, TOTAL >> 16)  # frequencies of a number of 16 bits of which nothing is known
RIDGE = 1e-3  # added to a mixture's variances, as a share of the codes' mean variance
LIKELY = 1e-5  # components less likely than this, given the numbers so far, are left out of a number's table
NEAR = 8  # channels before that tell how large a number is: all 63 make files no smaller, and fits 10 times slower
TINY = 1e-9  # added to each probability: nothing is impossible, whatever was seen in training


class MixtureCoder:
    """Turns codes, rounded to multiples of a step, into bytes; a mixture of Gaussians says how likely each number is.

    The numbers of a code are coded one after the other. Those that are known tell which component the code is likely
    from, and where in each component the next number lies: the chain rule p(y) = p(y_1) p(y_2 | y_1) ..., each density
    integrated over the step. Any step will do, so one mixture serves many rates.

    Args:
        codes: Training codes (n, latent_dim), to which the mixture is fitted (scikit-learn's expectation maximisation).
        components: Gaussians in the mixture, each with a full covariance.
        seed: Of the start of the fit.

    Raises:
        ValueError: codes of another form, fewer codes than components.
    """

    def __init__(self, codes, components=40, seed=0):
        codes = np.asarray(codes, "float64")
        if codes.ndim != 2 or len(codes) < max(components, 2):
            raise ValueError(f"Expected at least {max(components, 2)} codes of shape (n, latent_dim). "
                             f"Received: shape {codes.shape}")
        mixture = GaussianMixture(components, reg_covar=RIDGE * codes.var(axis=0).mean() + 1e-12, max_iter=30,
                                  tol=1e-2, random_state=seed).fit(codes)
        self.shares, self.means = mixture.weights_, mixture.means_  # (components,), (components, latent_dim)
        self.factors = np.linalg.cholesky(mixture.covariances_)  # lower triangular: covariance = factor @ factor.T
        self.low, self.high = codes.min(axis=0), codes.max(axis=0)

    def round(self, codes, step):
        """Codes (n, latent_dim) as multiples of `step`: int64 (n, latent_dim), within what the training codes span."""
        first, last = self._limits(step)
        return np.round(np.asarray(codes, "float64") / step).astype("int64").clip(first, last)

    def encode(self, indices, step):
        """Whole numbers (n, latent_dim), from `round`, to bytes, in which the first number of all codes comes first."""
        encoder = RangeEncoder()

        def put(symbols, tables):
            encoder.encode(symbols, tables)
            return symbols

        self._one_by_one(len(indices), step, put, self._check(indices, step))
        return encoder.finish()

    def decode(self, message, count, step):
        """Bytes from `encode` to the whole numbers that they were made of, int64 (count, latent_dim)."""
        decoder = RangeDecoder(message)
        return self._one_by_one(count, step, lambda _, tables: decoder.decode(tables))

    def bits(self, indices, step):
        """What each code costs, without a coder's rounding up to bytes: whole numbers (n, latent_dim) to bits (n,)."""
        total = np.zeros(len(indices))

        def count(symbols, tables):
            total[:] -= np.log2(np.take_along_axis(tables, symbols[:, None], 1)[:, 0] / TOTAL)
            return symbols

        self._one_by_one(len(indices), step, count, self._check(indices, step))
        return total

    def _one_by_one(self, count, step, code, indices=None):
        """Runs through the numbers: `code` is given symbols, if they are known, and tables, and returns the symbols."""
        first, last = self._limits(step)
        done = np.zeros((count, len(first)), "int64")
        weights = np.tile(self.shares, (count, 1))  # (n, components), how likely each is, given the numbers so far
        standard = np.zeros((count, *self.means.shape))  # (n, components, latent_dim), in deviations of each component
        for i in range(len(first)):
            deviation = self.factors[:, i, i]
            mean = self.means[:, i] + np.einsum("nkj,kj->nk", standard[:, :, :i], self.factors[:, i, :i])
            edges = step * (np.arange(first[i], last[i] + 2) - 0.5)
            rows, parts = np.nonzero(weights > LIKELY)  # at least one in each row
            inside = np.diff(ndtr((edges - mean[rows, parts, None]) / deviation[parts, None]))  # (pairs, alphabet)
            tables = np.add.reduceat(weights[rows, parts, None] * inside, np.flatnonzero(np.diff(rows, prepend=-1)))
            tables = integer_frequencies(tables + TINY)
            symbols = code(None if indices is None else indices[:, i] - first[i], tables)
            low, high = (ndtr((edges[symbols + end, None] - mean) / deviation) for end in (0, 1))  # (n, components)
            weights = weights * (high - low + TINY)
            weights /= weights.sum(axis=1, keepdims=True)
            done[:, i] = symbols + first[i]
            standard[:, :, i] = (step * done[:, i, None] - mean) / deviation
        return done

    def _limits(self, step):
        """First and last multiple of `step` that each number may take."""
        if not step > 0:
            raise ValueError(f"`step` must be positive. Received: step={step}")
        return np.floor(self.low / step).astype("int64"), np.ceil(self.high / step).astype("int64")

    def _check(self, indices, step):
        indices, (first, last) = np.asarray(indices), self._limits(step)
        if indices.ndim != 2 or indices.shape[1] != len(first) or not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(f"Expected whole numbers of shape (n, {len(first)}). Received: {indices.dtype}, shape "
                             f"{indices.shape}")
        if np.any((indices < first) | (indices > last)):
            raise ValueError("Expected numbers from `round`, within what the training codes span. Received: values "
                             f"from {indices.min()} to {indices.max()}")
        return indices


class NeighbourCoder:
    """Turns maps of whole numbers (height, width, channels) into bytes; what is known around says how large each is.

    Channel by channel and row by row, two weighted sums predict each number and how far off the prediction is likely
    to be: of its four known neighbours, and of the last few channels at its place and around it. The second sum chooses
    one of a few tables of frequencies, counted in training (as in Wu and Memon, "Context-based, adaptive, lossless
    image coding", IEEE Transactions on Communications 45, 1997). The weights are multiples of 1/64, so that all sums
    are of whole numbers and exact: a decoder that rounds otherwise would read nonsense from there on.

    Args:
        maps: Training maps, whole numbers (height, width, channels), with the same channels; sides may differ.
        tables: How many tables of frequencies at most.

    Raises:
        ValueError: no maps, or maps of another form.
    """

    def __init__(self, maps, tables=32):
        maps = [self._check(one, maps[0]) for one in maps]
        self.channels, self.weights, sizes, errors = maps[0].shape[-1], [], [], []
        for k in range(self.channels):
            numbers = np.concatenate([one[..., k].ravel() for one in maps])
            around, scales = (np.concatenate(rows) for rows in zip(*(_features(one, k) for one in maps)))
            value = _fit(around, numbers)
            error = numbers - _rounded(around @ value)
            size = _fit(scales, np.abs(error), relative=True)
            self.weights.append((value, size))
            sizes.append(scales @ size)
            errors.append(error)
        sizes, errors = np.concatenate(sizes), np.concatenate(errors).astype("int64")
        self.edges = np.unique(np.geomspace(1, max(sizes.max(), 2), tables - 1).astype("int64"))
        self.largest = int(np.abs(errors).max()) + 1  # beyond it a number is spelled out in 16 bits
        self.frequencies = self._count(np.searchsorted(self.edges, sizes), errors)

    def encode(self, numbers):
        """Whole numbers (height, width, channels), from -16,384 to 16,383, to bytes."""
        numbers, encoder = self._check(numbers), RangeEncoder()
        for k, (value, size) in enumerate(self.weights):
            around, scales = _features(numbers, k)
            errors = numbers[..., k].ravel() - _rounded(around @ value).astype("int64")
            rows = np.searchsorted(self.edges, scales @ size)
            spelled = np.abs(errors) > self.largest
            symbols = np.where(spelled, 2 * self.largest + 1, errors + self.largest)
            for piece in np.split(np.arange(len(errors)), np.flatnonzero(spelled) + 1):
                encoder.encode(symbols[piece], self.frequencies, rows[piece])
                if len(piece) and spelled[piece[-1]]:
                    encoder.encode(numbers[..., k].ravel()[piece[-1:]] + (1 << 15), SPELLED)
        return encoder.finish()

    def decode(self, message, height, width):
        """Bytes to the whole numbers, int64 (height, width, channels), that they were made of."""
        numbers, decoder = np.zeros((height, width, self.channels), "int64"), RangeDecoder(message)
        tables, edges = np.pad(np.cumsum(self.frequencies, axis=1), ((0, 0), (1, 0))).tolist(), self.edges.tolist()
        spelled = np.append(0, np.cumsum(SPELLED)).tolist()
        for k, (value, size) in enumerate(self.weights):
            around, scales = _features(numbers, k)  # the neighbours in channel k are all 0 yet
            values, sizes = (around @ value).astype("int64").tolist(), (scales @ size).astype("int64").tolist()
            (a, b, c, d), (e, f, g, h) = value[:4].astype("int64").tolist(), size[:4].astype("int64").tolist()
            rows = [[0] * (width + 2) for _ in range(height + 1)]  # with a border of zeros
            for i in range(height):
                above, row = rows[i], rows[i + 1]
                for j in range(width):
                    w, n, nw, ne, at = row[j], above[j + 1], above[j], above[j + 2], i * width + j
                    guess = values[at] + a * w + b * n + c * nw + d * ne
                    scale = sizes[at] + e * abs(w) + f * abs(n) + g * abs(nw) + h * abs(ne)
                    symbol = decoder.symbol(tables[bisect_left(edges, scale)])
                    row[j + 1] = (decoder.symbol(spelled) - (1 << 15) if symbol > 2 * self.largest else
                                  symbol - self.largest + ((guess + FINE // 2) // FINE))
            numbers[..., k] = [row[1:-1] for row in rows[1:]]
        return numbers

    def _count(self, rows, errors):
        """Tables of frequencies: what was counted, with a Laplace distribution as wide for a start; signs are alike."""
        counts = np.zeros((len(self.edges) + 1, 2 * self.largest + 2))  # the last symbol: spelled out
        np.add.at(counts, (rows, self.largest + errors), 0.5)
        np.add.at(counts, (rows, self.largest - errors), 0.5)
        distance = np.abs(np.arange(-self.largest, self.largest + 2))
        mean = (counts @ distance + 1) / (counts.sum(axis=1) + 1)  # (tables,)
        start = np.exp(-distance / (mean[:, None] + 0.1))
        return integer_frequencies(counts + START * start / start.sum(axis=1, keepdims=True) + 1e-3)

    def _check(self, numbers, like=None):
        numbers, channels = np.asarray(numbers), self.channels if like is None else np.shape(like)[-1]
        if numbers.ndim != 3 or numbers.shape[-1] != channels or not np.issubdtype(numbers.dtype, np.integer) or (
                numbers.size == 0 or np.abs(numbers).max() >= 1 << 14):
            raise ValueError(f"Expected whole numbers of shape (height, width, {channels}), below 16,384. Received: "
                             f"{numbers.dtype}, shape {numbers.shape}")
        return numbers.astype("int64")


def _features(numbers, k):
    """What is known before channel k of (height, width, channels) is coded, for each place in it.

    Returns:
        For the number, (places, 4 or 8): its neighbours to the left, above, above left and above right, and what
        channel 0 has around it. For its size, (places, 5 + 2 min(k, 8)): the neighbours' absolute values, 1, and those
        of the channels before at the place and, in sum, at the four around it.
    """
    own = np.pad(numbers[..., k], ((1, 0), (1, 1)))
    own = [own[1:, :-2], own[:-1, 1:-1], own[:-1, :-2], own[:-1, 2:]]
    first = _around(numbers[..., 0]) if k else []
    around = np.stack(own + first, axis=-1)
    last = np.abs(numbers[..., max(k - NEAR, 0) : k])
    sizes = [np.abs(np.stack(own, axis=-1)), np.ones((*own[0].shape, 1)), last, sum(_around(last))]
    return (array.reshape(own[0].size, -1).astype("float64") for array in (around, np.concatenate(sizes, axis=-1)))


def _around(numbers):
    """What (height, width, ...) has to the left, to the right, above and below; at an edge, the number itself."""
    wide = np.pad(numbers, [(1, 1)] * 2 + [(0, 0)] * (numbers.ndim - 2), mode="edge")
    return [wide[1:-1, :-2], wide[1:-1, 2:], wide[:-2, 1:-1], wide[2:, 1:-1]]


def _fit(features, targets, relative=False):
    """Least squares, (n, d) and (n,) to (d,), in multiples of 1/64; `relative` weighs errors by the fitted size."""
    weights, scale = np.zeros(features.shape[1]), np.ones(len(targets))
    for _ in range(3 if relative else 1):
        rows = features / scale[:, None]
        squares = rows.T @ rows
        ridge = 1e-3 * np.trace(squares) / len(squares) + 1e-9
        weights = np.linalg.solve(squares + ridge * np.eye(len(squares)), rows.T @ (targets / scale))
        scale = np.maximum(features @ weights, 0.02) if relative else scale
    return np.round(weights * FINE)


def _rounded(sums):
    return np.floor((sums + FINE // 2) / FINE)
