"""The website and the exported pages: built from what is stored, read in a browser that has no network."""

import functools
import html
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse

import nbconvert
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from test_lab import CHAPTERS, CHROMIUM, MINUTE, ROOT, picture_of

# Not ours: the colours that nbconvert gives prompts and code, and Keras its summary; links without a line under them.
THEME = [[part] for part in (".jp-InputPrompt", ".jp-OutputPrompt", ".highlight", ".jp-RenderedText",
                             ".jp-RenderedHTMLCommon pre")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the website that `make site` builds, in a copy of the checkout."""
    copy = tmp_path_factory.mktemp("site") / "checkout"
    keep = shutil.ignore_patterns(".git", ".venv", "x_*", "build", "results", ".hypothesis")
    shutil.copytree(ROOT, copy, ignore=keep)
    subprocess.run(["make", "site", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready"], cwd=copy, check=True,
                   env={**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"})
    return copy / "build" / "site"


@pytest.fixture(scope="module")
def address(site):
    """The website, served on this machine."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def context():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"])
        context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="no-preference")
        context.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())  # no network
        yield context
        browser.close()


def serious(page, exclude=(), rules_off=()):
    """What axe-core finds on a page that keeps people from reading it."""
    found = Axe().run(page, context={"exclude": list(exclude)} if exclude else None,
                      options={"rules": {rule: {"enabled": False} for rule in rules_off}}).response["violations"]
    return [(rule["id"], rule["nodes"][0]["html"], rule["nodes"][0]["failureSummary"]) for rule in found
            if rule["impact"] in ("serious", "critical")]


def test_every_link_inside_the_website_leads_somewhere(site):
    pages = {page.resolve(): page.read_text() for page in site.rglob("*.html")}
    assert {f"{path.stem}.html" for path in CHAPTERS} <= {page.name for page in pages}
    for page, text in pages.items():
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text):
            url = urllib.parse.urlsplit(html.unescape(link))
            if url.scheme or url.netloc or page.name in ("search.html", "genindex.html"):
                continue
            target = (page.parent / urllib.parse.unquote(url.path)).resolve() if url.path else page
            assert target.exists(), f"{page.name}: {link}"
            if url.fragment and target in pages:
                assert f'id="{url.fragment}"' in pages[target], f"{page.name}: {link}"


@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_a_chapter_reads_well_without_a_network(address, context, name):
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/notebooks/{name}.html", timeout=MINUTE)
    page.wait_for_function("document.querySelectorAll('mjx-container').length > 0", timeout=MINUTE)  # formulas are set
    assert page.locator("mjx-merror").count() == 0
    pictures = page.locator("article .output img, article .cell_output img")
    assert pictures.count() >= 10
    for i in range(pictures.count()):
        assert len(pictures.nth(i).get_attribute("alt")) > 20
    assert page.evaluate("[...document.querySelectorAll('.cell_output img')].every(i => i.naturalWidth > 100)")
    for canvas in page.locator("canvas.latent-explorer").all():
        canvas.scroll_into_view_if_needed()
        box, seen = canvas.bounding_box(), []
        for across in (0.1, 0.4):
            page.mouse.move(box["x"] + across * box["width"], box["y"] + 0.6 * box["height"])
            page.wait_for_timeout(300)
            seen.append(picture_of(canvas)[:, int(0.55 * box["width"]):])
        assert abs(seen[0] - seen[1]).mean() > 1
    code = [] if name == CHAPTERS[0].stem else [[".highlight"]]  # its colours are the same everywhere, and take 20 s
    assert errors == [] and serious(page, exclude=code) == []
    page.close()


def test_the_front_page_leads_to_all_chapters_and_the_search_finds_them(address, context):
    page = context.new_page()
    page.goto(address, timeout=MINUTE)
    assert serious(page) == []
    for path in CHAPTERS:
        assert page.locator(f"article a[href='notebooks/{path.stem}.html']").count() > 0
    page.goto(f"{address}/search.html?q=posterior+collapse", timeout=MINUTE)
    page.wait_for_selector("#search-results li a", timeout=MINUTE)
    assert page.locator("#search-results li a[href*='05_challenges']").count() > 0
    page.close()


@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_an_exported_chapter_is_accessible(context, tmp_path, name):
    text, _ = nbconvert.HTMLExporter().from_filename(str(ROOT / "notebooks" / f"{name}.ipynb"))
    path = tmp_path / "chapter.html"
    path.write_text(text)
    page = context.new_page()
    page.goto(path.as_uri(), timeout=MINUTE)
    assert serious(page, exclude=THEME, rules_off=["link-in-text-block"]) == []
    page.close()

