"""The CV of a method beside the exact slowest eigenfunction of its system, which is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.questions.eigenfunction_study import ERRORS, conclusions
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.question import Context, Question, Scale
from bayescg.questions.studies import CONCLUSION, CORRELATION, POSITIVE, SHARE, in_words

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from bayescg.data import Frames
    from bayescg.inference import Fit
    from bayescg.modelling import Model
    from bayescg.systems.analytic import AnalyticSystem

__all__ = ["BesideTheExactEigenfunction", "Exact", "coordinates", "functions_of", "measure", "one_cv"]

_KNOTS = 40
_RARE = 0.005
_BINS = 40
_POINTS = 20_000
_TIMES = ("timescale", "cv_timescale", "own_timescale")


class BesideTheExactEigenfunction(Question):
    r"""How near a CV is to the exact eigenfunction, what else it is good for, and which timescale it gives.

    Its quantities are those of `measure`, and ``score``, the VAMP-2 score of the CV on frames that were held out.
    """

    scales: ClassVar[Mapping[str, Scale]] = {
        "r2": CORRELATION,
        "score": (lambda score: CORRELATION[0](score - 1), lambda z: 1 + CORRELATION[1](z)),
        **dict.fromkeys(("within", *ERRORS), SHARE),
        **dict.fromkeys(_TIMES, POSITIVE),
    }

    def check(self, experiment: Any, model: type[Model]) -> None:
        """Refuse a study that names this question, of a system whose eigenfunction is not known.

        Raises
        ------
        ConfigError
        """
        from bayescg.systems.analytic import AnalyticSystem

        study = experiment.compare
        if study is None or "exact_eigenfunction" not in study.questions:
            return
        if experiment.system is None or experiment.simulation is None or experiment.data.frames is not None:
            raise ConfigError(
                "exact_eigenfunction is a question of data sets that are simulated anew: give [system] and "
                "[simulation], and no data.frames"
            )
        system = getattr(bcg.systems, experiment.system.name)(**experiment.system.arguments)
        if not isinstance(system, AnalyticSystem) or system.dim != 2 or experiment.features.name != "none":
            raise ConfigError(
                "exact_eigenfunction holds CVs to an exact eigenfunction over a plane: it needs a system of "
                'bayescg.systems of two dimensions, and features.name = "none"'
            )

    def applies(self, context: Context) -> bool:
        """In a study with a lag, to systems over a plane of which the eigenfunction is known."""
        from bayescg.systems.analytic import AnalyticSystem

        plane = isinstance(context.system, AnalyticSystem) and len(context.system.box) == 2
        return plane and context.lag is not None and context.train is not None and context.test is not None

    def ask(self, context: Context) -> Finding:
        """Numbers of one method and one data set, with a dataset of all draws."""
        assert context.train is not None
        assert context.test is not None
        assert context.lag is not None
        exact = exact_of(context.system)
        table = measure(
            context.fit, context.train, context.frames, exact, context.lag, context.settings.draws, context.seed
        )
        cv = one_cv(context.fit, context.train, context.lag)
        scores = bcg.analysis.compare({"cv": cv}, context.test, "vamp2", lag=context.lag, modes=1)
        table["score"] = ("block", scores["cv"].blocks)
        finding = Finding(datasets={"exact_eigenfunction": table.assign_attrs(timescale=exact.timescale)})
        for name, values in table.data_vars.items():
            if np.isfinite(values).all():
                draws = np.atleast_1d(values.values)
                finding.add(str(name), bcg.analysis.Quantity.of(draws, "", None if len(draws) > 1 else "one number"))
        finding.truth |= dict.fromkeys(finding.quantities.keys() & set(_TIMES), exact.timescale)
        return finding

    def beside(self) -> dict[str, Callable[..., Any]]:
        """Linear TICA: the slowest mode in the coordinates themselves."""
        return {"tica": coordinates}

    def numbers(self, finding: Finding) -> xr.Dataset:
        """All draws."""
        return finding.datasets["exact_eigenfunction"]

    def compare(self, table: xr.Dataset, contexts: Mapping[str, Sequence[Context]], order: Sequence[str]) -> Finding:
        """Words on which method found the mode, figures of the CVs and of all numbers; the highest mean R² first."""
        names = sorted(map(str, table["model"].values), key=lambda n: -float(table["r2"].sel(model=n).mean()))
        table = table.sel(model=names)
        finding = Finding(datasets={"exact_eigenfunction": table})
        finding.remark(CONCLUSION, *conclusions(table, order))
        first = {name: contexts[name][0] for name in names}
        exact = exact_of(first[names[0]].system)
        cvs: Any = {n: one_cv(c.fit, c.train, c.lag) for n, c in first.items() if c.train is not None and c.lag}
        functions = {"exact": exact.function} | {in_words(n): cvs[n] for n in names}
        notes = {in_words(n): f"R² {float(table['r2'].sel(model=n)[0]):.3f}" for n in names}
        labels = {
            "r2": "R² with the exact eigenfunction",
            "within": "share of variance within wells",
            "coarse_reconstruction": "reconstruction error",
            "cv_timescale": "timescale of the CV itself",
            "timescale": "timescale in functions of it",
        }
        columns = {text: {in_words(n): table[q].sel(model=n).values for n in names} for q, text in labels.items()}
        exact_times = dict.fromkeys((labels["timescale"], labels["cv_timescale"]), exact.timescale)
        system: Any = first[names[0]].system
        if system.box:  # one made of parts has none
            finding.figures["cvs"] = Drawing(
                lambda: bcg.plot.planes(functions, system.log_prob, system.box, notes),
                "The CV of each method over the plane, of the first data set, beside the exact eigenfunction.",
            )
        finding.figures["methods"] = Drawing(
            lambda: bcg.plot.methods(columns, exact_times),
            "What each method found: a point for each data set, timescales with 90 % intervals. Reconstruction is "
            "from a CV that is known to a fortieth of its range.",
        )
        return finding


class Exact:
    """The slowest mode of a system, and independent equilibrium draws to judge CVs at.

    Parameters
    ----------
    system : AnalyticSystem

    Attributes
    ----------
    timescale : float
    x : Tensor, (n, dim)
    phi : ndarray, (n,)
        The eigenfunction there.
    """

    def __init__(self, system: AnalyticSystem):
        import torch

        spectrum = bcg.truth.spectrum(system, modes=1)
        self.function = lambda x: spectrum.eigenfunctions(torch.as_tensor(x).double())[..., 0]
        self.timescale = float(spectrum.timescales[0])
        self.x = torch.as_tensor(bcg.sampling.equilibrium(system, _POINTS, seed=0).positions)
        self.phi = self.function(self.x).numpy()


@lru_cache(maxsize=1)
def exact_of(system: AnalyticSystem) -> Exact:
    """What is known of the system asked about, found once for all methods and data sets."""
    return Exact(system)


def measure(fit: Any, train: Frames, frames: Frames, exact: Exact, lag: float, draws: int, seed: int) -> xr.Dataset:
    """What a fit, or a basis that was learned by nobody, found.

    Parameters
    ----------
    fit : Fit or callable
    train, frames : Frames
        Those of the training, and all of them.
    exact : Exact
    lag : float
    draws, seed : int

    Returns
    -------
    Dataset
        ``r2``: squared correlation with the exact eigenfunction, at equilibrium. ``within``: share of the variance of
        the CV inside the wells, where the exact eigenfunction has one sign. ``reconstruction``: part of the variance of
        the coordinates, each of unit variance, that no function of the CV explains, however steep;
        ``coarse_reconstruction``: the same of a CV that is known to a fortieth of its range. ``timescale``, (draw,):
        the slowest in functions of the CV, with the lag; ``cv_timescale``: of the CV itself, as if it were the
        eigenfunction, never longer in the mean; ``own_timescale``: the slowest by the method's own route, in all
        functions that it learned, NaN where it has none but the CV.
    """
    import torch
    import xarray as xr

    from bayescg.modelling import HasBasis

    cv = one_cv(fit, train, lag)
    with torch.no_grad():
        z = cv(exact.x).double().cpu().numpy()[:, 0]
    inside = exact.phi > 0
    varies = sum(z[well].var() * well.mean() for well in (inside, ~inside)) / z.var()
    x = np.asarray(exact.x, np.float64)
    even = np.linspace(0, 1, _BINS + 1)[1:-1]
    low, high = np.quantile(z, [_RARE, 1 - _RARE])

    def slowest(basis: Any, at: float | None) -> np.ndarray:
        return bcg.analysis.spectrum(basis, frames, at, modes=1, draws=draws, seed=seed).timescales.values[:, 0]

    wide = isinstance(model := getattr(fit, "model", None), HasBasis) and model.basis(exact.x[:1]).shape[1] > 1
    return xr.Dataset(
        {
            "r2": float(np.corrcoef(z, exact.phi)[0, 1] ** 2),
            "within": float(varies),
            "reconstruction": _unexplained(z, x, np.quantile(z, even)),
            "coarse_reconstruction": _unexplained(z, x, low + (high - low) * even),
            "timescale": ("draw", slowest(functions_of(cv, train), lag)),
            "cv_timescale": ("draw", slowest(cv, lag)),
            "own_timescale": ("draw", slowest(fit, None) if wide else np.full(draws, np.nan)),
        }
    )


def coordinates(x: Tensor) -> Tensor:
    """Flat coordinates (n, dim): the basis of linear TICA."""
    return x.flatten(1)


def one_cv(fit: Fit | Callable[[Tensor], Tensor], train: Frames, lag: float) -> Callable[[Tensor], Tensor]:
    """The CV of a method that has one; else the slowest mode in its functions."""
    if hasattr(fit, "cv") and tuple(fit.cv(train.gather([0])).event_shape) == (1,):  # type: ignore[union-attr]
        return lambda x: fit.cv(x).mean  # type: ignore[union-attr]
    import torch

    slowest = bcg.analysis.spectrum(fit, train, None if hasattr(fit, "model") else lag, modes=1, draws=50).functions[0]
    weights, constant = torch.as_tensor(slowest.coefficients.mean(0)), float(slowest.constant.mean())

    def leading(x: Tensor) -> Tensor:
        with torch.no_grad():
            return slowest.basis(x).double() @ weights + constant

    return leading


def functions_of(cv: Callable[[Tensor], Tensor], frames: Frames) -> Callable[[Tensor], Tensor]:
    """Hat functions of a CV, a basis of its piecewise linear functions: knots at quantiles, and even ones.

    Examples
    --------
    >>> import torch
    >>> from bayescg.data import Frames
    >>> frames = Frames.from_numpy(np.linspace(0, 1, 100)[:, None], unit="reduced")
    >>> hats = functions_of(lambda x: x, frames)(torch.tensor([[0.0], [0.3], [2.0]]))
    >>> hats.sum(1).tolist(), hats[0, 0].item(), hats[2, -1].item()
    ([1.0, 1.0, 1.0], 1.0, 1.0)
    """
    import torch

    from bayescg.analysis.evaluation import evaluate

    z = evaluate(cv, frames)[:, 0]
    even = np.linspace(_RARE, 1 - _RARE, _KNOTS)
    tried = np.sort(np.concatenate([np.quantile(z, even), z.min() + np.ptp(z) * even]))
    knots_taken, below = [tried[0]], np.searchsorted(np.sort(z), tried) / len(z)
    last = below[0]
    for knot, share in zip(tried[1:], below[1:], strict=True):  # a function that only few frames see has no error bar
        if share - last >= _RARE:
            knots_taken.append(knot)
            last = share
    knots = torch.as_tensor(np.array(knots_taken))

    def hats(x: Tensor) -> Tensor:
        with torch.no_grad():
            z = cv(x).double().cpu()[:, 0].contiguous()
        left = (torch.searchsorted(knots, z) - 1).clamp(0, len(knots) - 2)
        share = ((z - knots[left]) / (knots[left + 1] - knots[left])).clamp(0, 1)
        out = z.new_zeros(len(z), len(knots))
        out.scatter_(1, left[:, None], 1 - share[:, None])
        return out.scatter_(1, left[:, None] + 1, share[:, None])

    return hats


def _unexplained(z: np.ndarray, x: np.ndarray, edges: np.ndarray) -> float:
    """Error of the mean coordinates in bins of the CV, found on one half of the points, on the other half."""
    x = (x - x.mean(0)) / x.std(0)
    even, odd = slice(None, None, 2), slice(1, None, 2)
    bins = np.searchsorted(edges, z)
    counts = np.bincount(bins[even], minlength=_BINS).clip(1)
    means = np.stack([np.bincount(bins[even], column[even], _BINS) / counts for column in x.T], 1)
    return float(np.square(x[odd] - means[bins[odd]]).mean())
