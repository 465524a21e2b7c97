"""Run several models on the same data, several times over, and say in words which of them found the slow mode."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import expit, logit
from scipy.stats import t as student

import bayescg
from bayescg import checkpoint, plot, systems
from bayescg.analysis import compare
from bayescg.draws import interval
from bayescg.errors import ConfigError, OutputError
from bayescg.experiments import build, summary
from bayescg.inference import Fit
from bayescg.questions.exact_eigenfunction import Exact, Found, coordinates, measure
from bayescg.questions.predictions import Answers
from bayescg.report.figures import save
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.directory import Stages
    from bayescg.experiments.schema import Experiment

__all__ = ["Study", "check_study", "conclusions", "over_data_sets"]

_LEVEL = 0.95
_ERRORS = ("reconstruction", "coarse_reconstruction")
_TIMES = ("timescale", "cv_timescale", "own_timescale")
_TINY = 1e-12
_Scale = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
_ODDS: _Scale = (lambda share: logit(share.clip(_TINY, 1 - _TINY)), expit)
_SCALES: dict[str, _Scale] = {
    "r2": (lambda r2: _fisher(r2), lambda z: _square(z)),
    "score": (lambda score: _fisher(score - 1), lambda z: 1 + _square(z)),
    **dict.fromkeys(("within", *_ERRORS), _ODDS),
}


def check_study(experiment: Experiment) -> None:
    """Refuse a comparison whose exact answer is not known, before anything is computed.

    Raises
    ------
    ConfigError
    """
    if experiment.compare is None:
        return
    if experiment.system is None or experiment.simulation is None or experiment.data.frames is not None:
        raise ConfigError("[compare] simulates each data set anew: give [system] and [simulation], and no data.frames")
    system = getattr(systems, experiment.system.name)(**experiment.system.arguments)
    if not isinstance(system, AnalyticSystem) or system.dim != 2 or experiment.features.name != "none":
        raise ConfigError(
            "[compare] holds CVs to an exact eigenfunction over a plane: it needs a system of bayescg.systems of two "
            'dimensions, and features.name = "none"'
        )


class Study:
    """A comparison in its directory.

    Parameters
    ----------
    experiment : Experiment
        With a section ``[compare]``.
    path : Path
    stages : Stages
    stage : callable
        Opens a stage, given its name and a line on it.
    """

    def __init__(
        self,
        experiment: Experiment,
        path: Path,
        stages: Stages,
        stage: Callable[[str, str], AbstractContextManager[Any]],
    ):
        assert experiment.compare is not None
        assert experiment.system is not None
        self.experiment, self.asked, self.path = experiment, experiment.compare, path
        self.stages, self.stage = stages, stage
        self.system: AnalyticSystem = getattr(systems, experiment.system.name)(**experiment.system.arguments)
        own = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", experiment.model.name.rpartition(":")[2]).lower()
        self.models = {own: experiment.model_copy(update={"compare": None}), **build.compared(experiment)}
        first = experiment.run.seed * self.asked.replicates  # runs of other seeds share no data set with this one
        self.seeds = range(first, first + self.asked.replicates)

    def run(self) -> tuple[dict[str, Any], dict[Path, str]]:
        """Simulate, fit, ask; what was complete is not made again.

        Returns
        -------
        summary : dict
        figures : dict of Path to str
            PNG files and their captions.
        """
        asked = self.asked
        with self.stage("frames", f"overdamped dynamics, {asked.replicates} data sets"):
            data = [self._frames(seed) for seed in self.seeds]
            parts = [
                f.split(blocks=20, test=self.experiment.fit.held_out, seed=s)
                for f, s in zip(data, self.seeds, strict=True)
            ]
        with self.stage("fit", f"{len(self.models)} models on each of {asked.replicates} data sets"):
            fits = {
                name: [self._fit(name, train, seed) for (train, _), seed in zip(parts, self.seeds, strict=True)]
                for name in self.models
            }
        with self.stage("analysis", "CVs beside the exact eigenfunction, timescales, held-out scores"):
            exact = Exact(self.system)
            methods: dict[str, Any] = {**fits, "tica": [coordinates] * asked.replicates}
            draws = self.experiment.analysis.draws
            found = {
                name: [
                    measure(fit, train, frames, exact, asked.lag, draws, seed)
                    for fit, (train, _), frames, seed in zip(each, parts, data, self.seeds, strict=True)
                ]
                for name, each in methods.items()
            }
            table = collect(found, [test for _, test in parts], asked.lag, exact.timescale)
            answers = self._answers(table)
            answers.warnings += [w for each in fits.values() for fit in each for w in fit.diagnostics["warnings"]]
            self._write(table)
            figures = self._draw(table, {name: each[0] for name, each in found.items()}, exact)
        everything = [fit for each in fits.values() for fit in each]
        results = summary.collect(self.experiment, everything[0], data[0], answers, self.stages)
        results["diagnostics"]["warnings"] = list(dict.fromkeys(results["diagnostics"]["warnings"]))
        results["cost"]["steps"] = sum(fit.cost["steps"] for fit in everything)
        results["cost"]["energy_evaluations"] *= asked.replicates
        return results, figures

    def _at(self, one: Experiment, seed: int) -> Experiment:
        return one.model_copy(update={"run": one.run.model_copy(update={"seed": seed})})

    def _frames(self, seed: int) -> Frames:
        plain = self._at(next(iter(self.models.values())), seed)
        return build.frames_of(plain, self.path / "trajectories" / str(seed))

    def _fit(self, name: str, train: Frames, seed: int) -> Fit:
        one, saved = self._at(self.models[name], seed), self.path / "fits" / f"{name}-{seed}"
        if not (saved / "fit.json").exists():
            bayescg.fit(
                build.model_of(one, train, self.path / "trajectories"),
                train if one.data.lag is None else train.lagged(one.data.lag),
                **one.fit.model_dump(exclude={"held_out"}),
                **one.run.model_dump(exclude={"quick"}),
            ).save(saved)
        if ":" not in one.model.name:
            return Fit.load(saved)
        config = checkpoint.read(saved / "fit.json")[1]["config"]
        return Fit.load(saved, model=build.model_class(one.model.name).from_config(config))

    def _answers(self, table: xr.Dataset) -> Answers:
        answers = Answers()
        for quantity in ("r2", "within", *_ERRORS, *_TIMES, "score"):
            for name in table["model"].values:
                values = table[quantity].sel(model=name).values
                if not np.isfinite(values).all():
                    continue
                one = over_data_sets(quantity, values.reshape(len(values), -1).mean(1))
                truth = table.attrs["timescale"] if quantity in _TIMES else None
                answers.quantities[f"{quantity}_{name}"] = {**one, "truth": truth}
        answers.diagnostics["conclusion"] = " ".join(conclusions(table, self.asked.order))
        return answers

    def _write(self, table: xr.Dataset) -> None:
        partial = self.path / ".posterior.nc.partial"
        try:
            xr.DataTree.from_dict({"comparison": table}).to_netcdf(partial, engine="h5netcdf")
            partial.replace(self.path / "posterior.nc")
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise OutputError(
                f"cannot write {self.path / 'posterior.nc'}: {error}. Free some space and resume."
            ) from error

    def _draw(self, table: xr.Dataset, first: Mapping[str, Found], exact: Exact) -> dict[Path, str]:
        names = [str(name) for name in table["model"].values]  # the best first
        functions = {"exact": exact.function} | {_words(n): first[n].cv for n in names}
        notes = {_words(n): f"R² {float(table['r2'].sel(model=n)[0]):.3f}" for n in names}
        labels = {
            "r2": "R² with the exact eigenfunction",
            "within": "share of variance within wells",
            "coarse_reconstruction": "reconstruction error",
            "cv_timescale": "timescale of the CV itself",
            "timescale": "timescale in functions of it",
        }
        columns = {t: {_words(n): table[q].sel(model=n).values for n in names} for q, t in labels.items()}
        known = dict.fromkeys((labels["timescale"], labels["cv_timescale"]), exact.timescale)
        drawn = {
            "cvs": (
                plot.planes(functions, self.system.log_prob, self.system.box, notes),
                "The CV of each method over the plane, of the first data set, beside the exact eigenfunction.",
            ),
            "methods": (
                plot.methods(columns, known),
                "What each method found: a point for each data set, timescales with 90 % intervals. Reconstruction is "
                "from a CV that is known to a fortieth of its range.",
            ),
        }
        folder = self.path / "figures"
        return {save(folder / f"{n}.png", figure): caption for n, (figure, caption) in drawn.items()}


def collect(found: Mapping[str, Sequence[Found]], tests: Sequence[Frames], lag: float, timescale: float) -> xr.Dataset:
    """A table of what the methods found, the highest mean R² first, with scores of frames that were held out.

    Returns
    -------
    Dataset
        The attributes of :class:`Found`, (model, replicate) or (model, replicate, draw); `score` (model, replicate,
        block), the VAMP-2 score of the CV; the exact timescale is an attribute.
    """
    names = sorted(found, key=lambda name: -np.mean([one.r2 for one in found[name]]))
    scores = [
        compare({n: found[n][k].cv for n in names}, test, "vamp2", lag=lag, modes=1) for k, test in enumerate(tests)
    ]
    nothing = np.full_like(found[names[0]][0].timescale, np.nan)

    def each(quantity: str) -> list[list[Any]]:
        values = [[getattr(one, quantity) for one in found[n]] for n in names]
        return [[nothing if v is None else v for v in row] for row in values]

    return xr.Dataset(
        {
            **{q: (("model", "replicate"), each(q)) for q in ("r2", "within", *_ERRORS)},
            **{q: (("model", "replicate", "draw"), each(q)) for q in _TIMES},
            "score": (("model", "replicate", "block"), [[s[n].blocks for s in scores] for n in names]),
        },
        coords={"model": names, "replicate": np.arange(len(tests))},
        attrs={"timescale": timescale, "lag": lag},
    )


def conclusions(table: xr.Dataset, order: Sequence[str] = ()) -> list[str]:
    """What the table says, in sentences.

    One method is above another where a one-sided t-test of their differences over the data sets says so at 95 %.

    Parameters
    ----------
    table : Dataset
        Of `collect`.
    order : sequence of str
        Methods that are expected to fall behind all others in R², the worst first.
    """
    names = [str(n) for n in table["model"].values]
    r2 = {n: table["r2"].sel(model=n).values for n in names}
    told = ["R² of the CV with the exact eigenfunction: " + ", ".join(f"{_words(n)} {_pm(r2[n])}" for n in names) + "."]
    for k, name in enumerate(order):
        others = order[k + 1 : k + 2] or [n for n in names if n not in order and n != "tica"]
        for other in others:
            told.append(_verdict(name, other, r2[name], r2[other]))
    for quantity, how in zip(_ERRORS, ("known exactly", "known to a fortieth of its range"), strict=True):
        error = {n: table[quantity].sel(model=n).values for n in names}
        best = min(names, key=lambda n: error[n].mean())
        tied = [n for n in names if n != best and _apart(error[best], error[n])[2] != "above"]
        told.append(
            f"Of a CV that is {how}, the coordinates are best rebuilt from that of {_words(best)} (error "
            f"{_pm(error[best])})" + (f", not told apart from {', '.join(map(_words, tied))}." if tied else ".")
        )
    exact = table.attrs["timescale"]
    for n in names:
        draws = table["timescale"].sel(model=n).values
        low, high = interval(draws.T, 0.9)
        held = int(((low <= exact) & (exact <= high)).sum())
        told.append(
            f"{_words(n)}: the timescale of the CV itself is {_pm(table['cv_timescale'].sel(model=n).values.mean(1))}, "
            f"the slowest in functions of it {_pm(draws.mean(1))}; the exact {exact:.1f} is inside {held} of "
            f"{len(draws)} intervals of 90 % of the latter."
        )
    score = {n: table["score"].sel(model=n).values.mean(-1) for n in names}
    best = max(names, key=lambda n: score[n].mean())
    below = [n for n in names if _apart(score[n], score[best])[2] == "above"]
    told.append(
        f"Held out, the CV of {_words(best)} has the highest score ({_pm(score[best])})"
        + (f"; below it, at 95 %, are {', '.join(map(_words, below))}." if below else "; none is below it at 95 %.")
    )
    return told


def _verdict(name: str, other: str, a: np.ndarray, b: np.ndarray) -> str:
    mean, se, where = _apart(a, b)
    apart = f"{abs(mean):.2g} ± {se:.1g} in R²"
    if where == "above":
        return f"As expected, {_words(name)} falls behind {_words(other)}, by {apart}."
    if where == "below":
        return f"Against what was expected, {_words(name)} is ahead of {_words(other)}, by {apart}."
    return f"These data sets do not tell {_words(name)} from {_words(other)} ({apart})."


def _apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float, str]:
    """Mean of b - a over the same data sets, its standard error, and whether b is above, below, or neither."""
    mean, se = _mean(b - a)
    limit = float(student.ppf(_LEVEL, len(a) - 1)) * se
    return mean, se, "above" if mean > limit else "below" if mean < -limit else "neither"


def over_data_sets(quantity: str, values: np.ndarray) -> dict[str, Any]:
    """Mean over data sets, its standard error, and the interval of a Student t, for data and training together.

    The t is of values on a scale without ends: Fisher's z of correlations, whose squares R² and a score less 1 are;
    log odds of shares of variance, which errors are too; logarithms of timescales. So no interval holds what cannot
    be, however few values.

    Examples
    --------
    >>> found = over_data_sets("r2", np.array([0.6, 0.9]))
    >>> round(found["mean"], 2), [round(end, 2) for end in found["ci90"]]
    (0.75, [0.0, 1.0])
    """
    to, back = _SCALES.get(quantity, (lambda v: np.log(v.clip(_TINY)), np.exp))
    mean, se = _mean(values)
    middle, error = _mean(to(values))
    half = float(student.ppf(0.95, len(values) - 1)) * error
    ci90 = [float(end) for end in back(np.array([middle - half, middle + half]))]
    sources = {"sampling": None, "parameter": None, "intrinsic": None}
    return {"unit": "", "mean": mean, "sd": se, "ci90": ci90, "sd_by_source": sources}


def _mean(values: np.ndarray) -> tuple[float, float]:
    """And its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _fisher(square: np.ndarray) -> np.ndarray:
    return np.arctanh(np.sqrt(square.clip(0.0, 1 - _TINY)))


def _square(z: np.ndarray) -> np.ndarray:
    return np.tanh(z.clip(0.0)) ** 2


def _pm(values: np.ndarray) -> str:
    mean, se = _mean(values)
    places = max(0, 1 - int(f"{se:.1e}".split("e")[1])) if se > 0 else 3
    return f"{mean:.{places}f} ± {se:.{places}f}"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("tica", "TICA").replace("msm", "MSM")
