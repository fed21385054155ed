"""Figures, read back: the pixels, labels, lines and boxes that they hold, and the description that goes with them."""

import base64
import io
import shutil

import IPython.display
import keras
import matplotlib
import matplotlib.pyplot as plt
import nbconvert
import nbformat
import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import sync_playwright

from autoencoder_utils import architectures
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.plotting import COLOURS, animation, curves, image_rows, model_diagram, show, show_animation
from autoencoder_utils.variational import VariationalAutoencoder

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def random_images(count, channels=1, seed=0):
    return np.random.default_rng(seed).random((count, 6, 5, channels), "float32")


@pytest.mark.parametrize("channels", [1, 3])
def test_image_rows_show_the_pixels_that_they_are_given(channels):
    rows = {"input": random_images(4, channels), "output": random_images(4, channels, 1), "third": random_images(4)}
    figure = image_rows(rows)
    axes = np.array(figure.axes).reshape(3, 4)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        assert [axis.get_ylabel() for axis in line] == [label, "", "", ""]
        for axis, image in zip(line, images, strict=True):
            (shown,) = axis.images
            np.testing.assert_array_equal(np.asarray(shown.get_array()).reshape(image.shape), image)
            assert shown.get_clim() == (0, 1) and shown.get_interpolation() == "nearest"
    tops = [line[0].get_position().y0 for line in axes]
    assert tops == sorted(tops, reverse=True)  # the first row is on top


def test_dark_images_are_not_stretched_to_white():
    figure = image_rows({"dark": np.full((1, 6, 5, 1), 0.2, "float32")})
    (shown,) = figure.axes[0].images
    np.testing.assert_allclose(shown.to_rgba(shown.get_array())[..., :3], 0.2, atol=0.01)


@pytest.mark.parametrize("lengths", [(3, 4), (4, 3), (1, 1, 2), ()])
def test_rows_of_unequal_lengths_are_refused(lengths):
    rows = {f"row {i}": random_images(length) for i, length in enumerate(lengths)}
    received = str({label: len(images) for label, images in rows.items()})
    with pytest.raises(ValueError, match="Rows need the same number of images. Received") as caught:
        image_rows(rows)
    assert received in str(caught.value)
    assert not plt.get_fignums()


def test_curves_show_every_line_with_its_name_and_labelled_axes():
    lines = {"train": [3.0, 2.0, 1.5], "validation": [3.1, 2.5]}
    (axis,) = curves(lines, "epoch", "loss (nats)", reference={"mean image": 4.0}).axes
    drawn = {line.get_label(): line for line in axis.lines}
    for name, values in lines.items():
        np.testing.assert_array_equal(drawn[name].get_xdata(), np.arange(1, len(values) + 1))
        np.testing.assert_array_equal(drawn[name].get_ydata(), values)
    assert set(drawn["mean image"].get_ydata()) == {4.0} and drawn["mean image"].get_linestyle() == "--"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "loss (nats)")
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["train", "validation", "mean image"]


def test_curves_take_positions():
    (axis,) = curves({"a": [1, 2]}, "x", "y", x={"a": [10, 30]}).axes
    np.testing.assert_array_equal(axis.lines[0].get_xdata(), [10, 30])


def test_curves_drop_no_line_however_many_there_are():
    lines = {f"model {i}": [i, i + 1] for i in range(len(COLOURS) + 2)}
    reference = {f"baseline {i}": i for i in range(5)}
    (axis,) = curves(lines, "epoch", "loss", reference=reference).axes
    assert [line.get_label() for line in axis.lines] == [*lines, *reference]


def bars_of(axis):
    """The bars from left to right, as (place, height)."""
    bars = [patch for patch in axis.patches if isinstance(patch, plt.Rectangle)]
    return sorted((bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in bars)


def texts_by_place(axis, low, high):
    """Texts whose height lies between two bounds, from left to right."""
    found = [(text.get_position()[0], text.get_text()) for text in axis.texts if low < text.get_position()[1] < high]
    return [text for _, text in sorted(found) if text]


@pytest.mark.parametrize("form", ["functional", "sequential"])
def test_model_diagram_shows_every_layer_and_its_shape_from_left_to_right(form):
    model = keras.Sequential([keras.Input((12, 10, 1)), keras.layers.Conv2D(4, 3, name="convolution"),
                              keras.layers.Flatten(name="flat"), keras.layers.Dense(3, name="code")])
    if form == "functional":
        model = keras.Model(model.inputs, model.outputs)
    (axis,) = model_diagram(model).axes
    assert texts_by_place(axis, -1.2, -1) == ["12 x 10 x 1", "10 x 8 x 4", "3"]
    assert texts_by_place(axis, 0, 1) == ["convolution", "code"]  # flattening only rearranges
    places, heights = zip(*bars_of(axis))
    assert places == (0, 1, 2)
    np.testing.assert_allclose(np.array(heights) / heights[1], np.sqrt(np.array([120, 320, 3]) / 320))


SHAPES = {"dense": ["28 x 28 x 1", "512", "256", "7", "256", "512", "784", "28 x 28 x 1"],
          "convolutional": ["28 x 28 x 1", "14 x 14 x 32", "7 x 7 x 64", "7", "3136", "14 x 14 x 32", "14 x 14 x 4",
                            "28 x 28 x 1"],
          "recurrent": ["28 x 28 x 1", "128", "7", "896", "28 x 128", "28 x 28", "28 x 28 x 1"]}


@pytest.mark.parametrize("kind", SHAPES)
def test_model_diagram_shows_the_five_parts_of_every_architecture(kind):
    halves = [getattr(architectures, f"{kind}_{half}")((28, 28, 1), 7) for half in ("encoder", "decoder")]
    (axis,) = model_diagram(Autoencoder(*halves)).axes
    assert texts_by_place(axis, -1.2, -1) == SHAPES[kind]
    assert texts_by_place(axis, -1.4, -1.2) == ["input", "code", "output"]
    assert texts_by_place(axis, 1.2, 2) == ["encoder", "decoder"]
    code = next(text.get_position()[0] for text in axis.texts if text.get_text() == "code" and
                text.get_position()[1] < -1)
    assert code == SHAPES[kind].index("7")
    assert len(texts_by_place(axis, 0, 1)) == len(SHAPES[kind]) - 1  # one layer an arrow
    spans = [line.get_xdata() for line in axis.lines]
    assert [(round(span[0]), round(span[-1])) for span in spans] == [(0, code), (code, len(SHAPES[kind]) - 1)]


@pytest.mark.parametrize("kind", SHAPES)
def test_model_diagram_ends_in_the_image_at_odd_sizes(kind):
    halves = [getattr(architectures, f"{kind}_{half}")((13, 10, 3), 7) for half in ("encoder", "decoder")]
    (axis,) = model_diagram(Autoencoder(*halves)).axes
    shapes = texts_by_place(axis, -1.2, -1)
    assert shapes[0] == shapes[-1] == "13 x 10 x 3" and "7" in shapes


def test_model_diagram_of_a_variational_model_draws_the_code():
    model = VariationalAutoencoder(architectures.dense_encoder((12, 12, 1), 4, ()),
                                   architectures.dense_decoder((12, 12, 1), 2, ()))
    (axis,) = model_diagram(model).axes
    assert texts_by_place(axis, -1.2, -1) == ["12 x 12 x 1", "4", "2", "144", "12 x 12 x 1"]
    assert texts_by_place(axis, 0, 1) == ["code", "draw", "pixels", "reshape"]


@pytest.mark.parametrize("description", ["", "   \n"])
def test_figure_without_description_is_not_shown(monkeypatch, description):
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: pytest.fail("was displayed"))
    with pytest.raises(ValueError, match="needs a description.*Received"):
        show(plt.figure(), description)


@pytest.mark.parametrize(("channels", "largest_error"), [(1, 2), (3, 8)])  # 64 greys; 256 colours
def test_show_displays_the_figures_pixels_and_its_description_and_closes_it(monkeypatch, channels, largest_error):
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda item, metadata=None: calls.append((item, metadata)))
    images = np.random.default_rng(0).random((2, 8, 8, channels), "float32") ** 2
    figure = image_rows({"a": images})
    expected = io.BytesIO()
    figure.savefig(expected, format="png", bbox_inches="tight")
    show(figure, "Two images of noise.")
    (shown, metadata), (under, _) = calls
    assert metadata == {"image/png": {"alt": "Two images of noise."}}
    pixels = [np.asarray(PIL.Image.open(file).convert("RGB"), "int") for file in (io.BytesIO(shown.data), expected)]
    assert np.abs(pixels[0] - pixels[1]).max() <= largest_error
    assert len(shown.data) < len(expected.getvalue())
    assert isinstance(under, IPython.display.Markdown) and under.data == "*Two images of noise.*"
    assert not plt.fignum_exists(figure.number)


def test_show_keeps_all_colours_of_a_figure_that_has_too_many_for_a_palette(monkeypatch):
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda item, metadata=None: calls.append(item))
    figure = image_rows({"a": np.random.default_rng(0).random((4, 32, 32, 3), "float32")})
    expected = io.BytesIO()
    figure.savefig(expected, format="png", bbox_inches="tight")
    show(figure, "Four images of noise.")
    np.testing.assert_array_equal(PIL.Image.open(io.BytesIO(calls[0].data)).convert("RGB"),
                                  PIL.Image.open(expected).convert("RGB"))


def moving_images(count=5, channels=1):
    """A bright square that wanders over a dark grey ground, in 16 levels."""
    frames = np.full((count, 6, 7, channels), 3 / 15, "float32")
    for i, frame in enumerate(frames):
        frame[1:3, i : i + 2] = np.array([15, 10, 5])[:channels] / 15
    return frames


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("zoom", [1, 3])
def test_animation_holds_every_frame_and_repeats_for_ever(channels, zoom):
    frames = moving_images(channels=channels)
    movie = PIL.Image.open(io.BytesIO(animation(frames, milliseconds=80, zoom=zoom)))
    assert (movie.format, movie.n_frames, movie.info["loop"], movie.size) == ("PNG", 5, 0, (7 * zoom, 6 * zoom))
    for i, frame in enumerate(frames):
        movie.seek(i)
        assert movie.info["duration"] == 80
        expected = np.kron(frame * 255, np.ones((zoom, zoom, 4 - channels if channels == 1 else 1))).round()
        np.testing.assert_array_equal(np.asarray(movie.convert("RGB")), expected)


def test_animation_moves_no_pixel_by_more_than_half_a_level():
    frames = random_images(3)
    movie = PIL.Image.open(io.BytesIO(animation(frames, zoom=1)))
    for i, frame in enumerate(frames):
        movie.seek(i)
        assert np.abs(np.asarray(movie.convert("L")) / 255 - frame[..., 0]).max() < 0.5 / 15 + 0.002


@pytest.mark.parametrize(("frames", "message"), [
    (moving_images(1), r"two frames at least.*Received: frames of shape \(1, 6, 7, 1\)"),
    (np.zeros((3, 6, 7, 2), "float32"), "1 or 3 channels.*Received"),
    (2 * moving_images(), "Expected frames.*Received"),
    (np.random.default_rng(0).random((80, 100, 100, 1), "float32"), "below 400,000 bytes.*Received: 80 frames")])
def test_impossible_animations_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        animation(frames, zoom=1)


def test_show_animation_displays_a_picture_and_its_description(monkeypatch):
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda item, metadata=None: calls.append((item, metadata)))
    show_animation(moving_images(), "A square wanders.")
    (shown, metadata), (under, _) = calls
    assert shown.data == animation(moving_images()) and shown.format == "png"
    assert metadata == {"image/png": {"alt": "A square wanders."}} and under.data == "*A square wanders.*"
    with pytest.raises(ValueError, match="needs a description.*Received"):
        show_animation(moving_images(), " ")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_animation_plays_in_exported_html_without_a_network(tmp_path):
    frames = np.broadcast_to(np.array([0, 5, 10, 15])[:, None, None, None] / 15, (4, 8, 8, 1))
    picture = base64.b64encode(animation(frames, milliseconds=150, zoom=8)).decode()
    output = nbformat.v4.new_output("display_data", {"image/png": picture})
    cell = nbformat.v4.new_code_cell("show", outputs=[output], execution_count=1)
    html, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    (tmp_path / "book.html").write_text(html, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.goto((tmp_path / "book.html").as_uri(), wait_until="domcontentloaded")
        element, greys = page.locator("img"), set()
        for _ in range(12):
            shot = PIL.Image.open(io.BytesIO(element.screenshot()))
            greys.add(shot.convert("L").getpixel((32, 32)))
            page.wait_for_timeout(90)
        browser.close()
    assert greys == {0, 85, 170, 255}
