"""What every model must keep, tried on its own example: what ``bayescg check FILE.py`` runs."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from bayescg.errors import BayescgError, ConfigError, DataError, ModelError
from bayescg.feeding.feed import observed
from bayescg.inference.fitted import Fit
from bayescg.inference.objectives import Program
from bayescg.inference.run import fit
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import KINDS, HasCV, Model, check_programs, fresh_copy
from bayescg.recording.compiled import compile_step
from bayescg.recording.functional import Params, seeded, state_of
from bayescg.recording.lowering import can_compile
from bayescg.recording.recorded import Tensors, gradient_function, loss_function

__all__ = ["Outcome", "check_model", "find_file", "models_in"]


@dataclass(frozen=True)
class Outcome:
    """One thing that was tried: its name, whether the model keeps it, and what was found."""

    name: str
    ok: bool
    detail: str


_DRAWS = 64  # of a model without frames
_NO_FRAMES = "not asked: the model learns from a system, not from frames"
_NOT_ADDITIVE = "not asked: the objective couples the frames of a batch (additive = False)"


class _Fault(Exception):
    """What a check found wrong."""


def check_model(model_class: type[Model], seed: int = 0) -> list[Outcome]:
    """Try a model class on its own `example`, in a few seconds.

    Where the example cannot be made or its two programs do not belong together, that one fault is reported and
    nothing else is run.

    Parameters
    ----------
    model_class : type
        Subclass of `Model`.
    seed : int

    Returns
    -------
    list of Outcome

    Examples
    --------
    >>> from bayescg.models import PredictiveCV
    >>> class Undecided(PredictiveCV):
    ...     kind = "perhaps"
    >>> check_model(Undecided)[0].detail
    "kind is 'perhaps'; it must be one of evidence, generalised, resampled"
    """
    outcomes = [_try("description", _description, model_class)]
    case: list[_Case] = []
    outcomes.append(_try("programs", lambda: _programs(case, model_class, seed)))
    if outcomes[-1].ok:
        outcomes += [_try(name, check, case[0]) for name, check in _CHECKS.items()]
        sound = all(o.ok for o in outcomes)  # the dearest check comes last
        outcomes += [_try("compiling", _compiled if sound else lambda _: "not tried: mend the others first", case[0])]
    return outcomes


def find_file(path: str | Path) -> Path:
    """A Python file that is there.

    Raises
    ------
    ConfigError
        There is none of the name.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        what = "is not a Python file" if path.exists() else "does not exist"
        raise ConfigError(f"{path} {what}; give a Python file that defines a subclass of bayescg.Model")
    return path


def models_in(path: str | Path) -> list[type[Model]]:
    """Model classes that a Python file defines. The file is executed.

    Parameters
    ----------
    path : path

    Raises
    ------
    ConfigError
        There is no such Python file.
    ModelError
        It does not run, or defines no model.
    """
    path = find_file(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # dataclasses and inspect look a class's module up by name
    try:
        spec.loader.exec_module(module)
        found = [c for c in vars(module).values() if _is_model(c) and c.__module__ == path.stem]
    except Exception as error:  # whatever a stranger's file raises
        raise ModelError(f"{path} does not run: {type(error).__name__}: {error}") from error
    finally:
        if before is not None:
            sys.modules[path.stem] = before
        else:
            del sys.modules[path.stem]
    if not found:
        raise ModelError(f"{path} defines no model: a subclass of bayescg.Model with model, guide, config and example")
    return found


def _is_model(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Model) and not inspect.isabstract(thing)


def _try(name: str, check: Callable[..., str], *args: Any) -> Outcome:
    try:
        return Outcome(name, True, check(*args))
    except (_Fault, BayescgError) as fault:
        return Outcome(name, False, str(fault))
    except Exception as error:  # a stranger's programs may raise anything
        return Outcome(name, False, f"{type(error).__name__}: {error}")


class _Case:
    """A model prepared as `fit` prepares it, at parameters moved off any special starting point."""

    def __init__(self, model_class: type[Model], seed: int):
        self.original, self.frames, _ = model_class.example()
        if not isinstance(self.original, model_class):
            raise _Fault(f"example() gives a {type(self.original).__name__} in place of a {model_class.__name__}")
        self.seed, self.total = seed, _DRAWS if self.frames is None else len(self.frames)
        self.model, tensors = self.prepared(torch.float32)
        with seeded(seed):
            self.names = check_programs(self.model, Batch(**tensors, total=self.total))

    def prepared(self, dtype: torch.dtype) -> tuple[Model, Tensors]:
        """Model with fresh, slightly moved weights, and a batch of all frames, or of as many draws."""
        model = fresh_copy(self.original)
        if self.frames is not None:
            model.setup(self.frames)
        with seeded(self.seed), torch.no_grad():
            model.reset()
            for p in model.parameters():
                p.add_(0.05 * torch.randn_like(p))
        model.to(dtype)
        if self.frames is None:
            return model, {"index": torch.arange(self.total)}
        found = observed(model, self.frames, None, torch.device("cpu"))
        return model, {name: values.to(dtype) for name, values in found.items()}

    def program(self, dtype: torch.dtype = torch.float64) -> tuple[Program, Params, Tensors]:
        """Model and guide as one program, its parameters, and a batch of all frames, each of weight one."""
        model, tensors = self.prepared(dtype)
        schedule = model.schedule(100, None, self.frames is not None)
        program = Program(model, self.names, schedule=schedule)
        params = {k: v.detach().clone() for k, v in program.named_parameters()}
        if self.frames is None:
            return program, params, tensors
        return program, params, {**tensors, "weight": torch.ones(self.total, dtype=dtype)}

    def fit(self, frames: Any = None, **settings: Any) -> Fit:
        """Short fit without a held-out part."""
        defaults = {"steps": 50, "validation": 0.0, "uncertainty": "none", "compile": "off", "learning_rate": 1e-2}
        return fit(
            self.original, self.frames if frames is None else frames, **{**defaults, "seed": self.seed, **settings}
        )


def _description(model_class: type[Model]) -> str:
    if model_class.kind not in KINDS:
        raise _Fault(f"kind is {model_class.kind!r}; it must be one of {', '.join(KINDS)}")
    if "References" not in (model_class.__doc__ or ""):
        raise _Fault("the class needs a docstring with a section References: the paper and its equations")
    return f"kind {model_class.kind!r}, documented with a reference"


def _programs(case: list[_Case], model_class: type[Model], seed: int) -> str:
    case.append(_Case(model_class, seed))
    random = case[0].names
    return f"the sites agree; {len(random)} random parameters" + (f": {', '.join(random)}" if random else "")


def _gradients(case: _Case) -> str:
    program, params, tensors = case.program()
    leaves = {k: v.requires_grad_() for k, v in params.items()}
    n = case.total
    with seeded(case.seed):
        loss = _loss(program, n, n)(leaves, tensors)
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for name, g in zip(leaves, found, strict=True):
        name = name.removeprefix("inner.")
        if g is None or not g.any():
            raise _Fault(f"parameter {name!r} does not influence the loss: it is unused, detached or cut off")
        if not torch.isfinite(g).all():
            raise _Fault(f"the gradient of parameter {name!r} is not finite")
    return f"{len(found)} parameters, all with finite gradients"


def _finite_differences(case: _Case) -> str:
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
            raise _Fault(
                f"the gradient of {name.removeprefix('inner.')} along a random direction is "
                f"{float((g * direction).sum()):.6g}, by finite differences {numeric:.6g}; is a value detached or "
                "taken out of torch?"
            )
        worst = max(worst, error / (float(g.norm()) + 1e-30))
    return f"largest difference {worst:.1e} of the gradient's norm"


def _unbiased(case: _Case) -> str:
    if case.frames is None or not case.model.additive:
        return _NOT_ADDITIVE if case.frames is not None else _NO_FRAMES
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
    found = torch.stack(differences)
    error = float(found.std() / len(found) ** 0.5)
    if abs(float(found.mean())) > 5 * error + 1e-9 * abs(float(whole)):
        raise _Fault(
            f"batches of {size} of {n} frames give a loss that is {float(found.mean()):+.4g} off the full one's "
            f"{float(whole):.4g} nats per frame, with a standard error of {error:.2g}: use `with batch.plate(...)`, "
            "never `pyro.plate(..., len(batch))`"
        )
    return f"batches of {size}: {float(found.mean()):+.1e} +- {error:.1e} nats per frame off the full one"


def _weights(case: _Case) -> str:
    if case.frames is None or not case.model.additive:
        return _NOT_ADDITIVE if case.frames is not None else _NO_FRAMES
    program, params, tensors = case.program()
    one = tensors["weight"]
    function = _loss(program, len(one), 1.0)
    half = (torch.arange(len(one)) < len(one) // 2).to(one)

    def at(weight: Tensor) -> float:
        with seeded(case.seed), torch.no_grad():
            return float(function(params, {**tensors, "weight": weight}))

    none, all_, twice = at(0 * one), at(one), at(2 * one)
    tolerance = 1e-9 * (abs(none) + abs(all_) + abs(twice))
    if abs(all_ - none) <= tolerance:
        raise _Fault("the weights of the frames have no effect: sample what is local inside `with batch.plate(...)`")
    if abs(twice - 2 * all_ + none) > tolerance or abs(at(half) + at(one - half) - all_ - none) > tolerance:
        raise _Fault("a frame of weight 2 does not count as two frames")
    return "a frame of weight w counts w times"


def _few_frames(case: _Case) -> str:
    least = case.model.minimum_batch
    if case.frames is None:
        return _NO_FRAMES
    few = case.fit(case.frames.subset(slice(0, least)), steps=2)
    bad = [k for k, v in few.weights.point.items() if not torch.isfinite(v).all()]
    if bad:
        raise _Fault(f"a fit of {least} frames gives a {bad[0]} that is not finite")
    try:
        case.fit(case.frames.subset(slice(0, least - 1)), steps=2)
    except DataError:
        return f"{least} works, {least - 1} is refused"
    raise _Fault(f"a fit of {least - 1} frames is not refused with a DataError")


def _traced(case: _Case) -> str:
    return _same_gradients(case, "trace")


def _compiled(case: _Case) -> str:
    return can_compile(torch.device("cpu")) or _same_gradients(case, "inductor")


def _same_gradients(case: _Case, mode: str) -> str:
    """Gradients in a mode beside the plain ones on the same random numbers."""
    found = []
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        program, params, tensors = case.program(dtype)
        n, buffers = case.total, dict(program.named_buffers())
        plain, _ = gradient_function(program, n, n, False, params, buffers, tensors)
        grads = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they would say is the outcome
            for asked in ("off", mode):
                step = compile_step(
                    plain, params, buffers, tensors, members=False, clip=float("inf"), mode=asked, steps=1
                )
                if step.mode != asked:
                    return f"runs in mode {step.mode!r}: {step.why}"
                gradients, *_ = step.run(params, buffers, tensors, case.seed + 7)
                grads.append(torch.cat([g.flatten() for g in gradients.values()]))
        error = float((grads[0] - grads[1]).norm() / grads[0].norm())
        if not error <= tolerance:
            raise _Fault(
                f"gradients in mode {mode!r} differ from the plain ones by {error:.1e} of their norm in {dtype}"
            )
        found.append(f"{error:.1e} in {str(dtype).removeprefix('torch.')}")
    return f"gradients in mode {mode!r} differ from the plain ones by " + ", ".join(found)


def _loss(program: Program, total: int, total_weight: float) -> Callable[[Params, Tensors], Tensor]:
    function, buffers = loss_function(program, total, total_weight, False), dict(program.named_buffers())
    return lambda params, tensors: function(params, buffers, tensors)


def _config(case: _Case) -> str:
    config = case.model.config()
    text = json.dumps(config)
    again = type(case.model).from_config(json.loads(text))
    if json.dumps(again.config()) != text:
        raise _Fault(f"config() changes when the model is rebuilt from it: {text} became {json.dumps(again.config())}")
    shapes = [{k: v.shape for k, v in state_of(m).items()} for m in (case.model, again)]
    if shapes[0] != shapes[1]:
        raise _Fault("a model rebuilt from config() has other parameters")
    return "rebuilds the model from JSON"


def _save_and_load(case: _Case) -> str:
    first = case.fit(steps=3)
    with tempfile.TemporaryDirectory() as directory:
        first.save(directory)
        config = json.loads(json.dumps(first.model.config()))
        again = Fit.load(directory, model=type(first.model).from_config(config))
    for name, value in state_of(first.model).items():
        if not torch.equal(state_of(again.model)[name], value):
            raise _Fault(f"{name} is not the same after saving and loading")
    if case.frames is None:
        x = first.generate(8)[0]
    else:
        frames = getattr(case.frames, "frames", case.frames)  # of pairs
        x = torch.as_tensor(frames.gather(list(range(min(8, len(frames))))))
    if isinstance(first.model, HasCV) and not torch.equal(first.cv(x).mean, again.cv(x).mean):
        raise _Fault("the CVs are not the same after saving and loading")
    return f"{len(state_of(first.model))} tensors come back bit for bit"


def _prior_predictive(case: _Case) -> str:
    if case.model.kind != "evidence":
        return f"not asked: a model of kind {case.model.kind!r} generates nothing"
    n, (_, tensors) = case.total, case.prepared(torch.float32)
    program = case.model.guide if case.frames is None else case.model.model
    with seeded(case.seed), torch.no_grad():
        sites: dict[str, Any] = dict(poutine.trace(program).get_trace(Batch(total=n)).nodes)
    for name, site in sites.items():
        if site["type"] == "sample" and torch.is_tensor(site["value"]) and not torch.isfinite(site["value"]).all():
            raise _Fault(f"a draw of site {name!r} from the prior is not finite")
    if "x" not in sites:
        raise _Fault('without observations the site "x" must be drawn')
    shape = (n, *(tensors["x"] if case.frames is not None else sites["x"]["value"]).shape[1:])
    if sites["x"]["value"].shape != shape:
        raise _Fault(f'without observations the site "x" must be drawn, in the shape {shape} of the inputs')
    return f"draws of {n} frames are finite"


def _training(case: _Case) -> str:
    losses = [row["loss"] for row in case.fit().log]
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    if not last < first:
        raise _Fault(f"50 steps take the loss from {first:.4g} to {last:.4g} nats per frame")
    return f"50 steps take the loss from {first:.4g} to {last:.4g} nats per frame"


def _isolation(case: _Case) -> str:
    before = {k: v.clone() for k, v in state_of(case.original).items()}
    generator = torch.random.get_rng_state()
    first = state_of(case.fit(steps=5).model)
    case.fit(steps=5, seed=case.seed + 1)
    again = state_of(case.fit(steps=5).model)
    for name, value in first.items():
        if not torch.equal(value, again[name]):
            raise _Fault(f"one seed gives two values of {name} when another fit lies between")
    if any(not torch.equal(v, before[k]) for k, v in state_of(case.original).items()):
        raise _Fault("fit changed the model that it was given")
    if not torch.equal(generator, torch.random.get_rng_state()):
        raise _Fault("a fit moved torch's global random generator")
    if len(pyro.get_param_store()):
        raise _Fault(f"Pyro's store, shared by the process, holds {', '.join(pyro.get_param_store().keys())}")
    return "fits in one process do not see each other"


_CHECKS: dict[str, Callable[[_Case], str]] = {
    "gradients": _gradients,
    "finite differences": _finite_differences,
    "minibatches": _unbiased,
    "weights": _weights,
    "few frames": _few_frames,
    "tracing": _traced,
    "config": _config,
    "save and load": _save_and_load,
    "prior predictive": _prior_predictive,
    "training": _training,
    "isolation": _isolation,
}
