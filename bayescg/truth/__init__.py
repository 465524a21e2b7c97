r"""Exact answers for low-dimensional systems, and for larger ones that reduce to them, each with its own error.

Dynamics is overdamped, :math:`dx = -\nabla U dt + \sqrt{2 kT} dW` unless another diffusion is given. Energies are in
the unit of the system's kT, free energies in kT.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "Exact": "exact",
    "ExactFreeEnergy": "quadrature",
    "GridFunction": "exact",
    "Spectrum": "spectra",
    "committor": "passage",
    "expectation": "quadrature",
    "free_energy": "quadrature",
    "log_partition": "quadrature",
    "mean_first_passage_time": "passage",
    "spectrum": "spectra",
}

__all__ = [
    "Exact",
    "ExactFreeEnergy",
    "GridFunction",
    "Spectrum",
    "committor",
    "expectation",
    "free_energy",
    "log_partition",
    "mean_first_passage_time",
    "spectrum",
]

if TYPE_CHECKING:
    from bayescg.truth.exact import Exact, GridFunction
    from bayescg.truth.passage import committor, mean_first_passage_time
    from bayescg.truth.quadrature import ExactFreeEnergy, expectation, free_energy, log_partition
    from bayescg.truth.spectra import Spectrum, spectrum


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"bayescg.truth.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bayescg.truth' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
