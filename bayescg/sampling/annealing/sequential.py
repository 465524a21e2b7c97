"""Annealed importance sampling and sequential Monte Carlo, from a broad base to a system."""

from pathlib import Path

from torch.distributions import Distribution

from bayescg.sampling.annealing.annealed import Annealed, Schedule
from bayescg.sampling.annealing.population import Plan, anneal
from bayescg.systems.core import System

__all__ = ["annealed_importance", "smc"]


def smc(
    system: System,
    *,
    particles: int = 100,
    islands: int = 100,
    base: Distribution | None = None,
    cess: float = 0.9,
    resample: float = 0.5,
    moves: int = 5,
    leapfrog: int = 5,
    schedule: Schedule | None = None,
    forces: bool = False,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Annealed:
    r"""Sequential Monte Carlo: draws of a system and its partition function, without a start in any of its wells.

    Particles are drawn from a base q and go through :math:`q(x)^{1-\beta} e^{-\beta U(x)/kT}` from :math:`\beta = 0`
    to 1. At each step they are reweighted, resampled where their weights have become unequal, and moved by
    Hamiltonian Monte Carlo. They live on islands that share temperatures and nothing else: the spread of the islands
    is the error of every answer.

    Parameters
    ----------
    system : System
    particles : int, default 100
        On each island. More of them lessen the variance of every island.
    islands : int, default 100
        Independent populations. With 100 of them, they are the blocks of the bootstrap in :mod:`bayescg.analysis`.
    base : torch.distributions.Distribution, optional
        Where particles begin: batch shape (), event shape (dim,), wide enough to hold all wells. Default: uniform in
        the box of a potential of :mod:`bayescg.systems`, outside of which lies 1e-10 of its probability.
    cess : float, default 0.9
        The next temperature is where the conditional effective sample size falls to this.
    resample : float, default 0.5
        An island is resampled, systematically, where its effective sample size falls below this fraction.
    moves : int, default 5
        Proposals at each temperature; their step size follows the acceptance. Many coordinates ask for more of them.
    leapfrog : int, default 5
        Time steps of one proposal.
    schedule : Schedule, optional
        Temperatures and step sizes of an earlier run instead of adaptive ones. Each island's Z is then exactly
        unbiased; adaptation brings in a bias of the order of one over all particles.
    forces : bool
        Whether to keep the forces of the final particles.
    compile : {"auto", "inductor", "trace", "off"}
    device : {"auto", "cpu", "cuda"}
    seed : int, default 0
        One seed gives one result on one machine.
    run_dir : path, optional
        Keep checkpoints there: the same call goes on from them, bit for bit.
    resume : bool, default True
        False starts anew.
    progress : bool, optional
        Show a bar; None: in a terminal.

    Returns
    -------
    Annealed
        ``frames`` with weights and energies, ``log_z`` with ``log_z_sd``, and ``expectation(observable)``.

    Raises
    ------
    ConfigError
        A number is out of range, or there is no base, or it is no density of the system's coordinates.
    SimulationError
        No particle has a finite energy.
    CheckpointError
        `run_dir` holds another run.
    Interrupted
        Ctrl-C.

    Warns
    -----
    UserWarning
        The islands are so unequal that their spread says little.

    References
    ----------
    Del Moral, Doucet, Jasra, "Sequential Monte Carlo samplers", J. R. Stat. Soc. B 68, 411 (2006); Zhou, Johansen,
    Aston, J. Comput. Graph. Stat. 25, 701 (2016) for the adaptive temperatures; Beskos, Jasra, Kantas, Thiery, Ann.
    Appl. Probab. 26, 1111 (2016) for their bias.

    Examples
    --------
    >>> import bayescg as bcg
    >>> drawn = bcg.sampling.smc(bcg.systems.DoubleWell(), seed=1)
    >>> drawn.frames
    Frames(10000 x 2, reduced, 100 trajectories, no time axis)
    >>> abs(drawn.log_z - 12.06493) < 4 * drawn.log_z_sd < 0.1
    True
    """
    plan = Plan(
        name="smc", islands=islands, particles=particles, cess=cess, resample=resample, moves=moves, leapfrog=leapfrog,
        forces=forces, compile=compile, seed=seed,
    )  # fmt: skip
    return anneal(system, plan, base, schedule, device, run_dir, resume, progress)


def annealed_importance(
    system: System,
    *,
    chains: int = 10_000,
    base: Distribution | None = None,
    cess: float = 0.95,
    moves: int = 2,
    leapfrog: int = 5,
    schedule: Schedule | None = None,
    forces: bool = False,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Annealed:
    r"""Annealed importance sampling: independent chains from a broad base to a system, each with a weight.

    As `smc`, but nothing is resampled: frames are independent, and what is lost on the way shows in the weights.

    Parameters
    ----------
    system : System
    chains : int, default 10000
        All in one batch.
    base, cess, moves, leapfrog, schedule, forces, compile, device, seed, run_dir, resume, progress
        As for `smc`; temperatures are closer by default.

    Returns
    -------
    Annealed
        Each chain is an island of its own.

    Raises
    ------
    ConfigError, SimulationError, CheckpointError, Interrupted
        As `smc`.

    References
    ----------
    Neal, "Annealed importance sampling", Stat. Comput. 11, 125 (2001); Jarzynski, Phys. Rev. Lett. 78, 2690 (1997).

    Examples
    --------
    >>> import bayescg as bcg
    >>> drawn = bcg.sampling.annealed_importance(bcg.systems.DoubleWell(), chains=4000)
    >>> abs(drawn.log_z - 12.06493) < 4 * drawn.log_z_sd < 0.2
    True
    """
    plan = Plan(
        name="annealed importance sampling", islands=chains, particles=1, cess=cess, resample=0.5, moves=moves,
        leapfrog=leapfrog, forces=forces, compile=compile, seed=seed,
    )  # fmt: skip
    return anneal(system, plan, base, schedule, device, run_dir, resume, progress)
