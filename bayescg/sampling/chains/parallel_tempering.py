"""Parallel tempering: replicas at rising temperatures that exchange configurations."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bayescg.arguments import check_counts, check_positive
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.sampling.chains.hamiltonian import Hamiltonian, accepted, warn_if_stuck
from bayescg.sampling.chains.loop import Settings, Start, begin, run_chains
from bayescg.systems.core import System, check_single
from bayescg.units import kT, plain

__all__ = ["ladder_of", "parallel_tempering"]


def parallel_tempering(
    system: System,
    steps: int,
    *,
    temperatures: Sequence[float],
    dt: float,
    leapfrog: int = 10,
    chains: int | None = None,
    starts: Any = None,
    stride: int = 1,
    equilibration: int = 0,
    forces: bool = False,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Frames:
    r"""Parallel tempering (replica exchange): draws of wells that one temperature does not connect, without error.

    Each chain has a replica at every temperature. A step is one step of Hamiltonian Monte Carlo (`hmc`) of all
    replicas, and then an exchange of the configurations of neighbouring temperatures with probability
    :math:`\min(1, e^{(1/kT_i - 1/kT_j)(U_i - U_j)})`, of even and of odd pairs in turn. Frames are those at the
    system's own temperature, of which the Boltzmann distribution is kept exactly.

    Parameters
    ----------
    system : System
        Molecules move with the masses of their atoms; reduced units with mass 1.
    steps : int
        Proposals of every replica after equilibration.
    temperatures : sequence of float, or of openmm.unit.Quantity
        Increasing, the first that of the system: K for molecules, kT otherwise. The highest must cross the barriers by
        itself; where the swaps accepted (``provenance["swaps"]``) fall below a fifth, temperatures are too far apart.
    dt : float or openmm.unit.Quantity
        Time step of velocity Verlet, the same for all temperatures.
    leapfrog : int, default 10
        Time steps of one proposal.
    chains : int, optional
        Independent ladders: the batch holds ``chains * len(temperatures)`` replicas. Default: one for each of `starts`,
        else 100.
    starts, stride, equilibration, forces, compile, device, seed, run_dir, resume, progress
        As for `langevin`; all replicas of a chain begin at its start.

    Returns
    -------
    Frames
        Chain by chain, ``steps // stride`` frames each, in order but without times; with energies.
        ``provenance["acceptance"]`` is that of the proposals at all temperatures, ``provenance["swaps"]`` that of the
        exchanges of each pair of neighbours.

    Raises
    ------
    ConfigError
        `temperatures` does not begin at the system's and increase, or as `langevin`.
    SimulationError, CheckpointError, OutputError, Interrupted
        As `langevin`.

    Warns
    -----
    UserWarning
        Less than a tenth of the proposals was accepted.

    References
    ----------
    Geyer, in Computing Science and Statistics: Proceedings of the 23rd Symposium on the Interface (1991), 156; Sugita,
    Okamoto, Chem. Phys. Lett. 314, 141 (1999); Okabe, Kawata, Okamoto, Mikami, Chem. Phys. Lett. 335, 435 (2001), and
    Syed, Bouchard-Côté, Deligiannidis, Doucet, J. R. Stat. Soc. B 84, 321 (2022), for even and odd pairs in turn.

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = parallel_tempering(
    ...     bcg.systems.DoubleWell(), 100, temperatures=(1.0, 2.5, 6.0), dt=0.3, chains=200, stride=5, seed=1
    ... )
    >>> frames, min(frames.provenance["swaps"]) > 0.3
    (Frames(4000 x 2, reduced, 200 trajectories, no time axis), True)
    """
    check_single(system, "parallel tempering")
    dt, temperatures = plain(dt, "ps"), plain(temperatures, "K")
    check_positive(dt=dt)
    check_counts(leapfrog=(leapfrog, 1))
    ladder = ladder_of(system, temperatures)
    settings = Settings(
        steps, chains, stride, equilibration, True, forces, compile, device, seed, run_dir, resume, progress
    )
    kernel = _Tempering(system, begin(system, starts, settings), dt, leapfrog, settings, ladder)
    special = {"dt": dt, "leapfrog": leapfrog, "temperatures": [float(t) for t in temperatures]}
    frames = run_chains("parallel tempering", kernel, settings, special)
    warn_if_stuck(frames.provenance["acceptance"], dt)
    return frames


def ladder_of(system: System, temperatures: Sequence[float]) -> list[float]:
    """Thermal energies of a ladder of temperatures, in the unit of the system's.

    Raises
    ------
    ConfigError
        It does not begin at the system's temperature, or does not rise.
    """
    first = system.kT if system.temperature is None else system.temperature
    try:
        rungs = [float(t) for t in temperatures]
    except (TypeError, ValueError):
        rungs = []
    rising = all(low < high < float("inf") for low, high in pairwise(rungs))
    if len(rungs) < 2 or abs(rungs[0] / first - 1) > 1e-6 or not rising:
        raise ConfigError(
            f"temperatures={temperatures!r} must begin with the system's own, {first:g}, and increase to one at which "
            "it crosses its barriers"
        )
    return rungs if system.temperature is None else [kT(t) for t in rungs]


class _Tempering(Hamiltonian):
    def __init__(self, system: System, start: Start, dt: float, leapfrog: int, settings: Settings, ladder: list[float]):
        super().__init__(system, start, dt, leapfrog, settings, ladder)
        self.rungs = len(ladder)
        zero = torch.zeros((), dtype=torch.int64, device=start.x.device)
        self.state |= {"turn": zero, "swaps": zero.new_zeros(self.rungs - 1, dtype=torch.float64)}

    def step_once(self) -> None:
        super().step_once()
        state, n = self.state, len(self.start.x)
        beta, u = (1 / self.kT).view(-1, n), state["u"].view(-1, n)
        yes = accepted((beta[:-1] - beta[1:]) * (u[:-1] - u[1:]), self.generator)
        lower = torch.arange(self.rungs - 1, device=u.device)
        yes &= (lower % 2 == state["turn"] % 2)[:, None]
        rows = torch.arange(len(self.kT), device=u.device).view(-1, n)
        rows[:-1] += n * yes
        rows[1:] -= n * yes
        self.state = state | {name: state[name][rows.flatten()] for name in ("x", "f", "u")}
        self.state |= {"turn": state["turn"] + 1, "swaps": state["swaps"] + yes.double().mean(1)}

    def report(self, steps: int) -> dict[str, Any]:
        tried = [(steps + 1 - lower % 2) // 2 for lower in range(self.rungs - 1)]
        swaps = [float(s) / max(1, n) for s, n in zip(self.state["swaps"], tried, strict=True)]
        return super().report(steps) | {"swaps": swaps}
