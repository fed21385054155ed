"""Writes the repository's address into every place that holds it: `make links REPOSITORY=https://github.com/OWNER/NAME`.

The address stands once, in pyproject.toml (`project.urls`). From it follow the badges and set-up cells of the
notebooks and the badges of the README. `problems` finds what disagrees with it, or with a file's path.
"""

import argparse
import os
import re
import sys
import tomllib

import nbformat
import notebook_store

ROOT = notebook_store.ROOT
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+?)(?:\.git)?/?")
COLAB, BINDER = "https://colab.research.google.com/github/", "https://mybinder.org/v2/gh/"
BADGES = {"Open in Colab": ("https://colab.research.google.com/assets/colab-badge.svg", COLAB + "{}/blob/main/{}"),
          "Launch Binder": ("https://mybinder.org/badge_logo.svg", BINDER + "{}/main?labpath={}")}


def slug(address):
    """OWNER/NAME of an address like https://github.com/OWNER/NAME; ValueError if it is another."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"Expected an address like https://github.com/OWNER/NAME. Received: {address!r}")
    return "/".join(match.groups())


def stored_slug(root=ROOT):
    """OWNER/NAME as pyproject.toml has it."""
    return slug(tomllib.loads((root / "pyproject.toml").read_text())["project"]["urls"]["Repository"])


def badges(name, path):
    """The two badges, in Markdown, that open the notebook at `path` of the repository `name`."""
    return [f"[![{label}]({picture})]({target.format(name, path)})" for label, (picture, target) in BADGES.items()]


def rewrite(address, root=ROOT):
    """Puts another address into pyproject.toml, the README and all notebooks; outputs stay, and stay valid."""
    old, new = stored_slug(root), slug(address)
    for path in (root / "pyproject.toml", root / "README.md"):
        _replace(path, _renamed(path.read_text(), old, new))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        was_valid = notebook.metadata.get("fingerprint") == notebook_store.fingerprint(notebook)
        for cell in notebook.cells:
            cell.source = _renamed(cell.source, old, new)
        if was_valid:  # the address is no part of what the cells compute
            notebook.metadata["fingerprint"] = notebook_store.fingerprint(notebook)
        _replace(path, nbformat.writes(notebook) + "\n")


def _renamed(text, old, new):
    for before in ("https://github.com/", COLAB, BINDER):
        text = re.sub(re.escape(before + old) + r"(?![\w.-])", before + new, text)
    return text


def _replace(path, text):
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def problems(root=ROOT):
    """Every place that disagrees with pyproject.toml or with its own path, as a list of sentences."""
    name, found = stored_slug(root), []
    readme = (root / "README.md").read_text()
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        inside = f"notebooks/{path.name}"
        cells = nbformat.read(path, as_version=4).cells
        set_up = next(cell.source for cell in cells if cell.cell_type == "code")
        if f'"git+https://github.com/{name}"' not in set_up:
            found.append(f"{inside}: the set-up cell does not install from https://github.com/{name}")
        for place, text in ((inside, cells[0].source), ("README.md", readme)):
            found += [f"{place}: lacks the badge {badge}" for badge in badges(name, inside) if badge not in text]
        found += [f"{inside}: {link}" for cell in cells for link in _strangers(cell.source, name, inside)]
    return found + [f"README.md: {link}" for link in _strangers(readme, name, "notebooks/")]


def _strangers(text, name, path):
    """Launch links that lead to another repository or another notebook."""
    for start in (COLAB, BINDER):
        for link in re.findall(re.escape(start) + r"[^\s)]+", text):
            if not link.startswith(start + name + "/") or path not in link:
                yield f"a link leads elsewhere: {link}"


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the repository's address into badges, links and set-up cells.")
    parser.add_argument("repository", help="https://github.com/OWNER/NAME")
    try:
        rewrite(parser.parse_args().repository)
    except ValueError as error:
        sys.exit(f"{error}\nmake links REPOSITORY=https://github.com/OWNER/NAME")
    found = problems()
    print("\n".join(found) or f"Every link leads to https://github.com/{stored_slug()}.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
