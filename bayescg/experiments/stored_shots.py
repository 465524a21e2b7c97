"""Shots in a file: made once, read ever after, and joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.checkpoint import whole
from bayescg.sampling.sampled_frames import to_frames

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.systems import System

__all__ = ["joined_shots", "stored_shots"]


def stored_shots(path: Path, system: System, regions: Sequence[str], shoot: Callable[[], tuple[Frames, int]]) -> Frames:
    """The shots in a file; where there is none, `shoot` makes them.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``.
    system : System
    regions : sequence of str
        Of the columns of the counts.
    shoot : callable
        Gives the shots, and how many evaluations of forces they took.
    """
    if not path.exists():
        shots, forces = shoot()
        columns = {"x": shots.gather(slice(None)).reshape(len(shots), -1), "energy": np.asarray(shots.energy)}
        with whole(path) as partial, partial.open("wb") as stream:
            np.savez(stream, **columns, commitments=np.asarray(shots.commitments), forces=np.int64(forces))
    with np.load(path) as columns:
        return _frames(system, regions, {name: columns[name] for name in columns.files})


def joined_shots(system: System, parts: Sequence[Frames]) -> Frames:
    """The shots of several rounds as those of one."""
    columns: dict[str, Any] = {
        "x": np.concatenate([part.gather(slice(None)).reshape(len(part), -1) for part in parts]),
        "energy": np.concatenate([np.asarray(part.energy) for part in parts]),
        "commitments": np.concatenate([np.asarray(part.commitments) for part in parts]),
        "forces": sum(part.provenance["cost"]["force_evaluations"] for part in parts),
    }
    return _frames(system, parts[0].provenance["regions"], columns)


def _frames(system: System, regions: Sequence[str], columns: dict[str, Any]) -> Frames:
    cost = {"force_evaluations": int(columns["forces"])}
    return to_frames(
        system, columns["x"], {"sampler": "commitment", "regions": list(regions), "cost": cost},
        energy=columns["energy"], commitments=columns["commitments"],
    )  # fmt: skip
