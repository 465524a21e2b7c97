"""What a comparison says: scores, errors of their differences, and who is tied with the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t

from bayescg.analysis.comparing.evidence_bounds import Bounds
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import row_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Compared", "Comparison", "Estimate", "estimate"]

_SURE = 0.975
_COLUMNS = ("score", "se", "difference", "difference_se")


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and the degrees of freedom of its Student t."""

    mean: float
    se: float
    dof: float


def estimate(parts: Mapping[int, np.ndarray], seen: float = 1.0, refitted: bool = False) -> Estimate:
    r"""Mean of a sum of scores, with what both the blocks and the trainings make of it.

    The blocks, each averaged over trainings, scatter by the frames in them; the trainings, each averaged over blocks,
    by chance of their own. Variances add up, and so do their degrees of freedom as Satterthwaite has it. Where every
    block was scored by a fit of its own (`refitted`), the scatter of the blocks holds that of the trainings.

    Parameters
    ----------
    parts : mapping of int to ndarray, (trainings, blocks)
        Scores of each candidate by the sign with which it counts: ``{1: a, -1: b}`` is a difference.
    seen : float
        Part of the variance that the blocks show, as neighbours are correlated.
    refitted : bool

    References
    ----------
    F. E. Satterthwaite, Biometrics Bulletin 2, 110 (1946).

    Examples
    --------
    >>> scores = np.array([[0.0, 1.0, 2.0, 1.0]])
    >>> estimate({1: scores})
    Estimate(mean=1.0, se=0.408..., dof=3.0)
    >>> estimate({1: np.concatenate([scores, scores + 6.0])}).dof < 1.1
    True
    """
    blocks = np.sum([sign * scores.mean(0) for sign, scores in parts.items()], axis=0)
    terms = [(float(blocks.var(ddof=1) / (len(blocks) * seen)), len(blocks) - 1)]
    for scores in parts.values():
        if len(scores) > 1 and not refitted:
            terms.append((float(scores.mean(1).var(ddof=1) / len(scores)), len(scores) - 1))
    total = sum(variance for variance, _ in terms)
    spread = sum(variance**2 / dof for variance, dof in terms)
    return Estimate(float(blocks.mean()), total**0.5, total**2 / spread if spread > 0 else float(len(blocks) - 1))


@dataclass(frozen=True)
class Compared:
    """One of those that were compared.

    Attributes
    ----------
    name : str
    score, se : float
        Mean over blocks, higher is better, and its standard error.
    difference, difference_se : float
        To the best, 0 for that one, else negative; and the standard error of the difference, block by block.
    dof : float
        Degrees of freedom of that error.
    trainings : ndarray, (trainings, blocks)
        The score of each block by each of its trainings.
    in_sample : float or None
        Of kinetic scores: that of modes on the frames that they were found on, which is too good.
    stacking, pseudo_bma : float or None
        Of log scores, weights with which the candidates' densities are to be mixed:
        ``bayescg.analysis.comparing.mixture_weights.stacking`` and ``pseudo_bma``.
    unfinished : float
        Of log scores by `folds`: by how much the losses of its trainings still fell over the second half of their
        steps, which as many steps more may add to its score.
    """

    name: str
    score: float
    se: float
    difference: float
    difference_se: float
    dof: float
    trainings: np.ndarray
    in_sample: float | None = None
    stacking: float | None = None
    pseudo_bma: float | None = None
    unfinished: float = 0.0

    @property
    def blocks(self) -> np.ndarray:
        """The score of each block, ``(blocks,)``, a mean over trainings."""
        return self.trainings.mean(0)


@dataclass(frozen=True, repr=False)
class Comparison:
    """A table of candidates, the best first.

    Attributes
    ----------
    rows : tuple of Compared
    score : str
    lag : float or None
    warnings : tuple of str
    seen : float
        Part of the variance that the blocks show, as neighbours are correlated: standard errors are mended by it.
    trained_on : tuple of str
        Those that were trained on some of these frames.
    folds : int or None
        Of a cross-validation.
    lone : tuple of str
        Those of whom one fit alone was scored, so that what another training would give is in no error.
    bounds : mapping of str to Bounds
        Of ``"log_z"``: both bounds of each, and the estimate.
    """

    rows: tuple[Compared, ...]
    score: str
    lag: float | None
    warnings: tuple[str, ...]
    seen: float = 1.0
    trained_on: tuple[str, ...] = ()
    folds: int | None = None
    lone: tuple[str, ...] = ()
    bounds: Mapping[str, Bounds] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Compared:
        return row_of(self.rows, name)

    @property
    def best(self) -> str:
        """Name of the one with the highest score."""
        return self.rows[0].name

    @property
    def tied(self) -> list[str]:
        """The best, and those that it does not beat with 95 % certainty, by Student's t: of these take the simplest.

        Where one fit of each was scored, the errors are about the held-out frames alone: that another seed of the
        training would score differently is in them only where there are several fits of each, or `folds`. Trainings
        that end too early do so on every fold alike, which no scatter shows: what their losses still fell by counts in
        favour of those behind.
        """
        return [r.name for r in self.rows if -r.difference <= t.ppf(_SURE, r.dof) * r.difference_se + r.unfinished]

    def verdict(self, name: str) -> str:
        """``"best"``, ``"tied"`` with it, or ``"behind"``."""
        name = self[name].name
        return "best" if name == self.best else "tied" if name in self.tied else "behind"

    def difference(self, name: str, other: str) -> Quantity:
        """By how much the score of one is above that of the other, with the interval of Student's t."""
        apart = estimate({1: self[name].trainings, -1: self[other].trainings}, self.seen, self.folds is not None)
        draws = apart.mean + apart.se * t.ppf(np.arange(1, 1000) / 1000, apart.dof)
        unit = {"log_score": "nat", "commitments": "nat", "log_z": "nat"}.get(self.score, "")
        return replace(Quantity.of(draws, unit), mean=apart.mean, sd=apart.se)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each, indexed by name, with its verdict; weights where there are densities to mix."""
        import pandas as pd

        columns = (*_COLUMNS, *(("stacking", "pseudo_bma") if self.rows[0].stacking is not None else ()))
        values = {c: [getattr(r, c) for r in self.rows] for c in columns}
        names = [r.name for r in self.rows]
        return pd.DataFrame({**values, "verdict": [self.verdict(n) for n in names]}, index=pd.Index(names))

    def __repr__(self) -> str:
        width = max(len(r.name) for r in self.rows)
        at = "" if self.lag is None else f" at lag {self.lag:g}"
        on = f"on frames of the training of {', '.join(self.trained_on)}" if self.trained_on else "held out"
        if self.folds is not None:
            again = len(self.rows[0].trainings)
            on = f"cross-validated in {self.folds} folds" + (f" by {again} trainings each" if again > 1 else "")
        if self.bounds:
            on = "evidence lower bounds of one system"
        lines = [f"{self.score}{at}, {on}, higher is better"]
        for r in self.rows:
            apart = (
                ""
                if r is self.rows[0]
                else f"   {r.difference:+.3g} ± {r.difference_se:.2g} from the best, {self.verdict(r.name)}"
            )
            weight = "" if r.stacking is None or len(self.rows) == 1 else f"   weight {r.stacking:.2f}"
            bounds = f"   {self.bounds[r.name]!r}" if r.name in self.bounds else ""
            lines.append(f"  {r.name:<{width}}  {r.score:.5g} ± {r.se:.2g}{apart}{weight}{bounds}")
        if len(self.rows) > 1 and self.lone:
            lines.append(
                f"  one fit was scored of {', '.join(self.lone)}: what another training would give is in no error; "
                "give several fits of a name, or folds="
            )
        return "\n".join([*lines, *(f"  warning: {w}" for w in self.warnings)])
