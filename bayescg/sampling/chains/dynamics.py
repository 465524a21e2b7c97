"""Langevin and overdamped dynamics of many chains in one batch."""

from collections.abc import Callable, Sequence
from math import exp, expm1, sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_positive
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.recording.stepping import TensorStep, prepare
from bayescg.sampling.chains.fused import FusedLangevin, kernels_of
from bayescg.sampling.chains.loop import Kernel, Settings, Start, begin, run_chains
from bayescg.sampling.sampled_frames import masses
from bayescg.systems.core import System, check_system
from bayescg.units import plain

__all__ = ["Forces", "baoab", "euler_maruyama", "langevin", "overdamped", "rates_of"]


def langevin(
    system: System,
    steps: int,
    *,
    dt: float,
    chains: int | None = None,
    friction: float = 1.0,
    starts: Any = None,
    stride: int = 1,
    equilibration: int = 0,
    energy: bool = False,
    forces: bool = False,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Frames:
    r"""Langevin dynamics, :math:`m\,dv = -\nabla U\,dt - \gamma m v\,dt + \sqrt{2 \gamma m kT}\,dW`, by BAOAB steps.

    Averages of positions are wrong by :math:`O(dt^2)`; for harmonic energies they are exact.

    Parameters
    ----------
    system : System
        Molecules move with the masses of their atoms; reduced units with mass 1.
    steps : int
        Steps of every chain after equilibration.
    dt : float or openmm.unit.Quantity
        Time step: ps for molecules, of which flexible bonds to hydrogen ask for 0.0005 or less.
    chains : int, optional
        How many run side by side in one batch; thousands cost little more than one. Default: one for each of `starts`,
        else 100.
    friction : float or openmm.unit.Quantity, default 1.0
        Collision rate :math:`\gamma`: 1/ps for molecules.
    starts : array or openmm.unit.Quantity, shape (chains, dim) or (dim,), optional
        Where to begin; a float64 array makes the whole run double precision. Without it, potentials of
        :mod:`bayescg.systems` begin in equilibrium (`equilibrium`), molecules at their own positions, others at the
        origin. Velocities are drawn from the Maxwell-Boltzmann distribution.
    stride : int, default 1
        Steps from one frame that is kept to the next.
    equilibration : int, default 0
        Steps before the first of `steps`, of which no frame is kept.
    energy, forces : bool
        Whether to keep these with each frame. Energies cost one evaluation a frame, forces nothing.
    compile : {"auto", "inductor", "trace", "off"}
        How steps run. ``"auto"`` makes those of a molecule on a processor in C++, many in one call, where
        ``system.kernels`` has them; others are recorded from 200 on and compiled from 20 000 on.
    device : {"auto", "cpu", "cuda"}
    seed : int, default 0
        One seed gives one result on one machine.
    run_dir : path, optional
        Keep frames in files there, and a checkpoint twice a minute: the same call then goes on where it was
        interrupted, and ends with the same numbers, bit for bit.
    resume : bool, default True
        False starts anew.
    progress : bool, optional
        Show a bar; None: in a terminal.

    Returns
    -------
    Frames
        Chain by chain, ``steps // stride`` frames each, with times. ``provenance["cost"]`` counts evaluations of
        energies and forces of single configurations.

    Raises
    ------
    ConfigError
        A number is out of range, or `starts` does not fit.
    UnitError
        `starts` of a molecule are not in nm, or a quantity has another dimension.
    SimulationError
        A chain left the range of floating-point numbers: the time step is too long.
    CheckpointError
        `run_dir` holds another run.
    OutputError
        `run_dir` cannot be written.
    Interrupted
        Ctrl-C.

    Notes
    -----
    Frames are neither aligned nor centred; a free molecule diffuses and tumbles.

    References
    ----------
    Leimkuhler, Matthews, "Rational construction of stochastic numerical methods for molecular sampling", Appl. Math.
    Res. Express 2013, 34; J. Chem. Phys. 138, 174102 (2013).

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = langevin(bcg.systems.DoubleWell(), 100, dt=0.05, chains=1000, stride=10)
    >>> frames
    Frames(10000 x 2, reduced, 1000 trajectories, dt=0.5)
    >>> frames.provenance["cost"]["force_evaluations"]
    101000
    """
    dt, friction = plain(dt, "ps"), plain(friction, "1/ps")
    check_positive(dt=dt, friction=friction)
    settings = Settings(
        steps, chains, stride, equilibration, energy, forces, compile, device, seed, run_dir, resume, progress
    )
    kernel = _Langevin(system, begin(system, starts, settings), dt, friction, settings)
    return run_chains("langevin", kernel, settings, {"dt": dt, "friction": friction}, dt)


def overdamped(
    system: System,
    steps: int,
    *,
    dt: float,
    chains: int | None = None,
    diffusion: float | Sequence[float] | None = None,
    starts: Any = None,
    stride: int = 1,
    equilibration: int = 0,
    energy: bool = False,
    forces: bool = False,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Frames:
    r"""Overdamped (Brownian) dynamics, :math:`dx = -(D/kT) \nabla U\,dt + \sqrt{2 D}\,dW`, by Euler-Maruyama steps.

    Averages and transition probabilities are wrong by :math:`O(dt)`: the variance in a harmonic well of stiffness k
    comes out too large by :math:`1 / (1 - D k\,dt / 2 kT)`.

    Parameters
    ----------
    system : System
    steps : int
        Steps of every chain after equilibration.
    dt : float or openmm.unit.Quantity
        Time step.
    chains : int, optional
        How many run side by side in one batch; default: one for each of `starts`, else 100.
    diffusion : float or sequence of float, optional
        Constant D, for all coordinates or for each; default: kT, as in :mod:`bayescg.truth`.
    starts, stride, equilibration, energy, forces, compile, device, seed, run_dir, resume, progress
        As for `langevin`.

    Returns
    -------
    Frames
        Chain by chain, ``steps // stride`` frames each, with times.

    Raises
    ------
    ConfigError, SimulationError, CheckpointError, OutputError, Interrupted
        As `langevin`.

    References
    ----------
    Maruyama, Rend. Circ. Mat. Palermo 4, 48 (1955); Kloeden, Platen, "Numerical Solution of Stochastic Differential
    Equations" (1992), section 14.1: weak order one.

    Examples
    --------
    >>> import bayescg as bcg
    >>> overdamped(bcg.systems.Prinz(), 1000, dt=0.001, chains=50, stride=100).dt
    0.1
    """
    dt = plain(dt, "ps")
    check_positive(dt=dt)
    check_system(system)
    rates = rates_of(system, diffusion)
    settings = Settings(
        steps, chains, stride, equilibration, energy, forces, compile, device, seed, run_dir, resume, progress
    )
    kernel = _Overdamped(system, begin(system, starts, settings), dt, rates, settings)
    return run_chains("overdamped", kernel, settings, {"dt": dt, "diffusion": rates.tolist()}, dt)


def rates_of(system: System, diffusion: Any) -> Tensor:
    """Diffusion constants as given, double precision, () or (dim,); None: kT.

    Raises
    ------
    ConfigError
        They are not positive, or not one or one for each coordinate.
    """
    if hasattr(diffusion, "value_in_unit"):
        raise ConfigError(f"diffusion={diffusion} has a unit: give it as numbers, in nm^2/ps for a molecule")
    try:
        rates = torch.as_tensor(system.kT if diffusion is None else diffusion, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(f"diffusion={diffusion!r} is neither a number nor one for each coordinate") from None
    if rates.shape not in ((), (system.dim,)) or not bool(((rates > 0) & rates.isfinite()).all()):
        raise ConfigError(f"diffusion={diffusion!r} must be positive: one number, or one for each of {system.dim}")
    return rates


class _Langevin(Kernel):
    def __init__(self, system: System, start: Start, dt: float, friction: float, settings: Settings):
        super().__init__(system, start)
        self.mass, noise = masses(system), self.noise()
        thermal = (system.kT / self.mass).sqrt().to(start.x)
        self.state["v"] = thermal * noise
        inverse_mass = (1 / self.mass).to(start.x)
        self.fused: FusedLangevin | None = None
        if kernels := kernels_of(system, start.x, settings.compile):
            self.fused = FusedLangevin(kernels, inverse_mass, thermal, dt, friction, self.generator)
            self.state["step"] = torch.zeros((), dtype=torch.int64)
        else:
            step = baoab(system, inverse_mass, thermal, dt, friction)
            self.step = prepare(step, [*(self.state[k] for k in "xvf"), noise], settings.total, settings.compile)

    def advance(self, steps: int) -> None:
        if self.fused is None:
            return super().advance(steps)
        first = self.state["step"]
        x, v, f = self.fused([self.state[k] for k in "xvf"], int(first), steps)
        self.state = {"x": x, "v": v, "f": f, "step": first + steps}

    def step_once(self) -> None:
        x, v, f = self.step(*(self.state[k] for k in "xvf"), self.noise())
        self.state = {"x": x, "v": v, "f": f}

    def identity(self) -> dict[str, Any]:
        """Whether noise is counted or drawn."""
        return {} if self.fused is None else {"noise": "counted"}


class _Overdamped(Kernel):
    def __init__(self, system: System, start: Start, dt: float, rates: Tensor, settings: Settings):
        super().__init__(system, start)
        step = euler_maruyama(system, rates.to(start.x), dt)
        self.step = prepare(step, [self.state["x"], self.state["f"], start.x], settings.total, settings.compile)

    def step_once(self) -> None:
        x, f = self.step(self.state["x"], self.state["f"], self.noise())
        self.state = {"x": x, "f": f}


Forces = Callable[..., tuple[Tensor, ...]]
"""From positions, and what else a step takes, to forces, and what else it returns."""


def euler_maruyama(system: System, diffusion: Tensor, dt: float, forces: Forces | None = None) -> TensorStep:
    """One step of Euler and Maruyama.

    Parameters
    ----------
    system : System
    diffusion : torch.Tensor, shape () or (dim,)
    dt : float
    forces : callable, optional
        In place of the system's: see `baoab`.

    Returns
    -------
    callable
        From positions, forces and standard normal noise to the first two.
    """
    drift, spread = dt * diffusion / system.kT, (2 * dt * diffusion).sqrt()
    forces = forces or (lambda x: (system.forces(x),))

    def step(x: Tensor, f: Tensor, noise: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        x = x + drift * f + spread * noise
        return x, *forces(x, *rest)

    return step


def baoab(
    system: System,
    inverse_mass: Tensor,
    thermal: Tensor,
    dt: float,
    friction: float,
    forces: Forces | None = None,
) -> TensorStep:
    """One BAOAB step: half a kick, half a drift, friction and noise, half a drift, half a kick.

    Parameters
    ----------
    system : System
    inverse_mass, thermal : torch.Tensor, shape (dim,)
        1/m and sqrt(kT/m).
    dt, friction : float
    forces : callable, optional
        In place of the system's: from positions, and what the step is given after the noise, to forces, and what the
        step is to return after these.

    Returns
    -------
    callable
        From positions, velocities, forces and standard normal noise to the first three.
    """
    kick, half = 0.5 * dt * inverse_mass, 0.5 * dt
    slowed, spread = exp(-friction * dt), sqrt(-expm1(-2.0 * friction * dt)) * thermal
    forces = forces or (lambda x: (system.forces(x),))

    def step(x: Tensor, v: Tensor, f: Tensor, noise: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        v = v + kick * f
        x = x + half * v
        v = slowed * v + spread * noise
        x = x + half * v
        f, *more = forces(x, *rest)
        return x, v + kick * f, f, *more

    return step
