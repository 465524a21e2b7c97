"""`fit`: the one loop that trains every model."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from bayescg import checkpoint
from bayescg.arguments import check_choice, check_counts, check_flags, check_numbers, check_positive
from bayescg.data import Frames, Pairs, Stretches
from bayescg.devices import device_of
from bayescg.errors import ConfigError, DataError, Interrupted, ModelError
from bayescg.inference.distributed import join, launched
from bayescg.inference.fitted import Fit
from bayescg.inference.job import Job
from bayescg.inference.lost_process import watched
from bayescg.inference.not_finite import explained_when_not_finite
from bayescg.inference.objectives import OBJECTIVES
from bayescg.inference.result import result
from bayescg.inference.resuming import restore, save
from bayescg.inference.uncertainty import CHOICES, MEMBERS
from bayescg.modelling.model import Model, check_data
from bayescg.progress import Bar
from bayescg.recording.step_modes import check_mode
from bayescg.stopping import stop_requested, stoppable

__all__ = ["fit"]

TRAINING: dict[str, Any] = {"steps": 20_000, "batch_size": 1024, "validation": 0.1, "learning_rate": 2e-3}
"""What holds where neither the caller nor the model says otherwise."""


def fit(
    model: Model,
    frames: Frames | Pairs | Stretches | None = None,
    *,
    objective: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    validation: float | None = None,
    uncertainty: str | None = None,
    members: int = 20,
    particles: int = 16,
    learning_rate: float | None = None,
    clip: float = 100.0,
    compile: str = "auto",
    device: str = "auto",
    seed: int = 0,
    run_dir: str | Path | None = None,
    resume: bool = True,
    checkpoint_every: int = 500,
    progress: bool | None = None,
) -> Fit:
    """Train a model on frames by stochastic variational inference.

    The model given is left as it is: a copy takes sizes and scales from the frames, draws fresh weights from `seed`
    and is trained. A held-out block stops the training when it no longer improves, and the best state is kept.
    Frames that are correlated in time count 1/g each, g being their statistical inefficiency; pairs of frames a lag
    time apart count 1/s, s being the frames in a lag time, because they overlap. One seed and one mode of `compile`
    give one result on one machine, also through any number of interruptions.

    Where `steps`, `batch_size`, `validation` or `learning_rate` is None, the model's own default holds
    (`Model.training_defaults`), or else 20 000, 1024, 0.1 and 0.002.

    In a script that torchrun starts, the processes share one fit: each computes its part of every batch, and all
    return the result of one process, up to rounding. Process 0 writes to `run_dir`.

    Parameters
    ----------
    model : Model
    frames : Frames or Pairs, optional
        What the model learns from: frames, or ``frames.lagged(lag)`` for a model of ``needs_pairs = True``. None for a
        model that queries a system instead (``needs_frames = False``); `batch_size` draws a step are made.
    objective : {None, "elbo", "iwae"}
        The evidence lower bound, or its importance-weighted version with `particles` draws of the latent variables
        a frame, which is nearer to the evidence and dearer by as much (Burda et al. 2016). None: the model's own.
    steps : int, optional
        Most optimiser steps.
    batch_size : int, optional
        Frames (or pairs) a step, at most all of them.
    validation : float, optional
        Fraction of the frames held out, as one contiguous stretch of each trajectory's blocks; 0 for none (all steps
        are then run and the last state is kept).
    uncertainty : {None, "none", "mean-field", "laplace", "ensemble", "bootstrap"}
        Parameter uncertainty (:mod:`bayescg.inference.uncertainty`); None: the model's default.
    members : int
        Refits of an ensemble or bootstrap, trained side by side in one batch.
    particles : int
        Draws of the latent variables a frame, for ``objective="iwae"``.
    learning_rate : float, optional
        Peak rate of Adam; it warms up and falls along a cosine.
    clip : float
        Largest norm of the gradient, in nats per frame.
    compile : {"auto", "inductor", "trace", "off"}
        ``"trace"`` records the tensor operations of a step once and replays them without Pyro, bit for bit the same;
        ``"inductor"`` also compiles them (some seconds; needs a C++ compiler), equal up to rounding. ``"auto"``
        measures a step and takes what makes the whole fit shortest; `Fit.diagnostics` says what it was and why. On a
        busy machine it may choose differently another time: name the mode where bits matter.
    device : {"auto", "cpu", "cuda"}
        ``"auto"``: CUDA where there is a device; of several processes, each takes its own.
    seed : int
    run_dir : path, optional
        Where checkpoints and the loss log go. A fit that finds its own checkpoints there goes on from them.
    resume : bool
        False starts anew.
    checkpoint_every : int
        Steps between checkpoints.
    progress : bool, optional
        Show a progress bar; None: in a terminal, and elsewhere a line a minute with the time left.

    Returns
    -------
    Fit

    Raises
    ------
    ConfigError
        An argument is unknown or out of range.
    DataError
        There are too few frames, or they are not what the model learns from: frames or pairs, weighted or not.
    DeviceError
        A device was asked for and is not there.
    ModelError
        The two programs disagree, or the model cannot have this uncertainty.
    CheckpointError
        The checkpoints found belong to another model, data set or setting, or are all damaged.
    FitError
        The loss is no longer finite; says at which site, step and frames. The last good state is kept. Or another
        process was lost, in a fit on several: the state is saved, to be gone on from with any number of them.
    Interrupted
        SIGINT or SIGTERM; the state was saved and the same call goes on from it.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> fit = bcg.fit(model, frames, steps=20, uncertainty="none", seed=1)
    >>> fit.cv(torch.as_tensor(frames.positions)).mean.shape
    torch.Size([64, 1])
    """
    defaults: dict[str, Any] = {**TRAINING, **model.training_defaults} if isinstance(model, Model) else TRAINING
    steps = cast("int", defaults["steps"] if steps is None else steps)
    batch_size = cast("int", defaults["batch_size"] if batch_size is None else batch_size)
    validation = cast("float", defaults["validation"] if validation is None else validation)
    learning_rate = cast("float", defaults["learning_rate"] if learning_rate is None else learning_rate)
    counts = {"steps": steps, "batch_size": batch_size, "checkpoint_every": checkpoint_every, "particles": particles}
    check_positive(learning_rate=learning_rate)
    check_numbers(clip=(clip, "(0, inf]"), validation=(validation, "[0, 1)"))
    check_mode(compile)
    check_flags(resume=resume, **({} if progress is None else {"progress": progress}))
    frames = _rows(model, frames, validation)
    objective = model.objective if objective is None else objective
    choice = model.uncertainty if uncertainty is None else uncertainty
    check_choice(objective=(objective, OBJECTIVES), uncertainty=(choice, CHOICES))
    check_counts(**{name: (count, 1) for name, count in counts.items()}, members=(members, 2), seed=(seed, 0))
    if frames is None and (choice == "bootstrap" or objective == "iwae"):
        raise ConfigError(
            f"{type(model).__name__} has no frames to weigh: use uncertainty='none' or 'ensemble', objective='elbo'"
        )
    settings = {
        "steps": steps, "batch_size": batch_size, "validation": validation, "uncertainty": choice,
        "members": members if choice in MEMBERS else None, "learning_rate": learning_rate, "clip": clip, "seed": seed,
        "objective": objective, "particles": particles,
    }  # fmt: skip
    started, where = time.perf_counter(), device_of(device)
    processes = join(model, device) if launched() else None
    if processes is not None:
        where, run_dir = processes.device, processes.shared(None if run_dir is None else str(run_dir))
    directory, saved = Path(run_dir) if run_dir is not None else None, None
    if directory is not None and (processes is None or processes.rank == 0):
        if resume:
            saved = checkpoint.latest(directory / "checkpoint")
        else:  # those of a longer fit would be taken for newer than this one's
            checkpoint.clear(directory / "checkpoint")
    if processes is not None:
        saved = processes.shared_checkpoint(saved)
    done, mode = 0, compile
    if saved is not None:  # a choice once made is kept, so that an interruption does not show in the result
        done, mode = saved[1]["step"], saved[1]["mode"] if compile == "auto" else compile
    first = "Nothing was trained yet: to start, run again" if saved is None else f"To go on from {directory}, run again"
    with stoppable(lambda: first):  # compiling may take a minute
        job = Job(model, frames, settings, mode, where, done, processes)
        if saved is not None and directory is not None:
            restore(job, saved, directory / "checkpoint")
    log_every = max(1, steps // 200)
    with (
        # the thread of the feed would wait for as long as an error that is kept keeps the job
        nullcontext() if job.data is None else closing(job.data.feed),
        Bar("fit", steps, job.step, progress if job.writes else False) as bar,
        stop_requested() as stop,
        explained_when_not_finite(job, directory),
        nullcontext() if processes is None else watched(job, directory),
    ):
        if processes is not None:
            stop = processes.agree_on(stop)
        while not job.finished:
            job.advance()
            if job.step % log_every == 0 or job.finished:
                values = [f"{k} {v:.3f}" for k, v in (job.log[-1] if job.log else {}).items() if k != "step"]
                bar.update(job.step, "  ".join([f"{job.step:,} of {steps:,} steps", *values]))
            due = job.step % checkpoint_every == 0 or job.finished
            if directory is not None and (due or stop.signal):
                save(job, directory / "checkpoint")
            if stop.signal and (directory is not None or not job.finished):
                if processes is not None:
                    processes.shared(None)  # torchrun ends all when the first ends: not before one has saved
                whereabouts = f"; the state is in {directory}, run again to go on"
                if directory is None:
                    whereabouts = " (no run_dir: nothing was saved)"
                message = f"stopped by {stop.signal} at step {job.step} of {steps}{whereabouts}"
                raise Interrupted(message, stop.number)
        if settings["uncertainty"] == "laplace":
            bar.then(f"posterior of {sum(job.params[f'inner.{n}'].numel() for n in job.names):,} parameters")
    last = (
        "no run_dir: nothing was saved" if directory is None else f"their state is in {directory}, run again to go on"
    )
    with stoppable(lambda: f"All steps were done; {last}"):
        return result(job, time.perf_counter() - started, directory)


def _rows(model: Model, frames: Any, validation: float) -> Any:
    """What the model learns from of the data given, checked."""
    if not isinstance(model, Model):
        raise ModelError(f"bcg.fit needs a model, an instance such as PredictiveCV(features); not {model!r}")
    if not model.needs_frames and (frames is None or not model.optional_frames):
        if frames is not None:
            raise DataError(f"{type(model).__name__} learns from a system, not from frames; call bcg.fit(model)")
        return frames
    if isinstance(frames, np.ndarray | torch.Tensor):
        raise DataError(
            f"frames is a {type(frames).__name__}; say what its numbers are: "
            'bcg.data.Frames.from_numpy(x, unit="nm", dt=..., temperature=...)'
        )
    if frames is None or len(frames) < 1:
        raise DataError("there are no frames to fit; give bcg.fit(model, frames) a Frames with at least one")
    frames = model.rows(frames)
    check_data(model, frames)
    if (
        isinstance(frames, Pairs | Stretches)
        and frames.frames.weights is not None
        and np.ptp(frames.frames.weights) > 0
        and not (model.undoes_bias and frames.frames.bias is not None)
    ):
        raise DataError(
            "the frames have importance weights, which say how often each is to count, not how often one follows the "
            "other: pairs of a biased simulation would need weights of whole paths. Use unbiased trajectories, or a "
            "model of single frames (GeneratorEigenfunctions has no lag); for umbrella sampling there is "
            "EffectiveDynamics along the biased variable"
        )
    if validation and len(frames) < 2:
        raise DataError("one frame is too few to hold some out; fit it with validation=0")
    return frames
