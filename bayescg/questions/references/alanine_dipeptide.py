"""Alanine dipeptide at 300 K: ``python -m bayescg.questions.references.alanine_dipeptide NAME DIR``.

AMBER96 with OBC1, ten million frames, takes about 20 minutes of one core; ff14SB in vacuum a little longer. Both go on
where they were interrupted. Parallel tempering has no error of the time step. It is run twice, from the basins of
negative and from those of positive phi: that both agree on the populations shows that neither remembers where it began.
In OBC1 it forgets them within some 10 ps; in vacuum, where the barriers of phi are twice as high, it needs temperatures
that cross them, and some 100 ps. The carbon stays L. Peptide bonds are trans: too few turn for the share of cis bonds
(``made["cis"]``) to be more than what happened to come up. ``made["settings"]["steps"]`` of a file says how many
frames of each chain it holds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg.data import Frames
from bayescg.features.observables import Torsion, from_names
from bayescg.questions.references.sampled import Reference, inside
from bayescg.sampling import parallel_tempering
from bayescg.systems import alanine_dipeptide
from bayescg.systems.peptides import set_ramachandran

__all__ = ["PLANS", "Plan", "make", "sample", "summarise"]

BINS, HYDROGEN_MASS = 64, 3.0


@dataclass(frozen=True)
class Plan:
    """How a reference is made.

    Attributes
    ----------
    force_field, solvent
        Of :func:`bayescg.systems.alanine_dipeptide`.
    negative, positive : tuple of (float, float)
        Phi and psi, in degrees, that the chains of the two runs take turns to begin at.
    settings : dict
        Of :func:`bayescg.sampling.parallel_tempering`.
    steps : (int, int)
        Of each chain of the two runs, 50 fs of dynamics each.
    chains : int
        Of each run; a multiple of the number of its starts.
    regions : dict
        Whose populations are counted, in degrees.
    """

    force_field: str
    solvent: str | None
    negative: tuple[tuple[float, float], ...]
    positive: tuple[tuple[float, float], ...]
    settings: dict[str, Any]
    steps: tuple[int, int]
    chains: int
    regions: dict[str, dict[str, list[float]]]


_COMMON = {"dt": 0.002, "leapfrog": 25, "compile": "trace"}
PLANS = {
    "alanine-dipeptide-obc1-300K": Plan(
        "amber96",
        "obc1",
        ((-150.0, 155.0), (-75.0, -30.0), (-75.0, 150.0), (-85.0, 75.0)),
        ((55.0, 45.0), (65.0, -65.0)),
        {"temperatures": [300.0, 378.0, 476.0, 600.0], "equilibration": 2000} | _COMMON,
        (19_600, 19_600),
        256,
        {
            "alpha": {"psi": [-120.0, 60.0]},
            "beta": {"psi": [60.0, -120.0]},
            "phi_positive": {"phi": [0.0, 120.0]},
            "phi_negative": {"phi": [120.0, 0.0]},
            "phi_negative, alpha": {"phi": [120.0, 0.0], "psi": [-120.0, 60.0]},
            "phi_negative, beta": {"phi": [120.0, 0.0], "psi": [60.0, -120.0]},
        },
    ),
    "alanine-dipeptide-vacuum-300K": Plan(
        "amber14",
        None,
        ((-80.0, 75.0), (-150.0, 155.0)),
        ((60.0, -60.0), (70.0, -50.0)),
        {"temperatures": [300.0, 395.0, 520.0, 690.0, 920.0, 1230.0, 1640.0], "equilibration": 5000, "stride": 10}
        | _COMMON,
        (10_000, 10_000),
        64,
        {"C7eq": {"phi": [125.0, 0.0]}, "C7ax": {"phi": [0.0, 125.0]}},
    ),
}
"""By the names of the files. Names and boundaries of regions are those of the experiments."""


def sample(plan: Plan, out: Path) -> list[Frames]:
    """Frames of the runs from negative and from positive phi.

    Parameters
    ----------
    plan : Plan
    out : Path
        Where frames and checkpoints are kept: 264 bytes a frame.
    """
    system = alanine_dipeptide(plan.force_field, plan.solvent, 300.0, hydrogen_mass=HYDROGEN_MASS)
    assert system.topology is not None
    runs = []
    for seed, name in enumerate(("negative", "positive")):
        angles = getattr(plan, name)
        turned = [set_ramachandran(system.topology, system.start, phi, psi) for phi, psi in angles]
        starts = np.stack(turned * (plan.chains // len(angles))).astype(np.float32)
        run_dir = out / f"from-phi-{name}"
        runs.append(
            parallel_tempering(system, plan.steps[seed], starts=starts, seed=seed, run_dir=run_dir, **plan.settings)
        )
    return runs


def summarise(plan: Plan, runs: list[Frames]) -> tuple[Reference, np.ndarray]:
    """The reference, and phi and psi of all frames, (frames, 2), chain by chain."""
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    names = ["phi", "psi", "rg", "rg_mass", "end_to_end"]
    omegas = [Torsion(22, quadruple, "omega") for quadruple in ((1, 4, 6, 8), (8, 14, 16, 18))]
    observables = [*from_names(names, runs[0].topology), *omegas]
    values = [_values(observables, run) for run in runs]  # (chains, frames, observable) of each
    angles = np.concatenate([v[..., :2].reshape(-1, 2) for v in values])
    share = np.array([v[..., 0].size for v in values]) / len(angles)
    counts = [np.stack([np.histogram2d(*c[:, :2].T, bins=[edges, edges])[0] for c in v]) for v in values]
    mean, error = _combined([c / c[0].sum() for c in counts], share)
    visited = mean > 0
    kl_floor = float(0.5 * (error[visited] ** 2 / mean[visited]).sum())
    portions = {k: [inside(r, v[..., 0], v[..., 1]).mean(1) for v in values] for k, r in plan.regions.items()}
    total = sum(c.sum(0) for c in counts)
    moments = {}
    for k, name in enumerate(names[2:], start=2):
        parts = [v[..., k].astype(np.float64) for v in values]
        center, scatter = _combined([x.mean(1) for x in parts], share)
        moments[name] = [
            float(center),
            float(np.sqrt(share @ [((x - center) ** 2).mean() for x in parts])),
            float(scatter),
        ]
    reference = Reference(
        counts=np.asarray(total, np.int64),
        edges=edges,
        frames=len(angles),
        effective_frames=float(visited.sum() / (2 * kl_floor)),
        kl_floor=kl_floor,
        regions=plan.regions,
        populations={k: [float(a) for a in _combined(parts, share)] for k, parts in portions.items()},
        populations_by_start={
            k: [[float(a) for a in _combined([part], np.ones(1))] for part in parts] for k, parts in portions.items()
        },
        averages=moments,
        made={
            "system": f"alanine_dipeptide({plan.force_field!r}, solvent={plan.solvent!r}, temperature=300.0), "
            "bonds flexible",
            "temperature": 300.0,
            "sampler": "bayescg.sampling.parallel_tempering",
            "settings": plan.settings | {"hydrogen_mass": HYDROGEN_MASS}
            | {"chains": [len(v) for v in values], "steps": [v.shape[1] for v in values]},
            "starts": ["negative phi", "positive phi"],
            "seeds": [run.provenance["seed"] for run in runs],
            "acceptance": [run.provenance["acceptance"] for run in runs],
            "swaps": [run.provenance["swaps"] for run in runs],
            "cis": float(share @ [(np.abs(v[..., -2:]) < np.pi / 2).any(-1).mean() for v in values]),
            "force_evaluations": sum(run.provenance["cost"]["force_evaluations"] for run in runs),
        },
    )  # fmt: skip
    return reference, angles


def make(name: str, out: Path) -> Reference:
    """Sample, or go on sampling, and write NAME.npz and ``phipsi.npy`` to `out`."""
    reference, angles = summarise(PLANS[name], sample(PLANS[name], out))
    reference.save(out / f"{name}.npz")
    np.save(out / "phipsi.npy", angles)
    return reference


def _values(observables: list[Any], run: Frames) -> np.ndarray:
    chains = np.split(run.positions, int(run.provenance["chains"]))
    return np.stack([torch.stack([o(torch.from_numpy(np.array(x))) for o in observables], -1).numpy() for x in chains])


def _combined(parts: list[np.ndarray], share: np.ndarray) -> tuple[Any, Any]:
    """Mean over the runs, each (chains, ...), by their share of the frames; standard error from independent chains."""
    mean = sum(w * x.mean(0) for w, x in zip(share, parts, strict=True))
    variance = sum(w**2 * x.var(0, ddof=1) / len(x) for w, x in zip(share, parts, strict=True))
    return mean, np.sqrt(variance)


if __name__ == "__main__":
    print(make(sys.argv[1], Path(sys.argv[2])))
