"""Every model's fits on a device, with each uncertainty and in each mode, beside the plain one of the processor."""

import time
import warnings
from typing import Any

import torch

import bayescg as bcg
from bayescg.errors import BayescgError
from bayescg.modelling import find_model, model_names
from tests.gpu.lines import Line
from tests.gpu.same_draws import same_draws

__all__ = ["MODES", "SECTION", "fits_of", "planned"]

SECTION = "Fits: largest difference of trained parameters and of posterior draws from the processor's, to their size"
UNCERTAINTIES = ("none", "mean-field", "laplace", "ensemble", "bootstrap")
MODES = {"off": "plain", "trace": "recorded", "inductor": "compiled"}
_LIMITS = {torch.float32: 1e-4, torch.float64: 1e-8}
"""Rounding of 6e-8 or 1e-16 in a gradient, times what five steps of Adam, which forgets sizes, may make of it."""
_STEPS = 5


def planned(models: tuple[str, ...], modes: tuple[str, ...]) -> list[Line]:
    """All lines, none of them tried."""
    names = [n for n in model_names() if n in models or not models]
    return [Line(SECTION, f"{n}, {MODES[mode]}", u) for n in names for mode in modes for u in UNCERTAINTIES]


def fits_of(name: str, device: str, modes: tuple[str, ...], until: float) -> list[Line]:
    """The lines of one model, skipped where they are not begun by the time `until`."""
    lines = []
    references = {u: _reference(name, u) for u in UNCERTAINTIES}
    for line, mode in ((line, m) for m in modes for line in planned((name,), (m,))):
        reference, began = references[line.column], time.time()
        if isinstance(reference, BayescgError):
            line.status, line.words = "refused", str(reference)
        elif began > until:
            line.words = "no time was left"
        else:
            _try(line, name, reference, device, mode)
        line.seconds = time.time() - began
        lines.append(line)
    return lines


def _reference(name: str, uncertainty: str) -> dict[str, torch.Tensor] | BayescgError:
    try:
        return _trained(name, uncertainty=uncertainty, device="cpu", compile="off")[0]
    except BayescgError as error:
        return error


def _trained(name: str, **settings: Any) -> tuple[dict[str, torch.Tensor], str, str]:
    """Parameters, buffers and draws; the mode; and where the parameters are."""
    model, frames, _ = find_model(name).example()
    with same_draws(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five steps deserve them
        fit = bcg.fit(model, frames, steps=_STEPS, validation=0.0, members=3, seed=1, progress=False, **settings)
        draws = {f"draws of {k}": v for k, v in fit.weights.draw(8, seed=2).items()}
        tensors = {k: v.cpu() for k, v in {**fit.weights.point, **draws}.items()}
    return tensors, fit.diagnostics["compiled"], fit.device.type


def _try(line: Line, name: str, reference: dict[str, torch.Tensor], device: str, mode: str) -> None:
    try:
        tensors, ran, where = _trained(name, uncertainty=line.column, device=device, compile=mode)
    except Exception as error:  # whatever a card may raise is what the line is there to tell
        line.status, line.words = "failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
        return
    wrong = {} if (ran, where == "cpu") == (mode, device == "cpu") else {"mode": ran, "device": where}
    line.value = max(_difference(reference[k], v) for k, v in tensors.items())
    line.limit = max(_LIMITS[v.dtype] for v in tensors.values() if v.is_floating_point())
    line.status = "passed" if line.value <= line.limit and not wrong else "failed"
    line.words = f"ran otherwise: {wrong}" if wrong else f"{line.value:.1e}, at most {line.limit:.0e}"


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    ours, theirs = ours.double(), theirs.double()
    return float((ours - theirs).norm() / ours.norm().clamp_min(1e-12)) if ours.shape == theirs.shape else float("inf")
