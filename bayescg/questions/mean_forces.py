"""What a potential has learned from forces: its error in three parts, and along one coordinate its profile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.data import evenly
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    from bayescg.inference.fitted_system import FittedSystem

__all__ = ["MeanForces"]

_FRAMES, _DRAWS, _PLACES = 1000, 50, 400


class MeanForces(Question):
    """Error of the forces, in noise, bias and variance; along one coordinate the potential of mean force."""

    def applies(self, context: Context) -> bool:
        """To models of a potential energy whose frames hold forces."""
        from bayescg.modelling import HasPotential

        model, frames = context.fit.model, context.frames
        return isinstance(model, HasPotential) and frames.forces is not None and model.dim == frames.positions[0].size

    def ask(self, context: Context) -> Finding:
        """A table of errors, quantities of the profile, a figure."""
        finding = Finding()
        self._split(finding, context, _draws_of(context, _DRAWS))
        if context.fit.model.dim == 1:
            self._profile(finding, context, _draws_of(context, context.settings.draws))
        return finding

    def _split(self, finding: Finding, context: Context, system: FittedSystem) -> None:
        """What forces of frames differ by from those that are predicted, and why."""
        frames = context.test or context.frames
        index = evenly(frames, _FRAMES)
        x, observed = (torch.as_tensor(frames.gather(index, name)).flatten(1) for name in ("positions", "forces"))
        predicted = _each(system, x, "forces")
        variance = float(predicted.var(0).mean()) if len(predicted) > 1 else 0.0
        mean = context.fit.system().forces(x)
        total = float((observed - mean).square().mean())
        parts = {"variance": variance, "noise and bias": total - variance}
        exact = _exact(context)
        if exact is not None:
            truth = exact.forces(x.double()).to(x)
            error = float((mean - truth).square().mean())
            noise = float((observed - truth).square().mean())
            parts = {"noise": noise, "bias and variance": error, "variance, as foretold": variance}
            finding.diagnostics["mean_force_error"] = error
        finding.diagnostics |= {"force_error": total, "force_variance": variance}
        finding.in_words |= {"force_error", "force_variance", "mean_force_error"}
        rows = [("all", f"{total:.4g}", "100 %")]
        rows += [(name, f"{value:.4g}", f"{value / total:.1%}") for name, value in parts.items()]
        where = "held out" if context.test is not None else "trained on"
        note = (
            f"Mean squares over {len(index)} frames {where}. Noise is what the coordinates that are left out do to a "
            "force: no potential explains it, so that a large error is no sign of a poor fit."
        )
        finding.tables["Errors of forces"] = Table(("part", "mean square", "of all"), rows, note)

    def _profile(self, finding: Finding, context: Context, system: FittedSystem) -> None:
        """Potential of mean force along the one coordinate, between wells and barrier."""
        x = torch.as_tensor(np.asarray(context.frames.positions)).flatten()
        low, high = (float(v) for v in (x.min(), x.max()))
        grid = torch.linspace(low, high, _PLACES, dtype=torch.float64)[:, None]
        kT, exact = context.fit.model.kT, _exact(context)
        energies = _each(system, grid, "energy").numpy() / kT
        forces = _each(system, grid, "forces")[..., 0].numpy() / kT
        profile = None
        if exact is not None:
            profile = exact.energy(grid).numpy() / kT, exact.forces(grid)[:, 0].numpy() / kT
        places = _wells(context.fit.system().energy(grid).numpy())
        if places is not None:
            exact_values = {} if profile is None else _differences(profile[0][None], *places)
            for name, values in _differences(energies, *places).items():
                quantity = Quantity.of(values, unit="kT")
                quantity = replace(quantity, sd_by_source={"parameter": quantity.sd})
                finding.add(name, quantity, float(exact_values[name][0]) if exact_values else None)
            at = [f"{float(grid[i]):.3g}" for i in places]
            finding.remark("Potential of mean force", f"Its wells lie at {at[0]} and {at[2]}, its barrier at {at[1]}.")
        shown = evenly(context.frames, 2000)
        points: Any = tuple(
            context.frames.gather(shown, name).reshape(len(shown)) / scale
            for name, scale in (("positions", 1.0), ("forces", kT))
        )
        level = context.settings.level
        finding.figures["potential_of_mean_force"] = Drawing(
            lambda: bcg.plot.mean_force(grid[:, 0].numpy(), energies, forces, points, profile, level),
            "Left: the potential of mean force that was learned, and its band. Right: the mean force, over forces of "
            "frames, most of whose scatter is what other coordinates do."
            + (" Dashed: exact, by quadrature." if profile is not None else ""),
            "A potential along one coordinate with a band, and its force over a cloud of forces of frames.",
        )


def _draws_of(context: Context, count: int) -> FittedSystem:
    """So many draws of the potential, or all refits, or the trained one where its parameters have no distribution."""
    weights = context.fit.weights
    if weights.kind == "none":
        return context.fit.system()
    return context.fit.system(draws=weights.members or count, seed=context.seed)


def _each(system: FittedSystem, x: torch.Tensor, name: str) -> torch.Tensor:
    """Energies ``(draws, n)`` or forces ``(draws, n, dim)`` of the same configurations by every draw."""
    function = system.energy if name == "energy" else system.forces
    with torch.no_grad():
        return function(x.expand(system.draws or 1, *x.shape)) if system.draws else function(x)[None]


def _exact(context: Context) -> Any:
    """The potential of mean force, where it is known: that of a toy system along its first coordinate."""
    for exact in (context.system, getattr(context.system, "mean_potential", None)):
        if isinstance(exact, AnalyticSystem) and exact.dim == context.fit.model.dim:
            return exact
    return None


def _wells(energy: np.ndarray) -> tuple[int, int, int] | None:
    """Places of the two deepest wells, from left to right, and of the top between them; None where there is one."""
    inner = np.flatnonzero((energy[1:-1] < energy[:-2]) & (energy[1:-1] <= energy[2:])) + 1
    if len(inner) < 2:
        return None
    left, right = sorted(inner[np.argsort(energy[inner])[:2]].tolist())
    return left, left + int(energy[left:right].argmax()), right


def _differences(energies: np.ndarray, left: int, top: int, right: int) -> dict[str, np.ndarray]:
    """Of each of several profiles on evenly spaced places, in kT."""
    logs = [np.logaddexp.reduce(-part, axis=1) for part in (energies[:, :top], energies[:, top:])]
    return {
        "barrier": energies[:, top] - energies[:, left],
        "well_difference": energies[:, right] - energies[:, left],
        "log_population_ratio": logs[0] - logs[1],
    }
