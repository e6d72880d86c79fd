"""Imports between the packages go one way, and no file depends on itself through others."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "arjax"
#: From the ground up: a package may import those before it, and itself.
LAYERS = [
    *("core", "factorization", "conditionals", "networks", "samplers", "models", "interop", "objectives", "testing"),
    *("parallel", "data", "evaluation", "reporting", "training", "config", "api", "cli", "population", "sweep"),
]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path: Path) -> set[str]:
    """The modules of the project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "arjax":
            found |= {name if (name := f"{node.module}.{a.name}") in MODULES else node.module for a in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "arjax"}
    return found


def test_every_package_has_its_layer():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(LAYERS)
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_down(package):
    allowed = LAYERS[: LAYERS.index(package) + 1]
    for path in (PACKAGE / package).rglob("*.py"):
        for name in imports_of(path):
            assert name.split(".")[1:2] and name.split(".")[1] in allowed, f"{path} imports {name}"


def test_only_layers_from_config_up_know_configs():
    for package in LAYERS[: LAYERS.index("config")]:
        for path in (PACKAGE / package).rglob("*.py"):
            assert not re.search(r"^\s*(from|import) ml_collections", path.read_text(), re.M), path


def test_no_circles():
    left = {name: imports_of(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    while left:
        free = {name for name, imported in left.items() if not imported & left.keys()}
        assert free, f"these import one another: {sorted(left)}"
        left = {name: imported for name, imported in left.items() if name not in free}


#: The fields of a config are one list.
LONGER = {"base_config": 90}


def test_functions_are_short():
    """At most 50 lines each, without the docstring."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                docstring = node.body[0] if ast.get_docstring(node) is not None else None
                lines = node.end_lineno - node.lineno + 1
                lines -= 0 if docstring is None else docstring.end_lineno - docstring.lineno + 1
                assert lines <= LONGER.get(node.name, 50), f"{path}: {node.name} has {lines} lines"
