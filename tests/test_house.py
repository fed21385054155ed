"""The rules of the house that a test can keep."""

import ast
import inspect
import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = {path.stem: path for path in sorted((ROOT / "autoencoder_utils").glob("*.py"))}
# A module imports only from those before it.
ORDER = ("_startup", "__init__", "memory", "_sources", "data", "corruption", "metrics", "rangecoder", "compression",
         "plotting", "restoration", "tomography", "architectures", "losses", "training", "distributed", "autoencoders",
         "restorers", "codecs", "judge", "variational", "quantized", "priors", "adversarial", "diffusion", "explorer")
WITHOUT_KERAS = ("_startup", "__init__", "memory", "_sources", "data", "corruption", "metrics", "rangecoder",
                 "compression", "plotting", "restoration", "tomography", "explorer")
ALLOWED = {"_sources": {"keras.datasets"}}  # imported inside the function that downloads


def imports(path):
    """Every module that a file imports, dotted, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ([f"{node.module}.{alias.name}" for alias in node.names]
                        if node.module == "autoencoder_utils" else [node.module])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield re.sub(r"\.\{.*", "", ast.unparse(node.args[0]).lstrip("f").strip("'\""))  # "keras.datasets.{name}"


def functions(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def test_every_module_has_its_place_in_the_order():
    assert set(MODULES) == set(ORDER)


@pytest.mark.parametrize("name", MODULES)
def test_dependencies_point_one_way(name):
    for imported in imports(MODULES[name]):
        parts = imported.split(".")
        assert parts[0] not in ("tensorflow", "torch", "jax", "tests", "benchmarks", "notebooks"), imported
        if parts[0] == "autoencoder_utils":
            assert ORDER.index(parts[1]) < ORDER.index(name), f"{name} imports {imported}"
        if parts[0] == "keras" and name in WITHOUT_KERAS:
            assert imported in ALLOWED.get(name, ()), f"{name} imports {imported}"


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions_are_short(name):
    source = MODULES[name].read_text()
    assert source.count("\n") <= 250
    for function in functions(MODULES[name]):
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = function.end_lineno - body[0].lineno + 1 if body else 0
        assert lines <= 40, f"{name}.{function.name} has {lines} lines"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("_")])
def test_public_docstrings_say_what_goes_in_and_out(name):
    tree = ast.parse(MODULES[name].read_text())
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or _is_inner(tree, node), f"{name}.{node.name} has no docstring"
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
            text = inspect.cleandoc(ast.get_docstring(function))
            if function.args.args:
                assert "Args:" in text or "Raises:" in text, f"{name}.{function.name}: no arguments described"
            if {"images", "logits", "codes", "train_images"} & {argument.arg for argument in function.args.args}:
                assert re.search(r"\((batch|n)(, \w+)*[,)]", text), f"{name}.{function.name}: no shapes"
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(function))
            assert not raises or "Raises:" in text, f"{name}.{function.name}: errors not described"


def _is_inner(tree, node):
    return any(node in ast.walk(outer) for outer in ast.walk(tree)
               if isinstance(outer, ast.FunctionDef) and outer is not node)


@pytest.mark.parametrize("name", MODULES)
def test_no_assert_no_bare_except(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        assert not isinstance(node, ast.Assert)
        assert not isinstance(node, ast.ExceptHandler) or node.type is not None


def test_errors_say_what_was_received():
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = ast.unparse(node.exc)
                if text.startswith("ValueError"):
                    assert re.search(r"Received: |\{error\}|holds no images", text), f"{name}: {text}"


def test_constraints_fit_the_ranges_and_hold_no_address():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    pins = dict(line.lower().replace("_", "-").split("==") for line in text.splitlines() if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in group:
            assert re.match(r"[\w-]+", requirement).group().lower() in pins, requirement
