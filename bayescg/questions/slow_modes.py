"""Slow modes of the dynamics in the functions that a fit has learned: eigenvalues, timescales, eigenfunctions."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.known import by_quadrature
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section

if TYPE_CHECKING:
    from bayescg.analysis import SlowModes
    from bayescg.truth import Spectrum

__all__ = ["EigenvaluesAndTimescales", "eigenfunction_r2", "known_rates", "modes_of"]

_FEWEST_BLOCKS = 20
_USUAL = 3
_SHOWN = 20_000


class EigenvaluesAndTimescales(Question):
    """The spectrum (:func:`bayescg.analysis.spectrum`), beside the exact one where it is known."""

    class Settings(Section):
        """So many `modes` (None: as many as the model has, at most 3 if it does not say)."""

        modes: int | None = Field(default=None, ge=1)

    def applies(self, context: Context) -> bool:
        """To models with a basis of functions."""
        from bayescg.modelling import HasBasis

        return isinstance(context.fit.model, HasBasis)

    def ask(self, context: Context) -> Finding:
        """Quantities, diagnostics of the functions, figures."""
        modes = modes_of(context)
        count, rank = modes.eigenvalues.sizes["mode"], _functions(context)
        finding = Finding(warnings=list(modes.warnings))
        wanted, trained = context.settings.modes, int(getattr(context.fit.model, "modes", 0))
        if wanted is not None and count < wanted:
            finding.warnings.append(
                f"analysis.modes = {wanted}, but the basis has {rank} independent functions: there are {count} modes; "
                "give the model more states or functions"
            )
        if 0 < trained < count:
            finding.warnings.append(
                f"the functions were trained for {trained} modes, so that those beyond may be too fast; set model.modes"
            )
        exact, rates = _exact(context, count), known_rates(context, count)
        for name, quantity in modes.quantities.items():
            kind, _, number = name.rpartition("_")
            rate = rates[int(number) - 1]
            finding.add(name, quantity, rate if kind == "eigenvalue" else 1.0 / rate)
            if quantity.warning and quantity.warning not in finding.warnings:
                finding.warnings.append(quantity.warning)
        if exact is not None:
            finding.diagnostics["eigenfunction_r2"] = eigenfunction_r2(modes, exact, context.frames)
        self._diagnose(finding, context, modes)
        finding.datasets["slow_modes"] = modes.to_dataset()
        self._draw(finding, context, modes, rates)
        return finding

    def _diagnose(self, finding: Finding, context: Context, modes: SlowModes) -> None:
        finding.diagnostics |= {
            "basis_rank": modes.rank, "blocks": modes.blocks, "inefficiency": modes.inefficiency,
            "relative_bias_removed": modes.bias.tolist(),
            "held_out_eigenvalues": modes.held_out.mean("fold").values.tolist(),
        }  # fmt: skip
        if modes.lag is not None and context.test is not None:
            count = modes.eigenvalues.sizes["mode"]
            scores = bcg.analysis.compare({"fit": context.fit}, context.test, "vamp2", lag=modes.lag, modes=count)
            finding.diagnostics |= {"held_out_vamp2": scores["fit"].score, "held_out_vamp2_se": scores["fit"].se}
        sd = modes.sd_by_source
        if (refits := sd.get("parameter")) is not None and (refits > sd["sampling"]).any():
            finding.warnings.append(
                "the refits differ by more than sampling would: some found poorer functions, which makes timescales "
                "too short and intervals wide; give the model more states or functions, or more steps"
            )
        if modes.blocks < _FEWEST_BLOCKS:
            finding.warnings.append(
                f"only {modes.blocks} blocks are nearly independent: the intervals are rough, simulate longer"
            )

    def _draw(self, finding: Finding, context: Context, modes: SlowModes, rates: np.ndarray) -> None:
        finding.figures["spectrum"] = Drawing(
            lambda: bcg.plot.spectrum(modes, None if np.isnan(rates).all() else rates.tolist()),
            "The slowest eigenvalues, with 90 % intervals from blocks of frames.",
        )
        if torsions := context.torsions:
            from bayescg.data import evenly

            few = context.frames.subset(evenly(context.frames, _SHOWN))
            for of, names in (context.planes or {"": torsions[:2]}).items():
                angles = context.functions(names)
                units = [angle.unit for angle in angles]
                finding.figures[f"eigenfunctions{of}"] = Drawing(
                    lambda a=angles, n=names, u=units: bcg.plot.eigenfunctions(modes, few, _values(a, few), n, u),
                    f"The eigenfunctions over {' and '.join(names)}, slowest first: mean and standard deviation. A "
                    "mode is the exchange between regions of different sign.",
                )
        elif context.frames.positions.ndim == 2:
            finding.figures["eigenfunctions"] = Drawing(
                lambda: bcg.plot.eigenfunctions(modes, context.frames, np.asarray(context.frames.positions[:, :2])),
                "The eigenfunctions over the first coordinates of the frames: mean and uncertainty.",
            )


def modes_of(context: Context, lag: float | None = None) -> SlowModes:
    """The spectrum that a run is about, at the fit's own lag or another; as many modes as its settings ask for."""
    trained = int(getattr(context.fit.model, "modes", 0))
    count = min(context.settings.modes or trained or _USUAL, _functions(context))
    settings: dict[str, Any] = {"modes": count, "draws": context.settings.draws, "seed": context.seed}
    make = lambda: bcg.analysis.spectrum(context.fit, context.frames, lag, **settings)  # noqa: E731
    return context.once(("spectrum", lag), make)


def known_rates(context: Context, count: int) -> np.ndarray:
    """Eigenvalues, the slowest first: the exact ones, else those that the settings give, NaN where they do not."""
    exact = _exact(context, count)
    if exact is not None:
        return np.asarray(exact.eigenvalues, np.float64)
    stated = context.settings.truth
    return np.array(
        [stated.get(f"eigenvalue_{k}", 1.0 / stated.get(f"timescale_{k}", np.nan)) for k in range(1, count + 1)]
    )


def eigenfunction_r2(modes: SlowModes, exact: Spectrum, frames: Any, most: int = _SHOWN) -> list[float]:
    """Squared correlation over frames of each eigenfunction's posterior mean with the exact one.

    Parameters
    ----------
    modes : SlowModes
    exact : Spectrum
        Of :func:`bayescg.truth.spectrum`.
    frames : Frames
    most : int
        At most so many of them, evenly spaced.
    """
    import torch

    from bayescg.data import evenly

    index = evenly(frames, most)
    weight = None if frames.weights is None else np.asarray(frames.weights)[index]
    mean = modes.eigenfunction_moments(frames.subset(index))[0]
    phi = exact.eigenfunctions(torch.as_tensor(frames.gather(index), dtype=torch.float64)).numpy()
    k = mean.shape[1]
    c = np.cov(mean.T, phi.T, aweights=weight)
    return (np.diag(c[:k, k:]) ** 2 / np.diag(c[:k, :k]) / np.diag(c[k:, k:])).tolist()


def _functions(context: Context) -> int:
    """How many functions the basis has, without those that depend linearly on others or are constant."""
    import torch

    from bayescg.data import evenly

    frames, model = context.frames, context.fit.model
    with torch.no_grad():
        values = model.basis(torch.as_tensor(frames.gather(evenly(frames, 2000))).to(next(model.parameters())))
    return max(1, int(torch.linalg.matrix_rank((values - values.mean(0)).double(), rtol=1e-4)))


def _exact(context: Context, count: int) -> Spectrum | None:
    """By finite volumes, where the system is one of few dimensions, or separates into such."""
    diffusion = getattr(context.fit.model, "diffusion", getattr(context.system, "kT", None))  # that of the simulation
    return _by_finite_volumes(context.system, count, diffusion) if isinstance(diffusion, float) else None


@lru_cache(maxsize=16)
def _by_finite_volumes(system: Any, count: int, diffusion: float) -> Spectrum | None:
    return by_quadrature(system, lambda s: bcg.truth.spectrum(s, modes=count, diffusion=diffusion, cells=10_000))


def _values(angles: list[Any], frames: Any) -> np.ndarray:
    import torch

    x = torch.as_tensor(frames.gather(slice(None)))
    return np.stack([angle(x).numpy() for angle in angles], 1)
