"""What the collective variables of a fit look like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["CollectiveVariables"]

_SHOWN = 10_000


class CollectiveVariables(Question):
    """Figures of the CVs, coloured by torsions where there are any."""

    def applies(self, context: Context) -> bool:
        """To fits with CVs, but for those whose eigenfunctions are drawn in their place."""
        from bayescg.modelling import HasBasis, HasCV

        return isinstance(context.fit.model, HasCV) and not isinstance(context.fit.model, HasBasis)

    def ask(self, context: Context) -> Finding:
        """A figure for each torsion of weighted draws, or the one of the last torsion."""
        torsions = context.torsions
        colours = {"cv": torsions[-1] if torsions else "density"}
        if context.weighted and torsions:
            colours = {f"cv_{name}": name for name in torsions}
        shown = _equally_weighted(context.frames)
        return Finding(
            figures={
                name: Drawing(
                    lambda colour=colour: bcg.plot.cv(context.fit, shown, color=colour), _caption(context, colour)
                )
                for name, colour in colours.items()
            }
        )


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
