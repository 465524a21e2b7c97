"""Dynamics by a learned map of a long time step: many trajectories, and draws of the posterior, in one batch."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_positive
from bayescg.data import Frames, evenly
from bayescg.errors import ConfigError, ModelError, SimulationError
from bayescg.sampling.chains.loop import Kernel, Run, Settings, Start, run_kernel, seeded_generator
from bayescg.sampling.long_steps.map_stepper import MapStepper, Moved
from bayescg.sampling.long_steps.momentum_baths import friction_and_noise, velocity_rescaling
from bayescg.sampling.long_steps.phase_space_starts import phase_space_starts
from bayescg.sampling.sampled_frames import masses, to_frames
from bayescg.systems.core import System
from bayescg.units import plain

__all__ = ["mapped_dynamics"]

_LOOKED_AT, _FAR, _HALVINGS = 200, 100.0, 3
_BEYOND = -1.0
_SMALL = 12
"""Coordinates up to which the Jacobian of the step is looked at now and then."""


def mapped_dynamics(
    fit: Any,
    starts: Any,
    *,
    steps: int,
    lag: float | None = None,
    thermostat: str | None = None,
    friction: float = 1.0,
    draws: int | None = None,
    stride: int = 1,
    start_from: Any = None,
    tolerance: float = 1e-10,
    lost: str = "error",
    energy: bool = False,
    compile: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Frames:
    r"""Follow states over many long time steps, each by the map that a fit has learned.

    Without a thermostat this is the dynamics of the map itself. An implicit map, as that of
    :class:`bayescg.models.ActionMap`, is solved in every step to the tolerance, to which every draw's trajectories are
    those of a symplectic and reversible integrator.

    Parameters
    ----------
    fit : Fit
        Of a model of a time step.
    starts : int, Frames or (positions, momenta)
        As for :func:`bayescg.sampling.short_trajectories`; where no energy is known, states.
    steps : int
        Of every trajectory.
    lag : float or openmm.unit.Quantity, optional
        Time step, of a fit to pairs of several lags any up to the longest; default: the longest.
    thermostat : {None, "langevin", "bussi"}
        ``"langevin"``: half a step of friction and noise before and after each step, exact for the momenta, which
        forgets where trajectories were. ``"bussi"``: stochastic rescaling of all velocities likewise, which leaves
        their directions as they are; of atoms it does not touch the motion of the centre of mass.
    friction : float or openmm.unit.Quantity
        Rate of either: 1/ps for molecules.
    draws : int, optional
        So many draws of the posterior, each a map of its own, all of which start from all states: the first
        ``len(starts)`` trajectories are of the first draw, and so on (``provenance["potential_draws"]``). None: the
        trained map.
    stride : int
        Steps from one frame that is kept to the next.
    start_from : Fit, optional
        Of an explicit map, at whose midpoint the iteration of an implicit one begins: the better, the fewer
        iterations. Default: velocity Verlet's where the energy is known.
    tolerance : float
        Of the implicit equations, in units of the spread of positions and momenta. Below a tenth of what draws
        differ by; energies drift by about so much a step.
    lost : {"error", "end", "shorter"}
        What becomes of a trajectory whose step has no solution, or leaves the range of numbers. ``"error"``: an error
        that says which, where and why, and has the frames up to there as its ``frames``. ``"end"``: it ends there, the
        others go on, and a warning and ``provenance["lost"]`` tell of it. ``"shorter"``, of a fit that has learned a
        range of steps: it takes that step as two of half the length, or four, or eight, and ends where these fail, too;
        ``provenance["solver"]["shortened"]`` counts them. A step whose length depends on where it begins is neither
        symplectic nor reversible.
    energy : bool
        Whether to keep the potential energy with each frame, where it is known.
    compile : {"auto", "inductor", "trace", "off"}
        How the iterations of a step run; as for `langevin`.
    seed : int
        Of draws and random numbers.
    out : path, optional
        Keep frames in files there, positions and momenta as arrays of NumPy, and a checkpoint twice a minute: the same
        call goes on where it was interrupted, and ends with the same numbers, bit for bit.
    resume : bool
        False starts anew.
    progress : bool, optional
        Show a bar; None: in a terminal.

    Returns
    -------
    Frames
        Trajectory by trajectory, ``steps // stride`` frames each, with momenta, masses and times.
        ``provenance["solver"]`` says how many iterations steps took, on average and at most, and the largest residual;
        ``provenance["unknown"]``, of a fit with draws, in which share of frames nothing says how wrong steps are.

    Raises
    ------
    ConfigError
        A number is out of range, or starts do not fit.
    ModelError
        The fit is of no map, or without parameter uncertainty there are no draws.
    SimulationError
        A trajectory is lost, or all of them.
    CheckpointError
        `out` holds another run: another fit, other starts, masses or settings.
    OutputError, Interrupted
        As `langevin`.

    References
    ----------
    Bigi, Spies, Ceriotti, arXiv:2508.01068 (2025). Thermostats: Leimkuhler, Matthews, Appl. Math. Res. Express 2013,
    34; Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007).

    Examples
    --------
    >>> import bayescg as bcg
    >>> model, pairs, _ = bcg.models.ActionMap.example()
    >>> fit = bcg.fit(model, pairs)
    >>> path = mapped_dynamics(fit, bcg.systems.HenonHeiles().shell(3, (0.02, 0.05)), steps=20, draws=2)
    >>> path, path.momenta.shape, path.provenance["solver"]["residual"] < 1e-10
    (Frames(120 x 2, reduced, 6 trajectories, dt=0.5), (120, 2), True)
    """
    if not hasattr(getattr(fit, "model", None), "displacement"):
        raise ModelError(f"this {type(getattr(fit, 'model', fit)).__name__} is no fitted map of a time step")
    friction, lag = plain(friction, "1/ps"), plain(lag, "ps")
    check_positive(friction=friction, tolerance=tolerance)
    if thermostat not in (None, "langevin", "bussi"):
        raise ConfigError(f"thermostat={thermostat!r} is not known: use None, 'langevin' or 'bussi'")
    if lost not in ("error", "end", "shorter"):
        raise ConfigError(f"lost={lost!r} is not known: use 'error', 'end' or 'shorter'")
    device = fit.device
    settings = Settings(
        steps, None, stride, 0, energy, False, compile, device.type, seed, out, resume, progress
    )  # fmt: skip
    settings.check()

    def map_of(time: float | None) -> Any:
        return fit.map(lag=time) if draws is None else fit.map(draws=draws, seed=seed, lag=time)

    step_map = map_of(lag)
    system, mass = _system_of(fit.model, thermostat is not None or isinstance(starts, int), energy)
    q, p, _ = phase_space_starts(system, starts, mass, seed)
    q, p = (x.to(device).repeat(draws or 1, 1) for x in (q, p))
    start = Start(q, system.energy(q).detach(), seeded_generator(seed, 1, device))
    bath = None
    if thermostat is not None:
        if thermostat == "langevin":
            bath = friction_and_noise(mass.to(q), system.kT, friction, 0.5 * step_map.lag)
        else:
            atoms = system.topology is not None
            bath = velocity_rescaling(mass.to(q), system.kT, friction, 0.5 * step_map.lag, atoms)
    first = fit.model.system if start_from is None else start_from.map()
    stepper = MapStepper(step_map, first, q, p, mass, tolerance, steps, compile)
    shorter = []
    if lost == "shorter":
        halves = [map_of(step_map.lag / 2**k) for k in range(1, _HALVINGS + 1)]
        shorter = [MapStepper(half, fit.model.system, q, p, mass, tolerance, 1, "off") for half in halves]
    kernel = _Mapped(system, start, p, mass, stepper, bath, lost, shorter)
    special = {"thermostat": thermostat, "friction": friction, "tolerance": tolerance, "draws": draws, "lost": lost}

    def framed(run: Run) -> Frames:
        return _frames(fit, system, run, step_map.lag * stride, mass, draws)

    frames = framed(run_kernel("mapped_dynamics", kernel, settings, special, framed))
    if losses := frames.provenance["lost"]:
        warnings.warn(
            f"{len(losses)} of {len(q)} trajectories ended early, the first of them trajectory "
            f"{losses[0]['trajectory']} in step {losses[0]['step']}: {losses[0]['why']}",
            stacklevel=2,
        )
    if fit.weights.kind == "none":
        return frames
    share = _unknown(step_map, frames)
    if share:
        warnings.warn(
            f"in {share:.0%} of the frames the posterior of the map is more than {_FAR:g} times as wide (in variance) "
            "as of any state that its errors are known of: nothing says how wrong steps are there. Learn from pairs "
            "that begin there, too",
            stacklevel=2,
        )
    return replace(frames, provenance={**frames.provenance, "unknown": share})


def _unknown(step_map: Any, frames: Frames) -> float:
    """Share of frames where nothing is known of the errors of the map."""
    index = evenly(frames, _LOOKED_AT)
    q, p = (torch.as_tensor(frames.gather(index, name)).flatten(1) for name in ("positions", "momenta"))
    ratio = step_map.spread(q.to(step_map.point["masses"]), p.to(step_map.point["masses"])).ratio
    return float((~(ratio < _FAR)).double().mean())


class _Mapped(Kernel):
    """Trajectories of a map."""

    def __init__(
        self,
        system: System,
        start: Start,
        p: Tensor,
        mass: Tensor,
        stepper: MapStepper,
        bath: Any,
        lost: str,
        shorter: Sequence[MapStepper],
    ):
        super().__init__(system, start)
        self.mass, self.stepper, self.bath, self.lost, self.shorter = mass, stepper, bath, lost, shorter
        self.cost = {"energy_evaluations": (1, 0), "force_evaluations": (1, 0)}
        zero = torch.zeros((), dtype=torch.long, device=p.device)
        self.state = {
            "x": start.x, "p": p, "ended": torch.full((len(p),), -1, device=p.device), "step": zero,
            "shortened": zero, "iterations": zero, "most": zero,
            "residual": torch.zeros((), dtype=p.dtype, device=p.device), "why": torch.zeros_like(p[:, 0]),
        }  # fmt: skip

    def step_once(self) -> None:
        """One step of all that are not lost."""
        state = self.state
        moving = state["ended"] < 0
        rows = moving[:, None]
        p = state["p"] if self.bath is None else torch.where(rows, self.bath(state["p"], self.noise()), state["p"])
        moved = self.stepper(state["x"], p, moving)
        unsolved = moving & ~(moved.residual <= self.stepper.tolerance)
        if self.shorter and bool(unsolved.any()):
            moved = self._shortened(state["x"], p, moved, unsolved)
        p = moved.p if self.bath is None else torch.where(rows, self.bath(moved.p, self.noise()), moved.p)
        solved = (moved.residual <= self.stepper.tolerance) | ~moving
        if not bool(solved.all()):
            self._lose(moving & ~solved, moved.residual)
            rows = rows & solved[:, None]
            p, moved = torch.where(rows, p, state["p"]), moved._replace(q=torch.where(rows, moved.q, state["x"]))
        iterations = torch.as_tensor(moved.iterations, device=p.device)
        self.state = state | {
            "x": moved.q, "p": p, "step": state["step"] + 1, "iterations": state["iterations"] + iterations,
            "most": torch.maximum(state["most"], iterations),
            "residual": torch.maximum(state["residual"], moved.residual.where(moving & solved, 0.0).max()),
            **{name: self.state[name] for name in ("ended", "why", "shortened")},
        }  # fmt: skip

    def _shortened(self, q: Tensor, p: Tensor, moved: Moved, unsolved: Tensor) -> Moved:
        """Steps of half the length, or less, of those that have none of the whole."""
        for k, stepper in enumerate(self.shorter, start=1):
            part = Moved(q, p, torch.zeros_like(moved.residual), 0)
            for _ in range(2**k):
                following = stepper(part.q, part.p, unsolved & (part.residual <= stepper.tolerance))
                residual = torch.maximum(part.residual, following.residual)
                part = following._replace(residual=residual, iterations=part.iterations + following.iterations)
            solved = unsolved & (part.residual <= stepper.tolerance)
            rows = solved[:, None]
            self.state = self.state | {"shortened": self.state["shortened"] + solved.sum()}
            moved = Moved(
                torch.where(rows, part.q, moved.q), torch.where(rows, part.p, moved.p),
                torch.where(solved, part.residual, moved.residual), moved.iterations + part.iterations,
            )  # fmt: skip
            unsolved = unsolved & ~solved
        return moved

    def _lose(self, rows: Tensor, residual: Tensor) -> None:
        step = int(self.state["step"])
        ended = torch.where(rows, step, self.state["ended"])
        self.state = self.state | {"ended": ended, "why": torch.where(rows, residual, self.state["why"])}
        if self.lost == "error" or bool((ended >= 0).all()):
            first = int(torch.nonzero(rows)[0])
            raise SimulationError(
                f"{int(rows.sum())} of {len(rows)} trajectories cannot go on, the first of them trajectory {first} "
                f"in step {step + 1}: {self._reason(first)}. Start at lower energies, take a shorter lag= (of a fit to "
                "pairs of several), or go on with the others by lost='end'; the error's frames are those up to there"
            )

    def _reason(self, row: int) -> str:
        residual = float(self.state["why"][row])
        if residual == _BEYOND:
            return "it is beyond the caustic of the learned action, far from all that was learned: this is no step"
        if not np.isfinite(residual):
            return "it leaves the range of numbers, or a hundred spreads of positions and momenta in one step"
        return (
            f"the equations of the step are not solved to {self.stepper.tolerance:g}, but to {residual:.2g} (in units "
            "of the spread of positions and momenta)"
        )

    def look(self, name: str, since: int, step: int) -> None:
        """See that the system knows where trajectories are."""
        if words := self.system.strays(self.state["x"]):
            raise SimulationError(f"{name}: after step {step}, {words}")
        if self.stepper.implicit and self.state["x"].shape[1] <= _SMALL:
            determinant = self.stepper.step_map.caustic(self.state["x"], self.state["p"]).determinant
            if bool((beyond := (determinant <= 0) & (self.state["ended"] < 0)).any()):
                self._lose(beyond, torch.full_like(determinant, _BEYOND))

    def columns(self) -> dict[str, Tensor]:
        """Momenta."""
        return {"momenta": self.state["p"]}

    def identity(self) -> dict[str, Any]:
        """Of the maps and momenta."""
        step_map = self.stepper.step_map
        digest = hashlib.sha256(self.state["p"].cpu().numpy().tobytes())
        for values in (step_map.point, step_map.varying):
            for key in sorted(values):
                digest.update(values[key].cpu().contiguous().numpy().tobytes())
        return {"map": digest.hexdigest()[:16], "lag": step_map.lag}

    def report(self, steps: int) -> dict[str, Any]:
        """Iterations, residuals, and trajectories that were lost."""
        state, done = self.state, max(1, int(self.state["step"]))
        ended = state["ended"].tolist()
        return {
            "lag": self.stepper.step_map.lag,
            "solver": {
                "iterations": int(state["iterations"]) / done, "most_iterations": int(state["most"]),
                "residual": float(state["residual"]), "shortened": int(state["shortened"]),
            },
            "map_evaluations": int(state["iterations"]) * len(ended),
            "lost": [
                {"trajectory": row, "step": step + 1, "why": self._reason(row)}
                for row, step in enumerate(ended) if step >= 0
            ],
        }  # fmt: skip


def _system_of(model: Any, thermal: bool, energy: bool) -> tuple[System, Tensor]:
    """The system whose energy is known, or free particles in its place; masses of coordinates."""
    if model.system is not None:
        return model.system, masses(model.system)
    if energy:
        raise ConfigError("energy=True, but this map was learned from pairs alone, whose energy is not known")
    units: dict[str, Any] = {"temperature": model.temperature, "temperature_kT": model.temperature_kT}
    if model.temperature is None and model.temperature_kT is None:
        if thermal:
            raise ConfigError(
                "the temperature is not known: give temperature= or temperature_kT= to the frames that the map is "
                "learned from"
            )
        units = {"temperature_kT": 1.0}
    mass = model.masses.cpu()
    topology = None if model.topology is None else model.topology.to_openmm()
    return System(lambda x: 0.0 * x.sum(-1), len(mass), topology=topology, masses=mass.tolist(), **units), mass


def _frames(fit: Any, system: System, run: Run, dt: float, mass: Tensor, draws: int | None) -> Frames:
    """Frames of all trajectories, each up to where it was lost."""
    note = run.provenance if draws is None else {**run.provenance, "potential_draws": draws}
    each = mass.numpy() if system.topology is None else mass.numpy()[::3]
    columns: dict[str, Any] = dict(run.columns)
    frames = to_frames(
        system, columns.pop("positions"), note, dt=dt, trajectory=run.trajectory, masses=each, **columns
    )  # fmt: skip
    if fit.model.system is None:
        frames = replace(
            frames, temperature=fit.model.temperature, temperature_kT=fit.model.temperature_kT,
            provenance={**frames.provenance, "system": None},
        )  # fmt: skip
    if note["lost"]:
        assert frames.order is not None
        last = np.full(int(frames.trajectory.max()) + 1, len(frames))
        for loss in note["lost"]:
            last[loss["trajectory"]] = (loss["step"] - 1) // note["stride"]
        frames = frames.subset(np.flatnonzero(frames.order < last[frames.trajectory]))
    return frames
