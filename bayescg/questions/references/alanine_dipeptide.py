"""Alanine dipeptide, AMBER96 with OBC1, 300 K: ``python -m bayescg.questions.references.alanine_dipeptide DIR``.

Ten million frames take about 20 minutes of one core, and go on where they were interrupted. Parallel tempering
forgets the basins of phi and psi within some 10 ps, and has no error of the time step. It is run twice, from the
basins of negative and from those of positive phi: that both agree on the populations shows that neither remembers
where it began. The carbon stays L. Peptide bonds are trans: 600 K turns one too rarely for the share of cis bonds
(``made["cis"]``) to be more than what happened to come up. ``made["settings"]["steps"]`` of a file says how many
frames of each chain it holds.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg.data import Frames
from bayescg.features.observables import Torsion, from_names
from bayescg.questions.references.sampled import Reference, inside
from bayescg.sampling import parallel_tempering, ramachandran_starts
from bayescg.systems import alanine_dipeptide
from bayescg.systems.peptides import set_ramachandran

__all__ = ["REGIONS", "make", "sample", "summarise"]

REGIONS = {
    "alpha": {"psi": [-120.0, 60.0]},
    "beta": {"psi": [60.0, -120.0]},
    "phi_positive": {"phi": [0.0, 120.0]},
    "phi_negative": {"phi": [120.0, 0.0]},
    "phi_negative, alpha": {"phi": [120.0, 0.0], "psi": [-120.0, 60.0]},
    "phi_negative, beta": {"phi": [120.0, 0.0], "psi": [60.0, -120.0]},
}
"""Degrees; names and boundaries are those of the experiment alanine-dipeptide, and the two basins of negative phi."""

SETTINGS: dict[str, Any] = {
    "temperatures": [300.0, 378.0, 476.0, 600.0], "dt": 0.002, "leapfrog": 25, "equilibration": 2000,
    "compile": "trace",
}  # fmt: skip
STEPS = (19_600, 19_600)
BINS, HYDROGEN_MASS = 64, 3.0
_POSITIVE = ((55.0, 45.0), (65.0, -65.0))


def sample(out: Path, steps: tuple[int, int] = STEPS, chains: int = 256) -> list[Frames]:
    """Frames of the runs from negative and from positive phi.

    Parameters
    ----------
    out : Path
        Where frames and checkpoints are kept: 264 bytes a frame.
    steps : (int, int)
        Frames of each chain of the two runs, 50 fs of dynamics apart.
    chains : int
        Of each run; even.
    """
    system = alanine_dipeptide("amber96", "obc1", 300.0, hydrogen_mass=HYDROGEN_MASS)
    assert system.topology is not None
    turned = [set_ramachandran(system.topology, system.start, *angles) for angles in _POSITIVE]
    starts = {"negative": ramachandran_starts(system, chains), "positive": np.stack(turned * (chains // 2))}
    return [
        parallel_tempering(
            system, steps[seed], starts=x.astype(np.float32), seed=seed, run_dir=out / f"from-phi-{name}", **SETTINGS
        )
        for seed, (name, x) in enumerate(starts.items())
    ]


def summarise(runs: list[Frames]) -> tuple[Reference, np.ndarray]:
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
    portions = {k: [inside(r, v[..., 0], v[..., 1]).mean(1) for v in values] for k, r in REGIONS.items()}
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
        regions=REGIONS,
        populations={k: [float(a) for a in _combined(parts, share)] for k, parts in portions.items()},
        populations_by_start={
            k: [[float(a) for a in _combined([part], np.ones(1))] for part in parts] for k, parts in portions.items()
        },
        averages=moments,
        made={
            "system": 'alanine_dipeptide("amber96", solvent="obc1", temperature=300.0), bonds flexible',
            "temperature": 300.0,
            "sampler": "bayescg.sampling.parallel_tempering",
            "settings": SETTINGS | {"hydrogen_mass": HYDROGEN_MASS}
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


def make(out: Path) -> Reference:
    """Sample, or go on sampling, and write ``alanine-dipeptide-obc1-300K.npz`` and ``phipsi.npy`` to `out`."""
    reference, angles = summarise(sample(out))
    reference.save(out / "alanine-dipeptide-obc1-300K.npz")
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
    print(make(Path(sys.argv[1])))
