"""Finding models by name, through the entry-point group ``bayescg.models``."""

from importlib.metadata import entry_points

from bayescg.errors import ConfigError
from bayescg.modelling.model import Model

__all__ = ["find_model", "model_names"]


def model_names() -> list[str]:
    """Names of all installed models, a third party's among them."""
    return sorted({e.name for e in entry_points(group="bayescg.models")})


def find_model(name: str) -> type[Model]:
    """Model class of a registered name.

    Raises
    ------
    ConfigError
        No installed package registers it.

    Examples
    --------
    >>> find_model("PredictiveCV").kind
    'evidence'
    """
    for entry in entry_points(group="bayescg.models"):
        if entry.name == name:
            return entry.load()
    names = ", ".join(model_names())
    hint = (
        f"registered are {names}"
        if names
        else "none is registered: install bayescg with pip install -c constraints.txt ."
    )
    raise ConfigError(f"no model is called {name!r}; {hint}")
