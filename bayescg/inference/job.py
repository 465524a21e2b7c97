"""One fit under way: its state, one step of it, its checkpoints and its result."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from bayescg import checkpoint
from bayescg.data.pairs import Pairs
from bayescg.errors import CheckpointError, DataError
from bayescg.feeding.feed import Feed, inputs_of, observed, relaxation
from bayescg.inference.adaptive_tempering import Tempering
from bayescg.inference.distributed import Processes
from bayescg.inference.fitted import Fit
from bayescg.inference.importance import draw
from bayescg.inference.not_finite import not_finite
from bayescg.inference.objectives import Program, held_out_loss
from bayescg.inference.parallel import compile_parts
from bayescg.inference.reweighted_annealing import Annealing, schedule
from bayescg.inference.uncertainty import Posterior, block_weights, check_choice, laplace
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, check_programs, finished, fresh_copy
from bayescg.recording.compiled import Step, compile_step
from bayescg.recording.functional import Params, seeded
from bayescg.recording.optimiser import Adam, learning_rate
from bayescg.recording.recorded import gradient_function
from bayescg.systems.guard import GuardedSystem

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["Job"]

_EVALUATIONS = 50
_PATIENCE = 10
_PROMPT = ("cpu",)  # devices whose guard can be looked at after each step; of others a look waits for the queue
_GUARDED = 1e-3  # of the last energies, above the cut of their guard, that are nothing to tell
_LOOK = 50  # steps between looks at the others' guard


class Job:
    """Everything that a checkpoint holds, and one step of it.

    Parameters
    ----------
    model : Model
    frames : Frames, Pairs or None
        None for a model that needs none.
    settings : dict
        What a checkpoint must agree on.
    mode : {"auto", "inductor", "trace", "off"}
    device : torch.device
    done : int
        Steps that a checkpoint already holds: fewer are left for compiling to pay.
    processes : Processes, optional
        Those that share the work; None: this one does it all.
    """

    def __init__(
        self,
        model: Model,
        frames: Frames | Pairs | None,
        settings: dict[str, Any],
        mode: str,
        device: torch.device,
        done: int = 0,
        processes: Processes | None = None,
    ):
        self.settings, self.device, self.source, self.processes = settings, device, frames, processes
        seed, choice = settings["seed"], settings["uncertainty"]
        self.model, self.members = fresh_copy(model), settings["members"]
        self.feed: Feed | None = None
        self.train = self.seen = self.test = None
        self.inefficiency = 1.0
        if frames is not None:
            self._read(frames, seed)
        self.model.to(device)
        self.tempering = schedule(self.model, settings["steps"], self.members) if frames is None else None
        tensors = self._batch(0)
        self.total = settings["batch_size"] if self.train is None else len(self.train)
        with seeded(_mix(seed, 0), device):
            self.model.reset()
            self.names = check_programs(self.model, Batch(**{**tensors, "weight": None}, total=self.total))
        check_choice(choice, self.model, self.names)
        particles = settings["particles"] if settings["objective"] == "iwae" else None
        self.program = Program(self.model, self.names, choice == "mean-field", particles).to(device)
        self.params = self._initial(choice, seed)
        self.total_weight = float(self.total)
        if self.feed is not None:
            self.total_weight *= float(self.weight.mean(-1).mean())
        self.buffers = {k: v.detach().clone() for k, v in self.program.named_buffers()}
        if self.tempering is not None:
            self.buffers["inner.beta"].fill_(self.tempering.beta)
        if processes is not None:
            processes.check_same({**self.identity(), "compile": mode})
        self.gradients = self._compiled(tensors, mode, settings["steps"] - done)
        self.optimiser = Adam(self.params)
        self.bad = torch.zeros((), device=device)
        self.good = torch.zeros((), device=device)
        self.best: Params = {}
        self.best_loss = torch.full((self.members or 1,), float("inf"))
        self.best_step = torch.zeros(self.members or 1, dtype=torch.int64)
        self.log: list[dict[str, float]] = []
        self.step, self.seconds, self.stopped, self._looked = 0, 0.0, False, 0
        self._recent: list[Tensor] = []
        guarded = getattr(self.model, "system", None)
        self._guard = guarded if isinstance(guarded, GuardedSystem) else None
        self._early = (0, 0) if self._guard is None else (self._guard.evaluations, self._guard.active)

    def _compiled(self, tensors: dict[str, Tensor], mode: str, steps: int) -> Step:
        """The gradients of a step on batches like this one."""
        refits = self.members is not None
        plain, self.moving = gradient_function(
            self.program, self.total, self.total_weight, refits, self.params, self.buffers, tensors
        )
        if refits:
            for name in self.moving:
                self.buffers[name] = self.buffers[name].expand(self.members, *self.buffers[name].shape).clone()
        compiled = compile_step if self.processes is None else partial(compile_parts, self.processes)
        given = (plain, self.params, self.buffers, tensors)
        return compiled(*given, members=refits, clip=self.settings["clip"], mode=mode, steps=steps)

    def _read(self, frames: Frames | Pairs, seed: int) -> None:
        held_out, test = self.settings["validation"] > 0, None
        self.train = frames
        if held_out:
            self.train, test = frames.split(blocks=20, test=self.settings["validation"], seed=seed)
            if test.weights is not None and not np.asarray(test.weights).any():
                raise DataError(
                    f"the {len(test)} frames that validation={self.settings['validation']:g} holds out have no weight; "
                    "leave frames of weight 0 out, or use validation=0"
                )
        with seeded(_mix(seed, 0)):  # a model may build its networks here
            self.model.setup(self.train)
        self.model.to(self.device)
        self.inefficiency = relaxation(self.model, self.train)
        dtype = next((p.dtype for p in self.model.parameters()), torch.float32)
        self.weight = self._weights(self.train).to(dtype)
        self.feed = Feed(self.model, self.train, self.settings["batch_size"], self.device, seed, weight=self.weight)
        if test is not None:  # the loss of what is trained on, to hold against that of what is not
            self.seen, self.test = self._fixed(self.train, 1024), self._fixed(test, 4096)

    def _weights(self, train: Frames | Pairs) -> Tensor:
        weight = _importance(train)
        # uneven weights leave fewer effective frames (Kish), as correlation does
        weight = weight / weight.square().mean() / (train.overlap if isinstance(train, Pairs) else self.inefficiency)
        if self.members is None:
            return weight.to(self.device)
        # five inefficiencies a block make neighbouring blocks nearly independent; never fewer than ten blocks
        length = 1 if self.inefficiency <= 1.5 else int(min(5 * self.inefficiency, max(1, len(train) // 10)))
        blocks = torch.as_tensor(np.asarray(train.blocks(length)))
        self.blocks = len(torch.unique(blocks))
        random = block_weights(blocks, self.members - 1, self.settings["seed"])
        return (weight * torch.cat([torch.ones(1, len(train)), random])).to(self.device)

    def _fixed(self, frames: Frames | Pairs, most: int) -> tuple[Params, Tensor]:
        """Inputs and weights of at most so many frames, evenly spaced."""
        index = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), most)).astype(int))
        return observed(self.model, frames, index, self.device), _importance(frames)[index].to(self.device)

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

    def _batch(self, step: int) -> dict[str, Tensor]:
        if isinstance(self.tempering, Annealing) and self.tempering.x is not None:
            return self.tempering.batch(self.settings["batch_size"], _mix(self.settings["seed"], 5, step))
        if self.feed is None:
            return {"index": torch.arange(self.settings["batch_size"], device=self.device)}
        return self.feed.batch(step)

    @property
    def writes(self) -> bool:
        """Whether this process writes files, which of several one does."""
        return self.processes is None or self.processes.rank == 0

    @property
    def _due(self) -> bool:
        """Whether held-out frames are looked at after this step."""
        steps = self.settings["steps"]
        return self.step % max(1, steps // _EVALUATIONS) == 0 or self.step == steps

    @property
    def mode(self) -> str:
        """How the gradients are computed."""
        return self.gradients.mode

    @property
    def state(self) -> Params:
        """Trained values: parameters, and the buffers that the program changes."""
        return {**self.params, **{k: self.buffers[k] for k in self.moving}}

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the held-out loss has long stopped improving."""
        return self.stopped or self.step >= self.settings["steps"]

    def advance(self, directory: Path | None) -> None:
        """One optimiser step, and now and then a look at the held-out frames."""
        started = time.perf_counter()
        steps = self.settings["steps"]
        grads, loss, bad, moved = self.gradients.run(
            self.params, self.buffers, self._batch(self.step), _mix(self.settings["seed"], 1, self.step)
        )
        queued = self.device.type not in _PROMPT
        if queued:
            self.bad = torch.maximum(self.bad, bad)  # from the first bad step on nothing changes any more
            self.good += 1 - self.bad
        elif bad:
            self._stop(directory)
        self.optimiser.step(
            grads, learning_rate(self.step, steps, self.settings["learning_rate"]), self.bad if queued else None
        )
        for name, value in moved.items():
            self.buffers[name].copy_(torch.where(self.bad > 0, self.buffers[name], value) if queued else value)
        self._recent.append(loss.clone() if queued else loss)
        self.step += 1
        if queued and (self._due or self.step % _LOOK == 0):
            self._look(directory)
        if self._due:
            self._evaluate()
        if self.tempering is not None and not self.tempering.done:
            self._temper(self.tempering, loss)
        self.seconds += time.perf_counter() - started

    def _temper(self, tempering: Tempering | Annealing, loss: Tensor) -> None:
        """Cool when it is time to: the temperature is a buffer, which the recorded step reads."""
        tempering.observe(loss)
        if not tempering.due(self.step):
            return
        refits = self.members is not None
        seed, found = _mix(self.settings["seed"], 4, self.step), []
        for member in range(self.members or 1):
            params = {k: v[member] if refits else v for k, v in self.params.items()}
            state = {k.removeprefix("inner."): v for k, v in {**params, **self.buffers}.items()}
            found.append(draw(self.model, list(self.names), state, tempering.count, seed))
        before = self._batch(self.step).keys()
        tempering.cool(self.step, found)
        self.buffers["inner.beta"].fill_(tempering.beta)
        if (batch := self._batch(self.step)).keys() != before:  # from now on out of a buffer
            self.gradients = self._compiled(batch, self.mode, self.settings["steps"] - self.step)

    def _look(self, directory: Path | None) -> None:
        """Stop where a step since the last look was not finite: the state is the one before it."""
        if not self.bad:
            self._looked = self.step
            self.good.zero_()
            return
        self.step = self._looked + int(self.good)
        del self._recent[len(self._recent) - (self.step - self._looked) - 1 :]
        self._stop(directory)

    def _stop(self, directory: Path | None) -> NoReturn:
        """Keep the state before a step that was not finite, and say what was wrong with it."""
        if directory is not None:
            self.save(directory / "checkpoint")
        index = torch.arange(self.total) if self.feed is None else self.feed.indices(self.step)
        fixed = {k: v for k, v in self.buffers.items() if k not in self.moving}
        batch, refits = self._batch(self.step), self.members is not None
        with seeded(_mix(self.settings["seed"], 1, self.step), self.device):
            raise not_finite(self.program, self.state, fixed, batch, index, self.step, refits, directory)

    def _evaluate(self) -> None:
        row = {"step": self.step, "loss": float(torch.stack(self._recent).reshape(len(self._recent), -1)[:, 0].mean())}
        if self.tempering is not None:
            row["beta"] = self.tempering.beta
        if self._guard is not None and self.step <= 0.9 * self.settings["steps"]:
            self._early = self._guard.evaluations, self._guard.active
        if self.processes is not None:  # rounding must not drive them apart
            self.processes.share(*self.state.values(), *self.optimiser.state().values())
        refits = self.members is not None
        with seeded(_mix(self.settings["seed"], 2), self.device), torch.no_grad():
            if self.test is not None:
                value = held_out_loss(self.program, self.state, *self.test, refits).reshape(-1).cpu()
                if self.processes is not None:
                    self.processes.share(value)
                row["validation"] = float(value[0])
                self._keep_best(value)
            first = {k: v[0] for k, v in self.state.items()} if refits else self.state
            if self.seen is not None:
                row["training"] = float(held_out_loss(self.program, first, *self.seen, False))
        self.log.append(row)
        self._recent = []

    def _keep_best(self, value: Tensor) -> None:
        better = value < self.best_loss + self.model.slack
        self.best_loss = torch.minimum(value, self.best_loss)
        self.best_step = torch.where(better, torch.tensor(self.step), self.best_step)
        for name, v in self.state.items():
            mask = better.to(v.device).view(-1, *[1] * (v.dim() - 1)) if self.members else better.to(v.device)[0]
            self.best[name] = torch.where(mask, v, self.best.get(name, v))
        stale = self.step - int(self.best_step.max())
        self.stopped = stale >= _PATIENCE * max(1, self.settings["steps"] // _EVALUATIONS)

    def leave(self, directory: Path | None) -> None:
        """Go on without the other processes, after one of them was lost at whatever point of a step."""
        self.processes = None
        self._look(directory)
        if self._due and self._recent:
            self._evaluate()

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on to be gone on from."""
        config = {"class": type(self.model).__name__, **self.model.config()}
        return {
            "model": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16],
            "model_class": type(self.model).__name__,
            "model_source": _source(type(self.model)),
            "data": None if self.source is None else self.source.fingerprint(),
            **self.settings,
        }

    def save(self, directory: Path) -> None:
        """Write the state, keeping the checkpoint before it."""
        if not self.writes:
            return
        tensors = {f"params/{k}": v for k, v in self.params.items()}
        tensors |= {f"buffers/{k}": self.buffers[k] for k in self.moving}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        tensors |= {f"adam/{k}": v for k, v in self.optimiser.state().items()}
        tensors |= {"best_loss": self.best_loss, "best_step": self.best_step}
        if self.tempering is not None:
            tensors |= {f"annealing/{k}": v for k, v in self.tempering.tensors().items()}
        if self._recent:
            tensors["recent"] = torch.stack(self._recent)
        meta = {
            "identity": self.identity(), "mode": self.mode, "step": self.step, "stopped": self.stopped,
            "seconds": self.seconds, "log": self.log,
            "tempering": None if self.tempering is None else self.tempering.state(),
        }  # fmt: skip
        checkpoint.write(directory, f"step-{self.step:09d}", tensors, meta, keep=2)

    def restore(self, found: tuple[dict[str, Tensor], dict[str, Any]], directory: Path) -> None:
        """Go on from a checkpoint that was found in a directory."""
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

        for place, prefix in ((self.params, "params/"), (self.buffers, "buffers/")):
            for name, value in part(prefix).items():
                place[name].copy_(value)
        self.best = {k: v.to(self.device) for k, v in part("best/").items()}
        self.optimiser.load(part("adam/"))
        self.best_loss, self.best_step = tensors["best_loss"], tensors["best_step"]
        self._recent = list(tensors["recent"].to(self.device)) if "recent" in tensors else []
        self.step, self.stopped, self.seconds = meta["step"], meta["stopped"], meta["seconds"]
        self.log, self._looked = meta["log"], self.step
        if self.tempering is not None:
            before = self._batch(self.step).keys()
            self.tempering.load(meta["tempering"], {k: v.to(self.device) for k, v in part("annealing/").items()})
            self.buffers["inner.beta"].fill_(self.tempering.beta)
            if (batch := self._batch(self.step)).keys() != before:
                self.gradients = self._compiled(batch, self.mode, self.settings["steps"] - self.step)

    def _response(self, posterior: Posterior) -> float | None:
        """Spread of the refits' predicted means over that of the weighted means they were trained on, the median."""
        if (
            (posterior.members or 0) < 2
            or self.model.kind != "evidence"
            or self.train is None
            or isinstance(self.train, Pairs)
            or len(self.train) > 200_000
        ):
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
        final = self.best or self.state
        choice = self.settings["uncertainty"]
        inner = {k.removeprefix("inner."): v.detach() for k, v in final.items() if k.startswith("inner.")}
        buffers = {k: v.detach() for k, v in self.model.named_buffers()}
        point = {k: v[0].clone() for k, v in inner.items()} if self.members else inner
        with torch.no_grad():
            point = {**buffers, **point}
            for name, value in (*self.model.named_parameters(), *self.model.named_buffers()):
                value.copy_(point[name])
            point, inner = finished(self.model, self.train, point, inner, self.members)
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
        doubts = [] if self.test is None else self.model.doubts(self.test[0]["x"], self.test[1])
        warned = [*doubts]
        if self.source is not None and self.source.order is None:
            warned.append("the frames have no time axis: they were taken as independent draws")
        if self.members and self.train is not None and self.blocks < 20 < len(self.train):
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
            "validation": float(self.best_loss[0]) if self.best else None, "compiled": self.mode,
            "compiled_why": self.gradients.why, "warnings": warned,
            "doubts": doubts,
        }  # fmt: skip
        size = self.settings["batch_size"] * (self.members or 1)
        queried = self.step * size if self.feed is None or getattr(self.model, "energy_weight", 0.0) else 0
        if self.tempering is not None:
            diagnostics["tempering"] = self.tempering.state()["stages"]
            queried = self.tempering.queried(self.step, size, self.members or 1)
            warned += self.tempering.warnings()
        if (guard := self._guard) is not None:
            late = [now - before for now, before in zip((guard.evaluations, guard.active), self._early, strict=True)]
            diagnostics["guarded"] = {
                "cut": guard.cut, "active": guard.active, "energies": guard.evaluations, "active_late": late[1],
            }  # fmt: skip
            if late[1] > _GUARDED * late[0]:
                warned.append(
                    f"in the last tenth of the training {late[1] / late[0]:.1%} of the energies were above the cut of "
                    "their guard: they were not those of the system"
                )
        cost = {
            "steps": self.step,
            "energy_evaluations": queried,
            "wall_seconds": wall,
            "fit_seconds": self.seconds,
            "device": str(self.device),
            "processes": self.processes.count if self.processes is not None else 1,
        }
        frames = self.train.frames if isinstance(self.train, Pairs) else self.train
        fitted = Fit(self.model, posterior, self.settings, diagnostics, cost, self.log, frames)
        if directory is not None and self.writes:
            checkpoint.write_file(directory / "loss.csv", fitted.log_csv())
        return fitted


def _importance(frames: Frames | Pairs) -> Tensor:
    """Importance weights with mean 1, ``(n,)``."""
    if frames.weights is None:
        return torch.ones(len(frames))
    weight = torch.as_tensor(np.asarray(frames.weights, dtype=np.float64))
    return (weight / weight.max() / (weight / weight.max()).mean()).float()


def _source(model_class: type[Model]) -> str | None:
    """Digest of the text of a class, so that an edited model is not taken for the one before."""
    try:
        return hashlib.sha256(inspect.getsource(model_class).encode()).hexdigest()[:16]
    except (OSError, TypeError):  # typed at a prompt
        return None


def _mix(*parts: int) -> int:
    """One seed from several, without collisions in practice."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")
