"""Launch links: one address, and all that follows from it."""

import re
import shutil

import launch_links
import nbformat
import notebook_store
import pytest

NEW = "https://github.com/a-teacher/course.2026"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of all that holds the address."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(launch_links.ROOT / name, tmp_path)
    for name in ("notebooks", "autoencoder_utils"):
        shutil.copytree(launch_links.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("x_*", "__pycache__"))
    monkeypatch.setattr(notebook_store, "ROOT", tmp_path)
    return tmp_path


def test_every_link_agrees_with_the_one_address_and_with_its_file():
    assert launch_links.problems() == []


def test_another_address_reaches_every_place_and_changes_nothing_else(copy):
    old = launch_links.stored_slug(copy)
    before = {path: path.read_text() for path in copy.rglob("*") if path.suffix in (".md", ".toml", ".ipynb")}
    valid = {path: notebook_store.problems(path) for path in before if path.suffix == ".ipynb"}
    launch_links.rewrite(NEW + "/", copy)
    assert launch_links.problems(copy) == [] and launch_links.stored_slug(copy) == "a-teacher/course.2026"
    for path, text in before.items():
        after = path.read_text()
        assert f"/{old}" not in after
        unstamped = [re.sub(r'"fingerprint": "\w+"', "", one) for one in (after, text)]
        assert unstamped[0].replace("a-teacher/course.2026", old) == unstamped[1]
    assert {path: notebook_store.problems(path) for path in valid} == valid  # the stored outputs are still its own
    launch_links.rewrite(f"https://github.com/{old}", copy)
    assert {path: path.read_text() for path in before} == before


@pytest.mark.parametrize("address", ["", "OWNER/NAME", "http://github.com/OWNER/NAME", "https://github.com/OWNER",
                                     "https://github.com/OWNER/NAME/tree/main", "https://example.org/OWNER/NAME"])
def test_an_address_of_another_form_is_refused_and_nothing_is_changed(copy, address):
    before = (copy / "README.md").read_text()
    with pytest.raises(ValueError, match="Expected an address like .* Received: "):
        launch_links.rewrite(address, copy)
    assert (copy / "README.md").read_text() == before


@pytest.mark.parametrize("place", ["set-up cell", "badge", "another repository", "another notebook"])
def test_each_disagreement_is_noticed(copy, place):
    path = sorted((copy / "notebooks").glob("*.ipynb"))[0]
    book = nbformat.read(path, as_version=4)
    set_up = next(cell for cell in book.cells if cell.cell_type == "code")
    if place == "set-up cell":
        set_up.source = set_up.source.replace("git+https://github.com/", "git+https://github.com/x")
    elif place == "badge":
        book.cells[0].source = book.cells[0].source.replace("Open in Colab", "Open")
    elif place == "another repository":
        book.cells[-1].source += f"\n[x]({launch_links.BINDER}other/place/main?labpath=notebooks/{path.name})"
    else:
        book.cells[0].source = book.cells[0].source.replace(path.name, "09_other.ipynb")
    nbformat.write(book, path)
    assert launch_links.problems(copy)
