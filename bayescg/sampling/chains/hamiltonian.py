"""Hamiltonian Monte Carlo of many chains in one batch."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.data import Frames
from bayescg.recording.stepping import TensorStep, prepare
from bayescg.sampling.chains.fused import kernels_of
from bayescg.sampling.chains.loop import Kernel, Settings, Start, begin, run_chains
from bayescg.sampling.sampled_frames import masses
from bayescg.systems.core import System
from bayescg.units import plain

__all__ = ["JITTER", "Hamiltonian", "accepted", "hmc", "jittered", "trajectory", "velocity_verlet", "warn_if_stuck"]

JITTER = 0.1
"""Step sizes are drawn within so much of the one asked for: a fixed length could be a whole number of periods."""

_LOW = 0.1


def hmc(
    system: System,
    steps: int,
    *,
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
    r"""Hamiltonian Monte Carlo: draws of the Boltzmann distribution without any error from the time step.

    Each step draws velocities, follows `leapfrog` steps of velocity Verlet, and accepts where it has come to with
    probability :math:`\min(1, e^{-\Delta H / kT})`. Every chain draws its own time step within a tenth of `dt`.

    Parameters
    ----------
    system : System
        Molecules move with the masses of their atoms; reduced units with mass 1.
    steps : int
        Proposals of every chain after equilibration.
    dt : float or openmm.unit.Quantity
        Time step of velocity Verlet; best where some 65 to 90 % are accepted (``provenance["acceptance"]``).
    leapfrog : int, default 10
        Time steps of one proposal.
    chains, starts, stride, equilibration, forces, compile, device, seed, run_dir, resume, progress
        As for `langevin`.

    Returns
    -------
    Frames
        Chain by chain, ``steps // stride`` frames each, in order but without times; with energies.

    Raises
    ------
    ConfigError, SimulationError, CheckpointError, OutputError, Interrupted
        As `langevin`.

    Warns
    -----
    UserWarning
        Less than a tenth of the proposals was accepted.

    References
    ----------
    Duane, Kennedy, Pendleton, Roweth, "Hybrid Monte Carlo", Phys. Lett. B 195, 216 (1987); Neal, "MCMC using
    Hamiltonian dynamics", in Handbook of Markov Chain Monte Carlo (2011), section 5.4.2.2 for the random step sizes.

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = hmc(bcg.systems.Harmonic((1.0, 4.0)), 20, dt=0.3, chains=2000)
    >>> frames, frames.provenance["acceptance"] > 0.9
    (Frames(40000 x 2, reduced, 2000 trajectories, no time axis), True)
    """
    dt = plain(dt, "ps")
    check_positive(dt=dt)
    check_counts(leapfrog=(leapfrog, 1))
    settings = Settings(
        steps, chains, stride, equilibration, True, forces, compile, device, seed, run_dir, resume, progress
    )
    kernel = Hamiltonian(system, begin(system, starts, settings), dt, leapfrog, settings)
    frames = run_chains("hmc", kernel, settings, {"dt": dt, "leapfrog": leapfrog})
    warn_if_stuck(frames.provenance["acceptance"], dt)
    return frames


def warn_if_stuck(acceptance: float, dt: float) -> None:
    """Warn where less than a tenth of the proposals was accepted."""
    if acceptance < _LOW:
        warnings.warn(
            f"only {acceptance:.1%} of the proposals were accepted: frames hardly move; choose a dt below {dt:g}",
            stacklevel=3,
        )


class Hamiltonian(Kernel):
    """Chains of Hamiltonian Monte Carlo, at one temperature or at a ladder of them.

    Parameters
    ----------
    system : System
    start : Start
    dt, leapfrog
        Of `hmc`.
    settings : Settings
    ladder : sequence of float, optional
        kT of each replica of the chains, instead of the system's own: replicas of one temperature stand together, in
        the order of `start`.
    """

    def __init__(
        self,
        system: System,
        start: Start,
        dt: float,
        leapfrog: int,
        settings: Settings,
        ladder: Sequence[float] | None = None,
    ):
        super().__init__(system, start)
        rungs = [system.kT] if ladder is None else list(ladder)
        self.cost = {"energy_evaluations": (1, len(rungs)), "force_evaluations": (1, len(rungs) * leapfrog)}
        self.dt, self.leapfrog = dt, leapfrog
        self.mass = masses(system)
        mass = self.mass.to(start.x)
        self.kT = start.x.new_tensor(rungs).repeat_interleave(len(start.x))
        self.thermal = (self.kT[:, None] / mass).sqrt()
        self.state = {"x": start.x, "f": self.state["f"], "u": start.energy}
        self.state = {name: torch.cat([value] * len(rungs)) for name, value in self.state.items()}
        self.state["accepted"] = torch.zeros((), dtype=torch.float64, device=start.x.device)
        x = self.state["x"]
        self.inverse_mass = 1 / mass
        self.kernels = kernels_of(system, x, settings.compile)
        if self.kernels is None:
            verlet = velocity_verlet(system.forces, self.inverse_mass)
            example = [x, self.noise(), self.state["f"], jittered(dt, x, self.generator)]
            self.verlet = prepare(verlet, example, settings.total * leapfrog, settings.compile)

    def step_once(self) -> None:
        """One proposal of all chains, at each one's temperature."""
        state = self.state
        dt = jittered(self.dt, state["x"], self.generator)
        x, f, heat, u = self.propose(state["x"], state["f"], dt, self.noise())
        yes = accepted((state["u"] - u) / self.kT - heat, self.generator)
        self.state = state | {
            "x": torch.where(yes[:, None], x, state["x"]),
            "f": torch.where(yes[:, None], f, state["f"]),
            "u": torch.where(yes, u, state["u"]),
            "accepted": state["accepted"] + yes.double().mean(),
        }

    def propose(self, x: Tensor, f: Tensor, dt: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Positions, forces, kinetic energy gained in kT, and potential energy at the end of a trajectory."""
        if self.kernels is None:
            x, f, heat = trajectory(self.verlet, x, f, dt, self.thermal, self.leapfrog, noise)
            return x, f, heat, self.system.energy(x)
        v = self.thermal * noise
        x, v, f, u = self.kernels.move(x, v, f, dt[:, 0], self.inverse_mass, self.leapfrog)
        return x, f, heat_gained(v, self.thermal, noise), u

    def report(self, steps: int) -> dict[str, Any]:
        """The share of proposals that were accepted."""
        return {"acceptance": float(self.state["accepted"]) / steps}


def velocity_verlet(forces: Any, inverse_mass: Tensor) -> TensorStep:
    """One step of velocity Verlet: half a kick, a drift, half a kick.

    Parameters
    ----------
    forces : callable
        Of positions, and of whatever is given after the time step.
    inverse_mass : torch.Tensor, shape (dim,)

    Returns
    -------
    callable
        From positions, velocities, forces and time step (chains, 1) to the first three.

    Examples
    --------
    >>> step = velocity_verlet(lambda x: -x, torch.ones(1))
    >>> x, v = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    >>> step(x, v, -x, torch.tensor([[0.1]]))[0]
    tensor([[0.9950]])
    """

    def step(x: Tensor, v: Tensor, f: Tensor, dt: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        v = v + 0.5 * dt * inverse_mass * f
        x = x + dt * v
        f = forces(x, *rest)
        return x, v + 0.5 * dt * inverse_mass * f, f

    return step


def jittered(dt: float, x: Tensor, generator: torch.Generator) -> Tensor:
    """A time step for each chain, (chains, 1), within `JITTER` of the one given."""
    uniform = torch.rand((len(x), 1), generator=generator, dtype=x.dtype, device=x.device)
    return dt * (1.0 + JITTER * (2.0 * uniform - 1.0))


def trajectory(
    verlet: TensorStep, x: Tensor, f: Tensor, dt: Tensor, thermal: Tensor, leapfrog: int, noise: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where velocities `thermal * noise` lead in so many steps: positions, forces, and kinetic energy gained in kT."""
    v = thermal * noise
    for _ in range(leapfrog):
        x, v, f = verlet(x, v, f, dt, *rest)
    return x, f, heat_gained(v, thermal, noise)


def heat_gained(v: Tensor, thermal: Tensor, noise: Tensor) -> Tensor:
    """Kinetic energy of velocities above that of `thermal * noise`, in kT, (chains,)."""
    return 0.5 * ((v / thermal) ** 2 - noise**2).sum(-1)


def accepted(log_ratio: Tensor, generator: torch.Generator) -> Tensor:
    """Whether each proposal is accepted, with probability min(1, exp(log_ratio)); never where that is not a number."""
    uniform = torch.rand(log_ratio.shape, generator=generator, dtype=log_ratio.dtype, device=log_ratio.device)
    return uniform.log() < log_ratio
