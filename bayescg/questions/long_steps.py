"""Whether trajectories of long time steps are to be trusted, beside those of velocity Verlet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

import bayescg as bcg
from bayescg.analysis.long_steps.by_trajectory import over_trajectories
from bayescg.modelling import HasMap
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section

if TYPE_CHECKING:
    from bayescg.analysis import IntegratorCheck, Quantity

__all__ = ["DynamicsOfLongSteps"]

_TITLE = "Long time steps"


class DynamicsOfLongSteps(Question):
    """Accuracy of a step, and what trajectories keep."""

    class Settings(Section):
        """`canonical`: whether trajectories begin in the canonical ensemble, so that temperatures should be T."""

        canonical: bool = Field(default=True)

    def applies(self, context: Context) -> bool:
        """To fits of a time step, and trajectories by it."""
        return isinstance(context.fit.model, HasMap) and getattr(context.simulated, "momenta", None) is not None

    def ask(self, context: Context) -> Finding:
        """Energies, temperatures, structure, and how other integrators do."""
        path, system, canonical = context.simulated, context.system, context.settings.canonical
        assert path is not None
        finding = Finding()
        name = type(context.fit.model).__name__
        mine = bcg.analysis.integrator_check(context.fit, path, system, canonical=canonical, seed=context.seed)
        checks = {name: mine} | {
            label: bcg.analysis.integrator_check(None, run, system, canonical=canonical, seed=context.seed)
            for label, run in context.peers.items()
            if run is not None
        }
        if broken := [label for label, run in context.peers.items() if run is None]:
            finding.remark(_TITLE, f"Trajectories of {' and '.join(broken)} leave the range of numbers.")
        if context.test is not None:
            self._one_step(finding, context)
        self._quantities(finding, mine)
        finding.diagnostics["long_steps"] = {
            "lag": context.fit.model.lag, "lost": len(mine.lost), "reversibility": mine.reversibility,
            "phase_space_volume": mine.volume, "momentum": mine.momentum, "angular_momentum": mine.angular_momentum,
            "iterations": mine.iterations, "residual": mine.residual,
            "energy_rms_of_peers": {k: c.energy_rms and c.energy_rms.mean for k, c in checks.items() if c is not mine},
        }  # fmt: skip
        finding.in_words.add("long_steps")
        finding.warnings += [f"trajectories of long steps: {fault}" for fault in mine.faults]
        finding.tables[_TITLE] = Table(
            ("", name, "wanted"),
            mine.rows(),
            "Standard errors are over starts and draws; temperatures are kinetic ones.",
        )
        if len(checks) > 1 and mine.energy_rms is not None:
            finding.tables["Beside other integrators"] = _beside(checks)
        for label, check in checks.items():
            if check is not mine and check.faults:
                finding.remark(_TITLE, f"Of {label}: {'; '.join(check.faults)}.")
        finding.datasets["long_steps"] = mine.motion if mine.energies is None else xr.merge(
            [mine.motion, mine.energies.rename(time="step_time").to_dataset()]
        )  # fmt: skip
        self._figures(finding, checks, mine, context)
        return finding

    def _quantities(self, finding: Finding, check: IntegratorCheck) -> None:
        if check.energy_rms is not None and check.energy_drift is not None:
            finding.add("energy_rms", check.energy_rms)
            finding.add("energy_drift", check.energy_drift, 0.0)
        for name, temperature in check.temperatures.items():
            expected = 1.0 if check.canonical else None
            finding.add(f"temperature_{name}", temperature, expected)

    def _one_step(self, finding: Finding, context: Context) -> None:
        """Errors of one step from states that training has not seen, and how many are within their intervals."""
        model, fit = context.fit.model, context.fit
        assert context.test is not None
        q, p, *later = model.states(context.test.lagged(model.lag))
        units = model.units()
        off = (_both(fit.map().step(q, p, 1e-12)[:2]) - _both(later)) / units
        rms = off.square().mean(1).sqrt().numpy()
        finding.add("one_step_error", over_trajectories(rms, 1, "of the spread", context.seed))
        if fit.weights.kind == "none":
            return
        spread = fit.map().spread(q, p)
        sd = _both((spread.q, spread.p)) / units
        held = float((off.abs() < 1.645 * sd).double().mean())
        finding.diagnostics["one_step_coverage"] = held
        finding.remark(
            _TITLE,
            f"Of {off.numel()} numbers of {len(q)} states one step after others that training has not seen, {held:.0%} "
            "are in their 90 % intervals.",
        )

    def _figures(
        self, finding: Finding, checks: dict[str, IntegratorCheck], mine: IntegratorCheck, context: Context
    ) -> None:
        unit = "kJ/mol" if context.frames.temperature is not None else ""
        path: Any = context.simulated
        if mine.energies is not None:
            finding.figures["energy_errors"] = Drawing(
                lambda: bcg.plot.energy_errors(checks, unit),
                "Change of the total energy since the first frame: the median over trajectories, and the band that "
                "holds 90 % of them.",
                "Size of the change of energy against time, on a logarithmic axis, for each integrator",
            )
        finding.figures["equipartition"] = Drawing(
            lambda: bcg.plot.equipartition(checks),
            "Kinetic temperatures, with 90 % intervals over trajectories"
            + ("." if mine.canonical else "; they should be the same, their mean is the grey line."),
            "Kinetic temperature of each coordinate or element for each integrator",
        )
        if path.unit != "nm":
            finding.figures["phase_portrait"] = Drawing(
                lambda: bcg.plot.phase_portrait(path),
                "Positions and momenta along some trajectories, each in its colour.",
                "Points of trajectories in planes of a position and its momentum",
            )
        if getattr(context.fit.model, "form", None) == "particles":
            curves = {type(context.fit.model).__name__: (curve := bcg.analysis.radial_distribution(path))}
            longest = float(curve["r"][-1] + curve["r"][0])
            runs = {label: run for label, run in context.peers.items() if run is not None}
            curves |= {x: bcg.analysis.radial_distribution(run, longest=longest) for x, run in runs.items()}
            finding.datasets["radial_distribution"] = curve.to_dataset()
            finding.figures["radial_distribution"] = Drawing(
                lambda: bcg.plot.radial_distribution(curves),
                "Neighbours of a particle per unit of distance.",
                "Neighbours per unit of distance against distance, for each integrator",
            )
        if path.provenance.get("stride", 1) > 1:
            finding.remark(
                _TITLE, "Frames are several steps apart, so that fast vibrations would look slow: there is no spectrum."
            )
            return
        finding.figures["vibrations"] = Drawing(
            lambda: bcg.plot.vibrations(mine),
            "Velocity autocorrelation and vibrational spectrum, the median of the draws and their 90 % band.",
            "Velocity autocorrelation against time, and its spectrum against frequency",
        )


def _both(fields: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(fields), 1)


def _beside(checks: dict[str, IntegratorCheck]) -> Table:
    def words(quantity: Quantity | None) -> str:
        return "" if quantity is None else f"{quantity.mean:.2g} ± {quantity.sd:.1g}"

    rows = [
        (
            name, words(check.energy_rms), words(check.energy_drift),
            f"{max(abs(t.mean - level) for t in check.temperatures.values()):.2g}", str(len(check.lost)),
        )
        for name, check in checks.items()
        for level in [1.0 if check.canonical else np.mean([t.mean for t in check.temperatures.values()])]
    ]  # fmt: skip
    columns = ("integrator", "rms", "drift", "off T", "lost")
    return Table(
        columns,
        rows,
        "Root mean square and drift of the energy; the largest deviation of a kinetic temperature, in units of T, in "
        "which sampling has its part; trajectories that ended early.",
    )
