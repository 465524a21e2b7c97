"""What a figure is of, asked at the door: that a fit is given in place of an analysis of it happens to everyone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from bayescg.errors import ConfigError

__all__ = ["figure_by_name", "figure_of"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def figure_of(maker: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorate a figure whose first argument is what `maker` returns, of the class that it is annotated with.

    Or several of them by name, where it is annotated as a mapping.

    Raises
    ------
    ConfigError
        By the figure: its first argument is something else.
    """

    def decorated(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        name, annotation = next(iter(function.__annotations__.items()))
        by_name = annotation.startswith("Mapping[str, ")
        wanted = annotation.removeprefix("Mapping[str, ").rstrip("]").rpartition(".")[2]

        @wraps(function)
        def figure(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            subject = args[0] if args else kwargs.get(name)
            right = isinstance(subject, Mapping) or not by_name
            for each in subject.values() if isinstance(subject, Mapping) and by_name else [subject]:
                if not right or wanted not in (kind.__name__ for kind in type(each).__mro__):
                    raise ConfigError(
                        f"bayescg.plot.{function.__name__} draws what {maker} returns ({wanted})"
                        f"{', in a dictionary by name' if by_name else ''}; {name} is of type "
                        f"{type(each).__name__ if right else type(subject).__name__}"
                    )
            return function(*args, **kwargs)

        return figure

    return decorated


def figure_by_name(what: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorate a figure whose first argument is a dictionary, of `what` by name.

    Raises
    ------
    ConfigError
        By the figure: it is none, or empty.
    """

    def decorated(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        name = next(iter(function.__annotations__))

        @wraps(function)
        def figure(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            subject = args[0] if args else kwargs.get(name)
            if not isinstance(subject, Mapping) or not subject:
                kind = "empty" if isinstance(subject, Mapping) else f"of type {type(subject).__name__}"
                raise ConfigError(f"bayescg.plot.{function.__name__} draws a dictionary of {what}; {name} is {kind}")
            return function(*args, **kwargs)

        return figure

    return decorated
