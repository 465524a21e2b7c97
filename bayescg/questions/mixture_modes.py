"""Which of a mixture's modes weighted frames have found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.questions.finding import Finding
from bayescg.questions.question import Context, Question
from bayescg.questions.samples import TRUST

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.systems import GaussianMixture

__all__ = ["MixtureModes", "modes_found"]

_CELLS = 500
_SHARE, _DRAWS = 0.1, 10


class MixtureModes(Question):
    """How many of the centres have their probability."""

    def applies(self, context: Context) -> bool:
        """To a mixture of Gaussians."""
        from bayescg.systems import GaussianMixture

        return isinstance(context.system, GaussianMixture)

    def ask(self, context: Context) -> Finding:
        """Numbers of modes, and a sentence."""
        modes = modes_found(context.frames, context.system)
        finding = Finding(diagnostics={"modes": modes}, in_words={"modes"})
        finding.remark(
            TRUST,
            f"Modes found: {modes['found']} of {modes['modes']} (ten draws or more, and a tenth of its probability or "
            f"more); {modes['within_20_percent']} have their probability within 20 %, the least "
            f"{modes['smallest']:.2f} and the most {modes['largest']:.2f} times what it should be.",
        )
        return finding


def modes_found(frames: Frames, system: GaussianMixture) -> dict[str, Any]:
    """Share of the probability next to each of the centres, as a multiple of what it should be.

    What it should be is known by quadrature, at any temperature. A mode counts as found where at least ten draws lie
    nearer to its centre than to any other, with a tenth of its share or more.

    Parameters
    ----------
    frames : Frames
        Of the system, ``(n, 2)``, with weights.
    system : GaussianMixture

    Returns
    -------
    dict
        ``modes``, how many there are; ``found``; ``within_20_percent``, how many have their share up to a fifth;
        ``smallest`` and ``largest`` share.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> from bayescg.systems import GaussianMixture
    >>> mixture = GaussianMixture()
    >>> x = np.repeat(mixture.means.numpy(), 20, axis=0)[:-200]  # of forty centres, ten are missing
    >>> found = modes_found(Frames.from_numpy(x, unit="reduced", temperature_kT=1.0), mixture)
    >>> found["modes"], found["found"], found["within_20_percent"]
    (40, 30, 0)
    """
    from scipy.spatial import KDTree

    from bayescg.analysis.block_bootstrap import weights_of
    from bayescg.truth.grid import Grid

    centres = KDTree(system.means.numpy())
    grid = Grid(system, (_CELLS, _CELLS))
    exact = np.bincount(centres.query(grid.points.numpy())[1], grid.mass, minlength=centres.n)
    weight = weights_of(frames)
    nearest = centres.query(np.asarray(frames.positions).reshape(len(frames), -1))[1]
    share = np.bincount(nearest, weight, minlength=centres.n) / weight.sum() / exact
    draws = np.bincount(nearest, minlength=centres.n)
    return {
        "modes": centres.n, "found": int(((share >= _SHARE) & (draws >= _DRAWS)).sum()),
        "within_20_percent": int((np.abs(share - 1) < 0.2).sum()),
        "smallest": float(share.min()), "largest": float(share.max()),
    }  # fmt: skip
