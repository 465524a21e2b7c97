"""What there is to run: experiments, models and systems by name, found without importing any of them."""

import ast
import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bayescg import systems as systems_room
from bayescg.errors import ConfigError
from bayescg.lazy import homes

__all__ = ["did_you_mean", "experiments", "find_experiment", "models", "names", "systems"]

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
    found = {}
    for path in sorted(_SHIPPED.glob("*.toml")):
        found[path.stem] = tomllib.loads(path.read_text(encoding="utf-8"))["experiment"]["description"]
    return found


def models() -> dict[str, str]:
    """Names of the installed models, a third party's among them, with a line on each.

    Examples
    --------
    >>> models()["PredictiveCV"]
    'Predictive collective variables (Schöberl, Zabaras, Koutsourelakis 2019).'
    """
    return {e.name: _summary(e.module, e.attr) for e in sorted(entry_points(group="bayescg.models"))}


def systems() -> dict[str, str]:
    """Names of the systems of :mod:`bayescg.systems`, with a line on each.

    Examples
    --------
    >>> "alanine_dipeptide" in systems()
    True
    """
    bases = ("System", "MolecularSystem", "CurvilinearSystem")
    return {n: _summary(home, n) for n, home in sorted(homes(str(systems_room.__file__)).items()) if n not in bases}


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
    known = list(experiments())
    raise ConfigError(
        f"there is no experiment {str(name)!r}; {did_you_mean(name, known)}known are {', '.join(known)}, "
        "or give a file that ends in .toml"
    )


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """``did you mean "steps"? `` or nothing.

    Examples
    --------
    >>> did_you_mean("step", ["seed", "steps"])
    'did you mean "steps"? '
    """
    near = get_close_matches(str(word).lower(), {k.lower(): k for k in known}, n=1, cutoff=0.6)
    return f'did you mean "{next(k for k in known if k.lower() == near[0])}"? ' if near else ""


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
