"""Which of several fits describes held-out blocks best, and whether the data can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import t

from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.kinetics.scores import SCORES, common_diffusion, kinetic_score
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts
from bayescg.data import Frames, Pairs, evenly, seen_by_blocks, statistical_inefficiency
from bayescg.errors import ConfigError
from bayescg.inference import Fit

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Compared", "Comparison", "compare"]

_LONGER = 3
_LOOKED_AT = 50
_BLOCKS = (3, 20)


@dataclass(frozen=True)
class Compared:
    """One of those that were compared.

    Attributes
    ----------
    name : str
    score, se : float
        Mean over held-out blocks, higher is better, and its standard error.
    difference, difference_se : float
        To the best, 0 for that one, else negative; and the standard error of the difference, block by block.
    blocks : ndarray, (blocks,)
        The score of each.
    in_sample : float or None
        Of kinetic scores: that of modes on the frames that they were found on, which is too good.
    """

    name: str
    score: float
    se: float
    difference: float
    difference_se: float
    blocks: np.ndarray
    in_sample: float | None = None


@dataclass(frozen=True, repr=False)
class Comparison:
    """A table of fits, the best first.

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
    """

    rows: tuple[Compared, ...]
    score: str
    lag: float | None
    warnings: tuple[str, ...]
    seen: float = 1.0
    trained_on: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Compared:
        return next(row for row in self.rows if row.name == name)

    @property
    def best(self) -> str:
        """Name of the one with the highest score."""
        return self.rows[0].name

    @property
    def tied(self) -> list[str]:
        """The best, and those that it does not beat with 95 % certainty, by Student's t: of these take the simplest.

        The standard errors are about the held-out frames: that another seed of the training would score differently is
        not in them.
        """
        certain = t.ppf(0.975, len(self.rows[0].blocks) - 1)
        return [r.name for r in self.rows if -r.difference <= certain * r.difference_se]

    def difference(self, name: str, other: str) -> Quantity:
        """By how much the score of one is above that of the other, with the interval of Student's t over the blocks."""
        blocks = self[name].blocks - self[other].blocks
        mean, se = _mean(blocks, self.seen)
        draws = mean + se * t.ppf(np.arange(1, 1000) / 1000, len(blocks) - 1)
        return replace(Quantity.of(draws, "nat" if self.score == "log_score" else ""), mean=mean, sd=se)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each, indexed by name."""
        import pandas as pd

        columns = ("score", "se", "difference", "difference_se")
        return pd.DataFrame(
            {c: [getattr(r, c) for r in self.rows] for c in columns}, index=pd.Index([r.name for r in self.rows])
        )

    def __repr__(self) -> str:
        width = max(len(r.name) for r in self.rows)
        at = "" if self.lag is None else f" at lag {self.lag:g}"
        on = f"on frames of the training of {', '.join(self.trained_on)}" if self.trained_on else "held out"
        lines = [f"{self.score}{at}, {on}, higher is better"]
        for r in self.rows:
            apart = "" if r is self.rows[0] else f"   {r.difference:+.3g} ± {r.difference_se:.2g} from the best"
            lines.append(f"  {r.name:<{width}}  {r.score:.5g} ± {r.se:.2g}{apart}")
        return "\n".join([*lines, *(f"  warning: {w}" for w in self.warnings)])


def compare(
    fits: Mapping[str, Any],
    on: Frames | Pairs,
    score: str = "log_score",
    *,
    lag: float | None = None,
    modes: int | Mapping[str, int] = 3,
    diffusion: Any = None,
    blocks: int | None = None,
) -> Comparison:
    r"""Compare fits by how well they describe blocks of frames that were held out.

    Each score is a mean over contiguous blocks, and so is the difference of two of them, taken block by block: what is
    hard or easy for all alike drops out, so that its standard error is smaller than those of the scores. Leaving out
    single frames or pairs instead (PSIS-LOO) would leave their neighbours in time among the data.

    - ``"log_score"``: log density of a frame with the latent variables integrated out, or of the later frame of a pair
      given the first one, at the trained parameters, in nats. The density is one of features: only fits of the same
      features and lag can be compared, unless it is relative to equilibrium (`ReversibleDeepMSM`).
    - ``"vamp2"``, ``"vampe"``, ``"timescales"``: for anything with functions of slow modes, whatever its features and
      loss. The modes are found on all other blocks. With :math:`C_{00}, C_{0\tau}` the covariances of these on the
      block, :math:`\nu` their eigenvalues on the others, and A the Dirichlet form of the generator there, they are
      :math:`1 + \|C_{00}^{-1/2} C_{0\tau} C_{00}^{-1/2}\|_F^2`;
      :math:`1 + \mathrm{tr}(2 \nu C_{0\tau} - \nu C_{00} \nu C_{00})`, an average over frames but for its last term,
      at most the same; and :math:`\mathrm{tr}(2 C_{00} \Lambda^{-1} - \Lambda^{-1} A \Lambda^{-1})`, for the generator,
      at most the sum of the timescales. To choose the number of modes, use one of the last two: ``"vamp2"`` gains by
      any further mode, be it noise.

    A lag is not chosen by a score: scores at different lags are of different things. Fits that were trained at
    different lags can be compared at one `lag`; whether dynamics is Markovian at a lag,
    :func:`bayescg.analysis.chapman_kolmogorov` tells.

    Parameters
    ----------
    fits : mapping
        Names of fits; for kinetic scores also of models and of functions from positions to (n, functions).
    on : Frames or Pairs
        That none of the fits was trained on.
    score : {"log_score", "vamp2", "vampe", "timescales"}
    lag : float, optional
        Of ``"vamp2"`` and ``"vampe"``; None: that of the pairs, or of the fits where they agree.
    modes : int or mapping of str to int
        Of kinetic scores: how many slow modes count, for all or for each.
    diffusion : optional
        Of ``"timescales"``, one for all; None: as for :func:`bayescg.analysis.spectrum`, the same for each.
    blocks : int, optional
        None: of log scores as many, up to 20, as are long against what their differences remember; else 10.

    Returns
    -------
    Comparison
        `rows`, the best first; `tied`, those that the data cannot tell from it; `warnings`.

    Raises
    ------
    ConfigError
        An unknown score, fits without a density, densities or scores that are not of the same thing, or `modes` that
        leave one out.

    References
    ----------
    Vehtari, Gelman, Gabry, Stat. Comput. 27, 1413 (2017), section 5, for standard errors of differences; Roberts et
    al., Ecography 40, 913 (2017), for blocks; McGibbon, Pande, J. Chem. Phys. 142, 124105 (2015), for kinetic
    scores; Wu, Noé, J. Nonlinear Sci. 30, 23 (2020), arXiv:1707.04659, eqs. (22) and (33), for VAMP-2 and VAMP-E.

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 4.0)), 1000, dt=0.01, chains=20, stride=10)
    >>> found = compare({"slow": lambda x: x[:, :1], "fast": lambda x: x[:, 1:]}, frames, "vamp2", lag=0.2, modes=1)
    >>> found.best, found.tied, found["fast"].difference < 0
    ('slow', ['slow'], True)
    """
    if not isinstance(fits, Mapping) or not fits:
        raise ConfigError('fits must be a mapping of names to fits or functions: {"torsions": fit, ...}')
    frames = on.frames if isinstance(on, Pairs) else on
    least = 2 if score == "log_score" else 3
    check_question(frames, blocks=(least if blocks is None else blocks, least))
    if score != "log_score" and score not in SCORES:
        raise ConfigError(f"score={score!r} is not known; use log_score, {', '.join(SCORES)}")
    lag = _common_lag(fits, on, score, lag)
    if score == "timescales":
        diffusion = common_diffusion(fits, diffusion, frames)
    counts = modes if isinstance(modes, Mapping) else dict.fromkeys(fits, modes)
    if score != "log_score" and set(counts) != set(fits):
        raise ConfigError(f"modes= is of {', '.join(counts) or 'nothing'}; give it for each of {', '.join(fits)}")
    check_counts(**{f"modes of {name}": (count, 1) for name, count in counts.items()})
    share = 1.0
    if score == "log_score":
        scores, share = _log_scores(fits, on, blocks)
    else:
        scores = {
            name: kinetic_score(fit, frames, score, lag, diffusion, counts[name], blocks or 10)
            for name, fit in fits.items()
        }
    best = max((values for values, _, _ in scores.values()), key=lambda values: values.mean())
    rows = [
        Compared(n, *_mean(v, share), *_mean(v - best, share), v, in_sample) for n, (v, in_sample, _) in scores.items()
    ]
    rows.sort(key=lambda row: -row.score)
    trained_on = [name for name, fit in fits.items() if isinstance(fit, Fit) and _shares(fit.frames, frames)]
    warnings = _warnings(trained_on, max(memory for _, _, memory in scores.values()), len(best))
    if score == "vamp2" and len(set(counts.values())) > 1:
        warnings.append("vamp2 gains by any further mode, be it noise: to compare numbers of modes use vampe")
    return Comparison(tuple(rows), score, lag, tuple(warnings), share, tuple(trained_on))


def _common_lag(fits: Mapping[str, Any], on: Frames | Pairs, score: str, lag: float | None) -> float | None:
    """The lag that all are compared at; None for what knows none.

    Raises
    ------
    ConfigError
        There are several, or it is not that of the pairs.
    """
    if score == "timescales":
        if lag is not None:
            raise ConfigError(f"score='timescales' is of the generator and has no lag, got lag={lag!r}")
        return None
    of_models = {name: getattr(_model(fit), "lag", None) for name, fit in fits.items()}
    trained = {name: t for name, t in of_models.items() if t is not None}
    if score == "log_score":
        _check_densities(fits)
    of_pairs = on.lag if isinstance(on, Pairs) else None
    if lag is None or score == "log_score":
        lags = {round(v, 9) for v in (*trained.values(), *(v for v in (of_pairs, lag) if v is not None))}
        if len(lags) > 1:
            each = ", ".join(f"{name}: {t:g}" for name, t in trained.items())
            rest = "give one lag= to compare them at" if score != "log_score" else "fit them at one lag"
            raise ConfigError(f"scores at different lags are of different things (trained at {each}); {rest}")
        lag = next(iter(lags), None)
    if lag is None and score != "log_score":
        raise ConfigError(f"score={score!r} needs a lag: none of those compared has one of its own")
    return lag


def _check_densities(fits: Mapping[str, Any]) -> None:
    """Refuse log densities that live on different spaces, and what is no log density."""
    spaces = {}
    for name, fit in fits.items():
        model = _model(fit)
        pairs = bool(getattr(model, "needs_pairs", False))
        kind = getattr(model, "kind", None)
        density = getattr(model, "density", None) if pairs else "features" if kind == "evidence" else None
        if not isinstance(fit, Fit) or density is None or not model.needs_frames:
            raise ConfigError(
                f"{name}: {type(model).__name__} has no density of frames or pairs, hence no log score; compare its "
                "functions by vampe or vamp2"
            )
        features = getattr(model, "features", None)
        of = "equilibrium" if density == "equilibrium" else None if features is None else repr(features.config())
        spaces[name] = (pairs, of, getattr(model, "rank", None) if density == "features" else None)
    if len(set(spaces.values())) > 1:
        each = ", ".join(
            f"{n}: {'pairs' if p else 'frames'} by {o or 'coordinates'}" for n, (p, _, o) in spaces.items()
        )
        raise ConfigError(f"log densities of different spaces cannot be compared ({each:.300}); use vampe or vamp2")


def _log_scores(
    fits: Mapping[str, Fit], on: Frames | Pairs, blocks: int | None
) -> tuple[dict[str, tuple[np.ndarray, None, float]], float]:
    """Mean of each block, none in sample, and the memory of differences as a part of all; what blocks see of them."""
    pairs = next(iter(fits.values())).model.needs_pairs
    frames = on.frames if isinstance(on, Pairs) else on
    densities, data = {}, frames
    for name, fit in fits.items():
        if pairs:
            data = on if isinstance(on, Pairs) else on.lagged(getattr(fit.model, "lag"))  # noqa: B009
        density = fit.log_density(data)[0].double().cpu().numpy()
        if getattr(fit.model, "density", None) == "features":  # whitened by each fit's own training frames
            back = fit.model.scale.back.double()  # type: ignore[union-attr]
            density = density - 0.5 * float(torch.logdet(back @ back.T))  # type: ignore[operator]
        densities[name] = density
    n = len(data)
    series = np.stack(list(densities.values()), 1)
    apart = series - series[:, :1] if len(fits) > 1 else series
    g = 1.0
    if data.order is not None and np.ptp(apart, axis=0).any():
        trajectory = data.frames.trajectory[data.i] if isinstance(data, Pairs) else data.trajectory
        g = statistical_inefficiency(apart, trajectory)
    if blocks is None:
        blocks = int(np.clip(n / (5 * g), *_BLOCKS))
    weight = np.ones(n) if data.weights is None else np.asarray(data.weights, np.float64)
    ids = np.arange(n) * blocks // n
    total = np.bincount(ids, weight)
    scores = {name: (np.bincount(ids, weight * d) / total, None, g / n) for name, d in densities.items()}
    return scores, seen_by_blocks(g, n / blocks)


def _model(fit: Any) -> Any:
    return getattr(fit, "model", fit) if isinstance(fit, Fit) else fit


def _mean(values: np.ndarray, seen: float) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values) * seen))


def _shares(data: Frames | Pairs | None, frames: Frames) -> bool:
    """Whether some of the frames are those of a training, where these are at hand."""
    trained: Frames | None = data.frames if isinstance(data, Pairs) else data
    if trained is None or trained.positions.shape[1:] != frames.positions.shape[1:]:
        return False
    few = frames.gather(evenly(frames, _LOOKED_AT)).reshape(-1, frames.positions[0].size)
    first = trained.positions[(slice(None), *(0,) * (trained.positions.ndim - 1))]
    alike = trained.gather(np.flatnonzero(np.isin(first, few[:, 0]))).reshape(-1, few.shape[1])
    return any((row == alike).all(1).any() for row in few)


def _warnings(trained_on: list[str], memory: float, blocks: int) -> list[str]:
    warnings = [
        f"{name} was trained on some of these frames: its score is too good; hold some out" for name in trained_on
    ]
    if _LONGER * memory * blocks > 1:
        warnings.append(
            f"the {blocks} blocks are shorter than {_LONGER} times what the frames remember: standard errors are too "
            f"small; use at most {max(2, int(1 / (_LONGER * memory)))} blocks, or longer trajectories"
        )
    return warnings
