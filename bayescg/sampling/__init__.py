"""Drawing from a system: molecular dynamics in OpenMM, and batched samplers of many chains in torch.

`langevin` and `overdamped` follow dynamics, `hmc` draws without an error of the time step, `parallel_tempering` crosses
barriers besides, `umbrella` crosses them along a CV, `smc` and `annealed_importance` come from a broad density into all
wells and give the partition function, `equilibrium` draws analytic potentials exactly. `mapped_forces` turns forces on
atoms into those on beads, `backmapped` places the atoms around beads.

Names are imported when they are first used, so that a simulation's worker processes load OpenMM and nothing
else.
"""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

if TYPE_CHECKING:
    from bayescg.sampling.annealing.annealed import Annealed as Annealed
    from bayescg.sampling.annealing.annealed import Schedule as Schedule
    from bayescg.sampling.annealing.sequential import annealed_importance as annealed_importance
    from bayescg.sampling.annealing.sequential import smc as smc
    from bayescg.sampling.biased.umbrella import umbrella as umbrella
    from bayescg.sampling.chains.batched import batched_dynamics as batched_dynamics
    from bayescg.sampling.chains.commitment import commitment as commitment
    from bayescg.sampling.chains.dynamics import langevin as langevin
    from bayescg.sampling.chains.dynamics import overdamped as overdamped
    from bayescg.sampling.chains.flattened import flattened as flattened
    from bayescg.sampling.chains.hamiltonian import hmc as hmc
    from bayescg.sampling.chains.parallel_tempering import parallel_tempering as parallel_tempering
    from bayescg.sampling.chains.quench import quench as quench
    from bayescg.sampling.chains.starts import ramachandran_starts as ramachandran_starts
    from bayescg.sampling.coarse_graining.backmapped import backmapped as backmapped
    from bayescg.sampling.coarse_graining.mapped_forces import mapped_forces as mapped_forces
    from bayescg.sampling.independent import equilibrium as equilibrium
    from bayescg.sampling.long_steps.mapped_dynamics import mapped_dynamics as mapped_dynamics
    from bayescg.sampling.long_steps.newtonian import newtonian as newtonian
    from bayescg.sampling.long_steps.short_trajectories import short_trajectories as short_trajectories
    from bayescg.sampling.molecular.trajectories import molecular_dynamics as molecular_dynamics

__getattr__, __dir__ = lazily(__name__, __file__)
