"""Islands of weighted particles on their way from a base to a system: the engine of `smc` and `annealed_importance`."""

import hashlib
import math
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from bayescg.arguments import check_counts, check_numbers
from bayescg.data import effective
from bayescg.devices import device_of
from bayescg.errors import ConfigError, SimulationError
from bayescg.progress import Bar
from bayescg.recording.step_modes import check_mode
from bayescg.recording.stepping import prepare
from bayescg.sampling.annealing.annealed import Annealed, Schedule
from bayescg.sampling.annealing.base_density import base_of, draw
from bayescg.sampling.chains.hamiltonian import accepted, jittered, trajectory, velocity_verlet
from bayescg.sampling.chains.loop import seeded_generator
from bayescg.sampling.sampled_frames import to_frames
from bayescg.sampling.saved import Saved
from bayescg.sampling.weights import next_beta, systematic
from bayescg.stopping import stoppable
from bayescg.systems.core import System, check_single

__all__ = ["Plan", "anneal"]

_FIRST_STEP, _ACCEPTANCE = 0.5, 0.8  # the step over the root of the dimension: a box has walls in each
_CALLS = 1000  # of a step, about: temperatures are not known beforehand
_FEW = 50


@dataclass(frozen=True)
class Plan:
    """How to anneal; see `bayescg.sampling.smc`."""

    name: str
    islands: int
    particles: int
    cess: float
    resample: float
    moves: int
    leapfrog: int
    forces: bool
    compile: str
    seed: int

    def check(self) -> None:
        """Refuse what is out of range."""
        check_counts(
            islands=(self.islands, 2), particles=(self.particles, 1), moves=(self.moves, 1),
            leapfrog=(self.leapfrog, 1), seed=(self.seed, 0),
        )  # fmt: skip
        check_mode(self.compile)
        check_numbers(cess=(self.cess, "(0, 1)"), resample=(self.resample, "[0, 1]"))


def anneal(
    system: System,
    plan: Plan,
    base: Distribution | None,
    schedule: Schedule | None,
    device: str,
    run_dir: str | Path | None,
    resume: bool,
    progress: bool | None,
) -> Annealed:
    """Anneal; see `bayescg.sampling.smc`."""
    began = time.perf_counter()
    plan.check()
    check_single(system, "annealing")
    _check_schedule(schedule, plan, system)
    where = device_of(device)
    swarm = _Swarm(system, plan, base_of(system, base, where), schedule, where)
    saved = Saved(run_dir, swarm.identity(), resume)
    before = swarm.restore(*saved.newest) if saved.newest is not None else 0.0

    def wall() -> float:
        return before + time.perf_counter() - began

    with torch.no_grad(), stoppable(lambda: saved.advice), Bar(plan.name, 1.0, swarm.beta, progress) as bar:
        while swarm.beta < 1.0:
            swarm.advance()
            bar.update(swarm.beta, f"temperature {len(swarm.betas)}, beta = {swarm.beta:.3g}")
            if saved.due or (swarm.beta == 1.0 and saved.directory is not None):
                saved.write(len(swarm.betas), swarm.tensors(), {**swarm.meta(), "wall_seconds": wall()})
        return swarm.result(wall())


class _Swarm:
    """All particles at one temperature.

    `log_w` holds the weights of the islands' particles, (islands, particles): the mean of exp(log_w) of an island
    estimates the ratio of the partition functions at `beta` and of the base.
    """

    def __init__(self, system: System, plan: Plan, base: Distribution, schedule: Schedule | None, device: torch.device):
        self.system, self.plan, self.base, self.schedule = system, plan, base, schedule
        self.generator = seeded_generator(plan.seed, 1, device)
        n = plan.islands * plan.particles
        self.x = draw(base, n, int(np.random.SeedSequence([plan.seed, 0]).generate_state(1)[0]), device)
        if self.x.shape != (n, system.dim) or not self.x.is_floating_point():
            raise ConfigError(f"the base draws {tuple(self.x.shape)} for {n} particles of {system.dim} coordinates")
        self.energy, self.log_base = self._densities(self.x)
        self.start = self.x, self.energy
        self.log_w = torch.zeros((plan.islands, plan.particles), dtype=torch.float64, device=device)
        self.betas: list[float] = []
        self.step_sizes: list[list[float]] = []
        self.scales: list[Tensor] = []
        self.acceptance: list[float] = []
        ones, beta = torch.ones_like(self.x[0]), self.x.new_tensor(0.5)
        verlet = velocity_verlet(self._pull, ones)
        example = [self.x, self.x, self.x, torch.full_like(self.x[:, :1], _FIRST_STEP), ones, beta]
        self.verlet = prepare(verlet, example, _CALLS, plan.compile)

    @property
    def beta(self) -> float:
        return self.betas[-1] if self.betas else 0.0

    def advance(self) -> None:
        """To the next temperature: reweight, resample, move."""
        stage = len(self.betas)
        ratio = -self.energy.double() / self.system.kT - self.log_base.double()
        if self.schedule is None:
            beta = next_beta(self.beta, self.log_w.flatten(), ratio, self.plan.cess)
        else:
            beta = float(self.schedule.betas[stage])
        self.log_w = self.log_w + ((beta - self.beta) * ratio).view_as(self.log_w)
        self._resample()
        scale = self._scale() if self.schedule is None else torch.from_numpy(self.schedule.scales[stage]).to(self.x)
        self.betas.append(beta)
        self.scales.append(scale)
        self._move(stage, beta, scale)

    def _resample(self) -> None:
        poor = effective(self.log_w) < self.plan.resample * self.plan.particles
        if not bool(poor.any()):
            return
        rows = self.log_w[poor]
        n = self.plan.particles
        index = torch.arange(self.log_w.numel(), device=self.x.device).view_as(self.log_w)
        index[poor] = index[poor].gather(1, systematic(rows, self.generator))
        self.log_w[poor] = (torch.logsumexp(rows, 1, keepdim=True) - math.log(n)).expand(-1, n)
        index = index.flatten()
        self.x, self.energy, self.log_base = self.x[index], self.energy[index], self.log_base[index]

    def _scale(self) -> Tensor:
        """Standard deviation of each coordinate under the present weights."""
        w = torch.softmax(self.log_w.flatten(), 0)[:, None]
        x = self.x.double()
        variance = (w * (x - (w * x).sum(0)) ** 2).sum(0)
        return variance.sqrt().clamp_min(1e-12).to(self.x)

    def _move(self, stage: int, beta: float, scale: Tensor) -> None:
        sizes, rates = [], []
        size = self.step_sizes[-1][-1] if self.step_sizes else _FIRST_STEP / self.system.dim**0.5
        ones, heat_of = torch.ones_like(scale), self.x.new_tensor(beta)
        pull = self._pull(self.x / scale, scale, heat_of)
        for move in range(self.plan.moves):
            if self.schedule is not None:
                size = float(self.schedule.step_sizes[stage, move])
            sizes.append(size)
            noise = torch.randn(self.x.shape, generator=self.generator, dtype=self.x.dtype, device=self.x.device)
            dt = jittered(size, self.x, self.generator)
            y, new_pull, heat = trajectory(
                self.verlet, self.x / scale, pull, dt, ones, self.plan.leapfrog, noise, scale, heat_of
            )
            x = y * scale
            energy, log_base = self._densities(x)
            gain = self._log_density(beta, energy, log_base) - self._log_density(beta, self.energy, self.log_base)
            yes = accepted(gain - heat, self.generator)
            self.x, pull = torch.where(yes[:, None], x, self.x), torch.where(yes[:, None], new_pull, pull)
            self.energy = torch.where(yes, energy, self.energy)
            self.log_base = torch.where(yes, log_base, self.log_base)
            rates.append(float(yes.double().mean()))
            size *= math.exp(rates[-1] - _ACCEPTANCE)
        self.step_sizes.append(sizes)
        self.acceptance.append(float(np.mean(rates)))

    def _densities(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies, infinite where they are not numbers, and log densities of the base."""
        energy = self.system.energy(x).detach()
        return torch.where(energy.isnan(), torch.inf, energy), self.base.log_prob(x).detach()

    def _log_density(self, beta: float, energy: Tensor, log_base: Tensor) -> Tensor:
        return (1.0 - beta) * log_base - beta * energy / self.system.kT

    def _pull(self, y: Tensor, scale: Tensor, beta: Tensor) -> Tensor:
        """Gradient of the log density by the scaled coordinates y = x / scale."""
        x = y * scale
        base = torch.func.grad(lambda x: self.base.log_prob(x).sum())(x)
        return scale * ((1.0 - beta) * base + beta / self.system.kT * self.system.forces(x))

    def identity(self) -> dict[str, Any]:
        """What tells this run from others."""
        x, energy = self.start
        schedule = None
        if self.schedule is not None:
            parts = (self.schedule.betas, self.schedule.step_sizes, self.schedule.scales)
            schedule = hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()[:16]
        return {
            **asdict(self.plan), "system": repr(self.system), "base": type(self.base).__name__, "schedule": schedule,
            "starts": hashlib.sha256(x.cpu().numpy().tobytes()).hexdigest()[:16], "device": x.device.type,
            "median energy of the starts": f"{float(energy.median()):.5g}",
        }  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint needs, but for the numbers of `meta`."""
        return {
            "x": self.x, "energy": self.energy, "log_base": self.log_base, "log_w": self.log_w,
            "scales": torch.stack(self.scales), "generator": self.generator.get_state(),
        }  # fmt: skip

    def meta(self) -> dict[str, Any]:
        return {"betas": self.betas, "step_sizes": self.step_sizes, "acceptance": self.acceptance}

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> float:
        """Go on from a checkpoint; returns the seconds that were spent before it."""
        self.generator.set_state(tensors["generator"])
        at = self.x.device
        self.x, self.energy, self.log_base, self.log_w = (
            tensors[k].to(at) for k in ("x", "energy", "log_base", "log_w")
        )
        self.scales = list(tensors["scales"].to(at))
        self.betas, self.step_sizes, self.acceptance = meta["betas"], meta["step_sizes"], meta["acceptance"]
        return float(meta["wall_seconds"])

    def result(self, wall: float) -> Annealed:
        plan, stages = self.plan, len(self.betas)
        log_z_islands = torch.logsumexp(self.log_w, 1) - math.log(plan.particles)
        log_z = float(torch.logsumexp(log_z_islands, 0)) - math.log(plan.islands)
        share = (log_z_islands - log_z).exp()
        effective_islands = float(effective(log_z_islands))
        if effective_islands < min(_FEW, 0.5 * plan.islands):
            warnings.warn(
                f"{plan.name}: {plan.islands} islands are worth only {effective_islands:.1f}, so that log Z is too low "
                "and errors are too small, as a rule; take more moves, more particles, or a larger cess",
                stacklevel=4,
            )
        alive = ~torch.isneginf(self.log_w.flatten())  # others began where the energy is infinite
        if not bool(alive.any()):
            raise SimulationError("no particle kept a finite energy; choose a base nearer to the system")
        islands = np.repeat(np.arange(plan.islands, dtype=np.int32), plan.particles)[alive.cpu().numpy()]
        x, log_w = self.x[alive], self.log_w.flatten()[alive]
        n, each = len(self.x), plan.moves * plan.leapfrog
        cost = {
            "energy_evaluations": n * (1 + stages * plan.moves),
            "force_evaluations": n * stages * (1 + each) + plan.forces * len(x),
            "steps": stages, "wall_seconds": wall, "device": x.device.type,
        }  # fmt: skip
        frames = to_frames(
            self.system, x.cpu().numpy(),
            {"sampler": plan.name, **asdict(plan), "log_z": log_z, "betas": self.betas, "cost": cost},
            trajectory=islands if plan.particles > 1 else None,
            weights=(log_w - log_w.max()).exp().cpu().numpy(),
            energy=self.energy[alive].cpu().numpy(),
            forces=self.system.forces(x).cpu().numpy() if plan.forces else None,
        )  # fmt: skip
        schedule = Schedule(np.array(self.betas), np.array(self.step_sizes), torch.stack(self.scales).cpu().numpy())
        return Annealed(
            frames=frames,
            log_z=log_z,
            log_z_sd=float(share.std()) / math.sqrt(plan.islands),
            log_z_islands=log_z_islands.cpu().numpy(),
            effective_islands=effective_islands,
            schedule=schedule,
            acceptance=np.array(self.acceptance),
            islands=islands,
        )


def _check_schedule(schedule: Schedule | None, plan: Plan, system: System) -> None:
    if schedule is None:
        return
    if not isinstance(schedule, Schedule):
        raise ConfigError(
            f"schedule={schedule!r} must be the schedule of an earlier run: .schedule of what smc returns"
        )
    betas = schedule.betas
    if len(betas) == 0 or betas[-1] != 1.0 or not bool((np.diff(np.r_[0.0, betas]) > 0).all()):
        raise ConfigError("the betas of a schedule must increase from above 0 to 1")
    if schedule.step_sizes.shape != (len(betas), plan.moves) or schedule.scales.shape != (len(betas), system.dim):
        raise ConfigError(
            f"the schedule has {len(betas)} temperatures, step sizes of shape {schedule.step_sizes.shape} and scales "
            f"of shape {schedule.scales.shape}; for moves={plan.moves} and {system.dim} coordinates these must be "
            f"({len(betas)}, {plan.moves}) and ({len(betas)}, {system.dim})"
        )
