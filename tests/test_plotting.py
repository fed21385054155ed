"""Figures, read back: the pixels, labels, lines and boxes that they hold, and the description that goes with them."""

import IPython.display
import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from autoencoder_utils.plotting import COLOURS, curves, image_rows, model_diagram, show

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def random_images(count, channels=1, seed=0):
    return np.random.default_rng(seed).random((count, 6, 5, channels), "float32")


def texts(axis):
    return {text.get_text(): text for text in axis.texts}


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


@pytest.mark.parametrize("first", ["images", "input"])
def test_model_diagram_names_every_layer_and_its_shape_from_left_to_right(first):
    model = keras.Sequential([keras.Input((12, 10, 1), name=first), keras.layers.Conv2D(4, 3, name="convolution"),
                              keras.layers.Flatten(name="flat"), keras.layers.Dense(3, name="code")])
    if first == "images":  # a functional model lists its input among its layers, a sequential one does not
        model = keras.Model(model.inputs, model.outputs)
    (axis,) = model_diagram(model).axes
    shapes = {first: (12, 10, 1), "convolution": (10, 8, 4), "flat": (320,), "code": (3,)}
    assert set(texts(axis)) - {""} == {*shapes, *(" x ".join(map(str, shape)) for shape in shapes.values())}
    places, heights = [], {}
    for name, shape in shapes.items():
        place = texts(axis)[name].get_position()[0]
        assert texts(axis)[" x ".join(map(str, shape))].get_position()[0] == place  # the shape stands under the name
        places.append(place)
        (box,) = [patch for patch in axis.patches
                  if isinstance(patch, plt.Rectangle) and patch.get_x() < place < patch.get_x() + patch.get_width()]
        heights[name] = box.get_height()
    assert places == sorted(places) and len(set(places)) == 4
    for name, shape in shapes.items():
        assert heights[name] / heights["flat"] == pytest.approx(np.sqrt(np.prod(shape) / 320))


@pytest.mark.parametrize("description", ["", "   \n"])
def test_figure_without_description_is_not_shown(monkeypatch, description):
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: pytest.fail("was displayed"))
    with pytest.raises(ValueError, match="needs a description.*Received"):
        show(plt.figure(), description)


def test_show_displays_figure_and_description_and_closes_the_figure(monkeypatch):
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda item, metadata=None: calls.append((item, metadata)))
    figure = plt.figure()
    show(figure, "Three digits above their reconstructions.")
    (shown, metadata), (under, _) = calls
    assert shown is figure and metadata == {"image/png": {"alt": "Three digits above their reconstructions."}}
    assert isinstance(under, IPython.display.Markdown) and under.data == "*Three digits above their reconstructions.*"
    assert not plt.fignum_exists(figure.number)
