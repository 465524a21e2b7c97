"""What the two programs of a model must keep: gradients, minibatches, weights, and draws where nothing is observed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from bayescg.contract.case import Case
from bayescg.contract.outcomes import NO_FRAMES, NOT_ADDITIVE, Fault
from bayescg.inference.objectives import Program
from bayescg.modelling.batch import Batch
from bayescg.recording.compiled import compile_step
from bayescg.recording.functional import Params, seeded
from bayescg.recording.lowering import can_compile
from bayescg.recording.recorded import Tensors, gradient_function, loss_function

__all__ = ["compiled", "finite_differences", "gradients", "prior_predictive", "traced", "unbiased", "weights"]

_ROUNDING = 1e-9
_ROUNDINGS = 8
"""As many roundings a compiled gradient may be off: operations are fused, and their order is another one."""
_ALIKE = 8
"""Divisions into batches that are enough where all give the loss of all frames to rounding."""


def gradients(case: Case) -> str:
    """Every parameter has a finite gradient."""
    program, params, tensors = case.program()
    leaves = {k: v.requires_grad_() for k, v in params.items()}
    n = case.total
    with seeded(case.seed):
        loss = _loss(program, n, n)(leaves, tensors)
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for name, g in zip(leaves, grads, strict=True):
        name = name.removeprefix("inner.")
        if g is None or not g.any():
            raise Fault(f"parameter {name!r} does not influence the loss: it is unused, detached or cut off")
        if not torch.isfinite(g).all():
            raise Fault(f"the gradient of parameter {name!r} is not finite")
    return f"{len(grads)} parameters, all with finite gradients"


def finite_differences(case: Case) -> str:
    """The gradients are those of the loss."""
    program, params, tensors = case.program()
    n = case.total
    function, buffers = _loss(program, n, n), dict(program.named_buffers())
    gradients, _ = gradient_function(program, n, n, False, params, buffers, tensors)

    def at(name: str, shift: Tensor) -> float:
        with seeded(case.seed), torch.no_grad():
            return float(function({**params, name: params[name] + shift}, tensors))

    with seeded(case.seed):
        exact, loss, _ = gradients(params, buffers, tensors)
    worst, step = 0.0, 1e-5
    generator = torch.Generator().manual_seed(case.seed)
    for name, g in exact.items():
        direction = torch.randn(g.shape, generator=generator, dtype=g.dtype)
        direction /= direction.norm()
        numeric = (at(name, step * direction) - at(name, -step * direction)) / (2 * step)
        error = abs(numeric - float((g * direction).sum()))
        if error > 1e-5 * float(g.norm()) + 1e-8 * (1 + abs(float(loss))):
            raise Fault(
                f"the gradient of {name.removeprefix('inner.')} along a random direction is "
                f"{float((g * direction).sum()):.6g}, by finite differences {numeric:.6g}; is a value detached or "
                "taken out of torch?"
            )
        worst = max(worst, error / (float(g.norm()) + 1e-30))
    return f"largest difference {worst:.1e} of the gradient's norm"


def unbiased(case: Case) -> str:
    """A minibatch's loss is on average that of all frames."""
    if case.frames is None or not case.model.additive:
        return NOT_ADDITIVE if case.frames is not None else NO_FRAMES
    program, params, tensors = case.program()
    n = case.total
    size = max(1, n // 4)
    function = _loss(program, n, n)
    generator = torch.Generator().manual_seed(case.seed)
    differences = []
    with seeded(case.seed), torch.no_grad():
        for _ in range(50):
            order = torch.randperm(n, generator=generator)
            whole = function(params, tensors)
            parts = [i for i in order.split(size) if len(i) == size]
            mean = torch.stack([function(params, {k: v[i] for k, v in tensors.items()}) for i in parts]).mean()
            differences.append(mean - whole)
            if len(differences) == _ALIKE and float(torch.stack(differences).abs().max()) <= _ROUNDING * abs(
                float(whole)
            ):
                break  # nothing is drawn, and the batches of each division make up all frames: so they always do
    offsets = torch.stack(differences)
    error = float(offsets.std() / len(offsets) ** 0.5)
    if abs(float(offsets.mean())) > 5 * error + _ROUNDING * abs(float(whole)):
        raise Fault(
            f"batches of {size} of {n} frames give a loss that is {float(offsets.mean()):+.4g} off the full one's "
            f"{float(whole):.4g} nats per frame, with a standard error of {error:.2g}: use `with batch.plate(...)`, "
            "never `pyro.plate(..., len(batch))`"
        )
    return f"batches of {size}: {float(offsets.mean()):+.1e} +- {error:.1e} nats per frame off the full one"


def weights(case: Case) -> str:
    """A frame of weight w counts w times."""
    if case.frames is None or not case.model.additive:
        return NOT_ADDITIVE if case.frames is not None else NO_FRAMES
    program, params, tensors = case.program()
    unit = tensors["weight"]
    function = _loss(program, len(unit), 1.0)
    half = (torch.arange(len(unit)) < len(unit) // 2).to(unit)

    def at(weight: Tensor) -> float:
        with seeded(case.seed), torch.no_grad():
            return float(function(params, {**tensors, "weight": weight}))

    none, all_, twice = at(0 * unit), at(unit), at(2 * unit)
    tolerance = 1e-9 * (abs(none) + abs(all_) + abs(twice))
    if abs(all_ - none) <= tolerance:
        raise Fault("the weights of the frames have no effect: sample what is local inside `with batch.plate(...)`")
    if abs(twice - 2 * all_ + none) > tolerance or abs(at(half) + at(unit - half) - all_ - none) > tolerance:
        raise Fault("a frame of weight 2 does not count as two frames")
    return "a frame of weight w counts w times"


def traced(case: Case) -> str:
    """A recorded step gives the gradients of a plain one."""
    return _same_gradients(case, "trace")


def compiled(case: Case) -> str:
    """So does a compiled one, up to rounding."""
    if case.quick:
        return "not asked: it takes long"
    return can_compile(torch.device("cpu")) or _same_gradients(case, "inductor")


def _same_gradients(case: Case, mode: str) -> str:
    """Gradients in a mode beside the plain ones on the same random numbers.

    Compiled ones may differ as rounding does: by a few times as much as one of each parameter moves the plain ones.
    """
    differences = []
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        program, params, tensors = case.program(dtype)
        n, buffers = case.total, dict(program.named_buffers())
        plain, _ = gradient_function(program, n, n, False, params, buffers, tensors)
        generator, grads = torch.Generator().manual_seed(case.seed), []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they would say is the outcome
            roundings = [("off", _rounded(params, generator)) for _ in range(4 * (mode == "inductor"))]
            for wanted, at in (("off", params), (mode, params), *roundings):
                step = compile_step(plain, at, buffers, tensors, members=False, clip=float("inf"), mode=wanted, steps=1)
                if step.mode != wanted:
                    return f"runs in mode {step.mode!r}: {step.why}"
                gradients, *_ = step.run(at, buffers, tensors, case.seed + 7)
                grads.append(torch.cat([g.flatten() for g in gradients.values()]))
        error, *rounding = (float((other - grads[0]).norm() / grads[0].norm()) for other in grads[1:])
        if not error <= max(tolerance, _ROUNDINGS * max(rounding, default=0.0)):
            raise Fault(
                f"gradients in mode {mode!r} differ from the plain ones by {error:.1e} of their norm in {dtype}"
            )
        differences.append(f"{error:.1e} in {str(dtype).removeprefix('torch.')}")
    return f"gradients in mode {mode!r} differ from the plain ones by " + ", ".join(differences)


def _rounded(params: Params, generator: torch.Generator) -> Params:
    """Each element off by up to one unit in its last place."""
    return {
        name: v * (1 + torch.finfo(v.dtype).eps * (2 * torch.rand(v.shape, generator=generator, dtype=v.dtype) - 1))
        for name, v in params.items()
    }


def _loss(program: Program, total: int, total_weight: float) -> Callable[[Params, Tensors], Tensor]:
    function, buffers = loss_function(program, total, total_weight, False), dict(program.named_buffers())
    return lambda params, tensors: function(params, buffers, tensors)


def prior_predictive(case: Case) -> str:
    """Frames can be drawn where none are observed."""
    if case.model.kind != "evidence":
        return f"not asked: a model of kind {case.model.kind!r} generates nothing"
    if case.model.conditional:
        return "not asked: the model is one of labels given frames"
    n, (_, tensors) = case.total, case.prepared(torch.float32)
    program = case.model.guide if case.frames is None else case.model.model
    with seeded(case.seed), torch.no_grad():
        sites: dict[str, Any] = dict(poutine.trace(program).get_trace(Batch(total=n)).nodes)
    for name, site in sites.items():
        if site["type"] == "sample" and torch.is_tensor(site["value"]) and not torch.isfinite(site["value"]).all():
            raise Fault(f"a draw of site {name!r} from the prior is not finite")
    if "x" not in sites:
        raise Fault('without observations the site "x" must be drawn')
    shape = (n, *(tensors["x"] if case.frames is not None else sites["x"]["value"]).shape[1:])
    if sites["x"]["value"].shape != shape:
        raise Fault(f'without observations the site "x" must be drawn, in the shape {shape} of the inputs')
    return f"draws of {n} frames are finite"
