"""Newton's equations by velocity Verlet: what dynamics by long time steps is held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_positive
from bayescg.data import Frames
from bayescg.devices import device_of
from bayescg.recording.stepping import prepare
from bayescg.sampling.chains.hamiltonian import velocity_verlet
from bayescg.sampling.chains.loop import Kernel, Settings, Start, run_chains, seeded_generator
from bayescg.sampling.long_steps.phase_space_starts import phase_space_starts
from bayescg.sampling.sampled_frames import masses
from bayescg.systems.core import System, check_system
from bayescg.units import plain

__all__ = ["newtonian"]


def newtonian(
    system: System,
    steps: int,
    *,
    dt: float,
    starts: Any = 100,
    stride: int = 1,
    energy: bool = False,
    forces: bool = False,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Frames:
    """Dynamics at constant energy by velocity Verlet, of many states in one batch, in double precision.

    Parameters
    ----------
    system : System
    steps : int
        Of every trajectory.
    dt : float or openmm.unit.Quantity
        Time step.
    starts : int, Frames or (positions, momenta)
        As for :func:`bayescg.sampling.short_trajectories`.
    stride, energy, forces, compile, device, seed, run_dir, resume, progress
        As for `langevin`.

    Returns
    -------
    Frames
        Trajectory by trajectory, with times, momenta and masses.

    Raises
    ------
    ConfigError, DataError, SimulationError, CheckpointError, OutputError, Interrupted
        As `langevin` and `short_trajectories`.

    References
    ----------
    Swope, Andersen, Berens, Wilson, J. Chem. Phys. 76, 637 (1982).

    Examples
    --------
    >>> from bayescg.systems import HenonHeiles
    >>> path = newtonian(HenonHeiles(), 100, dt=0.1, starts=HenonHeiles().shell(3), stride=10)
    >>> path, path.momenta.shape
    (Frames(30 x 2, reduced, 3 trajectories, dt=1), (30, 2))
    """
    dt = plain(dt, "ps")
    check_positive(dt=dt)
    check_system(system)
    settings = Settings(steps, None, stride, 0, energy, forces, compile, device, seed, run_dir, resume, progress)
    settings.check()
    mass, where = masses(system), device_of(device)
    q, p = (x.to(where) for x in phase_space_starts(system, starts, mass, seed)[:2])
    start = Start(q, system.energy(q).detach(), seeded_generator(seed, 1, where))
    return run_chains("newtonian", _Newtonian(system, start, p, mass, dt, settings), settings, {"dt": dt}, dt)


class _Newtonian(Kernel):
    def __init__(self, system: System, start: Start, p: Tensor, mass: Tensor, dt: float, settings: Settings):
        super().__init__(system, start)
        self.mass, self.inertia = mass, mass.to(p)
        self.state["v"], self.dt = p / self.inertia, torch.full_like(p[:, :1], dt)
        step = velocity_verlet(system.forces, 1 / self.inertia)
        example = [*(self.state[k] for k in "xvf"), self.dt]
        self.step = prepare(step, example, settings.total, settings.compile)

    def step_once(self) -> None:
        x, v, f = self.step(*(self.state[k] for k in "xvf"), self.dt)
        self.state = {"x": x, "v": v, "f": f}

    def columns(self) -> dict[str, Tensor]:
        return {"momenta": self.state["v"] * self.inertia}
