"""The table that a reviewer of dynamics by long time steps asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.analysis.long_steps.by_trajectory import each_trajectory, over_trajectories
from bayescg.analysis.long_steps.motion import motion
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.errors import DataError
from bayescg.inference import Fit
from bayescg.systems import System

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["IntegratorCheck", "integrator_check"]

_TOLERANCE = 1e-12
_WIDTH = 1e-3
_ROWS = 1024
_LEVEL = 2.576  # standard errors: 99 %
_PLOTTED = 500
_FEWEST = 10


@dataclass(frozen=True)
class IntegratorCheck:
    """What trajectories and the map that made them keep, and what they do not.

    Attributes
    ----------
    energy_rms : Quantity or None
        Root mean square change of the total energy from a trajectory's first frame on; None where no energy is known,
        or a thermostat changes it.
    energy_drift : Quantity or None
        Slope of the total energy in time.
    temperatures : dict of str to Quantity
        Kinetic temperature over the temperature, of each coordinate or kind of atom.
    canonical : bool
        Whether these should be 1, or, of states that are not of the canonical ensemble, the same.
    momentum, angular_momentum : float or None
        Largest change in a trajectory, relative to the sum of the sizes of those of its atoms; of molecules without a
        thermostat.
    reversibility, volume : float or None
        Largest error of a step forth and back, and of its determinant, in scaled units, at a tolerance of 1e-12.
    iterations, residual : float or None
        Of the steps that were made, on average and at most.
    unknown : float or None
        Share of frames where nothing says how wrong a step is, as `mapped_dynamics` warns of.
    lost : tuple of str
        Trajectories that ended early.
    energies : DataArray or None
        Total energies, ``(trajectory, time)``, thinned.
    motion : Dataset
        Velocity ``autocorrelation (draw, lag)`` and vibrational ``spectrum (draw, frequency)`` of each draw. Of
        frames further apart than half a period of the fastest vibration frequencies are wrong: keep every step.
    starts : int
        Of fewer than ten, whose energies are what they are, nothing is said of equipartition.
    """

    energy_rms: Quantity | None
    energy_drift: Quantity | None
    temperatures: dict[str, Quantity]
    canonical: bool
    momentum: float | None
    angular_momentum: float | None
    reversibility: float | None
    volume: float | None
    iterations: float | None
    residual: float | None
    unknown: float | None
    lost: tuple[str, ...]
    energies: xr.DataArray | None
    motion: xr.Dataset
    starts: int

    @property
    def faults(self) -> list[str]:
        """What a careful reader should know, in sentences; of a right integrator they appear one time in a hundred."""
        faults = [f"{len(self.lost)} trajectories ended early, first {self.lost[0]}"] if self.lost else []
        if self.unknown:
            faults.append(
                f"{self.unknown:.0%} of the frames are far from all that the map was learned from: learn from such, too"
            )
        drift = self.energy_drift
        if drift is not None and drift.sd > 0 and abs(drift.mean) > _LEVEL * _tail(drift) * drift.sd:
            faults.append(f"the energy drifts, by {drift.mean:.3g} ± {drift.sd:.2g} {drift.unit}")
        z = {name: self._deviation(t) for name, t in self.temperatures.items()}
        worst = max(z, key=lambda name: abs(z[name]))
        limit = _LEVEL + 0.8 * math.log(len(z))  # about that of the largest of so many
        if abs(z[worst]) > limit and self.starts >= _FEWEST:
            expected = "1" if self.canonical else f"{self._level:.3g} as of all"
            t = self.temperatures[worst]
            faults.append(
                f"equipartition is violated: {worst} has {t.mean:.3g} ± {t.sd:.2g} of kT in place of {expected}"
            )
        for name, value in (("reversible", self.reversibility), ("symplectic", self.volume)):
            if value is not None and value > 1e-6:
                faults.append(f"the step is not {name}: it is off by {value:.1e}")
        return faults

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong that these trajectories could show."""
        return not self.faults

    @property
    def _level(self) -> float:
        return 1.0 if self.canonical else float(np.mean([t.mean for t in self.temperatures.values()]))

    def _deviation(self, temperature: Quantity) -> float:
        return (
            0.0 if not temperature.sd > 0 else (temperature.mean - self._level) / (_tail(temperature) * temperature.sd)
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """What, how much, and what is wanted."""
        rows = []
        for name, quantity in (("energy, rms", self.energy_rms), ("energy, drift", self.energy_drift)):
            if quantity is not None:
                rows.append((name, _words(quantity), "0" if name.endswith("drift") else ""))
        wanted = "1" if self.canonical else f"{self._level:.3g}"
        rows += [(f"T({name}) / T", _words(t), wanted) for name, t in self.temperatures.items()]
        for name, value in (
            ("momentum", self.momentum), ("angular momentum", self.angular_momentum),
            ("forth and back", self.reversibility), ("volume", self.volume),
        ):  # fmt: skip
            if value is not None:
                rows.append((name, f"{value:.1e}", "0"))
        if self.iterations is not None:
            rows.append(("iterations", f"{self.iterations:.1f}", ""))
            rows.append(("residual", f"{self.residual:.1e}", "0"))
        return rows

    def __repr__(self) -> str:
        head = "passed" if self.passed else "NOT passed: " + "; ".join(self.faults)
        rows = self.rows()
        width = max(len(name) for name, *_ in rows)
        lines = [
            f"  {name:<{width}}  {value:<28} {wanted and 'wanted ' + wanted}".rstrip() for name, value, wanted in rows
        ]
        return "\n".join([f"IntegratorCheck({head})", *lines])


def integrator_check(
    fit: Fit | None,
    path: Frames,
    system: System | None = None,
    *,
    canonical: bool = True,
    states: int = 10,
    seed: int = 0,
) -> IntegratorCheck:
    """See what trajectories of long time steps, and the map that made them, keep.

    Every trajectory is one observation of its drift and of its temperatures: intervals are over the starts, and, where
    the path is of several draws of the map, over these.

    Parameters
    ----------
    fit : Fit or None
        Of the map; None: only the trajectories are looked at, those of any integrator.
    path : Frames
        Of :func:`bayescg.sampling.mapped_dynamics`, or any with momenta, masses and times.
    system : System, optional
        Whose energy is to be kept. Default: that of the fit's model.
    canonical : bool
        Whether the starts are of the canonical ensemble at the temperature of the frames, or a thermostat is: only then
        are temperatures expected to be that of the frames.
    states : int
        States of each draw at which the structure of the step is looked at.
    seed : int

    Raises
    ------
    DataError
        The frames have no momenta, masses, times or temperature.

    References
    ----------
    Equipartition: Bigi, Spies, Ceriotti, arXiv:2508.01068 (2025).

    Examples
    --------
    >>> import bayescg as bcg
    >>> model, pairs, _ = bcg.models.ActionMap.example()
    >>> fit = bcg.fit(model, pairs)
    >>> path = bcg.sampling.mapped_dynamics(fit, bcg.systems.HenonHeiles().shell(5, (0.02, 0.05)), steps=20)
    >>> check = integrator_check(fit, path, canonical=False, states=2)
    >>> check.reversibility < 1e-8, check.volume < 1e-6, list(check.temperatures)
    (True, True, ['x1', 'x2'])
    """
    check_counts(states=(states, 1), seed=(seed, 0))
    if path.momenta is None or path.masses is None or path.dt is None:
        lacking = "momenta" if path.momenta is None else "masses" if path.masses is None else "times"
        raise DataError(f"these frames have no {lacking}: bcg.sampling.mapped_dynamics gives some that do")
    note = path.provenance
    draws = int(note.get("potential_draws") or 1)
    model: Any = None if fit is None else fit.model
    system = model.system if system is None and model is not None else system
    q, p = (np.asarray(x, dtype=np.float64).reshape(len(path), -1) for x in (path.positions, path.momenta))
    mass = np.repeat(path.masses, q.shape[1] // len(path.masses))
    isolated = note.get("thermostat") is None
    rms = drift = energies = None
    if system is not None and isolated:
        total = _energies(system, q) + 0.5 * (p**2 / mass).sum(1)
        rms, drift, energies = _kept_energy(path, total, draws, "kJ/mol" if path.temperature else "", seed)
    temperatures = {
        name: _temperature(path, (p[:, columns] ** 2 / mass[columns]).mean(1), draws, seed)
        for name, columns in _kinds(path, q.shape[1]).items()
    }
    momentum = angular = None
    if path.unit == "nm" and isolated:
        momentum, angular = _momenta(path, q, p)
    reversibility = volume = None
    if fit is not None:
        reversibility, volume = _structure(fit, path, q, p, draws, states)
    solver = note.get("solver", {})
    lost = tuple(f"{x['trajectory']} in step {x['step']}: {x['why']}" for x in note.get("lost", []))
    return IntegratorCheck(
        rms, drift, temperatures, canonical, momentum, angular, reversibility, volume, solver.get("iterations"),
        solver.get("residual"), note.get("unknown"), lost, energies, motion(path, p / np.sqrt(mass), draws),
        len(each_trajectory(path, np.zeros(len(path)))) // draws,
    )  # fmt: skip


def _tail(quantity: Quantity) -> float:
    """Of how many standard errors the 90 % interval is, beside a Gaussian's."""
    if quantity.ci90 is None:
        return math.inf
    return max(1.0, (quantity.ci90[1] - quantity.ci90[0]) / (2 * 1.645 * quantity.sd))


def _words(quantity: Quantity) -> str:
    if quantity.ci90 is None:
        return f"{quantity.mean:.3g}"
    return f"{quantity.mean:.3g} ± {quantity.sd:.2g}{quantity.unit and ' ' + quantity.unit}"


def _energies(system: System, q: np.ndarray) -> np.ndarray:
    parts = torch.from_numpy(q).split(_ROWS)
    with torch.no_grad():
        return torch.cat([system.energy(x) for x in parts]).double().numpy()


def _kept_energy(
    path: Frames, total: np.ndarray, draws: int, unit: str, seed: int
) -> tuple[Quantity, Quantity, xr.DataArray]:
    import xarray as xr

    assert path.dt is not None
    dt = path.dt
    each = each_trajectory(path, total)
    squares = np.array([np.mean((e - e[0]) ** 2) if len(e) else np.nan for e in each])
    square = over_trajectories(squares, draws, unit, seed)
    low, high = square.ci90 or (np.nan, np.nan)
    ends = None if square.ci90 is None else (max(low, 0.0) ** 0.5, high**0.5)
    root = square.mean**0.5
    rms = Quantity(
        root,
        0.5 * square.sd / max(root, 1e-300),
        ends,
        np.sqrt(np.clip(square.draws, 0, None)),
        unit,
        warning=square.warning,
    )
    slopes = np.array([np.polyfit(np.arange(len(e)) * dt, e - e[0], 1)[0] if len(e) > 2 else np.nan for e in each])
    of_time = "/ time" if not unit else f"{unit}/ps"
    drift = over_trajectories(slopes, draws, of_time, seed)
    longest = max(map(len, each))
    times = np.unique(np.linspace(0, longest - 1, min(longest, _PLOTTED)).astype(int))
    table = np.full((len(each), longest), np.nan)
    for row, e in zip(table, each, strict=True):
        row[: len(e)] = e
    energies = xr.DataArray(table[:, times], dims=("trajectory", "time"), coords={"time": times * dt}, name="energy")
    return rms, drift, energies


def _temperature(path: Frames, twice_kinetic: np.ndarray, draws: int, seed: int) -> Quantity:
    means = [x.mean() if len(x) else np.nan for x in each_trajectory(path, twice_kinetic / path.kT)]
    return over_trajectories(np.array(means), draws, "", seed)


def _kinds(path: Frames, dim: int) -> dict[str, Any]:
    """Columns of each coordinate of a toy system, or of each element."""
    if path.topology is None or path.unit != "nm":
        return {f"x{k + 1}": [k] for k in range(dim)}
    elements = np.array([a.element.symbol if a.element is not None else a.name for a in path.topology.atoms])
    return {name: np.flatnonzero(np.repeat(elements == name, 3)) for name in dict.fromkeys(elements.tolist())}


def _momenta(path: Frames, q: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    r, p = (x.reshape(len(x), -1, 3) for x in (q, p))
    turning, changes = np.cross(r, p), []
    for values in (p, turning):
        size = np.linalg.norm(values, axis=2).sum(1).mean()
        moved = [np.abs(x - x[0]).max() for x in each_trajectory(path, values.sum(1)) if len(x)]
        changes.append(float(max(moved) / size))
    return changes[0], changes[1]


def _map_of(fit: Fit, path: Frames, draws: int = 1) -> Any:
    lag = path.provenance.get("lag")
    return fit.map(lag=lag) if draws == 1 else fit.map(draws=draws, seed=int(path.provenance["seed"]), lag=lag)


def _structure(
    fit: Fit, path: Frames, q: np.ndarray, p: np.ndarray, draws: int, states: int
) -> tuple[float, float]:  # fmt: skip
    """Errors of steps forth and back, and of determinants of steps by differences, over some states of each draw."""
    step_map = _map_of(fit, path, draws)
    count = int(path.provenance.get("chains", int(path.trajectory.max()) + 1)) // draws
    draw = path.trajectory // count
    rows = np.concatenate(
        [(r := np.flatnonzero(draw == k))[np.linspace(0, len(r) - 1, states).astype(int)] for k in range(draws)]
    )
    units = step_map.model.units().cpu()
    z = torch.from_numpy(np.concatenate([q[rows], p[rows]], 1)) / units
    size = z.shape[1]

    def moved(z: Tensor) -> Tensor:
        with torch.no_grad():
            q, p = (z * units).to(fit.device).chunk(2, 1)
            step = step_map.step(q, p, _TOLERANCE)
        return torch.cat([step.q, step.p], 1).cpu() / units

    flip = torch.ones(size, dtype=z.dtype)
    flip[size // 2 :] = -1
    back = moved(moved(z) * flip) * flip
    few = z.unflatten(0, (draws, -1))[:, : max(1, min(states, _ROWS // (4 * size * draws)))]
    moves = torch.eye(size, dtype=z.dtype)
    ends = [
        moved((few[:, :, None] + s * _WIDTH * moves).flatten(0, 2)).unflatten(0, (few.shape[0] * few.shape[1], size))
        for s in (-2, -1, 1, 2)
    ]
    slope = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * _WIDTH)
    return float((back - z).abs().max()), float((torch.linalg.det(slope) - 1).abs().max())
