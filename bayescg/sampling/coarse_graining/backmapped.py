"""Frames of all atoms from frames of the beads of a coarse-grained model."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bayescg.arguments import check_counts
from bayescg.data import Frames, draw_of
from bayescg.data.readers.geometry import broken
from bayescg.errors import ConfigError, DataError, ModelError, TopologyError
from bayescg.recording.functional import call_with, mixed_seed, seeded

__all__ = ["backmapped"]

_AT_ONCE = 4096


def backmapped(fit: Any, frames: Frames, draws: int | None = None, seed: int = 0) -> Frames:
    """Place the atoms around the beads of frames, as a fit of :class:`bayescg.models.Backmapping` draws them.

    Parameters
    ----------
    fit : Fit
    frames : Frames
        Of the beads of its mapping: of a simulation of a coarse-grained potential, say.
    draws : int, optional
        So many draws of the posterior, at most the refits, have the frames in turn, in an order of chance each time,
        and are told apart by analyses, whose error bars then hold what is not known of the backmapping. Frames with
        weights cannot be divided. Of frames that were simulated with draws of a potential themselves
        (``fit.system(draws=)``), which then must be as many, each draw of the potential has one of the backmapping.
        None: the trained values.
    seed : int

    Returns
    -------
    Frames
        Of all atoms, with the beads at their places, and the trajectories, times and weights of `frames`.

    Warns
    -----
    UserWarning
        A bond, an angle or a torsion of beads is beyond those of the training frames by more than half their range.

    Raises
    ------
    ModelError
        The fit is of another model, or has no parameter uncertainty to draw from.
    TopologyError
        The frames are of other beads.
    DataError
        Beads are not finite, lie so that atoms cannot be placed around them, three on a line or two in one place, or
        are neighbours more than half their box apart.
    ConfigError
        There are not so many refits or frames, the frames have weights and are to be divided among draws, or they are
        of another number of draws.

    Examples
    --------
    >>> import bayescg as bcg
    >>> model, frames, _ = bcg.models.Backmapping.example()
    >>> fit = bcg.fit(model, frames, steps=5, uncertainty="none")
    >>> beads = replace(frames, positions=frames.positions[:, model.atoms], topology=model.mapping.topology)
    >>> atoms = backmapped(fit, beads)
    >>> atoms.positions.shape, float(abs(atoms.positions[:, model.atoms] - beads.positions).max()) < 1e-5
    ((32, 22, 3), True)
    """
    model: Any = fit.model
    if not hasattr(model, "around"):
        raise ModelError(f"{type(model).__name__} places no atoms around beads; fit bayescg.models.Backmapping")
    check_counts(seed=(seed, 0), **({} if draws is None else {"draws": (draws, 1)}))
    _check_beads(frames, model)
    far = _places(frames, model)
    potentials = frames.provenance.get("potential_draws")
    if draws is not None and potentials is not None and draws != potentials:
        raise ConfigError(f"the frames are of {potentials} draws of a potential: give draws={potentials}, one for each")
    if draws is not None and draws > len(frames):
        raise ConfigError(f"{len(frames)} frames cannot be divided among draws={draws}")
    if draws is not None and potentials is None and frames.weights is not None:
        raise ConfigError(
            f"the frames have weights, by which those of each of draws={draws} would not count: leave draws out, or "
            "simulate the beads without a bias"
        )
    varying, many = fit.weights.some(None, draws, seed, type(model).__name__)
    number = draw_of(frames)
    if many is not None and number is None:
        turns = np.tile(np.arange(many), (-(-len(frames) // many), 1))
        number = np.random.default_rng(seed).permuted(turns, axis=1).ravel()[: len(frames)]
        frames = replace(frames, draw=number)
    positions = np.empty((len(frames), model.mapping.columns, 3), frames.gather([0]).dtype)
    for k in range(many or 1):
        point = {**fit.weights.point, **{name: values[k] for name, values in varying.items()}}
        rows = np.arange(len(frames)) if many is None or number is None else np.flatnonzero(number == k)
        if not len(rows):  # a part of such a simulation
            continue
        with torch.no_grad(), seeded(mixed_seed(seed, k), next(iter(point.values())).device):
            positions[rows] = call_with(model, point, _around, frames, rows)
    if far:
        warnings.warn(far, stacklevel=2)
    note = {"sampler": "backmapped", "beads": model.mapping.labels}
    return replace(
        frames, positions=positions, topology=model.topology, masses=None, momenta=None, forces=None, energy=None,
        provenance={**frames.provenance, **note},
    )  # fmt: skip


def _around(model: Any, frames: Frames, rows: np.ndarray) -> np.ndarray:
    """Positions of all atoms, of these rows."""
    like = next(model.parameters())
    placed = []
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        beads = torch.as_tensor(frames.gather(part)).to(like)
        x = model.around(beads)
        bad = ~x.isfinite().flatten(1).all(1)
        if bool(bad.any()):
            raise DataError(
                f"no atoms can be placed around the beads of frame {part[int(bad.nonzero()[0])]}: three of them lie on "
                "a line, or two in one place; leave it out"
            )
        placed.append(x.cpu().numpy())
    return np.concatenate(placed)


def _places(frames: Frames, model: Any) -> str:
    """What to say of beads far from those that were trained on; broken ones, and those that are none, are refused."""
    beads, reach = model.mapping.topology, model.reach
    bonds = np.array([[a.index, b.index] for a, b in beads.bonds], dtype=np.int64).reshape(-1, 2)
    count, words = 0, ""
    for start in range(0, len(frames), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(frames)))
        x = frames.gather(rows)
        if len(lost := np.flatnonzero(~np.isfinite(x).all((1, 2)))):
            raise DataError(f"beads of frame {rows[lost[0]]} are not finite")
        if frames.box is not None and len(apart := broken(x, bonds, frames.gather(rows, "box"))):
            a, b = (beads.atom(int(k)) for k in bonds[apart[0, 1]])
            raise DataError(
                f"beads of frame {rows[apart[0, 0]]} are broken across the periodic box: {a} and {b} are neighbours "
                "and more than half the box apart; make molecules whole before beads are taken of them"
            )
        positions = torch.as_tensor(x).to(reach.low)
        beyond = reach.beyond(model.of_beads(positions))
        count += int(beyond.any(1).sum())
        if not words and count:
            row, column = beyond.nonzero()[0].tolist()
            value, low, high = (
                float(y[column])
                for y in (
                    model.of_beads.internal(positions[row]),
                    *map(model.of_beads.bounded, (reach.low, reach.high)),
                )
            )
            words = (
                f"first in frame {rows[row]}: {model.of_beads.names[column]} is {value:.3g}, in the training frames "
                f"{low:.3g} to {high:.3g} (nm, radians)"
            )
    return words and (
        f"beads of {count} of {len(frames)} frames are far beyond those that the backmapping was trained on, {words}; "
        "atoms around them are a guess: train on frames that hold such beads, or leave these out"
    )


def _check_beads(frames: Frames, model: Any) -> None:
    beads = model.mapping.topology
    if frames.topology is None or frames.topology.n_atoms != beads.n_atoms:
        of = f"{frames.dim} coordinates" if frames.topology is None else f"{frames.topology.n_atoms} atoms"
        raise TopologyError(f"the backmapping is around {beads.n_atoms} beads, these frames are of {of}")
    for a, b in zip(beads.atoms, frames.topology.atoms, strict=True):
        if str(a) != str(b):
            raise TopologyError(f"bead {a.index} is {a} in the backmapping and {b} in these frames")
