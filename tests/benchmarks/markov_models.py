"""A run's slow modes beside Markov models of deeptime: ``python -m tests.benchmarks.markov_models RUN``.

RUN is the directory of a finished run of a molecule, such as that of the experiment alanine-dipeptide-eigenfunctions.
States of the Markov models are bins of the first two torsions of its ``[analysis]``. Whether timescales have converged
in lag and number of states is seen from models of maximum likelihood. Intervals come from trajectories drawn again, and
from Bayesian models with transitions counted in two ways: ``effective`` reckons with the correlation of transitions,
``sliding-effective`` takes one in a lag time. Needs the extra ``deeptime``.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deeptime.markov import TransitionCountEstimator, TransitionCountModel
from deeptime.markov.msm import BayesianMSM, MaximumLikelihoodMSM

from bayescg.data import Frames
from bayescg.experiments import build, directory, summary
from bayescg.features.observables import from_names

BINS, COUNTING = (12, 18, 24), ("effective", "sliding-effective")


def angles(frames: Frames, names: list[str]) -> list[np.ndarray]:
    """Torsions of each trajectory, (frames, 2), in radians."""
    functions = from_names(names, frames.topology)
    parts = []
    for start in range(0, len(frames), 50_000):
        x = torch.as_tensor(frames.gather(slice(start, start + 50_000)))
        parts.append(np.stack([f(x).numpy() for f in functions], 1))
    return np.split(np.concatenate(parts), np.flatnonzero(np.diff(frames.trajectory)) + 1)


def binned(series: list[np.ndarray], bins: int) -> list[np.ndarray]:
    """The state of each frame, numbered from 0 without gaps."""
    cells = [((x + math.pi) / (2 * math.pi) * bins).astype(np.int64) % bins @ [bins, 1] for x in series]
    known = np.unique(np.concatenate(cells))
    return [np.searchsorted(known, c) for c in cells]


def likeliest(counts: np.ndarray, lag: int, modes: int) -> np.ndarray:
    """Timescales, in frames, of the reversible model of maximum likelihood."""
    connected = TransitionCountModel(counts, lagtime=lag).submodel_largest()
    found: Any = MaximumLikelihoodMSM(reversible=True).fit(connected).fetch_model()
    return found.timescales(modes)


def bootstrap(states: list[np.ndarray], lag: int, modes: int, draws: int = 100) -> np.ndarray:
    """The timescales (1, modes), or draws of them (draws, modes) from trajectories drawn again, in frames."""
    size, count = 1 + max(int(s.max()) for s in states), len(states)
    random = (
        np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), draws) if draws else np.ones((1, count))
    )
    totals = np.zeros((len(random), size**2))
    for w, s in zip(random.T, states, strict=True):
        totals += w[:, None] * np.bincount(s[:-lag] * size + s[lag:], minlength=size**2)
    return np.array([likeliest(total.reshape(size, size), lag, modes) for total in totals])


def bayesian(states: list[np.ndarray], lag: int, modes: int, counting: str) -> np.ndarray:
    """Draws (100, modes) of the timescales, in frames."""
    counts: Any = TransitionCountEstimator(lag, counting).fit(states, n_jobs=1).fetch_model()
    sampler = BayesianMSM(n_samples=100, reversible=True)
    found: Any = sampler.fit_from_counts(counts.submodel_largest(), ignore_counting_mode=True).fetch_model()
    return np.array([one.timescales(modes) for one in found.samples])


def told(draws: np.ndarray) -> str:
    """Medians and 90 % intervals, where there are draws, as cells of a table."""
    if len(draws) == 1:
        return " | ".join(f"{m:.2f}" for m in draws[0])
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
    return " | ".join(f"{m:.2f} [{a:.2f}, {b:.2f}]" for a, m, b in zip(low, middle, high, strict=True))


def main() -> None:
    """Print a table of timescales with 90 % intervals."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("run", type=Path)
    path: Path = asked.parse_args().run
    warnings.simplefilter("ignore")  # deeptime's, of states that were left once
    torch.set_num_threads(1)
    experiment, results = directory.read_experiment(path), summary.read(path)
    frames = build.frames_of(experiment, path / "trajectories")
    series = angles(frames, experiment.analysis.torsions[:2])
    modes, dt = experiment.analysis.modes or 2, float(frames.dt or 1.0)
    print("| | lag | " + " | ".join(f"timescale {k + 1}" for k in range(modes)) + " |\n|---|---" + "|---" * modes + "|")
    lags = sorted({*experiment.analysis.lags, experiment.data.lag or dt})
    for lag in lags:
        suffix = "" if lag == experiment.data.lag else f"_at_{lag:g}"
        found = [results["quantities"][f"timescale_{k + 1}{suffix}"] for k in range(modes)]
        cells = [
            f"{q['mean']:.2f} " + ("" if q["ci90"] is None else "[{:.2f}, {:.2f}]".format(*q["ci90"])) for q in found
        ]
        print(f"| bayescg | {lag:g} | {' | '.join(cells)} |", flush=True)
    for bins in BINS:
        states = binned(series, bins)
        for lag in lags:
            found = dt * bootstrap(states, round(lag / dt), modes, draws=100 if bins == BINS[0] else 0)
            print(f"| {bins} x {bins} bins | {lag:g} | {told(found)} |", flush=True)
    states = binned(series, BINS[0])
    for counting in COUNTING:
        draws = dt * bayesian(states, round((experiment.data.lag or dt) / dt), modes, counting)
        print(
            f"| Bayesian, {counting}, {BINS[0]} x {BINS[0]} bins | {experiment.data.lag:g} | {told(draws)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
