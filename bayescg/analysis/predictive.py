"""Does the model predict what was seen: histograms of observables with bands, and Bayesian p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bayescg.analysis.block_bootstrap import block_draws, block_ids, in_time, inefficiency, on_the_line, weights_of
from bayescg.analysis.evaluation import evaluate, label, moments, named_observables, unit_of, wrap
from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.quantity import Quantity
from bayescg.data import Frames, effective_frames
from bayescg.draws import interval
from bayescg.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.inference import Fit

__all__ = ["ObservableCheck", "PredictiveCheck", "predictive_check"]

REPLICATES = 1000
FEWEST_COUNTS = 5
NO_INTERVAL = "the fit has no parameter uncertainty, so predictions have no intervals"


@dataclass(frozen=True, repr=False)
class ObservableCheck:
    """One observable, as seen and as predicted.

    Attributes
    ----------
    name, unit : str
    periodic : bool
        An angle in radians; its averages are circular.
    edges : ndarray, (bins + 1,)
    counts : ndarray, (bins,)
        Frames in each bin.
    observed, observed_se : ndarray, (bins,)
        Weighted fraction of the frames, and its binomial standard error for the frames that it is worth.
    predicted : ndarray, (draw, bins)
        Probability of each bin for each draw of the parameters.
    credible : ndarray, (2, bins)
        Band of `predicted`.
    predictive : ndarray, (2, bins)
        Band of what a data set of as many effective frames would show.
    coverage : float
        Fraction of the bins whose observed value lies in `predictive`, of those where 5 or more effective counts were
        seen or lie in that band; NaN without such bins.
    p_mean, p_sd : float
        Bayesian p-values: probability that a replicated data set has a larger average, or standard deviation. Close
        to 0 or 1 the model is wrong; for the frames that the model was fitted to they stay closer to 1/2 than uniform.
    observed_mean, observed_sd : float
    observed_mean_sd : float
        Sampling: standard deviation of `observed_mean`, from finite, correlated trajectories.
    predicted_mean, predicted_sd : ndarray, (draw,)
        Their spread over draws is parameter uncertainty; see `average`.
    intrinsic_sd : float
        Spread of the observable over configurations that share their CVs: what the CVs forget. It is that of one
        configuration, and no part of the error of an average.
    effective_frames : float
        Independent draws that the frames are worth for the average of this observable.
    """

    name: str
    unit: str
    periodic: bool
    edges: np.ndarray
    counts: np.ndarray
    observed: np.ndarray
    observed_se: np.ndarray
    predicted: np.ndarray
    credible: np.ndarray
    predictive: np.ndarray
    coverage: float
    p_mean: float
    p_sd: float
    observed_mean: float
    observed_sd: float
    observed_mean_sd: float
    predicted_mean: np.ndarray
    predicted_sd: np.ndarray
    intrinsic_sd: float
    effective_frames: float

    @property
    def average(self) -> Quantity:
        """The predicted average; all of its uncertainty is that of the parameters."""
        if len(self.predicted_mean) == 1:
            return Quantity.of(self.predicted_mean, self.unit, NO_INTERVAL)
        average = Quantity.of(self.predicted_mean, self.unit)
        return replace(average, sd_by_source={"parameter": average.sd})

    def __repr__(self) -> str:
        return (
            f"{self.name}: seen {self.observed_mean:.4g} ± {self.observed_mean_sd:.2g} {self.unit}, predicted "
            f"{self.average.mean:.4g} ± {self.average.sd:.2g}, {self.coverage:.0%} of bins covered, "
            f"p(mean) = {self.p_mean:.2f}, p(sd) = {self.p_sd:.2f}"
        )


@dataclass(frozen=True, repr=False)
class PredictiveCheck:
    """What `predictive_check` found; ``check["rg"]`` is one observable, iterating gives all.

    Attributes
    ----------
    observables : dict of str to ObservableCheck
    level : float
        Of the bands.
    samples : int
        Configurations generated for each draw of the parameters.
    """

    observables: dict[str, ObservableCheck]
    level: float
    samples: int

    def __getitem__(self, name: str) -> ObservableCheck:
        return self.observables[name]

    def __iter__(self) -> Iterator[ObservableCheck]:
        return iter(self.observables.values())

    def __len__(self) -> int:
        return len(self.observables)

    def __repr__(self) -> str:
        return "\n".join(["PredictiveCheck", *(f"  {o!r}" for o in self)])

    def to_dataset(self) -> xr.Dataset:
        """All numbers, with dimensions observable, draw, bin, edge, bound."""
        import xarray as xr

        dims = {
            "edges": ("edge",), "counts": ("bin",), "observed": ("bin",), "observed_se": ("bin",),
            "predicted": ("draw", "bin"), "credible": ("bound", "bin"), "predictive": ("bound", "bin"), "coverage": (),
            "p_mean": (), "p_sd": (), "observed_mean": (), "observed_sd": (), "observed_mean_sd": (),
            "predicted_mean": ("draw",), "predicted_sd": ("draw",), "intrinsic_sd": (), "effective_frames": (),
        }  # fmt: skip
        data = {k: (("observable", *d), np.stack([getattr(o, k) for o in self])) for k, d in dims.items()}
        unit = ("observable", [o.unit for o in self])
        coords = {"observable": list(self.observables), "unit": unit, "bound": ["low", "high"]}
        return xr.Dataset(data, coords=coords, attrs={"level": self.level, "samples": self.samples})


def predictive_check(
    fit: Fit,
    frames: Frames,
    observables: Sequence[str | Callable[..., Any]] | str | Callable[..., Any] = (
        "rg",
        "rmsd",
        "phi",
        "psi",
        "end_to_end",
    ),
    bins: int = 30,
    level: float = 0.9,
    samples: int = 2000,
    draws: int | None = None,
    seed: int = 0,
) -> PredictiveCheck:
    """Posterior predictive check: histograms of observables, seen and predicted.

    Predictive bands hold the uncertainty of the parameters and the multinomial error of the frames. They come from
    replicated data sets: as many configurations as the frames are effectively worth, drawn from those generated at one
    draw of the parameters, which are themselves resampled, so that a finite number of them counts too. What frames are
    worth is n/g, with g the statistical inefficiency of what is replicated: the observable for its average, squared
    deviations, which forget sooner, for its standard deviation, and being in a bin for that bin. With few refits
    (ensemble, bootstrap) the distance of a refit's prediction from the average one is stretched by the factor of a
    Student t predictive distribution.

    Parameters
    ----------
    fit : Fit
    frames : Frames
        Frames to compare with; those not fitted make the sharper check.
    observables : sequence of str or callable, or one of these
        Names of :mod:`bayescg.features.observables`, or callables of positions ``(n, atoms, 3)`` to ``(n,)``, with a
        ``name`` and a ``unit`` where they have them; ``"rad"`` makes it periodic. ``"rmsd"`` is from the reference of
        the fit's aligned features, or else from the first of these frames.
    bins : int
    level : float
        Of the bands.
    samples : int
        Configurations generated for each draw of the parameters. The Monte Carlo error of an average, its spread over
        the square root of `samples`, is in no interval: give enough.
    draws : int, optional
        Draws of the parameters; None: every refit once, else 200.
    seed : int

    Returns
    -------
    PredictiveCheck

    Raises
    ------
    ModelError
        The model does not generate configurations.
    DataError
        Fewer than 10 frames, no topology for a named observable, or values that are not finite or not one each.

    References
    ----------
    Gelman, Meng, Stern, "Posterior predictive assessment of model fitness via realized discrepancies", Statist.
    Sinica 6, 733 (1996).

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> fit = bcg.fit(model, frames, steps=200, uncertainty="none", seed=0)
    >>> def first(x):
    ...     return x[..., 0]
    >>> check = predictive_check(fit, frames, [first], bins=8, samples=500)
    >>> 0.01 < check["first"].p_mean < 0.99
    True
    """
    check_question(frames)
    if len(frames) < 10:
        raise DataError(f"{len(frames)} frames are too few for a predictive check: at least 10 are needed")
    shape = frames.positions.shape[1:]
    generated = fit.generate(samples, draws, seed).cpu()
    pairs = fit.generate_repeats(samples // 2, 2, draws, seed).cpu()
    generated, pairs = (x.reshape(*x.shape[:n], *shape) for x, n in ((generated, 2), (pairs, 3)))
    rng = np.random.default_rng(seed)
    checks = [
        _check(observable, frames, generated, pairs, bins, level, seed, rng)
        for observable in named_observables(observables, fit, frames)
    ]
    return PredictiveCheck({check.name: check for check in checks}, level, samples)


def _check(
    observable: Callable[..., Any], frames: Frames, x: Tensor, twice: Tensor, bins: int, level: float, seed: int,
    rng: np.random.Generator,
) -> ObservableCheck:  # fmt: skip
    """Of configurations (draws, n, ...), and of pairs that share their latent variables (draws, n, 2, ...)."""
    name, unit = label(observable), unit_of(observable)
    generated, pairs = (_of_generated(observable, y, leading) for y, leading in ((x, 2), (twice, 3)))
    if not np.isfinite(generated).all():
        raise DataError(f"{name} of generated configurations is not finite")
    values, periodic = evaluate(observable, frames), unit == "rad"
    if periodic:
        values, generated = wrap(values), wrap(generated)
    w = weights_of(frames)
    edges = _edges(values, generated, bins, periodic)
    centre, spread = moments(values[None], w[None], periodic)
    deviation = 1 - np.cos(values - centre) if periodic else (values - centre) ** 2
    frames = in_time(on_the_line(values, (periodic,)), frames)
    g = inefficiency(values, frames, (periodic,))
    inside = (values >= edges[:-1, None]) & (values < edges[1:, None])
    of_bins = effective_frames(w) / np.array([inefficiency(row.astype(float), frames) for row in inside])
    effective, of_squares = (effective_frames(w) / x for x in (g, inefficiency(deviation, frames)))
    observed = np.histogram(values, edges, weights=w)[0] / w.sum()
    counts = np.histogram(values, edges)[0]
    predicted = np.stack([np.histogram(row, edges)[0] for row in generated]) / generated.shape[1]
    means, sds = moments(generated, np.ones((1, generated.shape[1])), periodic)
    means = _near(means, means[0], periodic)

    difference = pairs[:, :, 0] - pairs[:, :, 1]
    within = wrap(difference) if periodic else difference
    histograms, rep_means, rep_sds = _replicates(
        generated, (effective, of_squares, of_bins), predicted, means, sds, periodic, rng
    )
    predictive = interval(histograms, level)
    enough = np.maximum(observed, predictive[1]) * of_bins >= FEWEST_COUNTS  # by the model, or seen bins would be full
    held = (observed >= predictive[0] - 1e-12) & (observed <= predictive[1] + 1e-12)
    above = wrap(rep_means - centre) if periodic else rep_means - centre
    return ObservableCheck(
        name=name, unit=unit, periodic=periodic, edges=edges, counts=counts, observed=observed,
        observed_se=np.sqrt(observed * (1 - observed) / of_bins), predicted=predicted,
        credible=interval(predicted, level), predictive=predictive,
        coverage=float(held[enough].mean()) if enough.any() else float("nan"),
        p_mean=float((above > 0).mean()), p_sd=float((rep_sds > spread).mean()), observed_mean=float(centre[0]),
        observed_sd=float(spread[0]), predicted_mean=means, predicted_sd=sds,
        observed_mean_sd=_sampling_sd(values, w, block_ids(frames, g), periodic, seed),
        intrinsic_sd=float(np.sqrt(np.mean(within**2) / 2)), effective_frames=float(effective),
    )  # fmt: skip


def _of_generated(observable: Callable[..., Any], x: Tensor, leading: int) -> np.ndarray:
    """Values of configurations with so many leading axes, which an observable is given as ``(n, ...)``, like frames."""
    values = np.asarray(observable(x.flatten(0, leading - 1)).detach(), dtype=np.float64)
    if values.shape != (x.shape[:leading].numel(),):
        raise DataError(
            f"{label(observable)} gave shape {values.shape} for {x.shape[:leading].numel()} configurations; one value "
            "each, (n,), is needed"
        )
    return values.reshape(x.shape[:leading])


def _edges(values: np.ndarray, generated: np.ndarray, bins: int, periodic: bool) -> np.ndarray:
    """Bins over the full circle, or over all that was seen and 99.8 % of what is predicted."""
    if periodic:
        return np.linspace(-np.pi, np.pi, bins + 1)
    tails = np.quantile(generated, [0.001, 0.999])
    low, high = min(values.min(), tails[0]), max(values.max(), tails[1])
    return np.linspace(low, high + 1e-9 * (high - low) + 1e-12, bins + 1)


def _sampling_sd(values: np.ndarray, weights: np.ndarray, ids: np.ndarray, periodic: bool, seed: int) -> float:
    """Standard deviation of the average over block bootstraps of the frames, made unbiased for few blocks."""
    boot = block_draws(ids, 400, seed)
    blocks = boot.shape[1]
    terms = (np.cos(values), np.sin(values)) if periodic else (values,)
    total = boot @ np.bincount(ids, weights)
    averages, *sines = (boot @ np.bincount(ids, weights * term) / total for term in terms)
    if periodic:
        angles = np.arctan2(sines[0], averages)
        averages = _near(angles, angles[:1], periodic)
    return float(averages.std(ddof=1) * np.sqrt((blocks + 1) / (blocks - 1)))


def _near(values: np.ndarray, centre: np.ndarray, periodic: bool) -> np.ndarray:
    return centre + wrap(values - centre) if periodic else values


def _replicates(
    generated: np.ndarray, effective: tuple[float, float, np.ndarray], predicted: np.ndarray, means: np.ndarray,
    sds: np.ndarray, periodic: bool, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Histograms (replicates, bins), averages and standard deviations (replicates,) of replicated data sets.

    Of as many configurations as the frames are worth for each of the three. A fraction of correlated frames is no
    multiple of one over that number: it is spread over the step.
    """
    count, size = generated.shape
    rounds = -(-REPLICATES // count)
    stretch = np.sqrt((count + 1) / rng.chisquare(count - 1, rounds * count)) if count > 1 else np.ones(rounds * count)
    of_mean, of_sd = (max(2, round(n)) for n in effective[:2])
    of_bins = np.maximum(2, np.round(effective[2])).astype(int)
    histograms, rep_means, rep_sds = [], [], []
    for draw in np.tile(np.arange(count), rounds):
        pool = generated[draw, rng.integers(size, size=size)]
        average, squares = (pool[rng.integers(size, size=n)][None] for n in (of_mean, of_sd))
        in_bins = rng.binomial(of_bins, rng.binomial(size, predicted[draw]) / size)
        histograms.append((in_bins + rng.uniform(-0.5, 0.5, len(of_bins))) / of_bins - predicted[draw])
        mean = _near(moments(average, np.ones((1, of_mean)), periodic)[0], means[draw], periodic)
        rep_means.append(mean[0] - means[draw])
        rep_sds.append(moments(squares, np.ones((1, of_sd)), periodic)[1][0] - sds[draw])

    def replicated(points: np.ndarray, deviations: list) -> np.ndarray:
        mean, ones = points.mean(0), (1,) * (points.ndim - 1)
        return mean + stretch.reshape(-1, *ones) * np.tile(points - mean, (rounds, *ones)) + np.stack(deviations)

    return np.clip(replicated(predicted, histograms), 0, 1), replicated(means, rep_means), replicated(sds, rep_sds)
