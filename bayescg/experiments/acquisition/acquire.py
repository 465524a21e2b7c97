"""What chooses simulations, runs them and learns from them: one round of an active loop."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError

if TYPE_CHECKING:
    from bayescg.analysis.quantity import Quantity
    from bayescg.data import Frames
    from bayescg.inference import Fit
    from bayescg.systems import System

__all__ = ["Acquisition", "check_arguments_of"]

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


def check_arguments_of(function: Callable[..., Any], names: Collection[str], without: Collection[str]) -> None:
    """Refuse names that are no arguments of a sampler, or those that an acquisition sets itself.

    Raises
    ------
    ConfigError
    """
    possible = [name for name in inspect.signature(function).parameters if name not in without]
    for name in names:
        if name not in possible:
            raise ConfigError(f"{name}= is not known here: {did_you_mean(name, possible)}use {', '.join(possible)}")
