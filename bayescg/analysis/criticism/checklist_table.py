"""The table of checks: what was seen, what was predicted, how probable that is, and what fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayescg.arguments import row_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Check", "Checklist"]


@dataclass(frozen=True)
class Check:
    """One row.

    Attributes
    ----------
    name : str
        What was looked at.
    kind : {"distribution", "joint", "dynamics", "prior"}
        Whether the distribution of one observable was checked, that of several together, correlations in time, or what
        the prior alone allows.
    seen, predicted : float
        Averages, of angles circular ones, or largest correlations; NaN where there is no single number.
    unit : str
    p : float
        How often frames of the model look as different from what it predicts.
    """

    name: str
    kind: str
    seen: float
    predicted: float
    unit: str
    p: float


@dataclass(frozen=True, repr=False)
class Checklist:
    """All checks of a model.

    Attributes
    ----------
    rows : tuple of Check
    level : float
        Chance that any check of a right model fails, by Holm's procedure.
    skipped : tuple of str
        What could not be checked, and why.
    warnings : tuple of str
        What makes the checks say too little.
    """

    rows: tuple[Check, ...]
    level: float
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Check:
        return row_of(self.rows, name)

    @property
    def failed(self) -> list[str]:
        """Names of what the model gets wrong; with a right model there is one in `level` of all tables.

        References
        ----------
        S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6, 65 (1979).
        """
        ordered = sorted(self.rows, key=lambda row: row.p)
        failing = []
        for place, row in enumerate(ordered):
            if not row.p < self.level / (len(ordered) - place):
                break
            failing.append(row.name)
        return [row.name for row in self.rows if row.name in failing]

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return not self.failed

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each check, indexed by its name."""
        import pandas as pd

        failed = self.failed
        columns = ("kind", "seen", "predicted", "unit", "p")
        data = [{**{c: getattr(r, c) for c in columns}, "verdict": _verdict(r.name in failed)} for r in self.rows]
        return pd.DataFrame(data, index=pd.Index([r.name for r in self.rows], name="check"))

    def __repr__(self) -> str:
        failed, width = self.failed, max([len("check"), *(len(r.name) for r in self.rows)])
        lines = [f"{'check':<{width}}  {'kind':<12}  {'seen':>9}  {'predicted':>9}  {'p':>8}"]
        for r in self.rows:
            numbers = [f"{v:9.4g}" if np.isfinite(v) else " " * 9 for v in (r.seen, r.predicted)]
            p = f"{r.p:8.3f}" if r.p >= 1e-3 else f"{r.p:8.0e}"
            lines.append(f"{r.name:<{width}}  {r.kind:<12}  {'  '.join(numbers)}  {p}  {_verdict(r.name in failed)}")
        many = f"{len(failed)} of {len(self.rows)} checks fail" if failed else f"{len(self.rows)} checks, all pass"
        return "\n".join([*lines, f"{many}, at {self.level:g} for all together", *self.skipped, *self.warnings])


def _verdict(fails: bool) -> str:
    return "FAILS" if fails else "passes"
