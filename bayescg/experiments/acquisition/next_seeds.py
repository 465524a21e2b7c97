"""Short trajectories that begin where they tell most about a slow process."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

import bayescg as bcg
from bayescg.analysis.kinetics.seeds import Seeds, seeds_or_why
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts, check_positive
from bayescg.checkpoint import whole
from bayescg.data import Frames
from bayescg.data.pairs import steps_of
from bayescg.errors import ConfigError, DataError
from bayescg.experiments.acquisition.acquire import Acquisition, check_arguments_of, fit_settings
from bayescg.experiments.many.mapping import map
from bayescg.inference import Fit
from bayescg.modelling import HasBasis, Model
from bayescg.sampling.chains.loop import as_positions
from bayescg.sampling.sampled_frames import to_frames

if TYPE_CHECKING:
    from bayescg.systems import System

__all__ = ["Seeding"]


class Seeding(Acquisition):
    """Rounds of short trajectories from frames of those before, chosen by :func:`bayescg.analysis.next_seeds`.

    The standard deviation alone is no reason to stop: the quantity has an interval from ten crossings of the process
    each way, and three rounds without a new state, on (:meth:`bayescg.analysis.Seeds.estimate`). As long as the
    trajectories do not define it at all, the next ones begin in the states with the fewest counts.

    What has an interval is the quantity of the Markov chain of these states at this lag. States that cut across wells
    make it too fast: of two halves of a double well at a lag of .2 it is .84 for 1.34, which no interval tells.
    Compare longer lags, or a :class:`bayescg.models.HiddenMarkov` of the same states, before it is believed.

    Parameters
    ----------
    system : System
    model : Model, Fit or callable
        Of soft states, fitted anew in each round; or fitted once and for all; or a function from positions to the
        numbers of their states.
    tolerance : float or None
    seed : int
    starts : Frames or array, shape (n, dim) or (n, atoms, 3) in nm
        Where the trajectories of the first round begin, one at each.
    length, frame_every, dt : float
        Of every trajectory, between its frames, and of a time step: ps, or the unit of a toy system.
    n : int
        Trajectories of every further round.
    lag : float, optional
        Of the transitions that are counted, and of the pairs that a model learns from; default: that of the model, or
        `frame_every`.
    region : sequence of int, optional
        States, whose population, ``"logit p"``, is then the quantity.
    explore : float
        Share of the seeds in the states with the fewest counts.
    dynamics : {"overdamped", "langevin"}
        All trajectories of a round in one batch.
    simulate : callable, optional
        Another engine: ``simulate(start, seed)`` gives the frames that follow `start` (dim,), or (atoms, 3) in nm, of
        one trajectory, an array or Frames, of ``length / frame_every``. A trajectory that is complete is kept, and one
        that failed is the only one that the same call simulates again.
    workers, cluster
        Of :func:`bayescg.experiments.map`, for such an engine; default: one trajectory after the other, here.
    fit : mapping, optional
        Arguments of :func:`bayescg.fit`.
    **sampler
        Further arguments of :func:`bayescg.sampling.overdamped` or :func:`bayescg.sampling.langevin`.

    References
    ----------
    As :func:`bayescg.analysis.next_seeds`.

    Examples
    --------
    >>> import tempfile
    >>> well = bcg.systems.QuarticDoubleWell()
    >>> cells = lambda x: torch.bucketize(x[:, 0].contiguous(), torch.linspace(-1.5, 1.5, 9))
    >>> with tempfile.TemporaryDirectory() as out:
    ...     run = bcg.experiments.active(
    ...         well, cells, "seeds", until={"rounds": 3}, out=out, starts=np.full((10, 1), -1.0), n=5, length=2.0,
    ...         frame_every=0.2, dt=0.02,
    ...     )
    >>> len(run.frames), run.quantity.ci90
    (220, None)
    """

    def __init__(
        self,
        system: System,
        model: Any,
        tolerance: float | None,
        seed: int,
        *,
        starts: Any,
        length: float,
        frame_every: float,
        dt: float,
        n: int = 10,
        lag: float | None = None,
        region: Sequence[int] | None = None,
        explore: float = 0.5,
        dynamics: Literal["overdamped", "langevin"] = "overdamped",
        simulate: Callable[..., Any] | None = None,
        workers: int | None = 0,
        cluster: Any = None,
        fit: Mapping[str, Any] | None = None,
        **sampler: Any,
    ):
        super().__init__(system, model, tolerance, seed)
        check_counts(n=(n, 1))
        check_positive(length=length, frame_every=frame_every, dt=dt)
        if isinstance(model, Model) and not isinstance(model, HasBasis):
            raise ConfigError(
                f"{type(model).__name__} has no states: give a ReversibleDeepMSM, or a function to states"
            )
        if not isinstance(model, Model | Fit) and not callable(model):
            raise ConfigError("model must be one, or a fit, or a function from positions to the numbers of states")
        if dynamics not in ("overdamped", "langevin"):
            raise ConfigError(f'dynamics={dynamics!r} is not known: use "overdamped" or "langevin", or simulate=')
        self.stride, self.count = steps_of(frame_every, dt), steps_of(length, frame_every)
        self.lag = float(lag or getattr(getattr(model, "model", model), "lag", None) or frame_every)
        steps_of(self.lag, frame_every)
        if self.lag > length:
            raise DataError(f"lag={self.lag:g} is longer than the trajectories, length={length:g}")
        self.first = as_positions(system, starts, None).float().numpy()
        if n > (most := len(self.first) * (self.count + 1)):
            raise ConfigError(f"n={n} trajectories begin at frames of the first round, which has only {most}")
        self.times = {"length": length, "frame_every": frame_every, "dt": dt}
        self.n, self.region, self.explore = n, None if region is None else list(region), explore
        self.dynamics = getattr(bcg.sampling, dynamics)
        check_arguments_of(
            self.dynamics,
            sampler,
            ("system", "steps", "dt", "chains", "starts", "stride", "seed", "run_dir", "resume"),
            Seeding,
        )
        if simulate is not None and sampler:
            raise ConfigError(f"{', '.join(sampler)}: an engine of yours, simulate=, is not given these")
        self.sampler, self.simulate = sampler, simulate
        self.workers, self.cluster = workers, cluster
        self.settings = fit_settings(fit, uncertainty="none")
        self.rounds: list[np.ndarray] = []
        self.seeds: Seeds | None = None
        names = [f"log t{k}" for k in range(1, 10)] if region is None else ["logit p"]
        self.quantities = {name: partial(self.asked_for, name) for name in names}

    def identity(self) -> dict[str, Any]:
        """The starts and all settings."""
        engine = self.simulate or self.dynamics
        return {
            "starts": hashlib.sha256(self.first.tobytes()).hexdigest()[:16], **self.times, "n": self.n, "lag": self.lag,
            "region": self.region, "explore": self.explore, "engine": getattr(engine, "__qualname__", repr(engine)),
            "sampler": self.sampler, "fit": self.settings,
        }  # fmt: skip

    def begin(self) -> dict[str, Any]:
        """The starts."""
        return {"positions": self.first.tolist()}

    def propose(self, fit: Fit, frames: Frames, value: Quantity) -> dict[str, Any] | None:
        """Frames from which trajectories tell most of the quantity; where that is a function of yours, of log t1."""
        seeds = self.seeds or self._next(next(iter(self.quantities)), fit, frames)
        return {"positions": frames.gather(seeds.index).reshape(self.n, -1).tolist()}

    def answer(self, query: dict[str, Any], path: Path, seed: int) -> Frames:
        """Simulate from these positions."""
        file, starts = path / "trajectories.npy", np.array(query["positions"], np.float32)
        if not file.exists():
            followed = self._in_one_batch if self.simulate is None else self._one_by_one
            x = np.concatenate([starts[:, None], followed(starts, path, seed)], 1)
            with whole(file) as partial_file, partial_file.open("wb") as stream:
                np.save(stream, x)
            shutil.rmtree(path / "simulation")
        self.rounds.append(np.load(file))
        self.seeds = None
        x = np.concatenate(self.rounds)
        cost = {"force_evaluations": len(x) * self.count * self.stride}
        note = {"sampler": "seeds", "rounds": [len(new) for new in self.rounds], "cost": cost}
        return to_frames(
            self.system, x.reshape(-1, x.shape[2]), note, dt=self.times["frame_every"],
            trajectory=np.repeat(np.arange(len(x)), x.shape[1]),
        )  # fmt: skip

    def learn(self, frames: Frames, path: Path, seed: int) -> Any:
        """A fit to all trajectories; states that are fixed learn nothing."""
        if not isinstance(self.model, Model):
            return self.model
        saved = path / "fit"
        if not (saved / "fit.json").exists():
            data = frames.lagged(self.lag) if self.model.needs_pairs else frames
            bcg.fit(copy.deepcopy(self.model), data, seed=seed, **self.settings).save(saved)
        return Fit.load(saved)

    def asked_for(self, name: str, fit: Any, frames: Frames) -> Quantity:
        """The quantity of this name, and, in `seeds`, where to begin next."""
        self.seeds = self._next(name, fit, frames)
        return self.seeds.estimate([len(x) for x in self.rounds])

    def _next(self, name: str, fit: Any, frames: Frames) -> Seeds:
        return seeds_or_why(
            fit, frames, name, self.n, self.times["length"], lag=self.lag, region=self.region, explore=self.explore,
            seed=self.seed + len(self.rounds),
        )  # fmt: skip

    def _in_one_batch(self, starts: np.ndarray, path: Path, seed: int) -> np.ndarray:
        frames = self.dynamics(
            self.system, self.count * self.stride, dt=self.times["dt"], starts=torch.from_numpy(starts),
            stride=self.stride, seed=seed, run_dir=path / "simulation", **{"progress": False, **self.sampler},
        )  # fmt: skip
        return frames.gather(slice(None)).reshape(len(starts), self.count, -1)

    def _one_by_one(self, starts: np.ndarray, path: Path, seed: int) -> np.ndarray:
        assert self.simulate is not None
        folder = path / "simulation"
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"trajectory-{k:03d}.npy" for k in range(len(starts))]
        shape = (-1,) if self.system.topology is None else (-1, 3)
        numbers = np.random.SeedSequence(seed).generate_state(len(starts)) >> 1
        calls = [
            {"file": str(file), "start": x.reshape(shape), "seed": int(s)}
            for file, x, s in zip(files, starts, numbers, strict=True)
        ]
        map(partial(_trajectory, self.simulate, self.count), calls, self.cluster, workers=self.workers, progress=False)
        return np.stack([np.load(file) for file in files])


def _trajectory(simulate: Callable[..., Any], count: int, *, file: str, start: np.ndarray, seed: int) -> None:
    """One trajectory of another engine in its file, where it is not there yet.

    Raises
    ------
    DataError
        It has other frames than were wanted.
    """
    if Path(file).exists():
        return
    x = simulate(start, seed)
    x = np.asarray(x.gather(slice(None)) if isinstance(x, Frames) else x, dtype=np.float32)
    if x.size != count * start.size or len(x) != count or not np.isfinite(x).all():
        raise DataError(f"simulate must give {count} finite frames of {start.shape}, not {x.shape}")
    with whole(Path(file)) as partial_file, partial_file.open("wb") as stream:
        np.save(stream, x.reshape(count, -1))
