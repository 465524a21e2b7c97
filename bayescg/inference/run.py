"""`fit`: the one loop that trains every model."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg import checkpoint
from bayescg.errors import CheckpointError, ConfigError, DataError, DeviceError, Interrupted
from bayescg.inference.batch import Batch
from bayescg.inference.compiled import loss_and_gradients
from bayescg.inference.feed import Feed, inputs_of, relaxation
from bayescg.inference.fitted import Fit
from bayescg.inference.functional import Params, seeded
from bayescg.inference.guard import not_finite, stop_requested
from bayescg.inference.model import Model, check_programs, fresh_copy
from bayescg.inference.objectives import OBJECTIVES, Program, held_out_loss
from bayescg.inference.optimiser import Adam, learning_rate
from bayescg.inference.progress import FitProgress
from bayescg.inference.uncertainty import MEMBERS, Posterior, block_weights, check_choice, laplace

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["fit"]

_EVALUATIONS = 50
_PATIENCE = 10


def fit(
    model: Model,
    frames: Frames,
    *,
    objective: str | None = None,
    steps: int = 20_000,
    batch_size: int = 1024,
    validation: float = 0.1,
    uncertainty: str | None = None,
    members: int = 20,
    particles: int = 16,
    learning_rate: float = 2e-3,
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
    Frames that are correlated in time count 1/g each, g being their statistical inefficiency. One seed and one mode of
    `compile` give one result on one machine, also through any number of interruptions.

    Parameters
    ----------
    model : Model
    frames : Frames
    objective : {None, "elbo", "iwae"}
        The evidence lower bound, or its importance-weighted version with `particles` draws of the latent variables
        a frame, which is nearer to the evidence and dearer by as much (Burda et al. 2016). None: the model's own.
    steps : int
        Most optimiser steps.
    batch_size : int
        Frames a step, at most all of them.
    validation : float
        Fraction of the frames held out, as one contiguous stretch of each trajectory's blocks; 0 for none (all steps
        are then run and the last state is kept).
    uncertainty : {None, "none", "mean-field", "laplace", "ensemble", "bootstrap"}
        Parameter uncertainty (:mod:`bayescg.inference.uncertainty`); None: the model's default.
    members : int
        Refits of an ensemble or bootstrap, trained side by side in one batch.
    particles : int
        Draws of the latent variables a frame, for ``objective="iwae"``.
    learning_rate : float
        Peak rate of Adam; it warms up and falls along a cosine.
    clip : float
        Largest norm of the gradient, in nats per frame.
    compile : {"auto", "trace", "off"}
        Whether Pyro is traced away; ``"auto"`` does where the fit is long enough.
    device : {"auto", "cpu", "cuda"}
    seed : int
    run_dir : path, optional
        Where checkpoints and the loss log go. A fit that finds its own checkpoints there goes on from them.
    resume : bool
        False starts anew.
    checkpoint_every : int
        Steps between checkpoints.
    progress : bool, optional
        Show a progress bar; None: in a terminal.

    Returns
    -------
    Fit

    Raises
    ------
    ConfigError
        An argument is unknown or out of range.
    DataError
        There are too few frames.
    DeviceError
        A device was asked for and is not there.
    ModelError
        The two programs disagree, or the model cannot have this uncertainty.
    CheckpointError
        The checkpoints found belong to another model, data set or setting, or are all damaged.
    FitError
        The loss is no longer finite; says at which site, step and frames. The last good state is kept.
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
    counts = {"steps": steps, "batch_size": batch_size, "checkpoint_every": checkpoint_every, "particles": particles}
    positive = {"learning_rate": learning_rate, "clip": clip}
    _check_arguments(objective or model.objective, counts, positive, validation, members, seed, frames)
    choice = uncertainty or model.uncertainty
    settings = {
        "steps": steps, "batch_size": batch_size, "validation": validation, "uncertainty": choice,
        "members": members if choice in MEMBERS else None, "learning_rate": learning_rate, "clip": clip, "seed": seed,
        "objective": objective or model.objective, "particles": particles,
    }  # fmt: skip
    started = time.perf_counter()
    job = _Job(model, frames, settings, compile, _device(device))
    directory = Path(run_dir) if run_dir is not None else None
    if directory is not None and resume:
        job.restore(directory / "checkpoint")
    elif directory is not None:  # those of a longer fit would be taken for newer than this one's
        checkpoint.clear(directory / "checkpoint")
    log_every = max(1, steps // 200)
    with FitProgress(steps, job.step, progress) as bar, stop_requested() as stop:
        while not job.finished:
            job.advance(directory)
            if job.step % log_every == 0 or job.finished:
                bar.update(job.step, job.log[-1] if job.log else {})
            due = job.step % checkpoint_every == 0 or job.finished
            if directory is not None and (due or stop.signal):
                job.save(directory / "checkpoint")
            if stop.signal and not job.finished:
                where = (
                    f"; the state is in {directory}, run again to go on"
                    if directory
                    else " (no run_dir: nothing was saved)"
                )
                raise Interrupted(f"stopped by {stop.signal} at step {job.step} of {steps}{where}")
    return job.result(time.perf_counter() - started, directory)


class _Job:
    """One fit under way: everything that a checkpoint holds, and one step of it."""

    def __init__(self, model: Model, frames: Frames, settings: dict[str, Any], mode: str, device: torch.device):
        self.settings, self.device, self.source = settings, device, frames
        seed, choice = settings["seed"], settings["uncertainty"]
        held_out = settings["validation"] > 0
        train, test = frames.split(blocks=20, test=settings["validation"], seed=seed) if held_out else (frames, None)
        self.model = fresh_copy(model)
        with seeded(_mix(seed, 0)):  # a model may build its networks here
            self.model.setup(train)
        self.model.to(device)
        self.train = train
        self.feed = Feed(self.model, train, settings["batch_size"], device, seed)
        index = self.feed.indices(0)
        self.members = settings["members"]
        self.inefficiency = relaxation(self.model, train) if self.model.additive else 1.0
        self.weight = self._weights(train)
        with seeded(_mix(seed, 0), device):
            self.model.reset()
            self.names = check_programs(self.model, Batch(x=self.feed.inputs(index), index=index, total=len(train)))
        check_choice(choice, self.model, self.names)
        particles = settings["particles"] if settings["objective"] == "iwae" else None
        self.program = Program(self.model, self.names, choice == "mean-field", particles).to(device)
        self.params = self._initial(choice, seed)
        self.total_weight = float(self.weight.mean(-1).mean()) * len(train)
        mode = ("trace" if settings["steps"] >= 200 else "off") if mode == "auto" else mode
        self.gradients, self.mode = loss_and_gradients(
            self.program,
            len(train),
            self.total_weight,
            self.members is not None,
            self.params,
            self._batch(index),
            mode,
        )
        self.optimiser = Adam(self.params, self.members is not None, settings["clip"])
        self.seen = self._fixed(train, 1024)
        self.test = None if test is None else self._fixed(test, 4096)
        self.best: Params = {}
        self.best_loss = torch.full((self.members or 1,), float("inf"))
        self.best_step = torch.zeros(self.members or 1, dtype=torch.int64)
        self.log: list[dict[str, float]] = []
        self.step, self.seconds, self.stopped = 0, 0.0, False
        self._recent: list[Tensor] = []

    def _weights(self, train: Frames) -> Tensor:
        weight = _importance(train)
        # uneven weights leave fewer effective frames (Kish), as correlation does
        weight = weight / weight.square().mean() / self.inefficiency
        if self.members is None:
            return weight.to(self.device)
        # five inefficiencies a block make neighbouring blocks nearly independent; never fewer than ten blocks
        length = 1 if self.inefficiency <= 1.5 else int(min(5 * self.inefficiency, max(1, len(train) // 10)))
        blocks = torch.as_tensor(np.asarray(train.blocks(length)))
        self.blocks = len(torch.unique(blocks))
        random = block_weights(blocks, self.members - 1, self.settings["seed"])
        return (weight * torch.cat([torch.ones(1, len(train)), random])).to(self.device)

    def _fixed(self, frames: Frames, most: int) -> tuple[Tensor, Tensor]:
        """Inputs and weights of at most so many frames, evenly spaced."""
        index = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), most)).astype(int))
        return inputs_of(self.model, frames, index, self.device), _importance(frames)[index].to(self.device)

    def _initial(self, choice: str, seed: int) -> Params:
        point = {k: v.detach().clone() for k, v in self.program.named_parameters()}
        if self.members is None:
            return point
        states = [point]
        for member in range(1, self.members):
            if choice == "ensemble":
                with seeded(_mix(seed, 0, member), self.device):
                    self.model.reset()
            states.append({k: v.detach().clone() for k, v in self.program.named_parameters()})
        return {k: torch.stack([s[k] for s in states]) for k in point}

    def _batch(self, index: Tensor) -> dict[str, Tensor]:
        return {"x": self.feed.inputs(index), "weight": self.weight[..., index.to(self.device)].contiguous()}

    @property
    def finished(self) -> bool:
        return self.stopped or self.step >= self.settings["steps"]

    def advance(self, directory: Path | None) -> None:
        """One optimiser step, and now and then a look at the held-out frames."""
        started = time.perf_counter()
        seed, steps = self.settings["seed"], self.settings["steps"]
        index = self.feed.indices(self.step)
        batch = self._batch(index)
        with seeded(_mix(seed, 1, self.step), self.device), torch.no_grad():
            grads, loss = self.gradients(self.params, batch)
            if not (bool(torch.isfinite(loss).all()) and bool(torch.isfinite(self.optimiser.norm(grads)).all())):
                if directory is not None:
                    self.save(directory / "checkpoint")
                torch.manual_seed(_mix(seed, 1, self.step))
                raise not_finite(
                    self.program, self.params, batch, index, self.step, self.members is not None, directory
                )
            self.optimiser.step(grads, learning_rate(self.step, steps, self.settings["learning_rate"]))
        self.step += 1
        self._recent.append(loss.reshape(-1)[0])
        if self.step % max(1, steps // _EVALUATIONS) == 0 or self.step == steps:
            self._evaluate()
        self.seconds += time.perf_counter() - started

    def _evaluate(self) -> None:
        row = {"step": self.step, "loss": float(torch.stack(self._recent).mean())}
        self._recent = []
        refits = self.members is not None
        with seeded(_mix(self.settings["seed"], 2), self.device), torch.no_grad():
            if self.test is not None:
                value = held_out_loss(self.program, self.params, *self.test, refits).reshape(-1).cpu()
                row["validation"] = float(value[0])
                self._keep_best(value)
            first = {k: v[0] for k, v in self.params.items()} if refits else self.params
            row["training"] = float(held_out_loss(self.program, first, *self.seen, False))
        self.log.append(row)

    def _keep_best(self, value: Tensor) -> None:
        better = value < self.best_loss
        self.best_loss = torch.where(better, value, self.best_loss)
        self.best_step = torch.where(better, torch.tensor(self.step), self.best_step)
        for name, v in self.params.items():
            mask = better.to(v.device).view(-1, *[1] * (v.dim() - 1)) if self.members else better.to(v.device)[0]
            self.best[name] = torch.where(mask, v, self.best.get(name, v))
        stale = self.step - int(self.best_step.max())
        self.stopped = stale >= _PATIENCE * max(1, self.settings["steps"] // _EVALUATIONS)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on to be gone on from."""
        config = {"class": type(self.model).__name__, **self.model.config()}
        return {
            "model": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16],
            "model_class": type(self.model).__name__,
            "data": self.source.fingerprint(),
            **self.settings,
        }

    def save(self, directory: Path) -> None:
        """Write the state, keeping the checkpoint before it."""
        tensors = {f"params/{k}": v for k, v in self.params.items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        tensors |= {f"adam/{k}": v for k, v in self.optimiser.state().items()}
        tensors |= {"best_loss": self.best_loss, "best_step": self.best_step}
        if self._recent:
            tensors["recent"] = torch.stack(self._recent)
        meta = {
            "identity": self.identity(), "mode": self.mode, "step": self.step, "stopped": self.stopped,
            "seconds": self.seconds, "log": self.log,
        }  # fmt: skip
        checkpoint.write(directory, f"step-{self.step:09d}", tensors, meta, keep=2)

    def restore(self, directory: Path) -> None:
        """Go on from the newest readable checkpoint, if there is one."""
        found = checkpoint.latest(directory)
        if found is None:
            return
        tensors, meta = found
        ours, theirs = self.identity(), meta["identity"]
        for key, value in ours.items():
            if theirs.get(key) != value:
                raise CheckpointError(
                    f"the checkpoint in {directory} was written with another {key.replace('_', ' ')} "
                    f"({theirs.get(key)!r}, now {value!r}); give another run_dir, or resume=False to start anew"
                )
        if meta["mode"] != self.mode:
            warnings.warn(
                f"the fit began with compile={meta['mode']!r} and goes on with {self.mode!r}: "
                "equal only up to rounding",
                stacklevel=3,
            )

        def part(prefix: str) -> Params:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        for name, value in part("params/").items():
            self.params[name].copy_(value)
        self.best = {k: v.to(self.device) for k, v in part("best/").items()}
        self.optimiser.load(part("adam/"))
        self.best_loss, self.best_step = tensors["best_loss"], tensors["best_step"]
        self._recent = list(tensors["recent"].to(self.device)) if "recent" in tensors else []
        self.step, self.stopped, self.seconds, self.log = (
            meta["step"],
            meta["stopped"],
            meta["seconds"],
            meta["log"],
        )

    def _response(self, posterior: Posterior) -> float | None:
        """Spread of the refits' predicted means over that of the weighted means they were trained on, the median."""
        if posterior.members is None or self.model.kind != "evidence" or len(self.train) > 200_000:
            return None
        with torch.no_grad():
            y = inputs_of(self.model, self.train, None, self.device)
        weight = self.weight[1:].to(y.dtype)
        asked = (weight @ y / weight.sum(1, keepdim=True)).std(0)
        fitted = Fit(self.model, posterior, self.settings, {}, {}, [])
        found = fitted.generated_inputs(2000).mean(1).std(0)
        return float((found / asked.clamp_min(1e-12)).median())

    def result(self, wall: float, directory: Path | None) -> Fit:
        """The trained model with its posterior."""
        final = self.best or self.params
        choice = self.settings["uncertainty"]
        inner = {k.removeprefix("inner."): v.detach() for k, v in final.items() if k.startswith("inner.")}
        buffers = {k: v.detach() for k, v in self.model.named_buffers()}
        point = {k: v[0].clone() for k, v in inner.items()} if self.members else inner
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(point[name])
        point = {**point, **buffers}
        names = tuple(self.names)
        if choice == "laplace":
            posterior = laplace(self.model, self.names, point, self.total_weight, _mix(self.settings["seed"], 3))
        elif choice == "mean-field":
            sds = {n: final[f"log_sd.{i}"] for i, n in enumerate(self.names)}
            posterior = Posterior(choice, point, sds, names)
        elif self.members:
            posterior = Posterior(choice, point, {k: v[1:].clone() for k, v in inner.items()}, names)
        else:
            posterior = Posterior("none", point, {}, names)
        warned = []
        if self.source.order is None:
            warned.append("the frames have no time axis: they were taken as independent draws")
        if self.members and self.blocks < 20 < len(self.train):
            warned.append(
                f"only {self.blocks} nearly independent blocks of frames: parameter uncertainty is rough, run longer"
            )
        response = self._response(posterior)
        if response is not None and response < 0.7:
            warned.append(
                f"the refits' predictions differ by only {response:.0%} of what their weights of the frames ask for: "
                "training has not converged and intervals are too narrow; use more steps or a larger learning_rate"
            )
        diagnostics = {
            "refit_response": response, "statistical_inefficiency": self.inefficiency,
            "effective_frames": self.total_weight,
            "best_step": int(self.best_step[0]) if self.best else self.step, "last_step": self.step,
            "validation": float(self.best_loss[0]) if self.best else None, "compiled": self.mode, "warnings": warned,
        }  # fmt: skip
        cost = {
            "steps": self.step,
            "wall_seconds": wall,
            "fit_seconds": self.seconds,
            "device": str(self.device),
        }
        fitted = Fit(self.model, posterior, self.settings, diagnostics, cost, self.log, self.train)
        if directory is not None:
            checkpoint.write_file(directory / "loss.csv", fitted.log_csv())
        return fitted


def _importance(frames: Frames) -> Tensor:
    """Importance weights with mean 1, ``(n,)``."""
    weight = torch.ones(len(frames)) if frames.weights is None else torch.as_tensor(np.asarray(frames.weights)).float()
    return weight / weight.mean()


def _mix(*parts: int) -> int:
    """One seed from several, without collisions in practice."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device={name!r} is not known; use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device='cuda' was asked for, but torch sees no CUDA device here; use device='auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _check_arguments(
    objective: str,
    counts: dict[str, int],
    positive: dict[str, float],
    validation: float,
    members: int,
    seed: int,
    frames: Any,
) -> None:
    if objective not in OBJECTIVES:
        raise ConfigError(f"objective={objective!r} is not known; use one of {', '.join(OBJECTIVES)}, or None")
    for name, least, value in (*((k, 1, v) for k, v in counts.items()), ("members", 2, members), ("seed", 0, seed)):
        if not isinstance(value, int | np.integer) or value < least:
            raise ConfigError(f"{name}={value} must be at least {least} and a whole number")
    for name, value in positive.items():
        if not value > 0:
            raise ConfigError(f"{name}={value} must be positive")
    if not 0 <= validation < 1:
        raise ConfigError(f"validation={validation} is not a fraction in [0, 1)")
    if frames is None or len(frames) < 1:
        raise DataError("there are no frames to fit; give bcg.fit(model, frames) a Frames with at least one")
    if validation and len(frames) < 2:
        raise DataError("one frame is too few to hold some out; fit it with validation=0")
