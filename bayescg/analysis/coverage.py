"""How often intervals hold the truth, over many data sets each answered anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binom, norm

from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts, row_of
from bayescg.draws import interval
from bayescg.errors import ConfigError
from bayescg.many.dispatch import calls, carry_out

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Calibrated", "Coverage", "acceptance", "coverage", "halved", "judged"]

_BIAS = 0.3
_FAMILIES = 0.01


@dataclass(frozen=True)
class Calibrated:
    """How the intervals of one quantity did; `low` and `high` are misses.

    Attributes
    ----------
    name : str
    truth : float
    held, of : int
        Intervals that hold the truth, and intervals that there were.
    refused : int
        Answers without an interval; none of the other numbers counts them.
    acceptance : (int, int)
        Counts that a right interval would give, see :func:`acceptance`.
    low, high : int
        Intervals that lie wholly below the truth, and wholly above it.
    bias : float
        Of the means, in standard deviations of the means.
    width : float
        The quoted standard deviation over that of the means: the mean square root of both.
    control, control_of : int
        The count of the over-confident control, which has to lie below `acceptance`.
    """

    name: str
    truth: float
    held: int
    of: int
    refused: int
    acceptance: tuple[int, int]
    low: int
    high: int
    bias: float
    width: float
    control: int
    control_of: int

    @property
    def holds(self) -> bool:
        """Whether as many intervals hold the truth as should."""
        low, high = self.acceptance
        return self.of > 0 and low <= self.held <= high

    @property
    def ok(self) -> bool:
        """Whether they do, and the bias is at most 0.3 standard deviations, which of few repeats chance exceeds."""
        return self.holds and abs(self.bias) <= _BIAS

    @property
    def verdict(self) -> str:
        """In words, with what is wrong, and how often chance alone makes it so where repeats are too few to tell."""
        if self.ok:
            return "ok"
        if not self.holds:
            return "FAILED"
        chance = 2 * float(norm.sf(_BIAS * self.of**0.5))
        few = f"; of right answers so do {chance:.0%} of studies of {self.of} repeats: take 200"
        return "FAILED by its bias" + few * (chance > _FAMILIES)

    @property
    def control_fails(self) -> bool:
        """Whether the over-confident control is found out, as it has to be."""
        return self.control * max(self.of, 1) < self.acceptance[0] * max(self.control_of, 1)


@dataclass(frozen=True, repr=False)
class Coverage:
    """What came of many repeats.

    Attributes
    ----------
    rows : tuple of Calibrated
        One for each quantity.
    level : float
    repeats : int
    """

    rows: tuple[Calibrated, ...]
    level: float
    repeats: int

    def __getitem__(self, name: str) -> Calibrated:
        return row_of(self.rows, name)

    @property
    def ok(self) -> bool:
        """Whether every quantity is."""
        return all(row.ok for row in self.rows)

    @property
    def control_fails(self) -> bool:
        """Whether the control of every quantity is found out."""
        return all(row.control_fails for row in self.rows)

    @property
    def too_few(self) -> list[str]:
        """Names of what has too few repeats to tell the control.

        Intervals half as wide hold the truth 59 times in 100 where they should 90 times. With enough repeats one study
        in a hundred at most has such a control that reaches its acceptance.
        """
        share = 2 * norm.cdf(norm.ppf((1 + self.level) / 2) / 2) - 1
        chance = {row.name: binom.sf(row.acceptance[0] - 1, row.of, share) for row in self.rows}
        return [name for name, p in chance.items() if p > _FAMILIES / len(self.rows)]

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each quantity, indexed by its name."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows]).set_index("name")

    def __repr__(self) -> str:
        width = max(map(len, ["", *(row.name for row in self.rows)]))
        lines = [f"{self.level:.0%} intervals, {self.repeats} repeats"]
        for row in self.rows:
            low, high = row.acceptance
            missed = f"{row.low} lie below the truth and {row.high} above, {row.refused} refused"
            passes = ", too few repeats to tell the control" if row.name in self.too_few else " PASSES"
            control = f"control {row.control} of {row.control_of}" + ("" if row.control_fails else passes)
            lines.append(
                f"  {row.name:<{width}}  held {row.held} of {row.of} ({low} to {high}), {missed}, "
                f"bias {row.bias:+.2f} sd, width {row.width:.2f}; {control}: {row.verdict}"
            )
        return "\n".join(lines)


def coverage(
    experiment: Callable[..., Mapping[str, Any]],
    truth: Mapping[str, float],
    level: float = 0.9,
    repeats: int = 200,
    seed: int = 0,
    *,
    control: Callable[..., Mapping[str, Any]] | None = None,
    cells: int | None = None,
    workers: int | None = 0,
    cluster: Any = None,
    out: str | Path | None = None,
    progress: bool | None = None,
) -> Coverage:
    r"""Count how often the intervals of an experiment hold the truth.

    Each repeat makes a data set of its own, trains whatever there is to train, and answers with intervals. Beside the
    count stand the bias of the answers and the quoted standard deviation over the true one, that of the answers among
    each other; and the count of a control that claims too much, to show that the test can fail.

    Parameters
    ----------
    experiment : callable
        ``experiment(seed=...)`` returns a mapping from names to answers: a `Quantity`, or draws ``(draws,)``. One
        without an interval (``ci90`` None) is counted as refused.
    truth : mapping of str to float
        What the answers are about. Only these are judged.
    level : float
        Of the intervals; that of a `Quantity` is 0.9.
    repeats : int
        That the control is told from right intervals takes 44 for a quantity, 60 for three, 73 for nine; with fewer,
        one that passes says nothing.
    seed : int
        The first; repeat k gets ``seed + k``.
    control : callable, optional
        As `experiment`, over-confident. None: the same answers with intervals half as wide.
    cells : int, optional
        How many intervals are judged together, which the acceptance depends on; None: those of `truth`.
    workers : int or None
        Processes of this machine; None: as many as cores; 0: this one, as for functions of a notebook.
    cluster : optional
        A Dask scheduler, as for :func:`bayescg.experiments.map`.
    out : path, optional
        A directory where repeats are kept: the same call goes on there. A changed function is not noticed: give
        another.
    progress : bool, optional
        Show a progress bar; None: in a terminal.

    Returns
    -------
    Coverage
        `ok` and `control_fails`, and a row for each quantity.

    Raises
    ------
    ConfigError
        An answer that is none, or one of another level.
    RunError
        Some repeats failed, after all others were finished.

    Notes
    -----
    Counts are binomial, of `level` where intervals are right. The acceptance is left by one right interval in a
    hundred families of so many `cells`: 165 to 192 of 200 for 9.

    References
    ----------
    Cook, Gelman, Rubin, J. Comput. Graph. Stat. 15, 675 (2006).

    Examples
    --------
    >>> def experiment(seed):
    ...     x = np.random.default_rng(seed).normal(size=(50, 200))
    ...     return {"mean": x.mean(0)[0] + np.random.default_rng(seed + 10**6).normal(size=99) * 50**-0.5}
    >>> result = coverage(experiment, {"mean": 0.0}, repeats=100)
    >>> result.ok, result.control_fails
    (True, True)
    """
    check_counts(repeats=(repeats, 2), workers=(workers or 0, 0))
    if not 0 < level < 1:
        raise ConfigError(f"level={level!r} must lie between 0 and 1")
    how = {"workers": workers, "cluster": cluster, "progress": progress}
    run_all = partial(_answers, seeds=range(seed, seed + repeats), names=list(truth), level=level, **how)
    answers = run_all(experiment, out=out)
    if control is None:
        controls = {name: [halved(a) for a in values] for name, values in answers.items()}
    else:
        controls = run_all(control, out=None if out is None else Path(out) / "control")
    cells = cells or len(truth)
    return Coverage(
        tuple(judged(n, float(t), answers[n], controls[n], level, cells) for n, t in truth.items()), level, repeats
    )


def acceptance(of: int, level: float = 0.9, cells: int = 1) -> tuple[int, int]:
    """Counts that a right interval leaves once in a hundred families of `cells` tests.

    Examples
    --------
    >>> acceptance(200, cells=3), acceptance(200, cells=18)
    ((167, 191), (164, 193))
    """
    tail = _FAMILIES / cells / 2
    return int(binom.ppf(tail, of, level)), int(binom.isf(tail, of, level))


@dataclass(frozen=True)
class _Repeat:
    """One repeat, as JSON holds its answers: mean, sd and the ends of the interval, or None for these."""

    experiment: Callable[..., Mapping[str, Any]]
    names: Sequence[str]
    level: float

    def __call__(self, seed: int) -> dict[str, list[float | None]]:
        answers = self.experiment(seed=seed)
        missing = [name for name in self.names if name not in answers]
        if missing:
            raise ConfigError(f"the experiment answers {', '.join(answers) or 'nothing'}, not {', '.join(missing)}")
        return {name: _plain(name, answers[name], self.level) for name in self.names}


def _plain(name: str, answer: Any, level: float) -> list[float | None]:
    if isinstance(answer, Quantity):
        if level != 0.9:
            raise ConfigError(f"{name}: the interval of a Quantity is of level 0.9, not {level:g}; return its draws")
        return [answer.mean, answer.sd, *(answer.ci90 or (None, None))]
    draws = np.asarray(answer, np.float64)
    if draws.ndim != 1 or len(draws) < 2:
        raise ConfigError(f"{name}: an answer is a Quantity or draws (draws,), got an array of shape {draws.shape}")
    low, high = interval(draws, level)
    return [float(draws.mean()), float(draws.std(ddof=1)), float(low), float(high)]


def _answers(
    experiment: Callable[..., Mapping[str, Any]],
    seeds: Sequence[int],
    names: Sequence[str],
    level: float,
    out: str | Path | None,
    **how: Any,
) -> dict[str, list[list[Any]]]:
    """Answers of all repeats by name."""
    jobs, where = calls(_Repeat(experiment, names, level), [{"seed": s} for s in seeds], out)
    results = carry_out(jobs, where, **how)
    return {name: [result[name] for result in results] for name in names}


def halved(answer: list[Any]) -> list[Any]:
    """An answer (mean, sd, low, high) with an interval half as wide."""
    mean, sd, low, high = answer
    if low is None:
        return answer
    middle, quarter = (low + high) / 2, (high - low) / 4
    return [mean, sd / 2, middle - quarter, middle + quarter]


def judged(
    name: str, truth: float, answers: list[list[Any]], controls: list[list[Any]], level: float, cells: int
) -> Calibrated:
    """What answers (mean, sd, low, high) of all repeats say of a truth; those without an interval have None for it."""
    mean, sd, low, high = np.array([a for a in answers if a[2] is not None], np.float64).reshape(-1, 4).T
    _, _, *ends = np.array([a for a in controls if a[2] is not None], np.float64).reshape(-1, 4).T
    spread = float(mean.std(ddof=1)) if len(mean) > 1 else math.nan
    return Calibrated(
        name,
        truth,
        held=int(((low <= truth) & (truth <= high)).sum()),
        of=len(mean),
        refused=len(answers) - len(mean),
        acceptance=acceptance(len(mean), level, cells),
        low=int((high < truth).sum()),
        high=int((low > truth).sum()),
        bias=(float(mean.mean()) - truth) / spread if len(mean) > 1 else math.nan,
        width=float(np.sqrt(np.mean(np.square(sd)))) / spread if len(mean) > 1 else math.nan,
        control=int(((ends[0] <= truth) & (truth <= ends[1])).sum()),
        control_of=len(ends[0]),
    )
