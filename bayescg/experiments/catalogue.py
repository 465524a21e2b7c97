"""What there is to run: experiments, models and systems by name, found without importing any of them."""

import ast
import re
import tomllib
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from bayescg import systems as systems_room
from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError
from bayescg.lazy import homes

__all__ = ["experiments", "find_experiment", "models", "names", "systems"]

_SHIPPED = Path(__file__).parent


def names() -> list[str]:
    """Names of the shipped experiments."""
    return list(experiments())


def experiments() -> dict[str, str]:
    """Names of the shipped experiments, with a line on each.

    Examples
    --------
    >>> "alanine-dipeptide" in experiments()
    True
    """
    descriptions = {}
    for path in sorted(_SHIPPED.glob("*.toml"), key=lambda path: path.stem):
        descriptions[path.stem] = tomllib.loads(path.read_text(encoding="utf-8"))["experiment"]["description"]
    return descriptions


def models() -> dict[str, str]:
    """Names of the installed models, a third party's among them, with a line on each.

    Examples
    --------
    >>> models()["PredictiveCV"]
    'Predictive collective variables (Schöberl, Zabaras, Koutsourelakis 2019).'
    """
    return {e.name: _summary(e.module, e.attr) for e in sorted(entry_points(group="bayescg.models"))}


def systems() -> dict[str, str]:
    """Names of the systems of :mod:`bayescg.systems` that numbers and words make, with a line on each.

    Examples
    --------
    >>> "alanine_dipeptide" in systems(), "from_function" in systems()
    (True, False)
    """
    others = ("System", "MolecularSystem", "CurvilinearSystem", "from_function", "from_openmm", "peptide")
    return {n: _summary(home, n) for n, home in sorted(homes(str(systems_room.__file__)).items()) if n not in others}


def find_experiment(name: str | Path) -> Path:
    """The file of an experiment given by name or path.

    Raises
    ------
    ConfigError
        There is none; the nearest name is suggested.
    """
    shipped = _SHIPPED / f"{name}.toml"
    if str(name).endswith(".toml") or "/" in str(name):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"there is no experiment file {path} (looked in {path.absolute().parent})")
        return path
    if shipped.is_file():
        return shipped
    raise ConfigError(
        f"there is no experiment {str(name)!r}; {did_you_mean(name, names())}known are {', '.join(names())}, "
        "or give a file that ends in .toml"
    )


@cache
def _summary(module: str, attribute: str) -> str:
    """First line of a docstring without formulas, read from the source: importing it could take seconds."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *rest)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                for node in ast.parse(file.read_text(encoding="utf-8")).body:
                    if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
                        first = (ast.get_docstring(node) or "").split("\n")[0]
                        return re.sub(":math:`([^`]*)`", r"\1", re.sub(", :math:`U = [^`]*`", "", first))
    return ""
