"""Tomography of flat bodies: random phantoms, a scanner, its noise, and reconstruction without learning."""

import numpy as np
from scipy import sparse

from autoencoder_utils.restoration import total_variation

CHUNK = 50  # images that a sparse matrix works on at a time: more would leave the processor's cache
ABSORPTION = 1 / 16  # share of the photons that a pixel of value 1 takes: about exp(-4) come through a grey body


def random_phantoms(count, side, seed, ellipses=40):
    """Draws phantoms: overlapping ellipses of random grey in a disc, in the manner of the ellipses benchmark.

    Adler and Oktem, "Solving ill-posed inverse problems using iterative deep neural networks", Inverse Problems 33,
    2017, train on such phantoms. The number of ellipses is Poisson; what lies outside the disc is cut away, since the
    scanner does not see it; each phantom is stretched to the range [0, 1].

    Args:
        count: How many phantoms.
        side: Of the image, in pixels.
        seed: Of the draw.
        ellipses: Mean number of ellipses, above 0.

    Returns:
        float32 (count, side, side, 1) in [0, 1]; 0 outside the ellipses and outside the disc.
    """
    rng, phantoms = np.random.default_rng(seed), np.empty((count, side * side), "float32")
    y, x = (np.mgrid[:side, :side].reshape(2, -1) - side // 2) / (side / 2)
    powers = np.stack([x * x, x * y, y * y, x, y, np.ones_like(x)]).astype("float32")  # (6, pixels)
    disc = x**2 + y**2 < 0.95**2
    for phantom in phantoms:
        number = max(rng.poisson(ellipses), 1)
        grey, axes = rng.uniform(-0.4, 1, number).astype("float32"), 0.2 * rng.exponential(size=(2, number)) + 0.01
        inside = _quadratic(rng.uniform(-0.9, 0.9, (2, number)), axes, rng.uniform(0, np.pi, number)) @ powers < 1
        total = (grey @ inside) * disc
        body = inside.any(axis=0) & disc
        low, high = min(total.min(), 0), total.max()
        phantom[:] = np.where(body, (total - low) / max(high - low, 1e-6), 0)
    return phantoms.reshape(count, side, side, 1).clip(0, 1)


def _quadratic(centres, axes, turns):
    """Ellipses as quadratic forms (number, 6) in x^2, xy, y^2, x, y, 1: below 1 inside."""
    (u, v), (a, b), cos, sin = centres, 1 / axes**2, np.cos(turns), np.sin(turns)
    xx, xy, yy = a * cos**2 + b * sin**2, 2 * (a - b) * cos * sin, a * sin**2 + b * cos**2
    linear = -2 * xx * u - xy * v, -2 * yy * v - xy * u
    return np.stack([xx, xy, yy, *linear, xx * u**2 + xy * u * v + yy * v**2], axis=1).astype("float32")


class Scanner:
    """A parallel-beam scanner: scikit-image's Radon transform and filtered back-projection, for many images at once.

    Both are linear; as sparse matrices, built once, they take a hundredth of a second an image. Images are float32
    (batch, side, side, 1), 0 outside the inscribed disc; sinograms are float32 (batch, angles, side, 1), in pixels.

    Args:
        side: Of the images, in pixels, at least 2.
        angles: Number of directions, evenly spread over half a turn, at least 1.

    Raises:
        ValueError: too small a side, too few angles; from the methods: arrays of another form.
    """

    def __init__(self, side, angles):
        if side < 2 or angles < 1:
            raise ValueError(f"A scanner needs a side of at least 2 pixels and an angle. Received: side={side}, "
                             f"angles={angles}")
        self.side, self.angles = side, angles
        turns = np.deg2rad(np.linspace(0, 180, angles, endpoint=False))
        self.forward, self.backward = _projection(side, turns), _back_projection(side, turns)
        self.filter = _hann_filter(int(2 ** np.ceil(np.log2(2 * np.ceil(np.sqrt(2) * side)))))

    def project(self, images):
        """Images to sinograms: the sum of the pixels along each ray."""
        images = np.asarray(images, "float32")
        self._check(images, (self.side, self.side, 1))
        return _multiply(self.forward, images).reshape(-1, self.angles, self.side, 1)

    def filtered_back_projection(self, sinograms):
        """Sinograms to images: each projection, sharpened by a ramp filter with a Hann window, is smeared back.

        Kak and Slaney, "Principles of computerized tomographic imaging", 1988, chapter 3. Not clipped: linear.
        """
        sinograms = np.asarray(sinograms, "float32")
        self._check(sinograms, (self.angles, self.side, 1))
        size, smeared = len(self.filter), []
        for start in range(0, len(sinograms), CHUNK):  # the spectra take eight times the memory of the sinograms
            spectra = np.fft.fft(sinograms[start : start + CHUNK, ..., 0], size, axis=2) * self.filter
            filtered = np.fft.ifft(spectra, axis=2).real[:, :, : self.side + 1].astype("float32")
            smeared.append(_multiply(self.backward, filtered))
        return np.concatenate(smeared).reshape(-1, self.side, self.side, 1)

    def total_variation(self, sinograms, weight, rounds=10):
        """Sinograms to images: seeks agreement with the measurement and a small total variation, in turn.

        Each round adds the back-projection of what the image does not yet explain, then takes one step of total
        variation denoising: proximal gradient descent, with filtered back-projection in the place of the gradient.

        Args:
            sinograms: float32 (batch, angles, side, 1).
            weight: Of the total variation, above 0.
            rounds: At least 1.

        Returns:
            float32 (batch, side, side, 1) in [0, 1].
        """
        results = []
        for start in range(0, len(sinograms), CHUNK):
            some = sinograms[start : start + CHUNK]
            images = total_variation(self.filtered_back_projection(some), weight).clip(0, 1)
            for _ in range(rounds - 1):
                missing = self.filtered_back_projection(some - self.project(images))
                images = total_variation(images + missing, weight, iterations=20).clip(0, 1)
            results.append(images)
        return np.concatenate(results)

    def _check(self, arrays, shape):
        if arrays.ndim != 4 or arrays.shape[1:] != shape:
            raise ValueError(f"Expected an array of shape (batch, {', '.join(map(str, shape))}). "
                             f"Received: shape {arrays.shape}")


def photon_noise(sinograms, photons, seed):
    """What a detector reads if `photons` set out on each ray: Beer and Lambert's law with Poisson counts.

    As in Leuschner et al., "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography reconstruction",
    Scientific Data 8, 2021.

    Args:
        sinograms: (batch, angles, side, 1), in pixels of value 1; such a pixel absorbs 6 % of the photons.
        photons: Mean number that set out on a ray, above 0: the dose.
        seed: Of the counts.

    Returns:
        float32, same shape: the sinograms, estimated from the counts (a count of 0 is taken for 1).

    Raises:
        ValueError: no photons.
    """
    if photons <= 0:
        raise ValueError(f"`photons` must be positive. Received: photons={photons}")
    counts = np.random.default_rng(seed).poisson(photons * np.exp(-ABSORPTION * np.asarray(sinograms, "float64")))
    return (np.log(photons / np.maximum(counts, 1)) / ABSORPTION).astype("float32")


def _projection(side, turns):
    """scikit-image's `radon(circle=True)` as a matrix (angles * side, side * side): turn the image, add up columns."""
    centre, rays, pixels, weights = side // 2, [], [], []
    y, x = np.mgrid[:side, :side] - centre
    for number, turn in enumerate(turns):
        column, row = np.cos(turn) * x + np.sin(turn) * y + centre, np.cos(turn) * y - np.sin(turn) * x + centre
        left, top = np.floor(column), np.floor(row)
        for i in (0, 1):  # linear interpolation between four pixels
            for j in (0, 1):
                weight = np.abs(1 - i - (row - top)) * np.abs(1 - j - (column - left))
                keep = (top + i >= 0) & (top + i < side) & (left + j >= 0) & (left + j < side)
                rays.append((number * side + x + centre)[keep])
                pixels.append(((top + i) * side + left + j)[keep])
                weights.append(weight[keep])
    return _matrix(weights, rays, pixels, (len(turns) * side, side * side))


def _back_projection(side, turns):
    """The smearing of scikit-image's `iradon`, (side * side, angles * (side + 1)): 0 outside the disc."""
    centre, rays, pixels, weights = side // 2, [], [], []
    y, x = np.mgrid[:side, :side] - centre
    inside = x**2 + y**2 <= centre**2
    pixel = np.flatnonzero(inside)
    for number, turn in enumerate(turns):
        place = (x * np.cos(turn) - y * np.sin(turn))[inside] + centre  # in the filtered projection
        left = np.clip(np.floor(place), 0, side - 1)
        for j in (0, 1):
            rays.append(number * (side + 1) + left + j)
            pixels.append(pixel)
            weights.append(np.abs(1 - j - (place - left)) * np.pi / (2 * len(turns)))
    return _matrix(weights, pixels, rays, (side * side, len(turns) * (side + 1)))


def _matrix(weights, rows, columns, shape):
    weights, rows, columns = (np.concatenate(parts) for parts in (weights, rows, columns))
    places = rows.astype("int32"), columns.astype("int32")
    return sparse.coo_matrix((weights.astype("float32"), places), shape).tocsr()


def _multiply(matrix, arrays):
    """matrix (m, k) times each of arrays (n, ...) of k numbers: (n, m)."""
    flat = arrays.reshape(len(arrays), -1)
    return np.concatenate([(matrix @ flat[start : start + CHUNK].T).T for start in range(0, len(flat), CHUNK)])


def _hann_filter(size):
    """The ramp filter with a Hann window, as scikit-image has it, (size,)."""
    odd = np.arange(1, size, 2)
    ramp = np.zeros(size)
    ramp[0], ramp[1::2] = 0.25, -1 / (np.pi * np.minimum(odd, size - odd)) ** 2
    return 2 * np.fft.fft(ramp).real * np.fft.fftshift(np.hanning(size))
