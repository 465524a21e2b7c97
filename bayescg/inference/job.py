"""One fit under way: its state, and one step of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bayescg.data import Frames, Pairs, Stretches
from bayescg.inference.distributed import Processes
from bayescg.inference.early_stopping import EarlyStopping
from bayescg.inference.guard_counts import GuardCounts
from bayescg.inference.identity import identity
from bayescg.inference.objectives import Program, held_out_loss
from bayescg.inference.parallel import compile_parts
from bayescg.inference.training_data import TrainingData
from bayescg.inference.uncertainty import check_uncertainty
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, check_programs, fresh_copy
from bayescg.modelling.schedules.importance import draw
from bayescg.recording.compiled import compile_step
from bayescg.recording.functional import Params, mixed_seed, seeded
from bayescg.recording.optimiser import Adam, learning_rate
from bayescg.recording.recorded import gradient_function
from bayescg.recording.step_modes import Step

__all__ = ["Job", "NotFinite"]

_EVALUATIONS = 50
_PATIENCE = 10  # evaluations
_PROMPT = ("cpu",)  # devices whose steps can be looked at one by one; of others a look waits for the queue
_LOOK = 50  # steps between looks at the others


class NotFinite(Exception):
    """The loss or a gradient of a step was not finite; the state of the job is the one before that step."""


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
        frames: Frames | Pairs | Stretches | None,
        settings: dict[str, Any],
        mode: str,
        device: torch.device,
        done: int = 0,
        processes: Processes | None = None,
    ):
        self.settings, self.device, self.source, self.processes = settings, device, frames, processes
        self.model, self.members, steps = fresh_copy(model), settings["members"], settings["steps"]
        self.data = None if frames is None else TrainingData.read(self.model, frames, settings, device)
        self.model.to(device)
        self.schedule = self.model.schedule(steps, self.members, frames is not None)
        tensors = self.batch(0)
        self.total = settings["batch_size"] if self.data is None else len(self.data.train)
        self.total_weight = float(self.total)
        if self.data is not None:
            self.total_weight *= float(self.data.weight.mean(-1).mean())
        with seeded(self._seed(0), device):
            self.model.reset()
            batch = Batch(**{**tensors, "weight": None}, total=self.total, stage=self.schedule.stage)
            self.names = check_programs(self.model, batch)
        check_uncertainty(settings["uncertainty"], self.model, self.names)
        particles = settings["particles"] if settings["objective"] == "iwae" else None
        mean_field = settings["uncertainty"] == "mean-field"
        self.program = Program(self.model, self.names, mean_field, particles, schedule=self.schedule).to(device)
        self.params = self._initial()
        self.buffers = {k: v.detach().clone() for k, v in self.program.named_buffers()}
        self._fill_buffers()
        if processes is not None:
            processes.check_same({**self.identity(), "compile": mode})
        self.gradients = self._compiled(tensors, mode, steps - done)
        self.optimiser = Adam(self.params)
        self.interval = max(1, steps // _EVALUATIONS)  # of steps between two looks at the held-out frames
        self.best = EarlyStopping(self.members, self.model.slack, _PATIENCE * self.interval)
        self.guard = GuardCounts.of(self.model)
        self.bad = torch.zeros((), device=device)
        self.good = torch.zeros((), device=device)
        self.log: list[dict[str, float]] = []
        self.recent: list[Tensor] = []
        self.step, self.looked, self.seconds = 0, 0, 0.0

    def _seed(self, *parts: int) -> int:
        """A seed for each purpose, made of that of the fit."""
        return mixed_seed(self.settings["seed"], *parts)

    def _compiled(self, tensors: dict[str, Tensor], mode: str, steps: int) -> Step:
        """The gradients of a step on batches like this one."""
        refits, self.fields, self.stage = self.members is not None, tensors.keys(), self.schedule.stage
        plain, self.moving = gradient_function(
            self.program, self.total, self.total_weight, refits, self.params, self.buffers, tensors
        )
        if refits:
            for name in self.moving:
                self.buffers[name] = self.buffers[name].expand(self.members, *self.buffers[name].shape).clone()
        compiled = compile_step if self.processes is None else partial(compile_parts, self.processes)
        arguments = (plain, self.params, self.buffers, tensors)
        return compiled(*arguments, members=refits, clip=self.settings["clip"], mode=mode, steps=steps)

    def _initial(self) -> Params:
        """First values of the program's parameters, of refits with a leading axis."""
        point = {k: v.detach().clone() for k, v in self.program.named_parameters()}
        if self.members is None:
            return point
        states = [point]
        for member in range(1, self.members):
            if self.settings["uncertainty"] == "ensemble":
                with seeded(self._seed(0, member), self.device):
                    self.model.reset()
            states.append({k: v.detach().clone() for k, v in self.program.named_parameters()})
        return {k: torch.stack([s[k] for s in states]) for k in point}

    def batch(self, step: int) -> dict[str, Tensor]:
        """What a step learns from: fields of a `Batch`."""
        if self.data is not None:
            return self.data.feed.batch(step)
        return self.schedule.batch(self.settings["batch_size"], self._seed(5, step), self.device)

    @property
    def writes(self) -> bool:
        """Whether this process writes files, which of several one does."""
        return self.processes is None or self.processes.rank == 0

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
        """Whether all steps are done, the schedule is over, or the held-out loss has long stopped improving."""
        return self.best.stopped or self._last

    @property
    def _last(self) -> bool:
        return self.step >= self.settings["steps"] or self.schedule.over(self.step)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on to be gone on from."""
        return identity(self.model, self.source, self.settings)

    def advance(self) -> None:
        """One optimiser step, and now and then a look at the held-out frames.

        Raises
        ------
        NotFinite
        """
        started = time.perf_counter()
        grads, loss, bad, moved = self.gradients.run(
            self.params, self.buffers, self.batch(self.step), self._seed(1, self.step)
        )
        queued = self.device.type not in _PROMPT
        if queued:
            self.bad = torch.maximum(self.bad, bad)  # from the first bad step on nothing changes any more
            self.good += 1 - self.bad
        elif bad:
            raise NotFinite
        first, last = self.schedule.course(self.step) or (0, self.settings["steps"])
        rate = learning_rate(self.step - first, last - first, self.settings["learning_rate"])
        self.optimiser.step(grads, rate, self.bad if queued else None)
        for name, value in moved.items():
            self.buffers[name].copy_(torch.where(self.bad > 0, self.buffers[name], value) if queued else value)
        self.recent.append(loss.clone() if queued else loss)
        self.step += 1
        if queued and (self._due or self.step % _LOOK == 0):
            self._look()
        if self._due:
            self._evaluate()
        self.schedule.observe(loss)
        if self.schedule.due(self.step):
            self._advance_schedule()
        self.seconds += time.perf_counter() - started

    @property
    def _due(self) -> bool:
        """Whether held-out frames are looked at after this step."""
        return self.step % self.interval == 0 or self._last

    def _look(self) -> None:
        """Go back where a step since the last look was not finite, to the state before it."""
        if not self.bad:
            self.looked = self.step
            self.good.zero_()
            return
        self.step = self.looked + int(self.good)
        del self.recent[len(self.recent) - (self.step - self.looked) - 1 :]
        raise NotFinite

    def _evaluate(self) -> None:
        """Write down the losses since the last time, and those of held-out frames and of some trained on."""
        row = {"step": self.step, "loss": float(torch.stack(self.recent).reshape(len(self.recent), -1)[:, 0].mean())}
        row |= self.schedule.buffers()
        if self.guard is not None:
            self.guard.observe(self.step / self.settings["steps"])
        if self.processes is not None:  # rounding must not drive them apart
            self.processes.share(*self.state.values(), *self.optimiser.state().values())
        refits = self.members is not None
        if self.data is not None and self.data.probe is not None and self.data.held_out is not None:
            with seeded(self._seed(2), self.device), torch.no_grad():
                value = held_out_loss(self.program, self.state, *self.data.held_out, refits).reshape(-1).cpu()
                if self.processes is not None:
                    self.processes.share(value)
                row["validation"] = float(value[0])
                self.best.observe(self.step, value, self.state)
                first = {k: v[0] for k, v in self.state.items()} if refits else self.state
                row["training"] = float(held_out_loss(self.program, first, *self.data.probe, False))
        self.log.append(row)
        self.recent = []

    def _advance_schedule(self) -> None:
        refits, seed, draws = self.members is not None, self._seed(4, self.step), []
        for member in range((self.members or 1) if self.schedule.count else 0):
            params = {k: v[member] if refits else v for k, v in self.params.items()}
            state = {k.removeprefix("inner."): v for k, v in {**params, **self.buffers}.items()}
            count, stage = self.schedule.count, self.schedule.stage
            draws.append(draw(self.model, list(self.names), state, count, seed, stage=stage))
        self.schedule.advance(self.step, draws)
        self.follow_schedule()

    def follow_schedule(self) -> None:
        """Take over the schedule's buffers, which the recorded step reads, and its kind of batches."""
        self._fill_buffers()
        batch = self.batch(self.step)
        if self.schedule.stage != self.stage:  # what is no longer trained would go on with the momentum it has
            self.optimiser = Adam(self.params)
        if batch.keys() != self.fields or self.schedule.stage != self.stage:
            self.gradients = self._compiled(batch, self.mode, self.settings["steps"] - self.step)

    def _fill_buffers(self) -> None:
        for name, value in self.schedule.buffers().items():
            self.buffers[f"inner.{name}"].fill_(value)

    def leave(self) -> None:
        """Go on without the other processes, after one of them was lost at whatever point of a step."""
        self.processes = None
        self._look()
        if self._due and self.recent:
            self._evaluate()
