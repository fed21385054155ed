"""Executes notebooks and stores their outputs, and checks what is stored.

    python tests/notebook_store.py notebooks/04_code.ipynb     execute, store, print minutes and memory
    python tests/notebook_store.py --check notebooks/*.ipynb   only look for problems

A notebook that fails keeps its old outputs. The stored file carries a fingerprint of the code it was made by: of its
own code cells, and of the package's modules that they reach (their syntax trees, so that comments and docstrings may
change). `problems` compares it with the code of today.
"""

import argparse
import ast
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import nbclient
import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from autoencoder_utils.memory import peak_memory

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "autoencoder_utils"
LARGEST = 1_000_000  # bytes
LONGEST_CELL = 25  # lines
WIDEST_CELL = 120  # characters
CLOCK = re.compile(
    r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}:\d{2}:\d{2}\b|\b\d+m?s/(step|epoch)\b|\b\d+(\.\d+)? ?(s|ms|seconds)\b")
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(home|root|tmp|work|Users|usr|var|opt|mnt|content)/|\b[A-Z]:\\\\?\w")


def execute(path):
    """Runs a notebook in a fresh kernel and stores its outputs; returns (seconds, peak memory of the kernel in GB)."""
    notebook = nbformat.read(path, as_version=4)
    count = len(notebook.cells)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}},
        record_timing=False, store_widget_state=False, coalesce_streams=True,
        on_cell_start=lambda cell, cell_index: print(f"\r{path.name}: cell {cell_index + 1}/{count} ", end=""),
    )
    start = time.perf_counter()
    client.execute()
    seconds = time.perf_counter() - start
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "fingerprint": fingerprint(notebook),
    })
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.validate(notebook)
    unfinished = path.with_suffix(".unfinished")
    try:
        unfinished.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return seconds, peak_memory(children=True)


def fingerprint(notebook):
    """Hash of the notebook's code cells and of every module of the package that they import, directly or not."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    digest = hashlib.sha256(json.dumps(cells).encode())
    for module in sorted(_reached("\n".join(line for c in cells for line in c.split("\n") if line[:1] not in "%!"))):
        digest.update(module.encode() + _without_docstrings((ROOT / PACKAGE / f"{module}.py").read_text()).encode())
    return digest.hexdigest()


def _reached(source):
    """Names of the package's modules that a source imports, and those that they import."""
    found, todo = set(), _imported(source) | {"__init__"}
    while todo:
        module = todo.pop()
        if module not in found and (ROOT / PACKAGE / f"{module}.py").exists():
            found.add(module)
            todo |= _imported((ROOT / PACKAGE / f"{module}.py").read_text())
    return found


def _imported(source):
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith(f"{PACKAGE}.")}
    return names


def _without_docstrings(source):
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return ast.dump(tree)


def problems(path):
    """All that is wrong with a stored notebook, as a list of sentences; empty if nothing is."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = []
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        found.append(f"format {notebook.nbformat}.{notebook.nbformat_minor} instead of 4.5")
    if path.stat().st_size > LARGEST:
        found.append(f"{path.stat().st_size:,} bytes, more than {LARGEST:,}")
    if notebook.metadata.get("fingerprint") != fingerprint(notebook):
        found.append("the stored outputs are not those of the present code: run `make notebooks`")
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("cells were not run in order, 1 to n")
    if "widgets" in notebook.metadata:
        found.append("widget state is stored")
    for cell in notebook.cells:
        found += [f"cell {cell.id!r}: {problem}" for problem in _cell_problems(cell)]
    return found + list(_heading_problems(notebook))


def _cell_problems(cell):
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id) or re.fullmatch(r"[0-9a-f]{8}", cell.id):
        yield "its id is not readable (words with hyphens)"
    if "execution" in cell.metadata:
        yield "a time stamp is stored in its metadata"
    if cell.cell_type != "code":
        if re.search(r"<(img|div|br|span|p|table|center|a)\b", cell.source):
            yield "HTML in Markdown"
        return
    if cell.source.count("\n") >= LONGEST_CELL:
        yield f"{cell.source.count(chr(10)) + 1} lines, more than {LONGEST_CELL}"
    if (widest := max(map(len, cell.source.split("\n")))) > WIDEST_CELL:
        yield f"a line of {widest} characters, more than {WIDEST_CELL}"
    for output in cell.outputs:
        yield from _output_problems(output)


def _output_problems(output):
    if output.output_type == "error":
        yield f"an error is stored: {output.ename}"
        return
    if output.get("name") == "stderr":
        yield f"stderr is stored: {output.text[:80]!r}"
    data = output.get("data", {})
    for text in [output.get("text", "")] + [value for kind, value in data.items() if not kind.startswith("image/")]:
        text = re.sub(r"data:image/png;base64,[\w+/=]+", "", str(text))  # a picture inside HTML is no text
        if ABSOLUTE_PATH.search(str(text)):
            yield f"an absolute path is stored: {ABSOLUTE_PATH.search(str(text)).group()!r}"
        if CLOCK.search(str(text)):
            yield f"a time is stored: {CLOCK.search(str(text)).group()!r}"
    if "image/png" in data and not output.metadata.get("image/png", {}).get("alt", "").strip():
        yield "a figure lacks its description"
    if any("widget" in kind for kind in data):
        yield "a widget is stored"


def _heading_problems(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    levels = [len(marks) for marks in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)]
    if levels[:1] != [1] or levels.count(1) != 1:
        yield "there must be one title, and it comes first"
    if any(after > before + 1 for before, after in zip(levels, levels[1:])):
        yield f"headings jump: levels {levels}"


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Execute notebooks and store their outputs.")
    parser.add_argument("notebooks", nargs="+", type=pathlib.Path)
    parser.add_argument("--check", action="store_true", help="only look for problems in what is stored")
    arguments = parser.parse_args()
    failed = False
    for path in arguments.notebooks:
        if not arguments.check:
            try:  # in a process of its own, so that the peak is this kernel's
                with concurrent.futures.ProcessPoolExecutor(max_workers=1) as fresh:
                    seconds, peak = fresh.submit(execute, path.resolve()).result()
            except (CellExecutionError, CellTimeoutError, DeadKernelError, BrokenProcessPool, OSError) as error:
                sys.exit(f"\n{path.name}: stopped; what was stored is as it was. {type(error).__name__}: {error}")
            print(f"\r{path.name}: {seconds / 60:.1f} minutes, peak {peak:.2f} GB, {path.stat().st_size / 1e3:.0f} kB")
        for problem in problems(path):
            failed = True
            print(f"{path.name}: {problem}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
