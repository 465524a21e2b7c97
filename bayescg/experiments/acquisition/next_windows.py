"""Umbrella windows along a fit's CV, until a free energy is sure enough: more columns, or longer ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import bayescg as bcg
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts
from bayescg.data import Bias, Frames
from bayescg.errors import ConfigError
from bayescg.experiments.acquisition.acquire import Acquisition, check_arguments_of
from bayescg.inference import Fit
from bayescg.sampling.sampled_frames import to_frames

if TYPE_CHECKING:
    from bayescg.systems import System

__all__ = ["Windows", "joined_columns"]

_GROWTH = 4
"""Most columns of a round, in those of all rounds before."""


class Windows(Acquisition):
    """Umbrella sampling along the CV of a fit, in rounds.

    Where the replicas of a round did not mix along the ladder, its free energies are those of its starts: the next
    round runs twice as long, and the frames so far are left out. Where they did, the next round has so many further
    columns as the standard deviation of the quantity still wants, which falls with the root of their number.

    Parameters
    ----------
    system : System
    model : Fit
        Along whose first CV windows stand.
    tolerance : float or None
    seed : int
    starts : Frames or array
        Configurations from all along the CV.
    steps : int
        Of every replica in the first round.
    dt : float
    walkers : int, default 8
        Columns of the first round, and the fewest of any.
    regions : mapping of str to callable, optional
        Two, between which ``"dF"`` is the difference of free energy, in kT, of the second minus the first; default:
        the first and last of the model's `regions`, among the system's states.
    **ladder
        Further arguments of :func:`bayescg.sampling.umbrella`.
    """

    def __init__(
        self,
        system: System,
        model: Any,
        tolerance: float | None,
        seed: int,
        *,
        starts: Any,
        steps: int,
        dt: float,
        walkers: int = 8,
        regions: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        **ladder: Any,
    ):
        super().__init__(system, model, tolerance, seed)
        check_counts(steps=(steps, 1), walkers=(walkers, 2))
        if not isinstance(model, Fit):
            raise ConfigError(
                f"windows stand along the CV of a fit, not of a {type(model).__name__}: bcg.fit(model, ...)"
            )
        if regions is None:
            names = [getattr(model.model, "regions", [""])[i] for i in (0, -1)]
            if missing := [name for name in names if name not in system.states]:
                raise ConfigError(f"the system has no state {missing[0]!r}, the model's: give two regions=")
            regions = {name: system.states[name] for name in names}
        if len(regions) != 2:
            raise ConfigError(f"regions={list(regions)} must be two")
        self.regions, self.starts, self.steps, self.walkers = dict(regions), starts, steps, walkers
        check_arguments_of(bcg.sampling.umbrella, ladder, ("system", "cv", "seed", "run_dir"), Windows)
        self.ladder = {"dt": dt, "progress": False, **ladder}
        self.rounds: list[tuple[int, Frames]] = []
        self.quantities = {"dF": self.difference}

    def identity(self) -> dict[str, Any]:
        """The regions and all settings; the sampler knows its starts and its CV."""
        return {"regions": list(self.regions), "steps": self.steps, "walkers": self.walkers, "ladder": self.ladder}

    def begin(self) -> dict[str, Any]:
        """As many columns and steps as it was given."""
        return {"walkers": self.walkers, "steps": self.steps}

    def propose(self, fit: Fit, frames: Frames, value: Quantity) -> dict[str, Any] | None:
        """Longer columns, or more of them."""
        steps, columns = self.rounds[-1][0], len(np.unique(frames.trajectory))
        if not bcg.analysis.mixing(frames).mixed:
            return {"walkers": self.walkers, "steps": 2 * steps}
        wanted = math.inf if self.tolerance is None else columns * ((value.sd / self.tolerance) ** 2 - 1)
        return {"walkers": max(self.walkers, math.ceil(min(wanted, _GROWTH * columns))), "steps": steps}

    def answer(self, query: dict[str, Any], path: Path, seed: int) -> Frames:
        """Sample; the columns of all rounds as long as this one."""
        frames = bcg.sampling.umbrella(
            self.system, self.model, query["steps"], walkers=query["walkers"], starts=self.starts, seed=seed,
            run_dir=path / "umbrella", **self.ladder,
        )  # fmt: skip
        self.rounds.append((query["steps"], frames))
        spent = sum(f.provenance["cost"]["force_evaluations"] for _, f in self.rounds)
        return joined_columns(self.system, [f for steps, f in self.rounds if steps == query["steps"]], spent)

    def learn(self, frames: Frames, path: Path, seed: int) -> Fit:
        """The fit along which windows stand; frames under a bias teach it nothing."""
        return self.model

    def difference(self, fit: Fit, frames: Frames) -> Quantity:
        """Free energy of the second region minus that of the first, in kT."""
        first, second = self.regions.values()

        def member(x: Tensor) -> Tensor:
            flat = x if self.system.topology is not None else x.flatten(1)
            return torch.as_tensor(first(flat)).double() + 2 * torch.as_tensor(second(flat)).double()

        landscape = bcg.analysis.free_energy(None, frames, cv=member, bins=3, range=(-0.5, 2.5), seed=self.seed)
        return landscape.difference((0.5, 1.5), (1.5, 2.5))


def joined_columns(system: System, parts: list[Frames], evaluations: int) -> Frames:
    """Frames of several runs in the same windows as those of one.

    Parameters
    ----------
    system : System
    parts : list of Frames
        As :func:`bayescg.sampling.umbrella` returns them.
    evaluations : int
        Of forces, to be noted as cost.
    """
    columns = np.cumsum([0, *(int(part.trajectory.max()) + 1 for part in parts)])
    biases = [part.bias for part in parts if part.bias is not None]
    replicas = np.cumsum([0, *(len(bias.born) for bias in biases)])
    bias = Bias(
        np.concatenate([b.window for b in biases]), np.concatenate([b.energies for b in biases]),
        np.concatenate([b.replica + shift for b, shift in zip(biases, replicas, strict=False)]),
        np.concatenate([b.born for b in biases]),
    )  # fmt: skip
    energies = [part.energy for part in parts if part.energy is not None]
    provenance = {k: v for k, v in parts[0].provenance.items() if k in ("sampler", "centres", "stiffness", "dt")}
    return to_frames(
        system, np.concatenate([part.gather(slice(None)).reshape(len(part), -1) for part in parts]),
        provenance | {"cost": {"force_evaluations": evaluations}}, ordered=True, bias=bias,
        trajectory=np.concatenate([p.trajectory + shift for p, shift in zip(parts, columns, strict=False)]),
        energy=np.concatenate(energies) if energies else None,
    )  # fmt: skip
