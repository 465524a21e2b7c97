"""Packages whose names are imported when they are first used."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["homes", "lazily"]


def lazily(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports its names when they are first used.

    They are read from what ``if TYPE_CHECKING:`` imports in its ``__init__.py``: names are written once, where type
    checkers see them too. The same names are its ``__all__``.

    Parameters
    ----------
    package, file : str
        Its ``__name__`` and ``__file__``.

    Examples
    --------
    >>> import bayescg.truth
    >>> getattr_, dir_ = lazily("bayescg.truth", bayescg.truth.__file__)
    >>> "Exact" in dir_() and getattr_("Exact").__module__
    'bayescg.truth.exact'
    """

    def names() -> list[str]:
        return sorted(homes(file))

    def getattr_(name: str) -> Any:
        if name == "__all__":
            return names()
        if name not in homes(file):
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names())}")
        module = import_module(homes(file)[name])
        return import_module(f"{package}.{name}") if module.__name__ == package else getattr(module, name)

    return getattr_, names


@cache
def homes(file: str) -> dict[str, str]:
    """Public names of a lazy package and the module that each lives in."""
    import ast  # here, as `import bayescg` alone does without

    branches = [node for node in ast.parse(Path(file).read_text("utf-8")).body if isinstance(node, ast.If)]
    imports = [node for branch in branches for node in branch.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
