"""What chooses simulations, runs them and learns from them: one round of an active loop."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bayescg as bcg
from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError

if TYPE_CHECKING:
    from bayescg.analysis.quantity import Quantity
    from bayescg.data import Frames
    from bayescg.inference import Fit
    from bayescg.systems import System

__all__ = ["Acquisition", "check_arguments_of", "fit_settings"]

QuantityOf = Callable[["Fit", "Frames"], Any]
"""From a fit and all frames so far to a Quantity, or to draws of one."""


class Acquisition(ABC):
    """A kind of simulation that an active loop may choose.

    A query is JSON: what to simulate in one round. What a round makes is written to the round's own folder, each part
    whole or not at all, and what is complete there is read and not made again.

    Parameters
    ----------
    system : System
    model : Model or Fit
    tolerance : float or None
        Standard deviation of the quantity at which the loop is to stop, where it has one.
    seed : int

    Attributes
    ----------
    quantities : dict of str to callable
        Those that have a name here; the first is the default.
    """

    quantities: dict[str, QuantityOf]

    def __init__(self, system: System, model: Any, tolerance: float | None, seed: int):
        self.system, self.model, self.tolerance, self.seed = system, model, tolerance, seed

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """JSON that says which settings it has: a folder of a loop with others is refused."""

    @abstractmethod
    def begin(self) -> dict[str, Any]:
        """The query of the first round."""

    @abstractmethod
    def propose(self, fit: Fit, frames: Frames, value: Quantity) -> dict[str, Any] | None:
        """The query of the next round, by what is known; None where nothing is left to ask."""

    @abstractmethod
    def answer(self, query: dict[str, Any], path: Path, seed: int) -> Frames:
        """Simulate; the frames of all rounds so far, this one included."""

    @abstractmethod
    def learn(self, frames: Frames, path: Path, seed: int) -> Fit:
        """The fit to all frames so far."""


def fit_settings(fit: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    """Arguments of :func:`bayescg.fit`, no frames held out but where `fit` says so.

    Raises
    ------
    ConfigError
        One is unknown.
    """
    check_arguments_of(bcg.fit, fit or {}, ("model", "frames", "seed", "run_dir", "resume", "checkpoint_every"))
    return {"validation": 0.0, "progress": False, **more, **(fit or {})}


def check_arguments_of(
    function: Callable[..., Any],
    names: Collection[str],
    without: Collection[str],
    beside: Callable[..., Any] | None = None,
) -> None:
    """Refuse names that are no arguments of a function or class, or those that are set by others.

    One that takes any arguments checks them itself. Names that could have been meant are also those of keywords of
    `beside`, to which the others were given first.

    Raises
    ------
    ConfigError
    """
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    possible = [name for name in parameters if name not in without]
    before = {} if beside is None else inspect.signature(beside).parameters
    possible = [*(name for name, p in before.items() if p.kind is p.KEYWORD_ONLY), *possible]
    for name in names:
        if name not in possible:
            raise ConfigError(f"{name}= is not known here: {did_you_mean(name, possible)}use {', '.join(possible)}")
