"""Replicas in the windows of a ladder: biased dynamics in one batch, and exchanges of windows."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.errors import ConfigError, SimulationError
from bayescg.recording.stepping import TensorStep, prepare
from bayescg.sampling.biased.cv_gradient import CV, with_gradient
from bayescg.sampling.biased.umbrella_windows import Ladder
from bayescg.sampling.chains.dynamics import Forces, baoab, euler_maruyama
from bayescg.sampling.chains.fused import FusedLangevin, kernels_of
from bayescg.sampling.chains.hamiltonian import accepted
from bayescg.sampling.chains.loop import Kernel, Settings, Start
from bayescg.sampling.sampled_frames import masses
from bayescg.systems.core import System

__all__ = ["Replicas", "biased_forces"]

_COMPILE = 6_000  # steps from which on it pays: of 448 replicas, the gradient of a CV of torsions takes 0.7 ms recorded


class Replicas(Kernel):
    """Columns of replicas, one for each window of a ladder, which exchange their windows.

    Parameters
    ----------
    system : System
    start : Start
        Column by column, in each by the window that a replica begins in.
    value : callable
        CV of flat coordinates.
    ladder : Ladder
    dt : float
    friction : float or None
        Of Langevin dynamics; None: overdamped, with diffusion kT.
    every : int or None
        Steps between exchanges; None: there are none.
    settings : Settings

    Attributes
    ----------
    state : dict of str to Tensor
        Beside positions ``x``, velocities ``v`` and forces ``f`` with the bias: ``s`` and ``g``, the CV and its
        gradient; ``window``, ``centre`` and ``spring`` of each replica; ``step``; ``accepted``, exchanges of each pair
        of neighbours in all columns; ``stopped`` and ``window_stopped``, since which step a column is no longer finite,
        and the window where that began, or -1.

    Raises
    ------
    ConfigError
        The CV or its gradient is not finite, or the gradient is zero at all starts of a window.
    """

    def __init__(
        self,
        system: System,
        start: Start,
        value: CV,
        ladder: Ladder,
        dt: float,
        friction: float | None,
        every: int | None,
        settings: Settings,
    ):
        super().__init__(system, start)
        self.ladder, self.every, self.together = ladder, every, len(ladder)
        self.count = len(start.x) // len(ladder)
        self.centres, self.springs = (start.x.new_tensor(a) for a in (ladder.centres, ladder.stiffness))
        window = torch.arange(len(ladder), device=start.x.device).repeat(self.count)
        none = torch.full((self.count,), -1, device=start.x.device)
        self.state |= {
            "window": window, "centre": self.centres[window], "spring": self.springs[window],
            "step": none.new_zeros(()), "accepted": none.new_zeros(len(ladder) - 1), "stopped": none,
            "window_stopped": none.clone(),
        }  # fmt: skip
        forces, noise = biased_forces(system, value), self.noise()
        self.moving = ["x", "f"] if friction is None else ["x", "v", "f"]
        self.fused: FusedLangevin | None = None
        if friction is None:
            step = euler_maruyama(system, start.x.new_tensor(system.kT), dt, forces)
        else:
            self.mass = masses(system)
            inverse_mass, thermal = (1 / self.mass).to(start.x), (system.kT / self.mass).sqrt().to(start.x)
            self.state["v"] = thermal * noise
            if kernels := kernels_of(system, start.x, settings.compile):
                self.fused = FusedLangevin(kernels, inverse_mass, thermal, dt, friction, self.generator)
                step = biased_kick(system, value, 0.5 * dt * inverse_mass)
            else:
                step = baoab(system, inverse_mass, thermal, dt, friction, forces)
        with torch.no_grad():
            f, s, g = forces(start.x, self.state["centre"], self.state["spring"])
        self.state |= {"f": f, "s": s, "g": g}
        self._check_starts()
        random = [noise] if self.fused is None else []
        example = [*(self.state[k] for k in self.moving), *random, self.state["centre"], self.state["spring"]]
        self.step = prepare(
            step, example, settings.total, settings.compile, compile_from=_COMPILE, what="the energy, or the CV,"
        )

    def step_once(self) -> None:
        """One step of all replicas, and an exchange where it is time."""
        state = self.state
        moving, number = [state[k] for k in self.moving], int(state["step"])
        before = (*moving, self.noise()) if self.fused is None else self.fused(moving, number)
        moved = self.step(*before, state["centre"], state["spring"])
        self.state = state | dict(zip((*self.moving, "s", "g"), moved, strict=True)) | {"step": state["step"] + 1}
        if self.every is not None and not int(self.state["step"]) % self.every:
            self.exchange(int(self.state["step"]) // self.every)

    def exchange(self, turn: int) -> None:
        """Neighbours in each column exchange their windows, even and odd pairs in turn."""
        state, shape = self.state, (self.count, len(self.ladder))
        window, s = state["window"].view(shape), state["s"].view(shape)
        holder = window.argsort(1)  # of each window, the replica in it
        s = s.gather(1, holder)
        here, up, down = (
            0.5 * self.springs[k] * (s[:, i] - self.centres[k]) ** 2
            for k, i in ((slice(None), slice(None)), (slice(1, None), slice(-1)), (slice(-1), slice(1, None)))
        )
        yes = accepted(here[:, :-1] + here[:, 1:] - up - down, self.generator)
        yes &= torch.arange(len(self.ladder) - 1, device=yes.device) % 2 == turn % 2
        rungs = torch.arange(len(self.ladder), device=yes.device).repeat(len(window), 1)
        rungs[:, :-1] += 1 * yes
        rungs[:, 1:] -= 1 * yes
        window = torch.empty_like(window).scatter_(1, holder, rungs).flatten()
        centre, spring = self.centres[window], self.springs[window]
        # forces hold the bias of the window that was left
        pull = spring * (state["s"] - centre) - state["spring"] * (state["s"] - state["centre"])
        self.state = state | {
            "window": window, "centre": centre, "spring": spring, "accepted": state["accepted"] + yes.sum(0),
            "f": state["f"] - (self.system.kT * pull)[:, None] * state["g"],
        }  # fmt: skip

    def columns(self) -> dict[str, Tensor]:
        """The CV, and the window that a frame is of."""
        return {"cv": self.state["s"], "window": self.state["window"].int()}

    def identity(self) -> dict[str, Any]:
        """The CV at the starts."""
        size, slope = (float(self.state[k].double().norm()) for k in "sg")
        noise = {} if self.fused is None else {"noise": "counted"}
        return noise | {"the CV at the starts": f"size {size:.5g}, gradient {slope:.5g}"}

    def look(self, name: str, since: int, step: int) -> None:
        """Note columns in which a replica is no longer finite: they are left out from `since` on, the others go on."""
        bad = ~(torch.isfinite(self.state["x"]).all(1) & torch.isfinite(self.state["s"]))
        if not bool(bad.any()):
            return
        bad = bad.view(self.count, -1)
        new = bad.any(1) & (self.state["stopped"] < 0)
        first = bad.int().argmax(1, keepdim=True)
        window = self.state["window"].view(bad.shape).gather(1, first)[:, 0]
        self.state["stopped"] = torch.where(new, since, self.state["stopped"])
        self.state["window_stopped"] = torch.where(new, window, self.state["window_stopped"])
        if bool((self.state["stopped"] >= 0).all()):
            raise SimulationError(f"{name}: {self.stopped()}; choose a shorter dt, or starts of lower energy")

    def stopped(self) -> str:
        """Which columns are no longer finite, and since when; empty where all are."""
        since = self.state["stopped"].tolist()
        parts = [
            f"column {column}: window {int(self.state['window_stopped'][column])}, after step {step}"
            for column, step in enumerate(since)
            if step >= 0
        ]
        return f"positions or CVs are no longer finite in {len(parts)} of {len(since)} columns ({'; '.join(parts)})" * (
            len(parts) > 0
        )

    def frames_before(self, equilibration: int, stride: int, frames: int) -> np.ndarray:
        """Of so many frames of each column, how many came before it stopped, (columns,)."""
        since = self.state["stopped"].cpu().numpy()
        return np.where(since < 0, frames, np.maximum(since - equilibration, 0) // stride)

    def report(self, steps: int) -> dict[str, Any]:
        """The share of exchanges accepted, for each pair of neighbours."""
        turns = 0 if self.every is None else steps // self.every
        tried = [self.count * ((turns + pair % 2) // 2) for pair in range(len(self.ladder) - 1)]
        return {"acceptance": [float(a) / max(1, n) for a, n in zip(self.state["accepted"], tried, strict=True)]}

    def _check_starts(self) -> None:
        s, g = self.state["s"], self.state["g"]
        good = torch.isfinite(s) & torch.isfinite(g).all(1)
        if not bool(good.all()):
            bad = torch.nonzero(~good).flatten().tolist()
            raise ConfigError(f"the CV, or its gradient, is not finite at {len(bad)} of the {len(s)} starts")
        moves = (g != 0).any(1).view(self.count, -1).any(0)
        if not bool(moves.all()):
            window = int(moves.int().argmin())
            raise ConfigError(
                f"the CV is constant around all starts of window {window} (centre {self.ladder.centres[window]:g}): "
                "its gradient is zero, so that it cannot be biased there. A CV must vary smoothly, by operations of "
                "torch; a class, or what was detached, does not"
            )


def biased_forces(system: System, value: CV) -> Forces:
    """Forces of a system under harmonic biases along a CV.

    Parameters
    ----------
    system : System
    value : callable
        CV of flat coordinates.

    Returns
    -------
    callable
        From positions (n, dim), and centres and stiffnesses (n,) in kT, to forces, CVs (n,) and their gradients.

    Examples
    --------
    >>> from bayescg.systems import Harmonic
    >>> forces = biased_forces(Harmonic((1.0, 1.0)), lambda x: x[:, 0])
    >>> forces(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]), torch.tensor([10.0]))[0]
    tensor([[19., -2.]])
    """
    pull = _pull(system, value)

    def forces(x: Tensor, centre: Tensor, spring: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bias, s, g = pull(x, centre, spring)
        return system.forces(x) + bias, s, g

    return forces


def biased_kick(system: System, value: CV, kick: Tensor) -> TensorStep:
    """What a step of the system alone lacks: half a kick, half a time step over masses, by the bias at its end."""
    pull = _pull(system, value)

    def step(x: Tensor, v: Tensor, f: Tensor, centre: Tensor, spring: Tensor) -> tuple[Tensor, ...]:
        bias, s, g = pull(x, centre, spring)
        return x, v + kick * bias, f + bias, s, g

    return step


def _pull(system: System, value: CV) -> Forces:
    """Forces of the biases alone, CVs and their gradients."""
    both = with_gradient(value)

    def pull(x: Tensor, centre: Tensor, spring: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, g = both(x)
        return -(system.kT * spring * (s - centre))[:, None] * g, s, g

    return pull
