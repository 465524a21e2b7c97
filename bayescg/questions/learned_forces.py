"""How right the forces of a learned potential are, and whether it knows: where it was trained, and elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

import bayescg as bcg
from bayescg.analysis import Quantity, average, calibrated, force_bands
from bayescg.errors import ConfigError
from bayescg.modelling import HasPotential
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section

if TYPE_CHECKING:
    from bayescg.analysis import ForceBands
    from bayescg.data import Frames

__all__ = ["LearnedForces"]

_WIDTH = 1.6449
"""Standard deviations to each side of a 90 % interval."""


class LearnedForces(Question):
    """Errors of forces and energies of frames that were held out, and of other systems of the same particles."""

    class Settings(Section):
        """Arguments with which the system is made anew, to see how far the potential reaches: a hotter one, say.

        ``[{ temperature_kT = 0.5 }, { atoms = 38 }]``. 60 frames each, by Langevin dynamics of step `elsewhere_dt`.
        """

        elsewhere: list[dict[str, float | int]] = Field(default=[])
        elsewhere_dt: float = Field(default=0.01, gt=0)

    def applies(self, context: Context) -> bool:
        """To potentials that learned from labels without noise, with error bars, where frames with forces are left."""
        model, test = getattr(context.fit, "model", None), context.test
        if not isinstance(model, HasPotential) or getattr(model, "kind", "") != "generalised" or test is None:
            return False
        return test.forces is not None and len(test) >= 20 and context.fit.weights.kind == "laplace"

    def ask(self, context: Context) -> Finding:
        """Half of the held-out blocks set the factor of the data, the other half judges."""
        assert context.test is not None
        judged, spent = context.test.split(blocks=10, test=0.5, seed=context.seed)
        fit = calibrated(context.fit, spent, draws=context.settings.draws, seed=context.seed)
        finding, groups, rows = Finding(), {}, []
        for name, frames in {"held out": judged, **self._elsewhere(context)}.items():
            before, after = (_bands(f, frames, context) for f in (context.fit, fit))
            error = after.forces - np.asarray(frames.forces, dtype=np.float64).reshape(len(frames), -1)
            groups[name] = after.forces_sd, error
            rows.append((name, *self._row(finding, name, frames, before, after, error, context)))
            if after.warning is not None:
                finding.warnings.append(f"{name}: {after.warning}")
        factor = fit.diagnostics["calibration"]
        finding.diagnostics["forces_calibration"] = factor
        finding.warnings += [w for w in fit.diagnostics.get("warnings", []) if "factor" in w]
        finding.remark(
            "Forces",
            f"Labels have no noise, so that the width of the error bars is known up to a factor: {len(spent)} held-out "
            f"frames, which are not judged, set it so that the data count {factor['eta']:.3g} times.",
        )
        columns = (
            "frames of", "number", "force error", "90 % bands hold", "before the factor", "rank correlation",
            "energy error a particle", "energy bands hold", "extrapolated",
        )  # fmt: skip
        note = (
            "The force error is a root mean square; the rank correlation is that of its size with what was predicted."
        )
        finding.tables["Learned forces"] = Table(columns, rows, note, brief=4)
        finding.figures["learned-forces"] = Drawing(
            lambda: bcg.plot.force_errors(groups),
            "Root mean square error of forces in tenths of the predicted standard deviation, after calibration.",
            "Points near the dashed diagonal: errors are as large as predicted.",
        )
        return finding

    def _row(
        self, finding: Finding, name: str, frames: Frames, before: ForceBands, after: ForceBands, error: np.ndarray,
        context: Context,
    ) -> tuple[str, ...]:  # fmt: skip
        from scipy.stats import spearmanr

        def mean(values: np.ndarray, unit: str = "") -> Quantity:
            return average(values, frames, context.settings.draws, context.seed, unit)

        square = mean(np.square(error).mean(1))
        size = Quantity.of(np.sqrt(np.maximum(square.draws, 0.0)), "", sd_by_source={"sampling": None})
        size = replace(size, mean=float(np.sqrt(np.mean(np.square(error)))))
        holds = mean((np.abs(error) <= _WIDTH * after.forces_sd).mean(1))
        held_before = float((np.abs(before.forces - after.forces + error) <= _WIDTH * before.forces_sd).mean())
        ranks: Any = spearmanr(after.forces_sd.ravel(), np.abs(error).ravel())
        rank = float(ranks[0])
        key = name.replace(" ", "_")
        finding.add(f"force_error_{key}", size)
        finding.add(f"force_coverage_{key}", holds, truth=0.9)
        particles, energy = error.shape[1] // 3, frames.energy
        energies = ("", "")
        if energy is not None:
            off = after.energy - np.asarray(energy, dtype=np.float64)
            inside = float((np.abs(off) <= _WIDTH * after.energy_sd).mean())
            energies = f"{np.sqrt(np.mean(off**2)) / particles:.3g}", f"{inside:.2f}"
        finding.diagnostics[f"forces_{key}"] = {"rank_correlation": rank, "coverage_before": held_before}
        numbers = f"{size.mean:.3g}", f"{holds.mean:.3f}", f"{held_before:.3f}", f"{rank:.2f}"
        return (str(len(frames)), *numbers, *energies, f"{after.beyond.mean():.2f}")

    def _elsewhere(self, context: Context) -> dict[str, Frames]:
        """Frames of systems made with other arguments."""
        frames = {}
        for number, arguments in enumerate(context.settings.elsewhere):
            kind = type(context.system)
            try:
                system: Any = kind(**{**_arguments(context.system), **arguments})
            except TypeError as error:
                raise ConfigError(
                    f"analysis.elsewhere: {kind.__name__} cannot be made with {arguments}: {error}"
                ) from error
            frames[", ".join(f"{k} {v:g}" for k, v in arguments.items())] = bcg.sampling.langevin(
                system, 1200, dt=context.settings.elsewhere_dt, chains=10, stride=200, equilibration=2000, energy=True,
                forces=True, seed=context.seed + number, progress=False,
            )  # fmt: skip
        return frames


def _arguments(system: Any) -> dict[str, Any]:
    from bayescg.distributions import system_config

    config = system_config(system)
    if config is None:
        raise ConfigError("analysis.elsewhere is for systems of bayescg.systems that a name and numbers describe")
    return {k: v for k, v in config.items() if k != "name"}


def _bands(fit: Any, frames: Frames, context: Context) -> ForceBands:
    """Of frames of as many particles as the fit was trained on, or of others of the same kind."""
    size = int(np.prod(frames.positions.shape[1:]))
    if size != fit.model.dim:
        fit = fit.transferred(fit.model.of([fit.model.kinds[0]] * (size // 3)))
    return force_bands(fit, frames, draws=context.settings.draws, seed=context.seed)
