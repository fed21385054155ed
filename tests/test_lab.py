"""The course in a real JupyterLab, in a real browser: the server that `make lab` starts, opened in Chromium."""

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import notebook_store
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = notebook_store.ROOT
CHAPTERS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
EXECUTED = "03_math"  # run from its first cell to its last in the browser; the shortest
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MINUTE = 60_000  # in milliseconds, as Playwright counts
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
CELLS = "jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of the server that `make lab` starts, in a copy of the checkout, for a user who has no settings."""
    home, copy = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("course") / "checkout"
    keep = shutil.ignore_patterns(".*", "__pycache__", "x_*", "results", "build", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=keep)
    options = "--no-browser --port=0 --IdentityProvider.token=test --LabApp.expose_app_in_browser=True"
    environment = {**os.environ, "HOME": str(home), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    log = open(home / "log.txt", "w+")
    command = ["make", "lab", f"LAB={options}", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready"]  # this environment
    process = subprocess.Popen(command, cwd=copy, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield _address(process, home / "log.txt")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
        log.close()


def _address(process, log):
    """Waits until the server answers; http://127.0.0.1:PORT."""
    for _ in range(240):
        found = re.search(r"http://(?:127\.0\.0\.1|localhost):(\d+)/lab", log.read_text())
        if process.poll() is not None:
            break
        if found:
            address = f"http://127.0.0.1:{found.group(1)}"
            try:
                with urllib.request.urlopen(f"{address}/api/status?token=test", timeout=5):
                    return address
            except OSError:
                pass
        time.sleep(0.5)
    raise RuntimeError(f"`make lab` did not start a server: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"])
        yield browser
        browser.close()


@pytest.fixture
def lab(server, browser):
    """Opens a chapter in JupyterLab; returns its page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_chapter(name):
        page = context.new_page()
        page.goto(f"{server}/lab/tree/{name}.ipynb?token=test&reset", timeout=MINUTE)
        page.wait_for_selector(".jp-Notebook .jp-MarkdownOutput h1", timeout=2 * MINUTE)
        page.wait_for_function("window.jupyterapp && jupyterapp.shell.currentWidget.context.isReady", timeout=MINUTE)
        return page

    yield open_chapter
    context.close()


def outputs(page):
    """The outputs of the chapter's code cells, as the browser has them: (cell id, output) pairs."""
    return [(cell["id"], output) for cell in json.loads(page.evaluate(f"JSON.stringify({CELLS})"))
            for output in cell.get("outputs", ())]


def kinds(outputs):
    """Cell, type and media types of each output; what a cell prints in pieces counts once, as it is stored."""
    found = [(name, output["output_type"], sorted(output.get("data", {}))) for name, output in outputs]
    return [kind for i, kind in enumerate(found) if kind[1] != "stream" or kind not in found[:i]]


def show_cell(page, name):
    """Scrolls to a cell by its id; returns its element."""
    index = next(i for i, cell in enumerate(json.loads(page.evaluate(f"JSON.stringify({CELLS})")))
                 if cell["id"] == name)
    page.evaluate("index => jupyterapp.shell.currentWidget.content.scrollToItem(index)", index)
    return page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")


def check_figures(page):
    """Every figure in the model is seen on the page: loaded, and of some size."""
    names = [name for name, output in outputs(page) if "image/png" in output.get("data", {})]
    assert len(names) >= 10
    for name in dict.fromkeys(names):
        pictures = show_cell(page, name).locator(".jp-RenderedImage img")
        pictures.first.wait_for(state="visible", timeout=MINUTE)
        assert pictures.count() == names.count(name)
        for i in range(pictures.count()):
            picture = pictures.nth(i)
            loaded = "picture => picture.complete && picture.naturalWidth > 100"
            page.wait_for_function(loaded, arg=picture.element_handle())
            assert picture.bounding_box()["width"] > 100


def picture_of(element):
    """What an element looks like on the screen, as an array of greys."""
    return np.array(Image.open(io.BytesIO(element.screenshot())).convert("L"), "float32")


@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_a_chapter_opens_with_its_figures(lab, name):
    page = lab(name)
    check_figures(page)
    pictures = [(cell, _png(output)) for cell, output in outputs(page) if _png(output)]
    for cell, output in outputs(page):
        if "html" in str(list(output.get("data", {}))) and "<canvas" in "".join(output["data"]["text/html"]):
            check_map(page, cell)
        if b"acTL" in _png(output):
            check_animation(page, cell, [png for other, png in pictures if other == cell].index(_png(output)))


def _png(output):
    """An output's picture; empty if there is none."""
    return base64.b64decode("".join(output.get("data", {}).get("image/png", "")))


def check_map(page, name):
    """The map shows another picture where the pointer moves."""
    canvas = show_cell(page, name).locator("canvas")
    canvas.wait_for(state="visible", timeout=MINUTE)
    canvas.scroll_into_view_if_needed()
    box, seen = canvas.bounding_box(), []
    for across, down in ((0.1, 0.3), (0.25, 0.5), (0.4, 0.7)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(200)
        seen.append(picture_of(canvas)[:, int(0.55 * box["width"]):])  # the right half shows the decoded image
    assert min(np.abs(a - b).mean() for a, b in zip(seen, seen[1:])) > 1


def check_animation(page, name, number):
    """The picture with this number in its cell changes by itself."""
    picture = show_cell(page, name).locator(".jp-RenderedImage img").nth(number)
    picture.scroll_into_view_if_needed()
    seen = []
    for _ in range(4):
        seen.append(picture_of(picture))
        page.wait_for_timeout(700)
    assert max(np.abs(seen[0] - later).mean() for later in seen[1:]) > 1


def test_a_chapter_runs_in_the_browser_from_its_first_cell_to_its_last(lab):
    page = lab(EXECUTED)
    stored = outputs(page)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…").click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    finished = f"{CELLS}.filter(cell => cell.cell_type == 'code').every(cell => cell.execution_count > 0)"
    page.wait_for_function(f"!({finished})", timeout=MINUTE)  # the stored outputs are gone
    page.wait_for_function(finished, timeout=20 * MINUTE, polling=2000)
    page.wait_for_function("jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.status == 'idle'",
                           timeout=5 * MINUTE)
    made = outputs(page)
    assert not [output for _, output in made if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert kinds(made) == kinds(stored)
    check_figures(page)
