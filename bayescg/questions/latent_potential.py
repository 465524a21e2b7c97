"""The potential of coarse variables that a model has found for itself, in kT, with its band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.inference import Fit

__all__ = ["LatentPotential"]

_LARGEST_GAP = 0.5
_SEEN = 4.0
_BENT = (
    "The way back to the frames is a network, which can bend X as well as its potential can: barriers of the potential "
    "are as much the prior's as the data's, and are not told. Those along observables are the free energies."
)


class LatentPotential(Question):
    """Potential over the lattice of the coarse variables, beside their density over the frames, and its barrier."""

    def applies(self, context: Context) -> bool:
        """To models with a density of coarse variables on a lattice, such as predictive coarse-graining."""
        return callable(getattr(getattr(context.fit, "model", None), "coarse", None))

    def ask(self, context: Context) -> Finding:
        """The potential, how high the barrier between its two deepest wells is, and whether the frames agree."""
        import xarray as xr

        finding, level = Finding(), context.settings.level
        axis, energies = _energies(context.fit, context.settings.draws, context.seed)
        dims = ("draw", *(f"X{i + 1}" for i in range(energies.ndim - 1)))
        coordinates = dict.fromkeys(dims[1:], axis)
        finding.datasets["latent_potential"] = xr.Dataset({"energy": (dims, energies)}, coordinates)
        of_frames, words = None, ""
        if energies.ndim == 2:
            if not context.weighted:
                of_frames = _of_frames(context, axis)
            self._barrier(finding, context.fit, energies)
        if of_frames is not None:
            words = "Dashed: the density of X over the frames, each with what it leaves open of its X."
            trained = _energies(context.fit, None, context.seed)[1][0]
            gap = float(np.abs(trained - of_frames)[trained < trained.min() + _SEEN].max())
            finding.diagnostics["latent_potential_gap"] = gap
            if gap > _LARGEST_GAP:
                finding.warnings.append(
                    f"the potential of the coarse variable and its density over the frames differ by up to {gap:.2g} "
                    f"kT within {_SEEN:g} kT of the minimum: give it a higher degree, or train for longer"
                )
        finding.figures["latent_potential"] = Drawing(
            lambda: bcg.plot.latent_energies(axis, energies, of_frames, level),
            f"Potential of the coarse variables, -log p(X), in the gauge that the model pins. {words}".strip(),
        )
        return finding

    def _barrier(self, finding: Finding, fit: Fit, energies: np.ndarray) -> None:
        wells = _wells(energies.mean(0))
        finding.diagnostics["wells"] = len(wells)
        if getattr(fit.model, "hidden", ()):
            finding.remark("Latent potential", _BENT)
            return
        if len(wells) < 2:
            return
        first, last = sorted(wells[:2])
        heights = energies[:, first : last + 1].max(1) - energies.min(1)
        quantity = bcg.analysis.Quantity.of(heights, unit="kT", sd_by_source={"parameter": float(heights.std())})
        finding.add("coarse_barrier", quantity if len(energies) > 1 else _without_interval(quantity))


def _energies(fit: Fit, draws: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes along a variable, and -log density of X for each draw, ``(draws, nodes)`` or ``(draws, nodes, nodes)``.

    Without `draws`, or parameter uncertainty, at the trained values.
    """
    import torch

    model: Any = fit.model
    coarse = model.coarse()
    axis, lattice = coarse.axis.cpu(), coarse.nodes
    uncertain = draws is not None and fit.weights.kind != "none"
    count = fit.weights.members or draws
    with torch.no_grad():
        if uncertain:
            u = fit.system(draws=count, seed=seed).energy(lattice.expand(count, *lattice.shape))
        else:
            u = fit.system().energy(lattice)[None]
    u = u.double().cpu()
    cell = coarse.dim * (axis[1] - axis[0]).double().log()
    normalised = u + torch.logsumexp(-u, 1, keepdim=True) + cell
    return axis.double().numpy(), normalised.reshape(len(u), *[len(axis)] * coarse.dim).numpy()


def _of_frames(context: Context, axis: np.ndarray) -> np.ndarray:
    """-log of the density of X over the frames: the average of p(X | x), each a Gaussian."""
    import torch

    from bayescg.analysis.block_bootstrap import weights_of
    from bayescg.data import evenly

    frames, model = context.frames, context.fit.model
    index = evenly(frames, 2000)
    with torch.no_grad():
        cv = model.cv(torch.as_tensor(frames.gather(index)).to(next(model.parameters())))
    mean, sd = cv.mean[:, 0].double().cpu().numpy(), cv.stddev[:, 0].double().cpu().numpy()
    weight = weights_of(frames)[index]
    scaled = (axis[:, None] - mean) / sd
    density = np.exp(-0.5 * scaled**2) / sd / np.sqrt(2 * np.pi) @ (weight / weight.sum())
    return -np.log(np.maximum(density, 1e-300))


def _wells(energy: np.ndarray) -> list[int]:
    """Places of the minima, the deepest first."""
    inner = np.flatnonzero((energy[1:-1] < energy[:-2]) & (energy[1:-1] <= energy[2:])) + 1
    return sorted(inner.tolist(), key=lambda k: energy[k])


def _without_interval(quantity: bcg.analysis.Quantity) -> bcg.analysis.Quantity:
    from dataclasses import replace

    return replace(
        quantity, sd=float("nan"), ci90=None, sd_by_source={}, warning="the fit has no parameter uncertainty"
    )
