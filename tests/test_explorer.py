"""The interactive map: what it decodes, what travels in the page, and that the page needs nothing else."""

import base64
import hashlib
import io
import json
import re
import shutil

import IPython.display
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from autoencoder_utils import explorer

matplotlib.use("Agg")
EXTENT = (-2.0, 2.0, -1.0, 3.0)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def decode(codes, channels=1):
    """Images of 4 x 5 pixels whose upper left corner tells the code: first number, second number."""
    images = np.zeros((len(codes), 4, 5, channels), "float32")
    images[:, 0, 0], images[:, 0, 1] = (codes[:, :1] + 2) / 4, (codes[:, 1:] + 1) / 4
    return images


def some_codes(count=300):
    rng = np.random.default_rng(0)
    return rng.uniform((-2, -1), (2, 3), (count, 2)), rng.integers(0, 10, count)


def content(page):
    """What the script is given."""
    return json.loads(re.search(r"const map = (\{.*?\});\n", page).group(1))


def sprite(page):
    return np.array(Image.open(io.BytesIO(base64.b64decode(content(page)["sprite"].partition(",")[2]))))


def test_grid_covers_the_plane_with_the_top_first():
    images = explorer.decode_grid(decode, EXTENT, 5)
    assert images.shape == (5, 5, 4, 5, 1)
    x, y = 4 * images[..., 0, 0, 0] - 2, 4 * images[..., 0, 1, 0] - 1
    np.testing.assert_allclose(x, np.tile(np.linspace(-2, 2, 5), (5, 1)), atol=1e-6)
    np.testing.assert_allclose(y.T, np.tile(np.linspace(3, -1, 5), (5, 1)), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_page_carries_every_decoded_image_in_one_picture(channels):
    codes, labels = some_codes()
    images = explorer.decode_grid(lambda z: decode(z, channels), EXTENT, 6)
    page = explorer.map_html(images, EXTENT, codes, labels)
    assert page.count("data:image/png") == 1
    sheet = sprite(page).reshape(6 * 4, 6 * 5, channels) / 255
    tiles = sheet.reshape(6, 4, 6, 5, channels).transpose(0, 2, 1, 3, 4)
    np.testing.assert_allclose(tiles, images, atol=0.5 / (explorer.LEVELS - 1) + 0.003)
    told = content(page)
    assert (told["side"], told["height"], told["width"], tuple(told["extent"])) == (6, 4, 5, EXTENT)


def test_page_carries_the_codes_with_their_colours():
    codes, labels = some_codes()
    told = content(explorer.map_html(explorer.decode_grid(decode, EXTENT, 3), EXTENT, codes, labels))
    points = np.array(told["points"]).reshape(-1, 3)
    np.testing.assert_allclose(points[:, 0] / 1000 * 4 - 2, codes[:, 0], atol=0.003)
    np.testing.assert_allclose(3 - points[:, 1] / 1000 * 4, codes[:, 1], atol=0.003)  # the top is 0
    np.testing.assert_array_equal(points[:, 2], labels)
    beyond = content(explorer.map_html(explorer.decode_grid(decode, (0, 2, 1, 3), 3), (0, 2, 1, 3), codes, labels))
    assert len(beyond["points"]) == 3 * ((codes[:, 0] >= 0) & (codes[:, 1] >= 1)).sum()  # only what the map covers
    assert len(set(told["colours"])) == 10 and all(re.fullmatch("#[0-9A-F]{6}", c) for c in told["colours"])


def test_many_codes_are_thinned_and_labels_are_optional():
    codes, _ = some_codes(2500)
    told = content(explorer.map_html(explorer.decode_grid(decode, EXTENT, 3), EXTENT, codes))
    points = np.array(told["points"]).reshape(-1, 3)
    assert 800 <= len(points) <= explorer.POINTS and set(points[:, 2]) == {0}


def test_page_needs_nothing_from_elsewhere_and_shows_little_without_its_script():
    page = explorer.map_html(explorer.decode_grid(decode, EXTENT, 3), EXTENT, *some_codes())
    assert not re.search(r"https?:|//\w|import|fetch|require|src=", re.sub(r"base64,[^\"]*", "", page))
    assert 'class="latent-explorer"' in page and "aria-label=" in page and 'tabindex="0"' in page
    stripped = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "<script>" in page and len(stripped) < 800 and "data:" not in stripped


def test_the_same_map_is_the_same_text_and_another_has_another_id():
    codes, labels = some_codes()
    grid = explorer.decode_grid(decode, EXTENT, 3)
    first, again = (explorer.map_html(grid, EXTENT, codes, labels) for _ in range(2))
    other = explorer.map_html(grid[::-1], EXTENT, codes, labels)
    names = [re.search(r'<div id="(map-[0-9a-f]{12})">', page).group(1) for page in (first, other)]
    assert first == again and names[0] != names[1]
    text = re.search(r"const map = (\{.*?\});\n", first).group(1)
    assert names[0] == "map-" + hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize("side", [4, 7])
def test_figure_shows_grid_and_codes_on_the_same_axes(side):
    codes, labels = some_codes()
    images = explorer.decode_grid(decode, EXTENT, side)
    left, right = explorer.map_figure(images, EXTENT, codes, labels).axes
    (shown,) = left.images
    step = 2 if side == 7 else 1
    coarse = 0.5 / (explorer.LEVELS - 1) + 1e-6
    np.testing.assert_allclose(np.asarray(shown.get_array())[:4, :5], images[0, 0, ..., 0], atol=coarse)
    np.testing.assert_allclose(np.asarray(shown.get_array())[-4:, 5:10], images[-1, step, ..., 0], atol=coarse)
    half = 4 / 3 / 2  # four images along each side
    np.testing.assert_allclose(shown.get_extent(), (-2 - half, 2 + half, -1 - half, 3 + half))
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    drawn = {text.get_text(): points.get_offsets() for text, points in zip(right.texts, right.collections)}
    for label in range(10):
        np.testing.assert_allclose(drawn[str(label)], codes[labels == label])


def test_a_label_stands_where_its_kind_is_among_itself():
    rng = np.random.default_rng(0)
    middle, corner = 0.1 * rng.standard_normal((60, 2)), (1.5, 2.5) + 0.05 * rng.standard_normal((12, 2))
    codes, labels = np.concatenate([middle, corner]), np.repeat([0, 1], (40, 32))  # 20 of the 1s are among the 0s
    _, right = explorer.map_figure(explorer.decode_grid(decode, EXTENT, 4), EXTENT, codes, labels).axes
    places = {text.get_text(): text.get_position() for text in right.texts}
    assert np.linalg.norm(places["0"]) < 0.3 and np.linalg.norm(np.subtract(places["1"], (1.5, 2.5))) < 0.2


def test_show_explorer_displays_a_figure_and_then_the_page(monkeypatch):
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda item, **options: calls.append((item, options)))
    codes, labels = some_codes()
    explorer.show_explorer(decode, codes, labels, "Digits over the plane.", side=5)
    (figure, options), _, (bundle, _) = calls
    assert options["metadata"]["image/png"]["alt"] == "Digits over the plane." and figure.data.startswith(b"\x89PNG")
    assert set(bundle) == {"text/html", "text/plain"} and "latent-explorer" in bundle["text/html"]
    left, right, bottom, top = content(bundle["text/html"])["extent"]
    inside = (codes[:, 0] > left) & (codes[:, 0] < right) & (codes[:, 1] > bottom) & (codes[:, 1] < top)
    assert inside.mean() > 0.96


@pytest.mark.parametrize("codes", [np.zeros((5, 3)), np.zeros(5), np.zeros((1, 2)), np.full((5, 2), np.nan)])
def test_codes_that_are_no_plane_are_refused(codes):
    with pytest.raises(ValueError, match=r"Expected finite codes of shape \(n, 2\).*Received: shape"):
        explorer.show_explorer(decode, codes, description="A map.")


def test_bad_labels_grid_and_description_are_refused(monkeypatch):
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: pytest.fail("was displayed"))
    codes, labels = some_codes()
    with pytest.raises(ValueError, match=r"Expected one label a code, shape \(300,\). Received: shape \(10,\)"):
        explorer.show_explorer(decode, codes, labels[:10], "A map.")
    with pytest.raises(ValueError, match="`side` must be at least 2. Received: side=1"):
        explorer.show_explorer(decode, codes, labels, "A map.", side=1)
    with pytest.raises(ValueError, match="needs a description"):
        explorer.show_explorer(decode, codes, labels)


def test_a_page_that_is_too_large_is_refused():
    noise = np.random.default_rng(0).random((12, 12, 40, 40, 3))
    with pytest.raises(ValueError, match="take a smaller `side`. Received: side=12"):
        explorer.map_html(noise, EXTENT, *some_codes())


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_map_answers_pointer_and_keys_in_a_browser_without_a_network(tmp_path):
    square = (-1.0, 1.0, -1.0, 1.0)
    images = explorer.decode_grid(lambda z: np.tile(0.5 + 0.5 * z[:, :1, None, None], (1, 4, 4, 1)), square, 5)
    (tmp_path / "map.html").write_text(explorer.map_html(images, square, np.zeros((3, 2))))
    read = "canvas => canvas.getContext('2d').getImageData(480, 160, 1, 1).data[0]"  # in the decoded image
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, errors = browser.new_context(offline=True).new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "map.html").as_uri())
        canvas = page.locator("canvas.latent-explorer")
        page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label').includes('Code shown')")
        box, greys = canvas.bounding_box(), []
        for across in (0.05, 0.25, 0.45):  # the plane is the left half of the canvas
            page.mouse.move(box["x"] + across * box["width"], box["y"] + 0.5 * box["height"])
            greys.append(canvas.evaluate(read))
        canvas.focus()
        for _ in range(20):
            page.keyboard.press("ArrowLeft")
        greys.append(canvas.evaluate(read))
        browser.close()
    assert errors == []
    np.testing.assert_allclose(greys[:3], [25, 127, 230], atol=20)  # brighter from left to right, as decoded
    assert greys[3] < greys[2] - 20
