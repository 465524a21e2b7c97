"""The arguments of a model as JSON, and back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from bayescg.errors import ConfigError
from bayescg.features import Features, features_from_config
from bayescg.topologies import topology_config, topology_from_config

__all__ = ["argument_names", "arguments_from_json", "as_json", "not_in_a_file"]

_READERS = {
    **dict.fromkeys(("features", "coordinates", "mapping"), features_from_config),
    "topology": topology_from_config,
}


def argument_names(model_class: type) -> list[str]:
    """Names of the arguments of a class; one that hands ``**others`` on takes those of its bases as well."""
    names: dict[str, None] = {}
    for base in model_class.__mro__:
        if "__init__" in vars(base):
            parameters = list(inspect.signature(base).parameters.values())
            names |= {p.name: None for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
            if not any(p.kind == p.VAR_KEYWORD for p in parameters):
                break
    return list(names)


def as_json(name: str, value: Any) -> Any:
    """Value of an argument of that name; of features and of a `topology` what they are rebuilt from.

    Of a function what its class is called, which is all that a file keeps.
    """
    if isinstance(value, Features):
        return value.config()
    if name == "topology" and value is not None:
        return topology_config(value)
    if callable(value):
        return type(value).__name__
    if isinstance(value, Mapping):
        return {key: as_json("", v) for key, v in value.items()}
    return [as_json("", v) for v in value] if isinstance(value, tuple | list) else value


def arguments_from_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of which `as_json` made these; what is none of its mappings stays as it is."""
    return {
        name: _READERS[name](value) if name in _READERS and isinstance(value, Mapping) else value
        for name, value in config.items()
    }


def not_in_a_file(model_class: type, name: str, value: str) -> ConfigError:
    """The error of a model whose argument `name` is a function or module of the user's, of which a file keeps a name.

    Examples
    --------
    >>> print(not_in_a_file(dict, "cells", "function"))
    its cells= is a function of your own: make the model with it again, dict(cells=...), and give it to \
Fit.load(directory, model=...)
    """
    return ConfigError(
        f"its {name}= is a {value} of your own: make the model with it again, {model_class.__name__}({name}=...), and "
        "give it to Fit.load(directory, model=...)"
    )
