"""What the samplers of Markov chains share: starts, the loop over steps, frames, checkpoints."""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.devices import device_of
from bayescg.errors import ConfigError, SimulationError
from bayescg.progress import Bar
from bayescg.recording.step_modes import check_mode
from bayescg.sampling.chains.recorder import Recorder
from bayescg.sampling.independent import equilibrium_positions
from bayescg.sampling.sampled_frames import to_frames
from bayescg.sampling.saved import Saved
from bayescg.stopping import stoppable
from bayescg.systems.analytic import AnalyticSystem
from bayescg.systems.core import System, check_system
from bayescg.systems.molecules import check_nanometres
from bayescg.units import plain

__all__ = [
    "CHAINS",
    "Kernel",
    "Run",
    "Settings",
    "Start",
    "as_positions",
    "begin",
    "run_chains",
    "run_kernel",
    "seeded_generator",
]

CHAINS = 100
"""Where neither `chains` nor `starts` say how many."""

_LOOK = 1000  # steps between looks at whether all is well, at most


@dataclass(frozen=True)
class Settings:
    """What all samplers of chains take; see `bayescg.sampling.langevin`."""

    steps: int
    chains: int | None
    stride: int
    equilibration: int
    energy: bool
    forces: bool
    compile: str
    device: str
    seed: int
    run_dir: str | Path | None
    resume: bool
    progress: bool | None

    @property
    def total(self) -> int:
        """Steps, equilibration included."""
        return self.equilibration + self.steps

    def check(self) -> None:
        """Refuse what is out of range."""
        check_counts(
            steps=(self.steps, 1), chains=(CHAINS if self.chains is None else self.chains, 1), stride=(self.stride, 1),
            equilibration=(self.equilibration, 0), seed=(self.seed, 0),
        )  # fmt: skip
        check_mode(self.compile)
        if self.steps % self.stride:
            raise ConfigError(f"steps={self.steps} must be a multiple of stride={self.stride}")


@dataclass(frozen=True)
class Start:
    """Where chains begin, and the source of their random numbers.

    Attributes
    ----------
    x : torch.Tensor, shape (chains, dim)
        Its precision and device are those of everything.
    energy : torch.Tensor, shape (chains,)
    generator : torch.Generator
        Of the same device.
    """

    x: Tensor
    energy: Tensor
    generator: torch.Generator


class Kernel(ABC):
    """Many chains of one sampler, side by side.

    Parameters
    ----------
    system : System
    start : Start

    Attributes
    ----------
    system, start
        As given.
    generator : torch.Generator
        That of `start`.
    state : dict of str to Tensor
        All that changes from step to step: positions ``x`` and forces ``f`` (chains, dim), and what else there is. Of
        replicas at other temperatures, which follow, no frames are kept.
    cost : dict of str to (int, int)
        Evaluations of one chain at the start and in each step.
    mass : Tensor or None
        Of each coordinate, (dim,), where the sampler has velocities.
    together : int
        Of so many chains that follow each other, the frames of one time stand together, as one trajectory.
    """

    mass: Tensor | None = None
    together: int = 1

    def __init__(self, system: System, start: "Start"):
        self.system, self.start, self.generator = system, start, start.generator
        self.state: dict[str, Tensor] = {"x": start.x, "f": system.forces(start.x)}
        self.cost: dict[str, tuple[int, int]] = {"energy_evaluations": (1, 0), "force_evaluations": (1, 1)}

    def noise(self) -> Tensor:
        """Standard normal numbers in the shape of the positions."""
        x = self.state["x"]
        return torch.randn(x.shape, generator=self.generator, dtype=x.dtype, device=x.device)

    def advance(self, steps: int) -> None:
        """So many steps of all chains."""
        for _ in range(steps):
            self.step_once()

    @abstractmethod
    def step_once(self) -> None:
        """One step of all chains."""

    def columns(self) -> dict[str, Tensor]:
        """What else to keep of each frame: names, and now (chains, ...)."""
        return {}

    def identity(self) -> dict[str, Any]:
        """JSON of what else, beside settings, system and starts, tells a run from another."""
        return {}

    def look(self, name: str, since: int, step: int) -> None:
        """See that all is well after the steps from `since` to `step` of the sampler `name`.

        Raises
        ------
        SimulationError
        """
        good = torch.isfinite(torch.cat([self.state[k] for k in ("x", "v") if k in self.state], 1)).all(1)
        if not bool(good.all()):
            bad = torch.nonzero(~good).flatten().tolist()
            raise SimulationError(
                f"{name}: {len(bad)} of {len(good)} chains, the first of them chain {bad[0]}, are no longer finite "
                f"between steps {since} and {step}; choose a shorter dt, or starts of lower energy"
            )
        if words := self.system.strays(self.state["x"]):
            raise SimulationError(f"{name}: after step {step}, {words}")

    def report(self, steps: int) -> dict[str, Any]:
        """What else the provenance should say after so many steps."""
        return {}


@dataclass(frozen=True)
class Run:
    """What chains have left.

    Attributes
    ----------
    columns : dict of str to ndarray
        ``positions`` (n, dim), ``energy``, ``forces`` and those of the kernel: chain by chain, in the order of time;
        where chains stand together, so many at one time, then at the next.
    trajectory : ndarray of int, shape (n,)
    provenance : dict
        JSON of what was run, and its cost.
    """

    columns: dict[str, np.ndarray]
    trajectory: np.ndarray
    provenance: dict[str, Any]


def run_chains(
    name: str, kernel: Kernel, settings: Settings, special: Mapping[str, Any], dt: float | None = None
) -> Frames:
    """Let the chains run and keep a frame every `stride` steps.

    Parameters
    ----------
    name : str
        Of the sampler.
    kernel : Kernel
        At its starts.
    settings : Settings
    special : mapping
        JSON of the sampler's own settings, for the provenance and to tell a run from another.
    dt : float, optional
        Time of one step; None where steps are not time.
    """
    between = None if dt is None else dt * settings.stride

    def framed(run: Run) -> Frames:
        rest: dict[str, Any] = dict(run.columns)
        x = rest.pop("positions")
        if "momenta" in rest and kernel.mass is not None:
            rest["masses"] = kernel.mass.numpy()[:: 1 if kernel.system.topology is None else 3]
        note, path = run.provenance, run.trajectory
        return to_frames(kernel.system, x, note, dt=between, ordered=True, trajectory=path, **rest)

    return framed(run_kernel(name, kernel, settings, special, framed))


def run_kernel(
    name: str,
    kernel: Kernel,
    settings: Settings,
    special: Mapping[str, Any],
    framed: Callable[[Run], Frames] | None = None,
) -> Run:
    """As `run_chains`, for samplers that make their frames themselves; an error holds those that `framed` makes."""
    began = time.perf_counter()
    x, generator = kernel.start.x, kernel.generator
    total, stride, energy, forces = settings.total, settings.stride, settings.energy, settings.forces
    recorded = dict(special) | {
        "seed": settings.seed, "compile": settings.compile, "chains": len(x), "steps": settings.steps, "stride": stride,
        "equilibration": settings.equilibration, "energy": energy, "forces": forces,
        "precision": str(x.dtype).removeprefix("torch."), "device": x.device.type,
    }  # fmt: skip
    saved = Saved(settings.run_dir, {"sampler": name, **recorded, **_identity(kernel)}, settings.resume)
    frames, trajectories = settings.steps // stride, len(x) // kernel.together

    def by_trajectory(columns: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value.unflatten(0, (trajectories, -1)) for key, value in columns.items()}

    files = None if saved.directory is None else saved.directory / "frames"
    example = {"positions": x} | ({"energy": kernel.start.energy} if energy else {}) | ({"forces": x} if forces else {})
    recorder = Recorder(by_trajectory(example | kernel.columns()), frames, files, resume=saved.newest is not None)
    step, before = 0, 0.0
    if saved.newest is not None:
        tensors, meta = saved.newest
        generator.set_state(tensors.pop("generator"))
        kernel.state = {k: v.to(x.device) for k, v in tensors.items()}
        step, before = meta["step"], meta["wall_seconds"]

    def wall() -> float:
        return before + time.perf_counter() - began

    def left(steps: int) -> Run:
        frames = max(0, steps - settings.equilibration) // stride
        cost: dict[str, Any] = {key: len(x) * (first + each * steps) for key, (first, each) in kernel.cost.items()}
        if energy and "u" not in kernel.state:
            cost["energy_evaluations"] += len(x) * frames
        cost |= {"steps": steps, "wall_seconds": wall(), "device": x.device.type}
        recorder.flush()
        flat = {key: a[:, :frames].reshape(-1, *a.shape[3:]) for key, a in recorder.arrays.items()}
        trajectory = np.repeat(np.arange(trajectories, dtype=np.int32), kernel.together * frames)
        return Run(flat, trajectory, {"sampler": name, **recorded, **kernel.report(steps), "cost": cost})

    try:
        with torch.no_grad(), stoppable(lambda: saved.advice), Bar(name, total, step, settings.progress) as bar:
            while step < total:
                until = step + min(_LOOK, stride - (step - settings.equilibration) % stride)
                kernel.advance(until - step)
                kernel.look(name, step, until)
                step = until
                number, between = divmod(step - settings.equilibration, stride)
                if number > 0 and not between:
                    recorder.put(number - 1, by_trajectory(_values(kernel, energy, forces) | kernel.columns()))
                bar.update(step, f"{step:,} of {total:,} steps of {len(x):,} chains")
                if saved.due or (step == total and saved.directory is not None):
                    recorder.flush()
                    tensors = kernel.state | {"generator": generator.get_state()}
                    saved.write(step, tensors, {"wall_seconds": wall()})
    except SimulationError as error:
        if framed is not None and step - settings.equilibration >= stride:
            error.frames = framed(left(step))
        raise
    return left(total)


def begin(system: System, starts: Any, settings: Settings) -> Start:
    """Where the chains begin: as given, or in equilibrium, or at the system's own positions, or at the origin.

    Raises
    ------
    ConfigError
        A number is out of range, this is no system, or `starts` does not fit it or the number of chains.
    UnitError
        `starts` of a molecule are not in nm.
    DeviceError
        The device is not there.
    SimulationError
        The energy of a start is not finite.
    """
    check_system(system)
    settings.check()
    device = device_of(settings.device)
    count, seed = CHAINS if settings.chains is None else settings.chains, settings.seed
    structure = getattr(system, "start", None)
    if starts is not None:
        x = as_positions(system, starts, settings.chains)
    elif isinstance(system, AnalyticSystem):
        x = equilibrium_positions(system, count, seeded_generator(seed, 0))
    elif structure is not None:
        x = torch.as_tensor(structure, dtype=torch.float32).reshape(1, -1).expand(count, -1)
    else:
        x = torch.zeros(count, system.dim)
    x = x.detach().to(device).contiguous().clone()
    energy = system.energy(x).detach()
    bad = torch.nonzero(~torch.isfinite(energy)).flatten().tolist()
    if bad:
        at = "" if starts is not None or structure is not None else ", the origin,"
        raise SimulationError(f"start {bad[0]}{at} has no finite energy ({len(bad)} of {len(x)}); give other starts=")
    return Start(x, energy, seeded_generator(seed, 1, device))


def as_positions(system: System, starts: Any, chains: int | None) -> Tensor:
    """Starts as somebody gives them, (chains, dim)."""
    starts = plain(starts, "nm")
    try:
        x = torch.as_tensor(starts.gather(slice(None)) if isinstance(starts, Frames) else starts)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"starts must be an array of shape (chains, {system.dim}), or Frames: {error}") from error
    shape = tuple(x.shape)
    x = x if x.is_floating_point() else x.float()
    if x.ndim == 3 or (x.ndim == 2 and x.shape[1] != system.dim):  # (..., atoms, 3)
        x = x.flatten(-2)
    x = x.expand(CHAINS if chains is None else chains, -1) if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[1] != system.dim or not len(x):
        raise ConfigError(f"starts must be of shape (chains, {system.dim}) or ({system.dim},), not {shape}")
    if chains is not None and len(x) != chains:
        raise ConfigError(f"there are {len(x)} starts for chains={chains}: give one for each, or leave chains out")
    if system.topology is not None:
        check_nanometres(x.unflatten(1, (-1, 3)).detach().cpu().numpy(), system.topology, "starts")
    return x


def seeded_generator(seed: int, stream: int, device: torch.device | None = None) -> torch.Generator:
    """One of several independent generators of one seed."""
    number = int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device or "cpu").manual_seed(number)


def _identity(kernel: Kernel) -> dict[str, Any]:
    """What tells a system and its starts from others."""
    digest = hashlib.sha256(kernel.start.x.cpu().numpy().tobytes()).hexdigest()[:16]
    energy = float(kernel.start.energy.double().mean())
    identity = {"system": repr(kernel.system), "starts": digest, "mean energy of the starts": f"{energy:.5g}"}
    if kernel.mass is not None:
        identity["masses"] = hashlib.sha256(kernel.mass.cpu().numpy().tobytes()).hexdigest()[:16]
    return identity | kernel.identity()


def _values(kernel: Kernel, energy: bool, forces: bool) -> dict[str, Tensor]:
    n = len(kernel.start.x)
    state = {name: kernel.state[name][:n] for name in ("x", "f", "u") if name in kernel.state}
    values = {"positions": state["x"]}
    if energy:
        values["energy"] = state["u"] if "u" in state else kernel.system.energy(state["x"])
    if forces:
        values["forces"] = state["f"]
    return values
