"""A chapter in an environment like Colab's: `make test-colab`. It downloads about 1 GB and takes some minutes."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import notebook_store
import pytest

ROOT = notebook_store.ROOT
# What Colab has, as far as the course uses it. Its Python is 3.12 or 3.13: `make test-colab COLAB_PYTHON=python3.12`.
COLAB = ("tensorflow==2.20.*", "keras==3.13.*", "numpy==2.1.*", "matplotlib==3.10.*", "ipywidgets==7.7.*",
         "ipython==7.34.0", "scikit-learn", "scikit-image", "pillow>=11", "jax", "ipykernel", "setuptools")
CHAPTER = os.environ.get("CHAPTER", "03_math")
pytestmark = pytest.mark.weekly


def run(*command, **options):
    """Output of a command, which must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def packages(python):
    """Names and versions of what is installed."""
    return {p["name"]: p["version"] for p in json.loads(run(python, "-m", "pip", "list", "--format=json"))}


def starts(python):
    """Whether there is such a Python, and not just a name that a version manager keeps for one."""
    return bool(shutil.which(python)) and not subprocess.run([python, "--version"], capture_output=True).returncode


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """The Python of an environment like Colab's."""
    folder = tmp_path_factory.mktemp("colab")
    found = os.environ.get("COLAB_PYTHON") or next(filter(starts, ("python3.12", "python3.13", sys.executable)))
    run(found, "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", *COLAB)
    run(python, "-m", "ipykernel", "install", "--prefix", folder, "--name", "python3")
    return python


def test_a_chapter_alone_installs_the_course_and_runs(colab, tmp_path):
    run("git", "clone", "-q", "--bare", ROOT, tmp_path / "course.git")
    book = nbformat.read(ROOT / "notebooks" / f"{CHAPTER}.ipynb", as_version=4)
    set_up = next(cell for cell in book.cells if cell.cell_type == "code")
    assert "git+https://github.com/" in set_up.source
    start = set_up.source.index("git+https://github.com/")
    address = set_up.source[start : set_up.source.index('"', start)]
    set_up.source = set_up.source.replace(address, f"git+file://{tmp_path / 'course.git'}")
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    (tmp_path / "content").mkdir()
    nbformat.write(book, tmp_path / "content" / "chapter.ipynb")
    before = packages(colab)
    environment = {**os.environ, "JUPYTER_PATH": str(colab.parents[1] / "share" / "jupyter")}  # Colab's kernel first
    run(sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace",
        "--ExecutePreprocessor.timeout=600", "chapter.ipynb", cwd=tmp_path / "content", env=environment)
    after = packages(colab)
    assert {name for name in after if after[name] != before.get(name)} <= {"autoencoder-utils", "mlxtend"}
    assert "autoencoder-utils" in after
    outputs = [output for cell in nbformat.read(tmp_path / "content" / "chapter.ipynb", 4).cells
               if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 10
    errors = [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert errors == []
