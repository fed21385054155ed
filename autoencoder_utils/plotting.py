"""Figures: arrays in, a Matplotlib Figure out. `show` puts one into a notebook with its description."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's colours, which colour-blind readers can tell apart: Okabe and Ito, "Color universal design", 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")


def show(figure, description):
    """Displays a figure in a notebook, with one sentence under it that also serves as alternative text.

    Args:
        figure: A Matplotlib figure; it is closed.
        description: One sentence.

    Raises:
        ValueError: no description.
    """
    from IPython.display import Markdown, display

    if not description.strip():
        raise ValueError("Every figure needs a description of one sentence. Received: an empty one")
    display(figure, metadata={"image/png": {"alt": description}})
    display(Markdown(f"*{description}*"))
    plt.close(figure)


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
    """A model's layers as boxes from left to right, with the shape of what they hand on at every arrow.

    Args:
        model: A built Keras functional or sequential model: `input_shape`, and `layers` with `name` and `output`.

    Returns:
        A Figure. The height of a box grows with the square root of how many numbers the layer puts out.
    """
    boxes = [(layer.name, tuple(layer.output.shape[1:])) for layer in model.layers]
    if boxes[0][1] != tuple(model.input_shape[1:]):  # a sequential model does not list its input
        boxes.insert(0, ("input", tuple(model.input_shape[1:])))
    heights = np.sqrt([np.prod(shape) for _, shape in boxes])
    heights = 2 * heights / heights.max()
    figure, axis = plt.subplots(figsize=(1.4 * len(boxes), 2.4), layout="constrained")
    for i, ((name, shape), height) in enumerate(zip(boxes, heights)):
        axis.add_patch(plt.Rectangle((i - 0.12, -height / 2), 0.24, height, facecolor=COLOURS[5], edgecolor=COLOURS[0]))
        axis.text(i, 1.1, name, ha="center", va="bottom", fontsize=10)
        axis.text(i, -1.1, " x ".join(map(str, shape)), ha="center", va="top", fontsize=10)
        if i:
            axis.annotate("", (i - 0.15, 0), (i - 0.85, 0), arrowprops={"arrowstyle": "->", "color": "#4D4D4D"})
    axis.set(xlim=(-0.5, len(boxes) - 0.5), ylim=(-1.5, 1.5))
    axis.axis("off")
    return figure
