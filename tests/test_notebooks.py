"""The stored form of the committed notebooks, and that the check notices each thing that can be wrong with it."""

import pathlib
import shutil

import nbformat
import notebook_store
import pytest

NOTEBOOKS = sorted((notebook_store.ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_form(path):
    assert notebook_store.problems(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_length_and_measure(path):
    cells = nbformat.read(path, as_version=4).cells
    assert 45 <= len(cells) <= 75
    words = {kind: sum(len(c.source.split()) for c in cells if c.cell_type == kind) for kind in ("markdown", "code")}
    assert 0.8 <= words["markdown"] / words["code"] <= 2


@pytest.fixture(scope="module")
def sound_notebook(tmp_path_factory):
    """A sound little notebook, executed and stored."""
    book = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell("# Title", id="title"),
        nbformat.v4.new_code_cell("from autoencoder_utils import plotting\nprint(1.5)", id="first"),
        nbformat.v4.new_code_cell("figure = plotting.curves({'a': [1, 2]}, 'x', 'y')\nplotting.show(figure, 'A line.')",
                                  id="second")])
    path = tmp_path_factory.mktemp("books") / "00_small.ipynb"
    nbformat.write(book, path)
    notebook_store.execute(path)
    return path


@pytest.fixture
def notebook(sound_notebook, tmp_path):
    """A copy of it that a test may spoil."""
    return pathlib.Path(shutil.copy(sound_notebook, tmp_path))


def _stderr(book):
    book.cells[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="warning"))


def _error(book):
    book.cells[1].outputs.append(nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=[]))


SPOILERS = {
    "present code": lambda book: book.cells[1].update(source="print(2.5)"),
    "not run in order": lambda book: book.cells[1].update(execution_count=3),
    "stderr is stored": _stderr,
    "an error is stored": _error,
    "a time is stored": lambda book: book.cells[1].outputs[0].update(text="on 2026-11-23"),
    "a time is stored: '12s/epoch'": lambda book: book.cells[1].outputs[0].update(text="55/55 12s/epoch"),
    "a time stamp": lambda book: book.cells[1].metadata.update(execution={"iopub.execute_input": "2026"}),
    "an absolute path": lambda book: book.cells[1].outputs[0].update(text="see /home/me/x.npz"),
    "lacks its description": lambda book: book.cells[2].outputs[0].metadata.clear(),
    "more than 1,000,000": lambda book: book.cells[1].outputs[0].update(text="1" * 1_000_000),
    "widget state": lambda book: book.metadata.update(widgets={"state": {}}),
    "not readable": lambda book: book.cells[1].update(id="3f2a9c1d"),
    "more than 25": lambda book: book.cells[1].update(source="\n" * 30),
    "more than 120": lambda book: book.cells[1].update(source="#" * 121),
    "headings jump": lambda book: book.cells[0].update(source="# Title\n\n### Below"),
    "HTML in Markdown": lambda book: book.cells[0].update(source="# Title\n\n<img src='x'>"),
}


@pytest.mark.parametrize("complaint", SPOILERS)
def test_each_fault_is_noticed(notebook, complaint):
    assert notebook_store.problems(notebook) == []
    book = nbformat.read(notebook, as_version=4)
    SPOILERS[complaint](book)
    nbformat.write(book, notebook)
    assert any(complaint in problem for problem in notebook_store.problems(notebook))


def test_a_picture_inside_html_is_not_read_as_text(notebook):
    book = nbformat.read(notebook, as_version=4)
    html = {"text/html": "<script>sprite = 'data:image/png;base64,AB+/usr/12s+AAA='</script>"}
    book.cells[1].outputs.append(nbformat.v4.new_output("display_data", data=html))
    nbformat.write(book, notebook)
    assert notebook_store.problems(notebook) == []
    book.cells[1].outputs[-1].data["text/html"] += "<p>took 12 s</p>"
    nbformat.write(book, notebook)
    assert any("a time is stored: '12 s'" in problem for problem in notebook_store.problems(notebook))


def test_a_change_in_the_package_is_noticed_but_not_in_its_comments(notebook, tmp_path, monkeypatch):
    shutil.copytree(notebook_store.ROOT / "autoencoder_utils", tmp_path / "autoencoder_utils")
    monkeypatch.setattr(notebook_store, "ROOT", tmp_path)
    assert notebook_store.problems(notebook) == []
    module = tmp_path / "autoencoder_utils" / "plotting.py"
    source = module.read_text()
    module.write_text(source.replace('"""Displays a figure', '"""Shows a figure') + "\n# a comment\n")
    assert notebook_store.problems(notebook) == []
    module.write_text(source.replace("linewidth=2", "linewidth=3"))
    assert any("present code" in problem for problem in notebook_store.problems(notebook))
    (tmp_path / "autoencoder_utils" / "training.py").write_text("")  # not reached by this notebook
    module.write_text(source)
    assert notebook_store.problems(notebook) == []


def test_a_notebook_that_fails_keeps_its_outputs(notebook):
    book = nbformat.read(notebook, as_version=4)
    book.cells[1].source = "1 / 0"
    nbformat.write(book, notebook)
    before = notebook.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebook_store.execute(notebook)
    assert notebook.read_bytes() == before
    assert list(pathlib.Path(notebook).parent.glob("*.unfinished")) == []


def test_nbval_compares_numbers_within_the_tolerance_only():
    from conftest import snap

    assert snap("loss 1.23, 40 images", "loss 1.24, 40 images") == "loss 1.24, 40 images"
    assert snap("loss 1.23", "loss 1.33") == "loss 1.23"
    assert snap("loss 1.23, 41 images", "loss 1.24, 40 images") == "loss 1.23, 41 images"
    assert snap("gain 1.23", "loss 1.24") == "gain 1.23"
    assert snap("149. nats", "150. nats") == "150. nats"
    assert snap("58 % of 120 samples", "59 % of 120 samples") == "59 % of 120 samples"
    assert snap("share 0.451", "share 0.477", 0.1) == "share 0.477"
