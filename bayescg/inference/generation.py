"""What a model generates: at given parameters, and for many draws of them."""

import torch
from pyro import poutine
from torch import Tensor
from torch.func import jvp

from bayescg.arguments import check_counts
from bayescg.errors import ModelError
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, point_guide
from bayescg.modelling.traces import is_local, sites
from bayescg.recording.functional import Params, call_with, forward_mode, functional_random, over, seeded

__all__ = ["generate", "generate_draws"]


def generate(model: Model, names: list[str], count: int, repeats: int = 1) -> Tensor:
    """Generated values ``(count * repeats, ...)`` of the site ``"x"`` at the model's present parameters.

    Consecutive `repeats` of them share the values of the latent variables. A model without frames generates by its
    guide.
    """
    if model.conditional:
        raise _generates_nothing(model)
    program = model.model if model.needs_frames else model.guide
    parameters = poutine.trace(lambda: point_guide(model, names)).get_trace()
    try:
        trace = poutine.trace(poutine.replay(program, parameters)).get_trace(Batch(total=count))
    except (AssertionError, AttributeError, TypeError) as error:  # what comes of batch.x = None
        if model.kind == "evidence" and not model.needs_pairs:
            raise
        raise _generates_nothing(model) from error
    if "x" not in trace.nodes:
        raise _generates_nothing(model)
    if repeats > 1:
        local = {
            k: s["value"].repeat_interleave(repeats, 0)
            for k, s in sites(trace).items()
            if k not in (*names, "x") and is_local(s)
        }
        repeated = poutine.condition(poutine.replay(program, parameters), data=local)
        trace = poutine.trace(repeated).get_trace(Batch(total=count * repeats))
    return sites(trace)["x"]["value"]


def _generates_nothing(model: Model) -> ModelError:
    if model.needs_pairs:
        return ModelError(
            f"{type(model).__name__} learns from pairs what follows a frame, and generates none by itself: look at "
            "held-out scores (bcg.analysis.compare) or slow modes (bcg.analysis.spectrum) in place of predictions"
        )
    if model.conditional:
        return ModelError(f"{type(model).__name__} is a model of labels given frames, and generates no frames")
    return ModelError(
        f"{type(model).__name__} does not generate frames: its program draws no site 'x' where batch.x is None, as one "
        f"of kind 'evidence' must (its kind is {model.kind!r})"
    )


def generate_draws(
    model: Model,
    weights: Posterior,
    frames: int,
    draws: int | None = None,
    seed: int = 0,
    repeats: int = 1,
    replicates: bool = False,
) -> Tensor:
    """What `generate` gives for several draws of the parameters, ``(draws, frames * repeats, ...)``.

    With a Laplace posterior, the model linearised at the trained values generates: only there is it Gaussian.

    Parameters
    ----------
    model : Model
    weights : Posterior
    frames : int
    draws : int, optional
        As in `Posterior.draw`; one where no parameter varies.
    seed, repeats : int
    replicates : bool
        Whether each draw has random numbers of its own; otherwise all share theirs and differ by parameters only.
    """
    check_counts(frames=(frames, 1), repeats=(repeats, 1), seed=(seed, 0))
    varying, point, names = weights.draw(draws, seed), weights.point, list(weights.names)

    def at(v: Params) -> Tensor:
        return call_with(model, {**point, **v}, lambda m: generate(m, names, frames, repeats))

    def along(v: Params) -> Tensor:
        trained = {k: point[k] for k in v}
        value, change = jvp(at, (trained,), ({k: v[k] - trained[k] for k in v},))[:2]
        return value + change

    at_draw = along if weights.kind == "laplace" else at
    device = next(iter(point.values())).device
    rows = len(next(iter(varying.values()))) if varying else (draws or 1 if replicates else 1)
    chunk = max(1, 40_000 // (frames * repeats))  # a few megabytes at a time
    values = None  # filled in place: parts joined at the end would leave the heap in pieces
    for start in range(0, rows, chunk):
        shared = seed + 1 + (start if replicates else 0)
        with seeded(shared, device), torch.no_grad(), functional_random(), forward_mode():
            if varying:
                some = {k: v[start : start + chunk] for k, v in varying.items()}
                part = over(at_draw, ({k: 0 for k in some},), same_draws=not replicates)(some)
            else:
                part = torch.stack([at({}) for _ in range(min(chunk, rows - start))])
            values = part.new_empty(rows, *part.shape[1:]) if values is None else values
            values[start : start + chunk] = part
    assert values is not None
    return values
