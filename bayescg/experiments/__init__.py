"""Published experiments, one TOML file each, and the runner that turns one into a directory of results.

Names are imported when they are first used, so that the command line lists experiments at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "Experiment": "schema",
    "load": "settings",
    "map": "many.mapping",
    "names": "catalogue",
    "report": "runner",
    "resume": "runner",
    "run": "runner",
}

__all__ = ["Experiment", "load", "map", "names", "report", "resume", "run"]

if TYPE_CHECKING:
    from bayescg.experiments.catalogue import names
    from bayescg.experiments.many.mapping import map
    from bayescg.experiments.runner import report, resume, run
    from bayescg.experiments.schema import Experiment
    from bayescg.experiments.settings import load


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"bayescg.experiments.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bayescg.experiments' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
