"""What a simulation of a coarse-grained potential shows, beside the frames of all atoms that it was learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field
from scipy.special import expit, logit
from scipy.stats import t as student

import bayescg as bcg
from bayescg.draws import interval
from bayescg.modelling import HasPotential
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Range, Section

if TYPE_CHECKING:
    from bayescg.analysis import Quantity
    from bayescg.data import Frames

__all__ = ["CoarseAgainstAllAtom", "inside"]

_BANDS = 500
"""Frames whose force bands are looked at."""

Basin = Mapping[str, Sequence[float]]


class CoarseAgainstAllAtom(Question):
    """Ramachandran plots and populations of both, and where the potential extrapolates."""

    class Settings(Section):
        """Basins are intervals of one or several observables, angles in degrees, as regions are; bins of each angle."""

        basins: dict[str, Annotated[dict[str, Range], Field(min_length=1)]] = Field(default={})
        plane_bins: int = Field(default=36, ge=4)

    def applies(self, context: Context) -> bool:
        """To a potential that was simulated, with torsions or basins to compare."""
        named = context.settings.torsions or context.settings.basins
        potential = isinstance(getattr(context.fit, "model", None), HasPotential)
        return potential and context.simulated is not None and bool(named) and context.frames.topology is not None

    def ask(self, context: Context) -> Finding:
        """Divergences of planes, populations with joint intervals, and warnings where forces are not known."""
        assert context.simulated is not None
        finding = Finding(truth_is="all-atom")
        finding.diagnostics["coarse_grained"] = {"draws": _draws(context.simulated)}
        finding.in_words.add("coarse_grained")
        for of, pair in context.planes.items():
            self._plane(finding, context, of, pair)
        if context.settings.basins:
            self._populations(finding, context)
        self._extrapolation(finding, context)
        return finding

    def _plane(self, finding: Finding, context: Context, of: str, pair: list[str]) -> None:
        from bayescg.analysis.block_bootstrap import weights_of
        from bayescg.analysis.evaluation import evaluate

        run, edges = context.simulated, np.linspace(-np.pi, np.pi, context.settings.plane_bins + 1)
        assert run is not None

        def histograms(frames: Frames, group: np.ndarray) -> np.ndarray:
            values = [evaluate(f, frames) for f in context.functions(pair)]
            weights = weights_of(frames)
            return np.stack(
                [
                    np.histogram2d(*(v[group == k] for v in values), bins=(edges, edges), weights=weights[group == k])[
                        0
                    ]
                    for k in range(int(group.max()) + 1)
                ]
            )

        atoms = histograms(context.frames, np.unique(context.frames.trajectory, return_inverse=True)[1] % 2)
        coarse = histograms(run, _draw_of(run))
        over_draws = bcg.analysis.jensen_shannon(coarse.sum(0), atoms.sum(0))
        trained = context.at_trained
        shown = coarse if trained is None else histograms(trained, np.zeros(len(trained), dtype=np.int64))
        between = bcg.analysis.jensen_shannon(shown.sum(0), atoms.sum(0))
        of_draws = "" if trained is None else f" at the trained values and {over_draws:.3g} over draws of the potential"
        halves = bcg.analysis.jensen_shannon(*atoms) if len(atoms) == 2 else float("nan")
        finding.diagnostics["coarse_grained"][f"jensen_shannon{of}"] = between
        finding.diagnostics["coarse_grained"][f"jensen_shannon_over_draws{of}"] = over_draws
        finding.diagnostics["coarse_grained"][f"jensen_shannon_of_halves{of}"] = halves
        finding.remark(
            "Coarse-grained against all-atom",
            f"Ramachandran plot{of}, {len(edges) - 1} x {len(edges) - 1} bins: the Jensen-Shannon divergence of the "
            f"coarse-grained simulation from the frames of all atoms is {between:.3g} nats{of_draws}, where that of "
            f"one half of the all-atom trajectories from the other is {halves:.3g}.",
        )
        finding.datasets[f"coarse_grained{of.replace(' ', '_').replace('-', '_')}"] = xr.Dataset(
            {
                "coarse_grained": (("draw", "phi_bin", "psi_bin"), coarse),
                "all_atom": (("phi_bin", "psi_bin"), atoms.sum(0)),
            },
            {"phi_bin": (edges[1:] + edges[:-1]) / 2, "psi_bin": (edges[1:] + edges[:-1]) / 2},
        )
        finding.figures[f"coarse_grained{of.replace(' ', '_')}"] = Drawing(
            lambda: bcg.plot.coarse_grained(shown, atoms.sum(0), edges, pair),
            f"Free energy over {' and '.join(pair)} of all atoms, of the coarse-grained simulation"
            f"{'' if trained is None else ' at the trained values'}, and their difference, where both have ten frames "
            f"in a bin. Jensen-Shannon divergence {between:.3g} nats.",
            f"Free energies in kT over {' and '.join(pair)}: all-atom, coarse-grained, and the difference",
        )

    def _populations(self, finding: Finding, context: Context) -> None:
        from bayescg.analysis.resampled import average

        run, draws = context.simulated, context.settings.draws
        assert run is not None
        each, rows = _draw_of(run), []
        degrees = int(each.max())
        basins = context.settings.basins
        width = float(student.ppf(1 - (1 - 0.9) / 2 / len(basins), max(1, degrees)))
        held = []
        for name, basin in basins.items():
            atoms = average(inside(basin, context, context.frames), context.frames, draws, context.seed, "")
            coarse = _population(inside(basin, context, run), run, draws, context.seed)
            finding.add(f"population_{name}", coarse, atoms.mean)
            apart, sd = _apart(coarse, atoms)
            held.append(abs(apart) <= width * sd)
            rows.append(
                (name, f"{coarse.mean:.3g} ± {coarse.sd:.2g}", f"{atoms.mean:.3g} ± {atoms.sd:.2g}",
                 f"{apart:+.2f} ± {width * sd:.2g}", "yes" if held[-1] else "NO")
            )  # fmt: skip
        finding.diagnostics["coarse_grained"]["populations_agree"] = bool(all(held))
        finding.tables["Populations"] = Table(
            ("basin", "coarse-grained", "all-atom", "log odds apart, joint 90 %", "holds 0"),
            rows,
            "The error of the coarse-grained simulation is that of its length and of the potential's parameters, of "
            f"which {degrees + 1} draws were simulated; the intervals of the differences, of free energies in kT, all "
            "hold at once in 90 of 100 runs, where the potential is right but for that.",
        )
        if not all(held):
            wrong = ", ".join(name for name, h in zip(basins, held, strict=True) if not h)
            finding.warnings.append(
                f"populations of {wrong} differ from those of all atoms by more than their errors: the beads, the form "
                "of the potential or its training leave something out"
            )

    def _extrapolation(self, finding: Finding, context: Context) -> None:
        run = context.simulated
        assert run is not None
        note = finding.diagnostics["coarse_grained"]
        where = {"simulated": run, "all_atom": context.frames}
        if context.fit.weights.kind != "none":
            for name, frames in where.items():
                part = frames.subset(bcg.data.evenly(frames, _BANDS))
                bands = bcg.analysis.force_bands(context.fit, part, draws=50, seed=context.seed)
                if bands.limit is not None:
                    note[f"extrapolates_{name}"] = float(bands.beyond.mean())
                if bands.warning:
                    finding.warnings.append(f"of {name.replace('_', '-')} frames: {bands.warning}")
        train = context.train
        if train is None:
            return
        low, high = _ranges(train)
        lengths = _distances(run)
        beyond = ((lengths < low) | (lengths > high)).any(1)
        note["outside_the_range"] = float(beyond.mean())
        if (torn := (lengths < 0.5 * low) | (lengths > 2 * high)).any():
            frame, pair = np.argwhere(torn)[0]
            a, b = (int(k[pair]) for k in np.triu_indices(run.positions.shape[1], 1))
            finding.warnings.append(
                f"the coarse-grained simulation left the data: in frame {frame} beads {a} and {b} are "
                f"{lengths[frame, pair]:.3g} nm apart, where training saw {low[pair]:.3g} to {high[pair]:.3g}; give "
                "the potential a prior energy, or a shorter time step"
            )


def inside(basin: Basin, context: Context, frames: Frames) -> np.ndarray:
    """Whether each frame is in a basin, 1 or 0, ``(n,)``."""
    from bayescg.analysis.evaluation import evaluate

    held = np.ones(len(frames))
    for name, (low, high) in basin.items():
        (function,) = context.functions([name])
        held *= _between(evaluate(function, frames), function, low, high)
    return held


def _between(values: np.ndarray, function: Callable[..., Any], low: float, high: float) -> np.ndarray:
    from bayescg.analysis.evaluation import unit_of

    if unit_of(function) != "rad":
        return (values >= low) & (values < high)
    low, width = np.deg2rad(low), np.deg2rad(high - low if high > low else high - low + 360.0)
    return (values - low) % (2 * np.pi) < width


def _draws(run: Frames) -> int:
    """Of how many potentials a simulation is made."""
    return int(run.provenance.get("potential_draws") or 1)


def _draw_of(run: Frames) -> np.ndarray:
    """Number of the potential of each frame, ``(n,)``."""
    draw = bcg.data.draw_of(run)
    return np.zeros(len(run), dtype=np.int64) if draw is None else draw


def _apart(coarse: Quantity, atoms: Quantity) -> tuple[float, float]:
    """By what the log odds of two populations differ, and its error; the populations, where one is none or all."""
    p, q = coarse.mean, atoms.mean
    if not (0 < p < 1 and 0 < q < 1):
        return p - q, float(np.hypot(coarse.sd, atoms.sd))
    return float(logit(p) - logit(q)), float(np.hypot(coarse.sd / (p * (1 - p)), atoms.sd / (q * (1 - q))))


def _population(held: np.ndarray, run: Frames, draws: int, seed: int) -> Quantity:
    """Of a basin, averaged over potentials, with their spread; of fewer than three by blocks of frames.

    Shares of the potentials differ by their parameters and by chance, as much as chains of one of them do. What is left
    for the parameters is no less than the error of this difference of variances.
    """
    from bayescg.analysis.resampled import average

    each = _draw_of(run)
    count = int(each.max()) + 1
    if count < 3:
        return average(held, run, draws, seed, "")
    shares = np.array([held[each == k].mean() for k in range(count)])
    chance = float(np.mean([_chains(held[each == k], run.trajectory[each == k]) ** 2 for k in range(count)]))
    parameter = max(float(shares.var(ddof=1)) - chance, chance * (2 / (count - 1)) ** 0.5)
    sources = {"sampling": (chance / count) ** 0.5, "parameter": parameter**0.5}
    sd = (chance / count + parameter) ** 0.5
    spread = student.rvs(count - 1, size=draws, random_state=np.random.default_rng(seed))
    p = float(shares.mean())
    # potentials are off by free energies: of a rare basin, populations are skewed
    values = expit(logit(p) + sd / (p * (1 - p)) * spread) if 0 < p < 1 else np.full(draws, p)
    low, high = interval(values, 0.9)
    ends = (float(low), float(high))
    return bcg.analysis.Quantity(p, sd, ends, values, "", sd_by_source=sources)


def _chains(held: np.ndarray, chain: np.ndarray) -> float:
    """Standard error of a mean over chains that know nothing of each other."""
    number = np.unique(chain, return_inverse=True)[1]
    means = np.bincount(number, held) / np.bincount(number)
    return float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else 0.0


def _distances(frames: Frames) -> np.ndarray:
    """Of all pairs of beads, (n, pairs)."""
    x = frames.gather(slice(None))
    first, second = np.triu_indices(x.shape[1], 1)
    return np.linalg.norm(x[:, first] - x[:, second], axis=-1)


def _ranges(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    lengths = _distances(frames)
    return lengths.min(0), lengths.max(0)
