"""How a step runs: plainly, recorded or compiled, and the choice between these."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bayescg.arguments import check_choice
from bayescg.recording.lowering import can_compile
from bayescg.recording.unrecordable import Unrecordable

__all__ = ["MODES", "Step", "check_mode", "step_in_mode"]

MODES = ("auto", "inductor", "trace", "off")

_RECORD = 200
"""Calls from which on recording, of about 0.2 s, pays."""


@dataclass(frozen=True)
class Step:
    """A function of tensors that is called again and again.

    Attributes
    ----------
    run : callable
    mode : {"inductor", "trace", "off"}
        How it runs.
    why : str
        Why it does, for the log.
    """

    run: Callable[..., Any]
    mode: str
    why: str


def check_mode(mode: str) -> None:
    """Refuse a mode of compilation that is unknown.

    Raises
    ------
    ConfigError
    """
    check_choice(compile=(mode, MODES))


def step_in_mode(
    mode: str,
    calls: int,
    plain: Callable[..., Any],
    record: Callable[[], tuple[Callable[..., Any], Callable[[], Callable[..., Any]]]],
    best: Callable[[Step, Callable[[], Step]], Step],
    device: torch.device,
    what: str,
    stacklevel: int,
) -> Step:
    """A step in the mode asked for, or in the nearest that is possible, with a warning where it is another.

    Parameters
    ----------
    mode : {"auto", "inductor", "trace", "off"}
    calls : int
        How often it will be called, about.
    plain : callable
    record : callable
        Makes the recorded function, and a function that compiles it; raises `Unrecordable`.
    best : callable
        In mode ``"auto"``, from the recorded step and a function that makes the compiled one, to one of the two.
    device : torch.device
    what : str
        Whose steps these are, for the warnings: ``"the program"``.
    stacklevel : int
        Of the user's call, for the warnings, seen from the caller.

    Raises
    ------
    ConfigError
        Unknown mode.
    """
    check_mode(mode)
    level = stacklevel + 1
    if mode == "off":
        return Step(plain, "off", "asked for")
    if mode == "auto" and calls < _RECORD:
        return Step(plain, "off", f"{calls} steps are too few to record")
    try:
        recorded, compile = record()
    except Unrecordable as error:
        warnings.warn(f"{what} runs plainly, because it cannot be recorded: {error}", stacklevel=level)
        return Step(plain, "off", f"it cannot be recorded: {error}")
    if mode == "trace":
        return Step(recorded, "trace", "asked for")
    missing = can_compile(device)
    if missing:
        if mode == "inductor":
            warnings.warn(
                f"compile='inductor' is not possible, the recording runs as it is: {missing}", stacklevel=level
            )
        return Step(recorded, "trace", missing)
    try:
        compiled = lambda: Step(compile(), "inductor", "asked for")  # noqa: E731
        return compiled() if mode == "inductor" else best(Step(recorded, "trace", ""), compiled)
    except Exception as error:  # a compiler may fail in ways of its own
        reason = (str(error).strip().splitlines() or [""])[0]
        warnings.warn(
            f"inductor cannot compile {what}, the recording runs as it is: {type(error).__name__}: {reason}",
            stacklevel=level,
        )
        return Step(recorded, "trace", f"inductor fails: {reason}")
