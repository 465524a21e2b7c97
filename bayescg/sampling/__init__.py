"""Drawing from a system: molecular dynamics and, for toy systems, stochastic dynamics.

Names are imported when they are first used, so that a simulation's worker processes load OpenMM and nothing
else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {"molecular_dynamics": "trajectories", "ramachandran_starts": "starts"}

__all__ = ["molecular_dynamics", "ramachandran_starts"]

if TYPE_CHECKING:
    from bayescg.sampling.starts import ramachandran_starts
    from bayescg.sampling.trajectories import molecular_dynamics


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"bayescg.sampling.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bayescg.sampling' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
