"""Drawing from a system: molecular dynamics in OpenMM, and batched samplers of many chains in torch.

`langevin` and `overdamped` follow dynamics, `hmc` draws without an error of the time step, `parallel_tempering` crosses
barriers besides, `smc` and `annealed_importance` come from a broad density into all wells and give the partition
function, `equilibrium` draws analytic potentials exactly.

Names are imported when they are first used, so that a simulation's worker processes load OpenMM and nothing
else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "Annealed": "annealing.annealed",
    "Schedule": "annealing.annealed",
    "annealed_importance": "annealing.sequential",
    "batched_dynamics": "chains.batched",
    "equilibrium": "independent",
    "hmc": "chains.hamiltonian",
    "langevin": "chains.dynamics",
    "molecular_dynamics": "molecular.trajectories",
    "overdamped": "chains.dynamics",
    "parallel_tempering": "chains.parallel_tempering",
    "ramachandran_starts": "chains.starts",
    "smc": "annealing.sequential",
}

__all__ = [
    "Annealed",
    "Schedule",
    "annealed_importance",
    "batched_dynamics",
    "equilibrium",
    "hmc",
    "langevin",
    "molecular_dynamics",
    "overdamped",
    "parallel_tempering",
    "ramachandran_starts",
    "smc",
]

if TYPE_CHECKING:
    from bayescg.sampling.annealing.annealed import Annealed, Schedule
    from bayescg.sampling.annealing.sequential import annealed_importance, smc
    from bayescg.sampling.chains.batched import batched_dynamics
    from bayescg.sampling.chains.dynamics import langevin, overdamped
    from bayescg.sampling.chains.hamiltonian import hmc
    from bayescg.sampling.chains.parallel_tempering import parallel_tempering
    from bayescg.sampling.chains.starts import ramachandran_starts
    from bayescg.sampling.independent import equilibrium
    from bayescg.sampling.molecular.trajectories import molecular_dynamics


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"bayescg.sampling.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bayescg.sampling' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
