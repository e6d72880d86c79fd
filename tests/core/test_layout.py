"""Imports between the packages go one way, and no file depends on itself through others."""

import ast
import functools
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "arjax"
#: From the ground up: a package may import those before it, and itself.
LAYERS = [
    *("core", "stages", "data", "factorization", "conditionals", "networks", "samplers", "quantizers", "models"),
    *("interop", "objectives", "parallel", "evaluation", "coding", "reporting", "page", "testing", "training"),
    *("config", "api", "cli", "tables", "population", "sweep"),
]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file, which the tests share."""
    return ast.parse(path.read_text())


@pytest.fixture(scope="module", autouse=True)
def forget_trees():
    """The collector of cycles need not walk them after the tests of this file."""
    yield
    parsed.cache_clear()


def imports_of(path: Path) -> set[str]:
    """The modules of the project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(parsed(path)):
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


def test_one_loop_goes_over_the_batches_of_a_split():
    found = {name for name, path in MODULES.items() if "eval_batches" in path.read_text()}
    assert found == {"arjax.data.batches", "arjax.evaluation.splits"}


def test_no_circles():
    left = {name: imports_of(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    while left:
        free = {name for name, imported in left.items() if not imported & left.keys()}
        assert free, f"these import one another: {sorted(left)}"
        left = {name: imported for name, imported in left.items() if name not in free}


#: The fields of a config are one list.
LONGER = {"base_config": 90}


def test_functions_are_short():
    for path in MODULES.values():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef):
                docstring = node.body[0] if ast.get_docstring(node) is not None else None
                lines = node.end_lineno - node.lineno + 1
                lines -= 0 if docstring is None else docstring.end_lineno - docstring.lineno + 1
                assert lines <= LONGER.get(node.name, 50), f"{path}: {node.name} has {lines} lines"


def classes_of_models() -> set[str]:
    """The names of the classes in `arjax/models` that extend the class of all kinds, also through others."""
    bases = {}
    for path in (PACKAGE / "models").glob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    found = {"Model"}  # the class that all kinds extend
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found - {"Model"}


def test_only_models_tell_their_classes_apart():
    """What a model can do is asked of the model, not of its class, the name of that, or the attributes that it has."""
    classes = classes_of_models()
    assert {"AutoregressiveModel", "Chain", "GaussianChain", "LatentModel", "MixtureModel"} < classes
    of_models = {"score", "draw", "features", "network", "conditional", "members", "blocks", "prior", "denoiser"}
    for path in MODULES.values():
        if (PACKAGE / "models") in path.parents:
            continue
        for node in ast.walk(parsed(path)):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if called in ("isinstance", "issubclass") or isinstance(node, ast.Compare):
                names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
                assert not names & classes, f"{path}:{node.lineno} asks for the class of a model"
            if called == "hasattr" and isinstance(node.args[1], ast.Constant):
                assert node.args[1].value not in of_models, f"{path}:{node.lineno} asks for an attribute of a model"
            if isinstance(node, ast.Constant):
                assert node.value not in classes - {"Model"}, f"{path}:{node.lineno} names {node.value}"


def test_no_file_asks_for_the_name_of_a_kind():
    """What a kind can do is asked of its class, as other kinds can do it, too."""
    texts = {path: path.read_text() for path in MODULES.values()}
    kinds = {name for text in texts.values() for name in re.findall(r'@KINDS\.register\("(\w+)"\)', text)}
    assert {"autoregressive", "mixture", "discrete_chain"} <= kinds
    kinds -= {"tokens"}  # a kind of data, too
    for path in texts:
        for node in ast.walk(parsed(path)):
            values = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            asked = {value.value for value in values if isinstance(value, ast.Constant)} & kinds
            of = {getattr(value, "id", getattr(value, "attr", "")) for value in values}
            assert not (asked and {"kind", "KIND"} & of), f"{path}:{node.lineno} asks whether the kind is {asked}"


def test_kinds_of_models_have_one_registry():
    found = []
    for path in (PACKAGE / "models").glob("*.py"):
        tree = parsed(path)
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
        found += [call.args[0].value for call in calls if call.func.id == "Registry"]
    assert found == ["kind of model"]


def test_the_options_of_a_draw_stand_in_one_signature_beside_the_request():
    options = {"given", "observed", "context", "temperature", "top_k", "top_p", "min_p", "end"}
    found = []
    for path in MODULES.values():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef):
                names = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
                found += [f"{path.stem}.{node.name}"] * (len(names & options) >= 4)
    assert found == ["trained_model.sample"]
