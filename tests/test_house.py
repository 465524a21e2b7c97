"""The rules of the house: who may import whom, how long a file may be, what lies at the top."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for p in (ROOT / "bayescg").rglob("*.py") if "models" not in p.relative_to(ROOT).parts)
MODELS = sorted(p for p in (ROOT / "models").glob("*.py") if p.name != "__init__.py")

ORDER = (
    ("errors", "lazy"),
    ("arguments", "units", "kernels"),
    ("checkpoint", "devices", "draws", "progress", "stopping", "topologies"),
    ("many",),
    ("recording",),
    ("systems", "data", "features", "nets"),
    ("truth", "distributions", "sampling"),
    ("modelling",),
    ("feeding",),
    ("inference",),
    ("export", "analysis"),
    ("plot",),
    ("contract",),
    ("questions",),
    ("report",),
    ("experiments",),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}

TOP = {"pyproject.toml", "bayescg", "models", "tests", "tutorials", "README.md"}
CARRIED = {"docs", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "SECURITY.md", "constraints.txt"}
CARRIED |= {"MANIFEST.in"}

ORIGINS = {"found", "told", "asked", "given", "own", "one", "made", "seen", "known", "drawn", "chosen", "kept", "taken"}
"""Names of locals that say how something came about; a longer function says what it is."""

INSIDE_TORCH = {"_C", "_dynamo", "_functorch", "_fused_adam_", "_inductor", "_subclasses", "fx", "overrides"}
INSIDE_TORCH |= {"_pytree", "_python_dispatch", "_triton"}
"""Parts of torch that are none of its public ones, or record and change what a program does."""

PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
HEAVY = ("openmm", "mdtraj", "MDAnalysis", "matplotlib", "arviz_plots")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path, top_level: bool = False) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, each with its line; `top_level`: only what runs when the file is imported."""
    tree = parsed(path)
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(ROOT / "bayescg").parts[0].removesuffix(".py")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_go_one_way():
    faults = []
    for path in SOURCES:
        own = room(path)
        if own == "__init__":
            names = [name for name, _ in imports(path, top_level=True) if name.startswith("bayescg")]
            assert names == ["bayescg.lazy.lazily"]
            continue
        assert own in RANK, f"{own} has no place in the order of imports"
        for name, line in imports(path):
            parts = name.split(".")
            if parts[0] != "bayescg":
                continue
            other = parts[1] if len(parts) > 1 else ""
            if other == "models":
                faults.append(f"{path}:{line} imports a model by name; find_model finds it")
            elif other in RANK and other != own and RANK[other] >= RANK[own]:
                faults.append(f"{path}:{line}: {own} must not import {other}")
    assert not faults


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_files(path: Path) -> set[Path]:
    """Files of the package whose names a file imports, for types or when it runs; from a room, the files behind it."""
    targets = set()
    for name, _ in imports(path):
        while name not in FILES and "." in name:
            name, _, attribute = name.rpartition(".")
            if name in EXPORTS and attribute in EXPORTS[name]:
                name = EXPORTS[name][attribute]
        if name in FILES and FILES[name].name != "__init__.py":
            targets.add(FILES[name])
    return targets - {path}


FILES = {module(p): p for p in SOURCES}
EXPORTS = {
    module(p): {name.rpartition(".")[2]: name for name, _ in imports(p) if name.startswith("bayescg.")}
    for p in SOURCES
    if p.name == "__init__.py"
}


def test_no_files_import_each_other():
    """Not by way of others either: what can be sorted by imports has no circle."""
    graph = {p: imported_files(p) for p in SOURCES if p.name != "__init__.py"}
    graph = {p: {q for q in targets if q in graph} for p, targets in graph.items()}
    assert sum(map(len, graph.values())) > 300  # names are resolved to files
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(named(p) for p in circle.args[1]))


def test_no_two_files_have_one_name():
    count = Counter(p.stem for p in SOURCES if p.name != "__init__.py")
    assert not {stem for stem, files in count.items() if files > 1}


def test_only_recording_touches_the_inside_of_torch():
    faults = []
    for path in [*SOURCES, *MODELS]:
        if path in SOURCES and room(path) == "recording":
            continue
        names = [(name.split("."), line) for name, line in imports(path)]
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute):
                names.append((ast.unparse(node).split("."), node.lineno))
        for parts, line in names:
            inside = parts[0] == "torch" and INSIDE_TORCH & set(parts)
            if inside or parts[-1] in ("settrace", "_version", "_buffers"):
                faults.append(f"{path}:{line}: {'.'.join(parts)} belongs to bayescg.recording")
    assert not faults


def test_locals_are_named_by_their_content():
    """But for functions of three lines."""
    faults = []
    for path in [*SOURCES, *MODELS]:
        for function in ast.walk(parsed(path)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            body = function.body[1:] if ast.get_docstring(function) else function.body
            if not body or (body[-1].end_lineno or 0) - body[0].lineno < 3:
                continue
            stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            if stored & ORIGINS:
                faults.append(f"{path}:{function.lineno}: say what {', '.join(stored & ORIGINS)} is")
    assert not faults


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_a_model_imports_public_names_and_no_other_model(path):
    for name, line in imports(path):
        parts = name.split(".")
        assert parts[0] != "models", f"{path}:{line}: import models as bayescg.models"
        if parts[0] == "bayescg":
            assert "models" not in parts, f"{path}:{line} imports another model"
            assert not any(p.startswith("_") for p in parts), f"{path}:{line} imports a private name"
            # a room's public names are the ones that its __init__ exports
            assert len(parts) <= 3, f"{path}:{line}: import {name} from its room, bayescg.{parts[1]}"


def test_models_are_registered_and_exported():
    import bayescg.models
    from bayescg.modelling import find_model, model_names

    for name in bayescg.models.__all__:
        assert name in model_names()
        assert find_model(name) is getattr(bayescg.models, name)


def test_no_file_is_longer_than_500_lines():
    lengths = {p: len(p.read_text().splitlines()) for p in [*SOURCES, *MODELS, *(ROOT / "tests").rglob("*.py")]}
    assert not {named(p): length for p, length in lengths.items() if length > 500}


def test_model_files_are_at_most_200_lines_long():
    lengths = {p: len(p.read_text().splitlines()) for p in MODELS}
    assert not {named(p): length for p, length in lengths.items() if length > 200}


def test_files_of_inference_are_at_most_300_lines_long():
    assert max(len(p.read_text().splitlines()) for p in SOURCES if room(p) == "inference") <= 300


def test_files_are_short():
    lengths = [len(p.read_text().splitlines()) for p in [*SOURCES, *MODELS]]
    assert np.median(lengths) <= 160


def test_only_what_belongs_lies_at_the_top():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so what belongs to the project cannot be told from what was built")
    entries = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {e for e in entries if not e.startswith(".")} - TOP - CARRIED == set()


def test_models_are_linked_into_the_package():
    link = ROOT / "bayescg" / "models"
    assert link.is_symlink()
    assert os.readlink(link) == "../models"


def test_importing_the_package_does_not_import_torch():
    code = "import sys, bayescg; assert not {'torch', 'pyro', 'numpy', 'openmm', 'arviz'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_heavy_packages_are_imported_where_they_are_needed():
    faults = []
    for path in [*SOURCES, *MODELS]:
        for name, line in imports(path, top_level=True):
            if name.split(".")[0] in HEAVY:
                faults.append(f"{path}:{line} imports {name} at its top")
    assert not faults


def test_only_draws_knows_arviz():
    for path in [*SOURCES, *MODELS]:
        arviz = [name for name, _ in imports(path) if name.split(".")[0].startswith("arviz")]
        assert not arviz or path == ROOT / "bayescg" / "draws.py" or arviz == ["arviz_plots"], path


def test_nothing_is_unpickled_or_executed():
    faults = []
    for path in [*SOURCES, *MODELS]:
        faults += [f"{path}:{line} imports {name}" for name, line in imports(path) if name.split(".")[0] in PICKLES]
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            allowed = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("allow_pickle", "False")
            executes = called in ("eval", "exec", "torch.load", "torch.save", "yaml.load")
            if executes or (called in ("np.load", "numpy.load") and allowed != "False"):
                faults.append(f"{path}:{node.lineno} calls {called}")
    assert not faults


CHANGES = {
    "Pyro's parameter store": lambda: pyro.get_param_store().setdefault("theta", torch.zeros(1)),
    "Pyro's settings": lambda: pyro.settings.set(module_local_params=False),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's deterministic flag": lambda: torch.use_deterministic_algorithms(True),
    "torch's grad mode": lambda: torch.set_grad_enabled(False),
    "the validation of torch's distributions": lambda: torch.distributions.Distribution.set_default_validate_args(
        not torch.distributions.Distribution._validate_args
    ),
    "NumPy's error state": lambda: np.seterr(all="raise"),
    "the working directory": lambda: os.chdir("/"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_test_that_changes_shared_state_fails_and_is_undone(guard, what):
    with pytest.raises(pytest.fail.Exception, match=what.split()[-1]), guard():
        CHANGES[what]()


def test_docstrings_of_the_site_refer_to_names_that_it_has():
    """What a role of a public docstring names is on a page of docs/reference; other names have double backquotes."""
    rooms = re.findall(r"^   (bayescg[.\w]*)$", (ROOT / "docs" / "reference" / "index.md").read_text(), re.MULTILINE)
    homes = {"bayescg.fit": "bayescg.inference.run.fit", "bayescg.Fit": "bayescg.inference.fitted.Fit"}
    for page in rooms:
        path = ROOT.joinpath(*page.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        homes |= {
            f"{page}.{name.rpartition('.')[2]}": name for name, _ in imports(source) if name.startswith("bayescg")
        }
        homes |= {f"{page}.{n.name}": f"{page}.{n.name}" for n in parsed(source).body if isinstance(n, DEFINITIONS)}
    targets = {*rooms, *homes, "bayescg.inference.uncertainty"}
    faults = []
    for home in homes.values():
        path = ROOT.joinpath(*home.split(".")[:-1]).with_suffix(".py")
        public = (
            [n for n in parsed(path).body if getattr(n, "name", "") == home.rpartition(".")[2]]
            if path.is_file()
            else []
        )
        for node in (n for top in public for n in ast.walk(top) if isinstance(n, DEFINITIONS) and n.name[0] != "_"):
            for target in re.findall(r":[a-z]+:`~?(bayescg\.[.\w]+)`", ast.get_docstring(node) or ""):
                if target not in targets and target.rpartition(".")[0] not in homes:
                    faults.append(f"{named(path)}: {target}")
    assert len(homes) > 200
    assert not faults


def test_the_site_shows_every_experiment_and_model():
    shown = re.findall(r"^```\{experiment\} (\S+)$", (ROOT / "docs" / "experiments.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(p.stem for p in (ROOT / "bayescg" / "experiments").glob("*.toml"))
    listed = re.findall(r"\| ([\w, ]+) \| [-\w]+$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    classes = {n.name for n in ast.walk(parsed(ROOT / "models" / "__init__.py")) if isinstance(n, ast.alias)}
    assert {name for names in listed for name in names.split(", ")} == classes


DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
