"""Figures: arrays in, a Matplotlib Figure out. `show` and `show_animation` put them into a notebook, described."""

import io
import itertools
import re

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image

from autoencoder_utils.data import check_images

# Okabe and Ito's colours, which colour-blind readers can tell apart: Okabe and Ito, "Color universal design", 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
LARGEST = 400_000  # bytes of an animation
LEVELS = 16  # levels of a channel in an animation: a third of the bytes of 256


def show(figure, description):
    """Displays a figure in a notebook, with one sentence under it that also serves as alternative text.

    Args:
        figure: A Matplotlib figure; it is closed.
        description: One sentence.

    Raises:
        ValueError: no description.
    """
    _display(lambda: _png(figure), description)
    plt.close(figure)


def show_animation(frames, description, milliseconds=100, zoom=3):
    """Displays frames one after the other, over and over, with one sentence under them that is their alternative text.

    They are stored as an animated PNG, a picture like any other: it moves in JupyterLab, Colab, exported HTML and on
    GitHub, without a script; a viewer that does not know the format shows the first frame.

    Args:
        frames: (n, height, width, 1 or 3) in [0, 1], two at least.
        description: One sentence.
        milliseconds: How long each frame stays.
        zoom: Screen pixels along each side of a pixel.

    Raises:
        ValueError: no description, frames out of form, more than 400 kB.
    """
    _display(lambda: animation(frames, milliseconds, zoom), description)


def animation(frames, milliseconds=100, zoom=3):
    """Frames as the bytes of an animated PNG that repeats for ever, with 16 levels a channel.

    Args:
        frames: (n, height, width, 1 or 3) in [0, 1], two at least.
        milliseconds: How long each frame stays.
        zoom: Screen pixels along each side of a pixel.

    Returns:
        Bytes.

    Raises:
        ValueError: frames out of form, more than 400 kB.
    """
    frames = check_images(frames, name="frames")
    if len(frames) < 2 or frames.shape[-1] not in (1, 3):
        raise ValueError("An animation needs two frames at least, of 1 or 3 channels. "
                         f"Received: frames of shape {frames.shape}")
    levels = np.round(np.round(frames * (LEVELS - 1)) * 255 / (LEVELS - 1)).astype("uint8")
    large = levels.repeat(zoom, axis=1).repeat(zoom, axis=2)  # (n, zoom * height, zoom * width, channels)
    first, *others = (PIL.Image.fromarray(frame.squeeze(-1) if frame.shape[-1] == 1 else frame) for frame in large)
    buffer = io.BytesIO()
    first.save(buffer, "PNG", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
    if buffer.tell() > LARGEST:
        raise ValueError(f"An animation must stay below {LARGEST:,} bytes: take fewer or smaller frames. "
                         f"Received: {len(frames)} frames, {buffer.tell():,} bytes")
    return buffer.getvalue()


def _display(draw, description):
    """Displays the PNG that `draw` makes, and its description."""
    from IPython.display import Image, Markdown, display

    if not description.strip():
        raise ValueError("Every figure needs a description of one sentence. Received: an empty one")
    display(Image(data=draw(), format="png"), metadata={"image/png": {"alt": description}})
    display(Markdown(f"*{description}*"))


def _png(figure):
    """A figure as PNG: grey ones with 64 levels, others with 256 colours, unless that moves pixels by a hundredth."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", bbox_inches="tight")
    picture = PIL.Image.open(full).convert("RGB")
    pixels = np.asarray(picture)
    if (pixels == pixels[..., :1]).all():
        fewer = PIL.Image.fromarray((np.round(pixels[..., 0] / 255 * 63) / 63 * 255).round().astype("uint8"))
    else:
        fewer = picture.quantize(256, dither=PIL.Image.Dither.NONE)
        moved = np.abs(pixels.astype("float32") - np.asarray(fewer.convert("RGB"), "float32")).mean() / 255
        fewer = fewer if moved < 0.01 else picture
    fewer.save(small, format="png", optimize=True)
    return small.getvalue()


def image_rows(rows, scale=0.8):
    """Rows of images under each other, each row with its label.

    Args:
        rows: Dictionary, label to images (n, height, width, 1 or 3) in [0, 1]; n is the same in each row.
        scale: Width of one image in inches.

    Returns:
        A Figure.

    Raises:
        ValueError: no rows, or rows of different lengths.
    """
    lengths = {label: len(images) for label, images in rows.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"Rows need the same number of images. Received: {lengths}")
    columns = next(iter(lengths.values()))
    figure, axes = plt.subplots(len(rows), columns, squeeze=False, figsize=(scale * columns + 1.6, scale * len(rows)))
    for line, (label, images) in zip(axes, rows.items()):
        for axis, image in zip(line, images):
            axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1,
                        interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
    figure.subplots_adjust(left=1.5 / (scale * columns + 1.6), right=1, top=1, bottom=0, wspace=0.05, hspace=0.05)
    return figure


def curves(lines, x_label, y_label, x=None, reference=None):
    """Lines on one pair of axes, each named in the legend.

    Args:
        lines: Dictionary, name to values (n,).
        x_label, y_label: Names of the axes, with units.
        x: Dictionary, name to positions (n,); None counts from 1.
        reference: Dictionary, name to a value that is drawn as a dashed horizontal line, or None.

    Returns:
        A Figure.
    """
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for (name, values), colour in zip(lines.items(), itertools.cycle(COLOURS)):
        positions = np.arange(1, len(values) + 1) if x is None else x[name]
        axis.plot(positions, values, color=colour, label=name, linewidth=2)
    for (name, value), style in zip((reference or {}).items(), itertools.cycle(("--", ":", "-."))):
        axis.axhline(value, color="#4D4D4D", linestyle=style, linewidth=1.2, label=name)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.grid(color="#E5E5E5")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure


def model_diagram(model):
    """Draws a model from itself: what flows through it as bars, its layers as the arrows between them.

    An autoencoder is drawn in its five parts: input, encoder, code, decoder, output. Layers that have no weights and
    keep the number of values (flatten, reshape) have no arrow of their own.

    Args:
        model: A built model with an `encoder` and a `decoder`, or a functional or sequential Keras model.

    Returns:
        A Figure. Under each bar stands the shape of what an arrow hands on; the bar's height grows with the square root
        of how many numbers that is.
    """
    encoder, spans = getattr(model, "encoder", model), {}  # spans: part to its first and last bar
    bars = [("", tuple(encoder.input_shape[1:])), *_arrows(encoder)]  # (layer before it, shape of what it put out)
    if encoder is not model:
        code = tuple(model.decoder.input_shape[1:])
        bars += [("draw", code)] * (bars[-1][1] != code)  # a variational encoder puts out a distribution
        middle = len(bars) - 1
        bars += _arrows(model.decoder)
        spans = {"encoder": (0, middle), "decoder": (middle, len(bars) - 1)}
    figure, axis = plt.subplots(figsize=(1.25 * len(bars), 2.9), layout="constrained")
    _draw_bars(axis, bars, spans)
    axis.set(xlim=(-0.5, len(bars) - 0.5), ylim=(-1.45, 1.75))
    axis.axis("off")
    return figure


def _arrows(model):
    """(layer's name, shape of what it puts out) of the layers that change more than the shape; ends in the output's."""
    arrows, numbers = [], np.prod(model.input_shape[1:])
    for layer in model.layers:
        shape = tuple(layer.output.shape[1:])
        if layer.weights or np.prod(shape) != numbers:
            arrows.append((re.sub(r"_\d+$", "", layer.name).replace("_", "\n"), shape))
            numbers = np.prod(shape)
    last = tuple(model.output_shape[1:])
    return arrows + [("reshape", last)] * (not arrows or arrows[-1][1] != last)


def _draw_bars(axis, bars, spans):
    """Bars of height 2 at most, an arrow from each to the next, brackets over the parts."""
    heights = np.sqrt([np.prod(shape) for _, shape in bars])
    heights = np.maximum(2 * heights / heights.max(), 0.04)
    middle = spans.get("encoder", (0, None))[1]
    names = {0: "input", middle: "code", len(bars) - 1: "output"}
    for i, ((layer, shape), height) in enumerate(zip(bars, heights)):
        part = 6 if i in (0, len(bars) - 1) else 1 if i == middle else 0 if middle is None or i < middle else 2
        axis.add_patch(plt.Rectangle((i - 0.1, -height / 2), 0.2, height, color=COLOURS[part], linewidth=0))
        axis.text(i, -1.08, " x ".join(map(str, shape)), ha="center", va="top", fontsize=9)
        axis.text(i, -1.28, names.get(i, ""), ha="center", va="top", fontsize=10, weight="bold", color=COLOURS[part])
        if i:
            axis.annotate("", (i - 0.14, 0), (i - 0.86, 0), arrowprops={"arrowstyle": "->", "color": "#4D4D4D"})
            axis.text(i - 0.5, 0.08, layer, ha="center", va="bottom", fontsize=9)
    for (name, (first, last)), part in zip(spans.items(), (0, 2)):
        axis.plot([first + 0.15, first + 0.15, last - 0.15, last - 0.15], [1.15, 1.25, 1.25, 1.15], color=COLOURS[part])
        axis.text((first + last) / 2, 1.32, name, ha="center", va="bottom", fontsize=11, fontweight="bold",
                  color=COLOURS[part])
