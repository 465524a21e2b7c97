"""What the collective variables of a fit look like."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

import bayescg as bcg
from bayescg.data import evenly
from bayescg.plot.balls_and_sticks import superposed
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["CollectiveVariables"]

_SHOWN = 10_000
_ALONG = 7
_ENDS = 0.02


class CollectiveVariables(Question):
    """Figures of the CVs, coloured by torsions where there are any, and conformations along each CV of a molecule."""

    def applies(self, context: Context) -> bool:
        """To fits with CVs, but for those whose eigenfunctions are drawn in their place."""
        from bayescg.modelling import HasBasis, HasCV

        return isinstance(context.fit.model, HasCV) and not isinstance(context.fit.model, HasBasis)

    def ask(self, context: Context) -> Finding:
        """A figure for each torsion of weighted draws, or the one of the last torsion; one of molecules for each CV."""
        torsions = context.torsions
        colours = {"cv": torsions[-1] if torsions else "density"}
        if context.weighted and torsions:
            colours = {f"cv_{name}": name for name in torsions}
        shown = _equally_weighted(context.frames)
        figures = {
            name: Drawing(
                lambda colour=colour: bcg.plot.cv(context.fit, shown, color=colour), _caption(context, colour)
            )
            for name, colour in colours.items()
        }
        return Finding(figures=figures | (_along(context, shown) if shown.topology is not None else {}))


def _along(context: Context, frames: Frames) -> dict[str, Drawing]:
    """Conformations along each CV, between 2 and 98 % of its values, as near as any to the medians of the others."""
    some = evenly(frames, _SHOWN)
    z = context.fit.cv(frames.gather(some)).mean.cpu().double().numpy()
    size = z.std(0).clip(1e-12)
    figures = {}
    for k in range(z.shape[1]):
        target = np.tile(np.median(z, 0), (_ALONG, 1))
        low, high = np.quantile(z[:, k], (_ENDS, 1 - _ENDS))
        target[:, k] = np.linspace(low, high, _ALONG)
        index = (np.square((z - target[:, None]) / size)).sum(2).argmin(1)
        picked = frames.subset(some[index])
        values = [f"{value:.2g}" for value in z[index, k]]
        whose = "the CV" if z.shape[1] == 1 else f"CV {k + 1}"
        figures[f"conformations_{k + 1}"] = Drawing(
            partial(bcg.plot.conformations, picked, values),
            f"Conformations along {whose}, superposed; below each its value. Each is a frame, the nearest to evenly "
            "spaced values of that CV and medians of the others.",
            f"{_ALONG} conformations of the molecule as balls and sticks, at values of {whose} of {', '.join(values)}.",
            partial(_models, picked, [f"{whose}: {value}" for value in values]),
        )
    return figures


def _models(frames: Frames, titles: list[str]) -> str:
    """A PDB file with a model for each frame, a remark on each at its head, and all bonds at its end."""
    trajectory = superposed(frames)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "models.pdb"
        trajectory.save_pdb(str(file))
        lines = file.read_text().splitlines()
    models = [line for line in lines if not line.startswith(("CONECT", "END ")) and line != "END"]
    serial = [line[6:11] for line in models if line.startswith(("ATOM", "HETATM"))]
    bonds = [f"CONECT{serial[a.index]}{serial[b.index]}" for a, b in trajectory.topology.bonds]
    return "\n".join([*(f"REMARK  99 {title}" for title in titles), *models, *bonds, "END", ""])


def _caption(context: Context, colour: str) -> str:
    whose, single = ("reweighted draws", "draw") if context.weighted else ("frames", "frame")
    if context.fit.cv(context.frames.gather([0])).event_shape[0] == 1:
        against = f", against {colour}." if colour != "density" else "."
        return f"The collective variable of the {whose}{against} Bars hold {_share(single)}"
    return f"The collective variables of the {whose}, coloured by {colour}. Ellipses hold {_share(single)}"


def _share(single: str) -> str:
    return f"90 % of the distribution that the CV of one {single} has."


def _equally_weighted(frames: Frames) -> Frames:
    """As many frames as before or 10 000, each as often as its weight asks."""
    if frames.weights is None:
        return frames
    edges = np.cumsum(np.asarray(frames.weights, np.float64))
    count = min(len(frames), _SHOWN)
    index = np.searchsorted(edges, (np.arange(count) + 0.5) / count * edges[-1]).clip(max=len(frames) - 1)
    return replace(frames.subset(index), weights=None)
