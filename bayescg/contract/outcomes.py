"""What a check comes to: kept, or a fault that is named."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bayescg.errors import BayescgError

__all__ = ["NOT_ADDITIVE", "NO_FRAMES", "Fault", "Outcome", "attempt"]

NO_FRAMES = "not asked: the model learns from a system, not from frames"
NOT_ADDITIVE = "not asked: the objective couples the frames of a batch (additive = False)"


@dataclass(frozen=True)
class Outcome:
    """One thing that was tried: its name, whether the model keeps it, and what was found."""

    name: str
    ok: bool
    detail: str


class Fault(Exception):
    """What a check finds wrong."""


def attempt(name: str, check: Callable[..., str], *args: Any) -> Outcome:
    """Outcome of a check: what it says, or the fault that it raises."""
    try:
        return Outcome(name, True, check(*args))
    except (Fault, BayescgError) as fault:
        return Outcome(name, False, str(fault))
    except Exception as error:  # a stranger's programs may raise anything
        return Outcome(name, False, f"{type(error).__name__}: {error}")
