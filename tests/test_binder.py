"""What Binder makes of environment.yml and postBuild: `make test-binder`. It downloads about 1 GB."""

import os
import sys
import threading

import nbformat
import notebook_store
import psutil
import pytest
import yaml
from test_colab import run

ROOT = notebook_store.ROOT
CHAPTER = os.environ.get("CHAPTER", "04_code")
LIMIT = 2e9  # bytes: what Binder promises
pytestmark = pytest.mark.weekly


def test_repo2docker_reads_what_we_wrote(tmp_path):
    run(sys.executable, "-m", "venv", tmp_path)
    run(tmp_path / "bin" / "pip", "install", "-q", "jupyter-repo2docker", "setuptools<81")
    recipe = run("sh", "-c", f"{tmp_path}/bin/jupyter-repo2docker --no-build --debug '{ROOT}' 2>&1")
    assert "environment.yml" in recipe and "postBuild" in recipe
    wanted = next(line for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
                  if str(line).startswith("python="))
    assert wanted.replace("=", " ") in recipe.replace("=", " ").replace("  ", " ") or wanted.split("=")[1] in recipe


def test_the_environment_runs_a_chapter_in_the_memory_that_binder_gives(tmp_path):
    pip = next(part["pip"] for part in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
               if isinstance(part, dict))
    run(sys.executable, "-m", "venv", tmp_path / "env")
    run("git", "clone", "-q", ROOT, tmp_path / "course")
    (tmp_path / "course" / "requirements.binder").write_text("\n".join(pip))
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-r", "requirements.binder", cwd=tmp_path / "course")
    environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    run("./postBuild", cwd=tmp_path / "course", env=environment)
    peak, stop = [0.0], threading.Event()

    def watch():
        while not stop.wait(0.5):
            with_children = [psutil.Process(), *psutil.Process().children(recursive=True)][1:]
            peak[0] = max(peak[0], sum(_memory(process) for process in with_children))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run(python, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace",
            "--ExecutePreprocessor.timeout=600", f"notebooks/{CHAPTER}.ipynb", cwd=tmp_path / "course", env=environment)
    finally:
        stop.set()
        thread.join()
    print(f"{CHAPTER}: {peak[0] / 1e9:.2f} GB at most, with all its processes")
    assert 0 < peak[0] < LIMIT
    book = nbformat.read(tmp_path / "course" / "notebooks" / f"{CHAPTER}.ipynb", as_version=4)
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs and all(output.output_type != "error" for output in outputs)


def _memory(process):
    """Bytes that a process alone holds, 0 if it has ended."""
    try:
        return process.memory_full_info().uss
    except psutil.Error:
        return 0
