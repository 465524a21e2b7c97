"""What is asked of a fit, asked of the model's fits: every kind of uncertainty, every answer, every figure."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from bayescg import analysis, plot
from bayescg.contract.case import Case
from bayescg.contract.fresh_process import check_fresh
from bayescg.contract.outcomes import Fault
from bayescg.errors import ModelError
from bayescg.export.fitted_network import agreeing, network_of
from bayescg.inference.fitted import Fit
from bayescg.modelling.model import HasBasis, HasCV, HasNetwork, Model, solves

__all__ = ["answers", "cv"]


def cv(case: Case) -> str:
    """A distribution of the right shape, and finite."""
    if not isinstance(case.model, HasCV):
        return "not asked: the model has no collective variables"
    fit = case.fit(steps=3)
    distribution = fit.cv(case.positions(fit))
    for what, values in (("mean", distribution.mean), ("variance", distribution.variance)):
        if not torch.isfinite(values).all():
            raise Fault(f"the {what} of the CVs is not finite")
    what = f"a {type(distribution).__name__} over {distribution.event_shape[0]} CVs"
    if not isinstance(case.model, HasNetwork):
        return f"{what}; advice: with a method network() they can be exported to OpenMM and PLUMED"
    agreeing(fit, network_of(fit), case.positions(fit))
    return f"{what}, which network() gives, too"


def answers(case: Case) -> str:
    """After three steps with every uncertainty that the model can have: all that a fit is asked, saved and loaded."""
    choices = ["none", "ensemble"] if case.frames is None else ["none", "bootstrap", "ensemble"]
    if case.names:
        informed = type(case.model).information is not Model.information
        choices += [] if solves(case.model) else ["mean-field"]
        choices += ["laplace"] if case.model.kind == "evidence" or informed else []
    fits: dict[str, Fit] = {}
    with tempfile.TemporaryDirectory() as folder:
        for choice in choices:
            try:
                fits[choice] = case.fit(steps=3, uncertainty=choice, members=4)
                _ask(fits[choice], look=choice == "none")
                fits[choice].save(Path(folder) / choice)
            except Exception as error:
                raise Fault(f"uncertainty={choice!r}: {type(error).__name__}: {error}") from error
        loaded = (
            "not loaded by another process" if case.quick else check_fresh(fits, case.positions(fits["none"]), folder)
        )
    return f"with uncertainty {', '.join(choices)}; {loaded}"


def _ask(fit: Fit, look: bool) -> None:
    """Every answer and figure that the model can give; `look`: figures are laid out, which takes longest."""
    failures = [w for w in fit.diagnostics["warnings"] if "could not be computed" in w]
    if failures:
        raise Fault(failures[0])
    fit.posterior(draws=4, subset=8)
    figures = [plot.loss(fit)]
    frames = fit.frames if fit.model.needs_frames else analysis.reweighted(fit, 100 * (1 + (fit.weights.members or 0)))
    assert frames is not None
    if fit.model.kind == "evidence" and fit.model.needs_frames and not fit.model.needs_pairs:
        fit.guide_quality(frames[:8], particles=25)
    if fit.generates and fit.model.needs_frames and _positions(fit) is not None and len(frames) >= 10:
        axes = frames[:1].positions.ndim - 1

        def first(x: Tensor) -> Tensor:
            return x.flatten(-axes)[..., 0]

        check = analysis.predictive_check(fit, frames, [first], bins=5, samples=40, draws=3)
        figures.append(plot.predictive_check(check))
    if isinstance(fit.model, HasCV):
        figures.append(plot.cv(fit, frames))
        several = fit.cv(frames[:1]).event_shape[0] > 1
        along = (lambda x: fit.cv(x).mean[:, 0]) if several else None
        figures.append(plot.free_energy(analysis.free_energy(fit, frames, along, bins=8, draws=10)))
    if isinstance(fit.model, HasBasis):
        figures.append(plot.spectrum(analysis.spectrum(fit, frames, modes=1, draws=20)))
    for figure in figures if look else ():
        figure.draw_without_rendering()


def _positions(fit: Fit) -> Tensor | None:
    """Generated ones; None where the model says that what it generates determines none."""
    try:
        return fit.generate(4, draws=2)
    except ModelError:
        return None
