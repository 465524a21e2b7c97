"""Energies and forces of configurations in which a learned potential is least certain."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts, check_positive, did_you_mean
from bayescg.checkpoint import whole
from bayescg.data import Frames, evenly
from bayescg.errors import ConfigError, SimulationError
from bayescg.experiments.acquisition.acquire import Acquisition, fit_settings
from bayescg.experiments.acquisition.informative import most_informative
from bayescg.experiments.acquisition.reach import Reach
from bayescg.inference import Fit
from bayescg.modelling import HasPotential
from bayescg.sampling.sampled_frames import to_frames

if TYPE_CHECKING:
    from bayescg.systems import System

__all__ = ["Labels"]

_ATTEMPTS = 5
"""Of a simulation with a potential that may be wrong, each half as long as the one before."""

CHOICES = ("information", "random")

_PAIRS = 4_000_000
"""Pairs of particles, over all draws, that are computed at once."""

_DIRECTIONS = 3
"""Of a configuration's forces, those in which the draws differ most: what its label is counted by."""


class Labels(Acquisition):
    """Labels by the system of configurations that the learned potential itself visits.

    A round simulates with the potential of the round before, in short stretches. A chain that has come where a force is
    less certain than training has seen (:attr:`bayescg.analysis.ForceBands.beyond`) ends there and begins anew at a
    labelled configuration: what it would show beyond means nothing. So does one where two particles first come closer
    than any of their kinds in the labelled configurations, or further apart, by a tenth: a hole of the potential, that
    is sure of it, may lie there, and labels from its ground, forces of fifty times the usual ones, would outweigh all
    others. Of the configurations visited, those are labelled whose forces tell most of the weights together
    (:func:`most_informative`).

    Parameters
    ----------
    system : System
        Which knows the energies and forces.
    model : Model
        Of a potential, with draws of its parameters.
    tolerance : float or None
    seed : int
    configurations : Frames
        Of which the first labels are, evenly, with or without labels of their own.
    dt : float
        Time step of the simulations.
    first, batch : int
        Labels of the first round and of every further one.
    choice : {"information", "random"}
        ``"random"``: any of the configurations visited, to compare with.
    chains, stretches, stretch : int
        How many simulations side by side, of how many stretches, of how many steps; each gives one configuration.
    friction : float
        Of Langevin dynamics.
    heat : float
        Temperature of the simulations over that of the system: where a potential must hold beyond what is usual.
    draws : int
        Of the parameters.
    fit : mapping, optional
        Arguments of :func:`bayescg.fit`.

    References
    ----------
    Zhang et al., "DP-GEN", Comput. Phys. Commun. 253, 107206 (2020), for the loop; Zaverkin et al., "Uncertainty-biased
    molecular dynamics for learning uniformly accurate interatomic potentials", npj Comput. Mater. 10, 83 (2024), for
    batches by the determinant.
    """

    def __init__(
        self,
        system: System,
        model: Any,
        tolerance: float | None,
        seed: int,
        *,
        configurations: Frames,
        dt: float,
        first: int = 20,
        batch: int = 10,
        choice: Literal["information", "random"] = "information",
        chains: int = 20,
        stretches: int = 20,
        stretch: int = 50,
        friction: float = 1.0,
        heat: float = 1.0,
        draws: int = 200,
        fit: Mapping[str, Any] | None = None,
    ):
        super().__init__(system, model, tolerance, seed)
        check_counts(first=(first, 2), batch=(batch, 1), chains=(chains, 1), stretches=(stretches, 1))
        check_counts(stretch=(stretch, 1), draws=(draws, 2))
        check_positive(dt=dt, friction=friction, heat=heat)
        if choice not in CHOICES:
            raise ConfigError(f"choice={choice!r}: {did_you_mean(choice, CHOICES)}use one of {', '.join(CHOICES)}")
        if not isinstance(model, HasPotential):
            raise ConfigError(f"{type(model).__name__} has no potential to simulate with: give a NeuralPotential")
        if not isinstance(configurations, Frames) or len(configurations) < first:
            raise ConfigError(f"configurations= must be at least first={first} Frames: of a short simulation, say")
        self.pool, self.first, self.batch, self.choice = configurations, first, batch, choice
        self.walk = {"dt": dt, "chains": chains, "stretches": stretches, "stretch": stretch, "friction": friction}
        self.heat, self.draws = heat, draws
        self.settings = fit_settings(fit)
        self.labels: list[np.ndarray] = []
        self.visited = np.zeros((0, system.dim))
        self.quantities = {"forces": self.forces}

    def identity(self) -> dict[str, Any]:
        """The pool, and all settings."""
        numbers = {"first": self.first, "batch": self.batch, "choice": self.choice, "draws": self.draws}
        walk = {**self.walk, "heat": self.heat}
        return {"configurations": self.pool.fingerprint(), "fit": self.settings, "walk": walk, **numbers}

    def begin(self) -> dict[str, Any]:
        """Configurations of the pool, evenly."""
        x = self.pool.gather(evenly(self.pool, self.first)).reshape(self.first, -1)
        return {"positions": x.tolist()}

    def propose(self, fit: Fit, frames: Frames, value: Quantity) -> dict[str, Any] | None:
        """Those configurations that the simulation visited whose forces tell most, or any."""
        if self.choice == "random" or len(self.visited) <= self.batch:
            rng = np.random.default_rng([self.seed, len(self.labels)])
            rows = rng.choice(len(self.visited), min(self.batch, len(self.visited)), replace=False)
        else:
            noise = self._misfit(fit, frames)
            rows = most_informative(self._deviations(fit, self.visited) / noise, self.batch)
        return {"positions": self.visited[rows].tolist()} if len(rows) else None

    def answer(self, query: dict[str, Any], path: Path, seed: int) -> Frames:
        """Energies and forces by the system."""
        file = path / "labels.npz"
        if not file.exists():
            x = torch.tensor(query["positions"], dtype=torch.float64)
            columns = np.concatenate([x, self.system.energy(x).detach()[:, None], self.system.forces(x)], 1)
            with whole(file) as partial, partial.open("wb") as stream:
                np.savez(stream, labels=columns)
        with np.load(file) as stored:
            self.labels.append(stored["labels"])
        columns, dim = np.concatenate(self.labels), self.system.dim
        provenance = {"sampler": "labels", "cost": {"force_evaluations": len(columns)}}
        columns = columns.astype(np.float32)
        x, energy, forces = columns[:, :dim], columns[:, dim], columns[:, dim + 1 :]
        forces = forces if self.system.topology is None else forces.reshape(len(x), -1, 3)
        return to_frames(self.system, x, provenance, energy=energy, forces=forces)

    def learn(self, frames: Frames, path: Path, seed: int) -> Fit:
        """The fit to all labels, and a simulation with it."""
        saved, file = path / "fit", path / "visited.npz"
        if not (saved / "fit.json").exists():
            bcg.fit(self.model, frames, seed=seed, **self.settings).save(saved)
        model = copy.deepcopy(self.model)
        with torch.random.fork_rng(devices=[]):  # a model that is set up draws weights, which the file replaces
            model.setup(frames)
        fit = Fit.load(saved, model=model)
        fit.frames = frames
        if not file.exists():
            visited = self._simulated(fit, frames, seed)
            with whole(file) as partial, partial.open("wb") as stream:
                np.savez(stream, positions=visited)
        with np.load(file) as stored:
            self.visited = stored["positions"]
        return fit

    def forces(self, fit: Fit, frames: Frames) -> Quantity:
        """Size of the forces where the potential goes, and as their sd the root mean square of that of each."""
        x = self.visited if len(self.visited) else frames.gather(slice(None)).reshape(len(frames), -1)
        bands = bcg.analysis.force_bands(fit, x, draws=self.draws)
        size, sd = (float(np.sqrt(np.mean(np.square(v)))) for v in (bands.forces, bands.forces_sd))
        return Quantity(size, sd, None, np.full(1, size), "")

    def _simulated(self, fit: Fit, frames: Frames, seed: int) -> np.ndarray:
        """Configurations that Langevin dynamics of the potential visits, up to where it is out of its depth."""
        walk, rng = self.walk, np.random.default_rng(seed)
        labelled = frames.gather(slice(None)).reshape(len(frames), -1)
        unit, hot = ("temperature_kT", self.system.kT), self.system.temperature
        name, warmth = unit if hot is None else ("temperature", hot)
        thermal: dict[str, Any] = {name: self.heat * warmth}
        system = bcg.systems.System(fit.system().energy, self.system.dim, topology=self.system.topology, **thermal)
        reach = Reach(labelled, self.system.topology)
        x, visited = labelled[rng.integers(len(labelled), size=walk["chains"])], []
        for number in range(walk["stretches"]):
            x, left = reach.up_to_its_end(self._stretch(system, x, seed + number))
            left |= bcg.analysis.force_bands(fit, x, draws=min(self.draws, 50)).beyond
            visited.append(x)
            x = np.where(left[:, None], labelled[rng.integers(len(labelled), size=len(x))], x)
        return np.concatenate(visited)

    def _stretch(self, system: System, x: np.ndarray, seed: int) -> np.ndarray:
        """Up to 200 configurations along one stretch, (chains, n, dim); a shorter one where a chain is thrown out."""
        dt, steps = self.walk["dt"], self.walk["stretch"]
        for _ in range(_ATTEMPTS):
            try:
                frames = bcg.sampling.langevin(
                    system, steps, dt=dt, starts=x, friction=self.walk["friction"], stride=-(-steps // 200),
                    compile="off", seed=seed, progress=False,
                )  # fmt: skip
            except SimulationError:
                steps = max(1, steps // 2)
            else:
                return frames.gather(slice(None)).reshape(len(x), -1, x.shape[1])
        return x[:, None]

    def _deviations(self, fit: Fit, x: np.ndarray) -> np.ndarray:
        """Of the forces of each configuration in every draw, along the directions in which they differ most."""
        system, positions = fit.system(draws=self.draws), torch.as_tensor(x, dtype=torch.float32)
        rows, size = [], max(1, _PAIRS // (self.draws * (x.shape[1] // 3) ** 2))
        for part in positions.split(size):
            forces = system.forces(part.repeat(self.draws, 1)).view(self.draws, len(part), -1).double()
            forces = (forces - forces.mean(0)).permute(1, 2, 0) / (self.draws - 1) ** 0.5
            _, s, vt = torch.linalg.svd(forces, full_matrices=False)
            rows.append(s[:, :_DIRECTIONS, None] * vt[:, :_DIRECTIONS])
        return torch.cat(rows).numpy()

    def _misfit(self, fit: Fit, frames: Frames) -> float:
        """Root mean square of what is left of the forces that were learned from."""
        x = torch.as_tensor(frames.gather(slice(None))).flatten(1)
        left = fit.system().forces(x) - torch.as_tensor(np.asarray(frames.forces)).flatten(1)
        return max(float(left.square().mean().sqrt()), 1e-12)
