"""The interactive map of a two-dimensional code: move the pointer over the plane, see the decoded image at once.

Everything is decoded beforehand and travels in the page: a grid of images as one PNG and a script of some lines that
picks and blends them. So it needs neither a kernel nor a network, and works in JupyterLab, in Colab and in an exported
HTML file. Where scripts are stripped (GitHub), the figure above it stays.
"""

import base64
import hashlib
import io
import json

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from autoencoder_utils import plotting

LARGEST = 200_000  # bytes of the page: with the figure it stays below 300 kB in the notebook
POINTS = 1000  # codes that are drawn at most
LEVELS = 16  # grey levels of the images: a third of the bytes of 256
NEIGHBOURS = 30  # among which a label's place is sought
COLOURS = (*plotting.COLOURS, "#882255", "#999933", "#DDCC77")  # and three more: P. Tol, "Colour schemes", 2021


def show_explorer(decode, codes, labels=None, description="", side=15):
    """Displays the map of a two-dimensional code in a notebook: a figure, then the interactive map.

    Args:
        decode: Function of codes, float32 (n, 2), to images (n, height, width, 1 or 3) in [0, 1].
        codes: Codes of some images, (n, 2): the map covers the middle 98 % of them in each direction.
        labels: Whole numbers (n,) that colour the codes, or None.
        description: One sentence for the figure.
        side: Images along each side of the grid that is decoded, at least 2.

    Raises:
        ValueError: codes that are not two-dimensional, labels that don't fit, too small or too large a grid, no
            description.
    """
    from IPython.display import display

    codes, labels = _check(codes, labels, side)
    extent = _extent(codes)
    images = decode_grid(decode, extent, side)
    page = map_html(images, extent, codes, labels)
    plotting.show(map_figure(images, extent, codes, labels), description)
    text = "An interactive map of the plane of codes (it needs a viewer that runs scripts)."
    display({"text/html": page, "text/plain": text}, raw=True)


def decode_grid(decode, extent, side):
    """Decodes a square grid of codes over a rectangle of the plane.

    Args:
        decode: Function of codes, float32 (n, 2), to images (n, height, width, 1 or 3) in [0, 1].
        extent: (left, right, bottom, top) of the plane; the outer images stand on its edges.
        side: Images along each side, at least 2.

    Returns:
        Images (side, side, height, width, channels); the first row is the top of the plane.
    """
    left, right, bottom, top = extent
    x, y = np.meshgrid(np.linspace(left, right, side), np.linspace(top, bottom, side))
    images = np.asarray(decode(np.stack([x.ravel(), y.ravel()], axis=1).astype("float32")))
    return images.reshape(side, side, *images.shape[1:])


def map_figure(images, extent, codes, labels=None):
    """The map without interaction: the decoded grid beside the codes, on the same axes.

    Args:
        images: As from `decode_grid`, (side, side, height, width, channels) in [0, 1].
        extent: (left, right, bottom, top).
        codes: (n, 2).
        labels: Whole numbers (n,), or None.

    Returns:
        A Figure.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.4), layout="constrained")
    if len(images) % 2 and len(images) > 3:
        images = images[::2, ::2]  # every other one still reaches from edge to edge, and can be recognised
    half_x, half_y = np.array([extent[1] - extent[0], extent[3] - extent[2]]) / (len(images) - 1) / 2
    around = np.add(extent, (-half_x, half_x, -half_y, half_y))  # the outer images' centres lie on the edges
    sheet = np.round(_sheet(images) * (LEVELS - 1)) / (LEVELS - 1)
    left.imshow(sheet.squeeze(-1) if sheet.shape[-1] == 1 else sheet, cmap="gray", vmin=0, vmax=1, extent=around,
                aspect="auto", interpolation="antialiased")
    kinds = [None] if labels is None else np.unique(labels)
    for i, kind in enumerate(kinds):
        chosen = codes if kind is None else codes[labels == kind]
        right.scatter(*chosen.T, s=4, color=COLOURS[i % len(COLOURS)], label=kind)
        if kind is not None:
            circle = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": COLOURS[i % len(COLOURS)]}
            right.text(*_purest(chosen, codes, labels, kind), str(kind), fontsize=11, fontweight="bold", bbox=circle,
                       ha="center", va="center")
    right.set(xlim=around[:2], ylim=around[2:], title="codes of images", xlabel="first number of the code")
    left.set(title="decoded codes", ylabel="second number of the code", xlabel="first number of the code")
    return figure


def map_html(images, extent, codes, labels=None):
    """The interactive map as a piece of HTML that needs nothing else.

    Args:
        images: As from `decode_grid`, (side, side, height, width, channels) in [0, 1].
        extent: (left, right, bottom, top).
        codes: (n, 2); at most 1,000 of them, evenly chosen, are drawn.
        labels: Whole numbers (n,), or None.

    Returns:
        Text. Its element's id is made of its content, so that the same map is always the same text.

    Raises:
        ValueError: a page that would be too large.
    """
    side, _, height, width, _ = images.shape
    left, right, bottom, top = extent
    every = -(-len(codes) // POINTS)
    places = (codes[::every] - (left, top)) / (right - left, bottom - top)  # (points, 2), in [0, 1] from the top left
    kinds = np.zeros(len(codes), int) if labels is None else np.unique(labels, return_inverse=True)[1]
    points = np.column_stack([np.round(1000 * places), kinds[::every]]).astype(int)
    points = points[((places >= 0) & (places <= 1)).all(axis=1)]  # those that the map covers
    content = {"sprite": _png(_sheet(images)), "side": side, "height": height, "width": width,
               "extent": [round(float(v), 3) for v in extent], "points": points.ravel().tolist(),
               "colours": [COLOURS[i % len(COLOURS)] for i in range(int(kinds.max()) + 1)]}
    text = json.dumps(content, separators=(",", ":"))
    name = "map-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    page = PAGE.replace("NAME", name).replace("CONTENT", text)
    if len(page) > LARGEST:
        raise ValueError(f"The map must stay below {LARGEST:,} bytes: take a smaller `side`. Received: side={side}, "
                         f"{len(page):,} bytes")
    return page


def _check(codes, labels, side):
    codes = np.asarray(codes, "float64")
    if codes.ndim != 2 or codes.shape[1] != 2 or len(codes) < 2 or not np.isfinite(codes).all():
        raise ValueError(f"Expected finite codes of shape (n, 2), n at least 2. Received: shape {codes.shape}")
    if labels is not None and np.shape(labels) != (len(codes),):
        raise ValueError(f"Expected one label a code, shape ({len(codes)},). Received: shape {np.shape(labels)}")
    if side < 2:
        raise ValueError(f"`side` must be at least 2. Received: side={side}")
    return codes, None if labels is None else np.asarray(labels)


def _extent(codes):
    """(left, right, bottom, top) of the middle 98 % of the codes in each direction, and a little more."""
    low, high = np.percentile(codes, [1, 99], axis=0)
    margin = 0.04 * (high - low) + 1e-6
    return low[0] - margin[0], high[0] + margin[0], low[1] - margin[1], high[1] + margin[1]


def _purest(chosen, codes, labels, kind):
    """Of the codes of a kind, the one around which its kind is most among itself; of equals, the most central."""
    _, nearest = cKDTree(codes).query(chosen, min(NEIGHBOURS, len(codes)))
    own = (labels[nearest] == kind).reshape(len(chosen), -1).mean(axis=1)
    return chosen[np.lexsort((np.linalg.norm(chosen - np.median(chosen, axis=0), axis=1), -own))[0]]


def _sheet(images):
    """Images (rows, columns, height, width, channels) side by side: (rows * height, columns * width, channels)."""
    rows, columns, height, width, channels = images.shape
    return images.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def _png(sheet):
    """A picture (height, width, 1 or 3) in [0, 1] as the address of a PNG with few grey levels."""
    levels = np.round(sheet * (LEVELS - 1)) * 255 / (LEVELS - 1)
    buffer, picture = io.BytesIO(), levels.round().astype("uint8")
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


# One canvas: the plane with its codes on the left, the image of the code under the pointer on the right.
PAGE = """<div id="NAME"><p>Interactive map: move the pointer, a finger or the arrow keys over the plane on the left; \
the decoded image stands on the right. (Nothing below? This viewer runs no scripts: see the figure above.)</p>
<canvas class="latent-explorer" width="640" height="320" tabindex="0" role="img" \
style="max-width:100%;touch-action:none;cursor:crosshair" \
aria-label="Map of a two-dimensional code; arrow keys move the place that is decoded"></canvas></div>
<script>
(function () {
  const map = CONTENT;
  function start(canvas) {
    if (canvas.dataset.ready) return;
    canvas.dataset.ready = "yes";
    const size = 320, paint = canvas.getContext("2d"), tile = document.createElement("canvas");
    tile.width = map.width; tile.height = map.height;
    const small = tile.getContext("2d"), result = small.createImageData(map.width, map.height);
    const sprite = new Image();
    let place = [0.5, 0.5], pixels;
    sprite.onload = function () {
      const sheet = document.createElement("canvas");
      sheet.width = sprite.width; sheet.height = sprite.height;
      const context = sheet.getContext("2d", {willReadFrequently: true});
      context.drawImage(sprite, 0, 0);
      pixels = context.getImageData(0, 0, sprite.width, sprite.height).data;
      draw();
    };
    sprite.src = map.sprite;
    function blend() {  // the four decoded images around the place, weighted by how near they are
      const gx = place[0] * (map.side - 1), gy = place[1] * (map.side - 1);
      const left = Math.min(Math.floor(gx), map.side - 2), top = Math.min(Math.floor(gy), map.side - 2);
      const u = gx - left, v = gy - top, line = 4 * map.side * map.width;
      for (let y = 0; y < map.height; y++) for (let i = 0; i < 4 * map.width; i++) {
        const a = (top * map.height + y) * line + 4 * left * map.width + i, b = a + map.height * line;
        result.data[4 * y * map.width + i] = (1 - v) * ((1 - u) * pixels[a] + u * pixels[a + 4 * map.width])
          + v * ((1 - u) * pixels[b] + u * pixels[b + 4 * map.width]);
      }
      small.putImageData(result, 0, 0);
    }
    function draw() {
      if (!pixels) return;
      blend();
      paint.fillStyle = "#FFFFFF"; paint.fillRect(0, 0, 2 * size, size);
      for (let i = 0; i < map.points.length; i += 3) {
        paint.fillStyle = map.colours[map.points[i + 2]];
        paint.fillRect(map.points[i] * size / 1000 - 1.5, map.points[i + 1] * size / 1000 - 1.5, 3, 3);
      }
      const x = place[0] * size, y = place[1] * size;
      paint.strokeStyle = "#000000"; paint.lineWidth = 2;
      paint.beginPath(); paint.arc(x, y, 7, 0, 7); paint.stroke();
      paint.strokeRect(1, 1, size - 2, size - 2);
      paint.imageSmoothingEnabled = false;
      paint.drawImage(tile, size + 8, 0, size - 8, size);
      const z = [map.extent[0] + place[0] * (map.extent[1] - map.extent[0]),
                 map.extent[3] - place[1] * (map.extent[3] - map.extent[2])];
      canvas.setAttribute("aria-label", "Map of a two-dimensional code; arrow keys move. Code shown: "
        + z[0].toFixed(2) + ", " + z[1].toFixed(2));
    }
    function go(x, y) {
      place = [Math.min(Math.max(x, 0), 1), Math.min(Math.max(y, 0), 1)];
      draw();
    }
    function point(event) {
      const box = canvas.getBoundingClientRect();
      go(2 * (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    }
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("keydown", function (event) {
      const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
      if (!step) return;
      event.preventDefault(); event.stopPropagation();
      go(place[0] + step[0] / 40, place[1] + step[1] / 40);
    });
  }
  document.querySelectorAll("#NAME canvas").forEach(start);
})();
</script>"""
