"""What training a model, and writing it to a file, must keep."""

from __future__ import annotations

import json
import tempfile

import pyro
import torch

from bayescg.contract.case import Case
from bayescg.contract.outcomes import NO_FRAMES, Fault
from bayescg.errors import DataError
from bayescg.inference.fitted import Fit
from bayescg.modelling.model import HasCV
from bayescg.recording.functional import state_of

__all__ = ["config", "few_frames", "isolation", "save_and_load", "training"]


def few_frames(case: Case) -> str:
    """The smallest batch that the model says it needs is enough, and a smaller one is refused."""
    least = case.model.minimum_batch
    if case.frames is None:
        return NO_FRAMES
    few = case.fit(case.frames.subset(slice(0, least)), steps=2)
    bad = [k for k, v in few.weights.point.items() if not torch.isfinite(v).all()]
    if bad:
        raise Fault(f"a fit of {least} frames gives a {bad[0]} that is not finite")
    try:
        case.fit(case.frames.subset(slice(0, least - 1)), steps=2)
    except DataError:
        return f"{least} works, {least - 1} is refused"
    raise Fault(f"a fit of {least - 1} frames is not refused with a DataError")


def config(case: Case) -> str:
    """The configuration is JSON, and makes the model anew."""
    config = case.model.config()
    text = json.dumps(config)
    again = type(case.model).from_config(json.loads(text))
    if json.dumps(again.config()) != text:
        raise Fault(f"config() changes when the model is rebuilt from it: {text} became {json.dumps(again.config())}")
    shapes = [{k: v.shape for k, v in state_of(m).items()} for m in (case.model, again)]
    if shapes[0] != shapes[1]:
        raise Fault("a model rebuilt from config() has other parameters")
    return "rebuilds the model from JSON"


def save_and_load(case: Case) -> str:
    """A fit comes back from its files bit for bit."""
    first = case.fit(steps=3)
    with tempfile.TemporaryDirectory() as directory:
        first.save(directory)
        config = json.loads(json.dumps(first.model.config()))
        again = Fit.load(directory, model=type(first.model).from_config(config))
    for name, value in state_of(first.model).items():
        if not torch.equal(state_of(again.model)[name], value):
            raise Fault(f"{name} is not the same after saving and loading")
    x = case.positions(first)
    if isinstance(first.model, HasCV) and not torch.equal(first.cv(x).mean, again.cv(x).mean):
        raise Fault("the CVs are not the same after saving and loading")
    return f"{len(state_of(first.model))} tensors come back bit for bit"


def training(case: Case) -> str:
    """Training lowers the loss."""
    losses = [row["loss"] for row in case.fit().log]
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    if not last < first:
        raise Fault(f"50 steps take the loss from {first:.4g} to {last:.4g} nats per frame")
    return f"50 steps take the loss from {first:.4g} to {last:.4g} nats per frame"


def isolation(case: Case) -> str:
    """Fits in one process do not see each other, and leave the model and all shared state alone."""
    before = {k: v.clone() for k, v in state_of(case.original).items()}
    generator = torch.random.get_rng_state()
    first = state_of(case.fit(steps=5).model)
    case.fit(steps=5, seed=case.seed + 1)
    again = state_of(case.fit(steps=5).model)
    for name, value in first.items():
        if not torch.equal(value, again[name]):
            raise Fault(f"one seed gives two values of {name} when another fit lies between")
    if any(not torch.equal(v, before[k]) for k, v in state_of(case.original).items()):
        raise Fault("fit changed the model that it was given")
    if not torch.equal(generator, torch.random.get_rng_state()):
        raise Fault("a fit moved torch's global random generator")
    if len(pyro.get_param_store()):
        raise Fault(f"Pyro's store, shared by the process, holds {', '.join(pyro.get_param_store().keys())}")
    return "fits in one process do not see each other"
