"""Models in Python files that belong to no installed package."""

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from bayescg.errors import ConfigError, ModelError
from bayescg.modelling.model import Model

__all__ = ["find_file", "models_in"]


def find_file(path: str | Path) -> Path:
    """A Python file that is there.

    Raises
    ------
    ConfigError
        There is none of the name.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        what = "is not a Python file" if path.exists() else "does not exist"
        raise ConfigError(f"{path} {what}; give a Python file that defines a subclass of bayescg.Model")
    return path


def models_in(path: str | Path) -> list[type[Model]]:
    """Model classes that a Python file defines. The file is executed.

    Parameters
    ----------
    path : path

    Raises
    ------
    ConfigError
        There is no such Python file.
    ModelError
        It does not run, or defines no model.
    """
    path = find_file(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # dataclasses and inspect look a class's module up by name
    try:
        spec.loader.exec_module(module)
        classes = [c for c in vars(module).values() if _is_model(c) and c.__module__ == path.stem]
    except Exception as error:  # whatever a stranger's file raises
        raise ModelError(f"{path} does not run: {type(error).__name__}: {error}") from error
    finally:
        if before is not None:
            sys.modules[path.stem] = before
        else:
            del sys.modules[path.stem]
    if not classes:
        raise ModelError(f"{path} defines no model: a subclass of bayescg.Model with model, guide, config and example")
    return classes


def _is_model(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Model) and not inspect.isabstract(thing)
