"""Ways to spoil or to vary images: noise, masks, blur, downsampling, small deformations. Arrays in, arrays out."""

import numpy as np
from scipy.ndimage import gaussian_filter

from autoencoder_utils.data import check_images

CRISP = 1.36  # contrast that gives MNIST's digits back the entropy they had (chapter 4 measures it)
CHUNK = 100  # images that `random_affine` works on at a time: more would leave the processor's cache


def gaussian_noise(images, sigma, seed):
    """Adds Gaussian noise and clips the result to [0, 1].

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        sigma: Standard deviation of the noise, in units of the pixel range, at least 0.
        seed: Seed of the noise.

    Returns:
        Noisy images, float32, same shape, in [0, 1].

    Raises:
        ValueError: images out of form, negative sigma.
    """
    images = check_images(images)
    if sigma < 0:
        raise ValueError(f"`sigma` must be at least 0. Received: sigma={sigma}")
    noise = np.random.default_rng(seed).standard_normal(images.shape, dtype="float32")
    return np.clip(images + np.float32(sigma) * noise, 0, 1)


def salt_and_pepper(images, share, seed):
    """Sets a share of the pixels, drawn at random, to 0 or 1 with equal chance (all channels of a pixel together).

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        share: Expected share of pixels that are hit, in [0, 1].
        seed: Seed of the choice.

    Returns:
        Spoilt images, float32, same shape.

    Raises:
        ValueError: images out of form, share outside [0, 1].
    """
    images = check_images(images)
    if not 0 <= share <= 1:
        raise ValueError(f"`share` must lie in [0, 1]. Received: share={share}")
    draw = np.random.default_rng(seed).random((*images.shape[:3], 1), dtype="float32")
    return np.where(draw < share / 2, 0, np.where(draw < share, 1, images)).astype("float32")


def binarise(images, seed):
    """Draws each pixel as 0 or 1; its grey is the probability of a 1 (stochastic binarisation).

    Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks", ICML 2008. Likelihoods of digits
    in black and white are comparable only if they were drawn in the same way.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        seed: Seed of the draw.

    Returns:
        float32, same shape, of zeros and ones.

    Raises:
        ValueError: images out of form.
    """
    images = check_images(images)
    return (np.random.default_rng(seed).random(images.shape, dtype="float32") < images).astype("float32")


def mask_square(images, side, seed):
    """Blanks one square of each image, at a random place.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        side: Side of the square in pixels, from 0 to the smaller side of the image.
        seed: Seed of the places.

    Returns:
        (masked, mask): the images with zeros in the square, and a mask, float32 (batch, height, width, 1), 1 where a
        pixel was kept.

    Raises:
        ValueError: images out of form, square larger than the image.
    """
    images = check_images(images)
    count, height, width, _ = images.shape
    if not 0 <= side <= min(height, width):
        raise ValueError(f"`side` must lie in [0, {min(height, width)}] pixels. Received: side={side}")
    rng = np.random.default_rng(seed)
    top, left = (rng.integers(0, extent - side + 1, (count, 1)) for extent in (height, width))
    rows, columns = np.arange(height)[None], np.arange(width)[None]
    inside_rows = (rows >= top) & (rows < top + side)  # (batch, height)
    inside_columns = (columns >= left) & (columns < left + side)  # (batch, width)
    mask = 1 - (inside_rows[:, :, None, None] & inside_columns[:, None, :, None]).astype("float32")
    return images * mask, mask


def blur(images, sigma):
    """Blurs with a Gaussian of standard deviation `sigma` pixels (edges reflected).

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        sigma: Width of the Gaussian in pixels, at least 0.

    Returns:
        Blurred images, float32, same shape, in [0, 1].

    Raises:
        ValueError: images out of form, negative sigma.
    """
    if sigma < 0:
        raise ValueError(f"`sigma` must be at least 0. Received: sigma={sigma}")
    return np.clip(gaussian_filter(check_images(images), (0, sigma, sigma, 0)), 0, 1)


def downsample(images, factor):
    """Shrinks images by averaging blocks of `factor` x `factor` pixels.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1]; height and width are multiples of factor.
        factor: Whole number of pixels, at least 1.

    Returns:
        float32 (batch, height / factor, width / factor, channels).

    Raises:
        ValueError: images out of form, sides that are no multiples of factor.
    """
    images = check_images(images)
    count, height, width, channels = images.shape
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"`factor` must divide the image's sides, {height} and {width}. Received: factor={factor}")
    blocks = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    return blocks.mean(axis=(2, 4))


def random_affine(images, seed, rotation=15.0, shear=0.2, scale=0.1, shift=1.5, contrast=1.0):
    """Turns, shears, scales and shifts each image a little, at random: new images of the same things (augmentation).

    Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document
    analysis", ICDAR 2003. Values between pixels are interpolated linearly; what comes from outside is black.

    Args:
        images: float32 (batch, height, width, channels) in [0, 1].
        seed: Seed of the draw; all amounts are uniform between minus and plus the following.
        rotation: Degrees.
        shear: Columns by which a row moves for each row of distance from the centre.
        scale: Natural logarithm of the factor, one for height and one for width.
        shift: Pixels, one for height and one for width.
        contrast: How many times further from 0.5 the values then are, before they are clipped; above 0. Interpolation
            turns edges into slopes, so that models learn to blur. `CRISP` undoes it for digits in black and white;
            1 is right for photographs, whose values it would push against the ends.

    Returns:
        float32, same shape, in [0, 1].

    Raises:
        ValueError: images out of form, a contrast that is not positive.
    """
    images = check_images(images)
    if contrast <= 0:
        raise ValueError(f"`contrast` must be above 0. Received: contrast={contrast}")
    count, centre = len(images), (np.array(images.shape[1:3]) - 1) / 2
    turn, slant, grow_y, grow_x, down, right = np.random.default_rng(seed).uniform(-1, 1, (6, count))
    cos, sin = np.cos(np.deg2rad(rotation * turn)), np.sin(np.deg2rad(rotation * turn))
    rotate = np.array([[cos, sin], [-sin, cos]])  # (2, 2, batch)
    stretch = np.array([[np.exp(scale * grow_y), 0 * turn], [shear * slant, np.exp(scale * grow_x)]])
    matrices = np.einsum("ijn,jkn->nik", rotate, stretch)  # (batch, 2, 2), from places in the result to the source
    offsets = centre + 1 + shift * np.stack([down, right], axis=1) - matrices @ centre  # 1 for the border, below
    places = np.indices(images.shape[1:3], "float32").reshape(2, -1)  # (2, pixels)
    padded, varied = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), np.empty_like(images)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        sources = matrices[part].astype("float32") @ places + offsets[part, :, None].astype("float32")  # (n, 2, pixels)
        varied[part] = _interpolate(padded[part], sources).reshape(varied[part].shape)
    if contrast != 1:
        varied -= 0.5
        varied *= contrast
        varied += 0.5
    return varied.clip(0, 1, out=varied)


def _interpolate(images, places):
    """Values between pixels, linear in rows and columns: images (n, h, w, c) at places (n, 2, m) gives (n, m, c).

    Places outside take the value at the border.
    """
    count, height, width, channels = images.shape
    y, x = places[:, 0].clip(0, height - 1), places[:, 1].clip(0, width - 1)  # (n, m) each
    top, left = np.minimum(y.astype("int32"), height - 2), np.minimum(x.astype("int32"), width - 2)
    corner = top * width + left + height * width * np.arange(count)[:, None]  # of the four pixels around, in `flat`
    down, right = (y - top.astype("float32"))[..., None], (x - left.astype("float32"))[..., None]  # (n, m, 1)
    flat = images.reshape(-1, channels)
    above = _between(flat.take(corner, 0), flat.take(corner + 1, 0), right)
    below = _between(flat.take(corner + width, 0), flat.take(corner + width + 1, 0), right)
    return _between(above, below, down)


def _between(start, end, share):
    return start + share * (end - start)
