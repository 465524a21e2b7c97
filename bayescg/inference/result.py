"""What a fit returns when its training is over: the trained model, its posterior, diagnostics and cost."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from bayescg import checkpoint
from bayescg.data import Pairs, Stretches, evenly
from bayescg.feeding.feed import inputs_of
from bayescg.inference.convergence import distance_from_optimum, distance_warnings, slope_warnings, still_fell
from bayescg.inference.fitted import Fit, warned_if_failing
from bayescg.inference.job import Job
from bayescg.inference.laplace import conditioning, laplace
from bayescg.inference.trained import TrainedModel
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.model import HasCV, cv_of, finished, solves
from bayescg.recording.functional import mixed_seed

__all__ = ["result"]

_FEWEST = 10
"""Independent frames below which anything may be chance."""


def result(job: Job, wall: float, directory: Path | None) -> Fit:
    """The trained model with its posterior; its loss log is written to a directory.

    Parameters
    ----------
    job : Job
    wall : float
        Seconds that the whole call of `bayescg.fit` has taken.
    directory : Path, optional
    """
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        posterior = _posterior(job)
    for doubt in doubts:
        warnings.warn(doubt.message, stacklevel=3)
        if job.data is not None and issubclass(doubt.category, UserWarning):
            job.data.doubts.append(str(doubt.message))
    train = None if job.data is None else job.data.train
    frames = train.frames if isinstance(train, Pairs | Stretches) else train
    fit = Fit(job.model, posterior, job.settings, _diagnostics(job, posterior), _cost(job, wall), job.log, frames)
    if directory is not None and job.writes:
        checkpoint.write_file(directory / "loss.csv", fit.log_csv())
    return fit


def _posterior(job: Job) -> Posterior:
    """Distribution over the parameters at the best state, to which the model's own values are set."""
    final = job.best.state or job.state
    choice, names = job.settings["uncertainty"], tuple(job.names)
    inner = {k.removeprefix("inner."): v.detach() for k, v in final.items() if k.startswith("inner.")}
    buffers = {k: v.detach() for k, v in job.model.named_buffers()}
    with torch.no_grad():
        point = {**buffers, **({k: v[0].clone() for k, v in inner.items()} if job.members else inner)}
        for name, value in (*job.model.named_parameters(), *job.model.named_buffers()):
            value.copy_(point[name])
        train, weight = (None, None) if job.data is None else (job.data.train, job.data.weight)
        point, inner = finished(job.model, train, weight, point, inner, job.members)
    if choice == "laplace":
        data = None if job.data is None else (len(job.data.train), job.data.rows)
        return laplace(job.model, job.names, point, job.total_weight, mixed_seed(job.settings["seed"], 3), data=data)
    if choice == "mean-field":
        return Posterior(choice, point, {n: final[f"log_sd.{i}"] for i, n in enumerate(job.names)}, names)
    if job.members:
        return Posterior(choice, point, {k: v[1:].clone() for k, v in inner.items()}, names)
    return Posterior("none", point, {}, names)


def _diagnostics(job: Job, posterior: Posterior) -> dict[str, Any]:
    """What was seen of the training, and what a careful reader should know of it."""
    held_out = None if job.data is None else job.data.held_out
    doubts, response, failures, blurred, distance = [], None, [], [], None
    if held_out is not None:
        with warned_if_failing("what held-out frames tell against the model", failures):
            doubts += job.model.doubts(held_out[0]["x"], held_out[1])
    with warned_if_failing("the response of the refits to their weights", failures):
        response = _response(job, posterior)
    with warned_if_failing("the distance of the trained values from their optimum", failures):
        distance = None if solves(job.model) else distance_from_optimum(job, posterior)
    with warned_if_failing("how much the CVs tell of a frame", failures):
        blurred = _cv_warnings(job, posterior)
    convergence = [*slope_warnings(job), *distance_warnings(distance), *_response_warnings(response)]
    warned = [*doubts, *_data_warnings(job), *convergence, *blurred, *failures]
    diagnostics = {
        "refit_response": response, "distance_from_optimum": distance,
        "statistical_inefficiency": job.data.inefficiency if job.data else 1.0,
        "effective_frames": job.total_weight,
        "best_step": int(job.best.step[0]) if job.best.state else job.step, "last_step": job.step,
        "validation": float(job.best.loss[0]) if job.best.state else None, "compiled": job.mode,
        "compiled_why": job.gradients.why, "warnings": warned,
        "doubts": doubts, "convergence": convergence, "still_fell": still_fell(job)[0],
    }  # fmt: skip
    diagnostics |= job.schedule.diagnostics()
    if posterior.kind == "laplace":
        diagnostics["hessian"] = conditioning(posterior)
    warned += job.schedule.warnings()
    if job.guard is not None:
        diagnostics["guarded"] = job.guard.diagnostics()
        warned += job.guard.warnings()
    return diagnostics


def _data_warnings(job: Job) -> list[str]:
    warned = []
    if job.data is not None:
        warned += job.data.doubts
        worth, size = job.total_weight, job.data.feed.inputs(torch.zeros(1, dtype=torch.int64))[0].numel()
        if isinstance(job.data.train, Stretches):
            size //= job.data.train.length
        if worth < max(_FEWEST, size):
            what = {Pairs: "pairs", Stretches: "stretches"}.get(type(job.data.train), "frames")
            reads, fewer = (f", and the model reads {size} numbers of each", ", or use fewer features")
            warned.append(
                f"{len(job.data.train):,} {what} are worth {worth:.2g} independent ones{reads * (size > 1)}: what it "
                f"has learned may be their chance; take more of them{fewer * (size > 1)}"
            )
    source: Any = job.source  # shots are independent by how they are made
    if source is not None and source.order is None and getattr(source, "commitments", None) is None:
        warned.append("the frames have no time axis: they were taken as independent draws")
    if job.members and job.data is not None and job.data.blocks < 20 < len(job.data.train):
        warned.append(
            f"only {job.data.blocks} nearly independent blocks of frames: parameter uncertainty is rough, run longer"
        )
    return warned


def _response(job: Job, posterior: Posterior) -> float | None:
    """Spread of the refits' predicted means over that of the weighted means they were trained on, the median."""
    if (
        (posterior.members or 0) < 2
        or job.model.kind != "evidence"
        or job.model.conditional
        or job.data is None
        or isinstance(job.data.train, Pairs | Stretches)
        or len(job.data.train) > 200_000
    ):
        return None
    with torch.no_grad():
        y = inputs_of(job.model, job.data.train, None, job.device)
    weight = job.data.weight[1:].to(y.dtype)
    trained_on = (weight @ y / weight.sum(1, keepdim=True)).std(0)
    predicted = TrainedModel(job.model, posterior).generated_inputs(2000).mean(1).std(0)
    return float((predicted / trained_on.clamp_min(1e-12)).median())


def _response_warnings(response: float | None) -> list[str]:
    if response is None or response >= 0.7:
        return []
    return [
        f"the refits' predictions differ by only {response:.0%} of what their weights of the frames ask for: "
        "training has not converged and intervals are too narrow; use more steps or a larger learning_rate"
    ]


def _cv_warnings(job: Job, posterior: Posterior) -> list[str]:
    """The CVs whose distribution in one frame is wider than they spread over the frames."""
    model = job.model.eval()
    if not isinstance(model, HasCV):
        return []
    if job.data is None:
        x = model.positions(TrainedModel(model, posterior).generated_inputs(2000, draws=1)[0])
    else:
        frames = job.data.train.frames if isinstance(job.data.train, Pairs | Stretches) else job.data.train
        x = torch.as_tensor(frames.gather(evenly(frames, 2000)))
    with torch.no_grad():
        cv = cv_of(model, x.to(next(model.parameters())))
        if isinstance(cv, torch.distributions.OneHotCategorical):  # states, some of which may be empty
            return []
        spread, width = cv.mean.std(0, correction=0), cv.variance.mean(0).sqrt()
        if job.data is None:  # a state of rare draws, which hardly spread, may be all that there is to tell
            spread = 0.5 * (cv.mean.amax(0) - cv.mean.amin(0))
    return [
        f"CV {number} tells frames hardly apart: its means spread by {s:.2g} over the frames, and in one frame it is "
        f"uncertain by {w:.2g}; it has collapsed, or there is no more to tell (fewer CVs, a shorter lag, more steps?)"
        for number, (s, w) in enumerate(zip(spread.tolist(), width.tolist(), strict=True), 1)
        if s < w and len(x) > 1
    ]


def _cost(job: Job, wall: float) -> dict[str, Any]:
    with_gradients = job.schedule.queried(job.step, job.settings["batch_size"] * (job.members or 1))
    return {
        "steps": job.step,
        "energy_evaluations": with_gradients + job.schedule.drawn,
        "energy_gradients": with_gradients,
        "wall_seconds": wall,
        "fit_seconds": job.seconds,
        "device": str(job.device),
        "processes": job.processes.count if job.processes is not None else 1,
    }
