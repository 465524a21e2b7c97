"""The one loop of active learning: simulate, fit, choose, again, until a number is sure enough."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts, check_numbers, check_paths, did_you_mean
from bayescg.checkpoint import write_file
from bayescg.errors import BayescgError, CheckpointError, ConfigError, Interrupted
from bayescg.experiments.acquisition.acquire import Acquisition, check_arguments_of
from bayescg.experiments.acquisition.next_labels import Labels
from bayescg.experiments.acquisition.next_seeds import Seeding
from bayescg.experiments.acquisition.next_shots import Shots
from bayescg.experiments.acquisition.next_windows import Windows
from bayescg.inference import Fit
from bayescg.modelling import Model
from bayescg.questions.finding import finite
from bayescg.stopping import claimed

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.systems import System

__all__ = ["ActiveRun", "Round", "active"]

ACQUISITIONS: dict[str, type[Acquisition]] = {"labels": Labels, "seeds": Seeding, "shots": Shots, "windows": Windows}

_LIMITS = {"sd": "(0, inf)", "evaluations": "(0, inf]", "rounds": "[1, inf]"}


@dataclass(frozen=True)
class Round:
    """One round of an active loop.

    Attributes
    ----------
    number : int
        From 0.
    frames : int
        That are learned from, those of earlier rounds included.
    evaluations : int
        Of forces, for these.
    mean, sd : float
        Of the quantity.
    seconds : float
        Wall clock of this round; nearly none where it was read from a folder.
    """

    number: int
    frames: int
    evaluations: int
    mean: float
    sd: float
    seconds: float


@dataclass(frozen=True, repr=False)
class ActiveRun:
    """What an active loop ends with.

    Attributes
    ----------
    fit : Fit
        Of the last round; of ``"seeds"`` the function of states, where one was given.
    frames : Frames
        All that was learned from: shots, frames of windows, or short trajectories.
    quantity : Quantity
    history : list of Round
    reason : str
        Why it stopped.
    path : Path
        The folder of the loop.
    """

    fit: Fit
    frames: Frames
    quantity: Quantity
    history: list[Round]
    reason: str
    path: Path

    def __repr__(self) -> str:
        last = self.history[-1]
        return (
            f"ActiveRun({len(self.history)} rounds, {last.evaluations:,} evaluations: {last.mean:.4g} ± {last.sd:.2g}; "
            f"stopped as {self.reason})"
        )


def active(
    system: System,
    model: Any,
    acquire: str | type[Acquisition] = "shots",
    *,
    until: Mapping[str, float],
    out: str | Path,
    quantity: str | Callable[[Fit, Frames], Any] | None = None,
    seed: int = 0,
    say: Callable[[str], Any] | None = None,
    **settings: Any,
) -> ActiveRun:
    """Simulate, learn, and let what was learned choose what to simulate next, until a number is sure enough.

    Every round is complete in the folder `out`, or not there: the same call goes on from what is, to the same numbers.
    A call whose first round is refused leaves the folder to the corrected one.

    Parameters
    ----------
    system : System
    model : Model or Fit
        What learns. For ``"windows"``, a fit, along whose CV they stand; for ``"seeds"`` also a function of states.
    acquire : {"shots", "seeds", "windows", "labels"} or a class of :class:`bayescg.experiments.acquisition.Acquisition`
        ``"shots"``: shots from configurations whose outcome tells most about the committor; arguments as of
        :class:`~bayescg.experiments.acquisition.Shots`. ``"seeds"``: short trajectories from where they tell most about
        a slow process; arguments as of :class:`~bayescg.experiments.acquisition.Seeding`. ``"windows"``: umbrella
        windows, more of them side by side where the answer scatters and longer ones where replicas did not mix;
        arguments as of :class:`~bayescg.experiments.acquisition.Windows`. ``"labels"``: energies and forces where a
        learned potential goes and is least certain; arguments as of
        :class:`~bayescg.experiments.acquisition.Labels`.
    until : mapping
        When to stop, whichever comes first: ``"sd"`` of the quantity, ``"evaluations"`` of forces, ``"rounds"``. A
        quantity that has no interval, as its `warning` says, is not sure enough whatever its sd.
    out : path
        Folder of the loop.
    quantity : str or callable, optional
        What the loop is to find: a name, or a function of the fit and all frames so far that gives a `Quantity`, or
        draws of one. Default: of shots ``"committor"``, of seeds ``"log t1"``, of windows ``"dF"``, of labels
        ``"forces"``.
    seed : int
    say : callable, optional
        Gets a line a round.
    **settings
        Of the acquisition.

    Returns
    -------
    ActiveRun

    Raises
    ------
    ConfigError
        An argument is unknown or out of range.
    CheckpointError
        `out` holds another loop.
    OutputError
        `out` cannot be written, or another process works there.

    Examples
    --------
    >>> import tempfile
    >>> import bayescg as bcg
    >>> well = bcg.systems.QuarticDoubleWell()
    >>> sides = {"A": lambda x: x[:, 0] < -1.0, "B": lambda x: x[:, 0] > 1.0}
    >>> pool = bcg.sampling.flattened(well, 60, dt=0.01, steps=300, chains=20)
    >>> model = bcg.models.MultitaskCV(latent_dim=1, tasks=["commitments"], hidden=[4], dim=1)
    >>> with tempfile.TemporaryDirectory() as out:
    ...     run = active(
    ...         well, model, "shots", until={"rounds": 2}, out=out, configurations=pool, regions=sides, dt=0.01,
    ...         first=20, batch=5, fit={"steps": 20, "members": 3},
    ...     )
    >>> len(run.frames), run.reason
    (25, 'there were 2 rounds')
    """
    check_paths(out=out)
    check_counts(seed=(seed, 0))
    _check_until(until)
    kind = ACQUISITIONS.get(acquire) if isinstance(acquire, str) else acquire
    if not (isinstance(kind, type) and issubclass(kind, Acquisition)):
        raise ConfigError(
            f"acquire={acquire!r} is not known: {did_you_mean(acquire, ACQUISITIONS)}use one of "
            f"{', '.join(ACQUISITIONS)}"
        )
    check_arguments_of(kind, settings, ("system", "model", "tolerance", "seed"))
    try:
        acquisition = kind(system, model, until.get("sd"), seed, **settings)
    except TypeError as error:  # of the signature
        raise ConfigError(f"acquire={acquire!r}: {error}") from error
    value_of = _quantity(acquisition, quantity)
    path, history = Path(out), list[Round]()
    mine = _identity(system, model, acquisition, seed, quantity)
    with claimed(path), _held(path, mine):
        query: dict[str, Any] | None = acquisition.begin()
        while True:
            began, number = time.perf_counter(), len(history)
            folder = path / f"round-{number:03d}"
            query = _noted(folder / "query.json", query)
            random = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
            frames = acquisition.answer(query, folder, random)
            with warnings.catch_warnings(record=True) as doubts:  # of fewer frames than the last round has
                warnings.simplefilter("always")
                fit = acquisition.learn(frames, folder, random)
            value = _as_quantity(value_of(fit, frames))
            cost, seconds = int(frames.provenance["cost"]["force_evaluations"]), time.perf_counter() - began
            history.append(Round(number, len(frames), cost, value.mean, value.sd, seconds))
            write_file(path / "history.json", json.dumps(finite([asdict(r) for r in history]), indent=1))
            if say is not None:
                say(f"round {number}: {len(frames):,} frames, {cost:,} evaluations, {value.mean:.4g} ± {value.sd:.2g}")
            reason = _reason(until, history, value)
            query = None if reason else acquisition.propose(fit, frames, value)
            if query is None:
                for words, category in {str(doubt.message): doubt.category for doubt in doubts}.items():
                    warnings.warn(words, category, stacklevel=2)
                return ActiveRun(fit, frames, value, history, reason or "nothing is left to ask", path)


def _check_until(until: Any) -> None:
    if not isinstance(until, Mapping) or not until:
        raise ConfigError(f"until={until!r} must say when to stop: a mapping with some of {', '.join(_LIMITS)}")
    for name, limit in until.items():
        if name not in _LIMITS:
            raise ConfigError(f"until[{name!r}]: {did_you_mean(name, _LIMITS)}use some of {', '.join(_LIMITS)}")
        check_numbers(**{f"until[{name!r}]": (limit, _LIMITS[name])})


def _reason(until: Mapping[str, float], history: list[Round], value: Quantity) -> str:
    """Why to stop; empty: there is no reason."""
    last = history[-1]
    if last.sd <= until.get("sd", 0.0) and value.warning is None:
        return f"its sd is at most {until['sd']:g}"
    if last.evaluations >= until.get("evaluations", np.inf):
        return f"there were {until['evaluations']:,.0f} evaluations"
    if len(history) >= until.get("rounds", np.inf):
        return f"there were {until['rounds']:g} rounds"
    return ""


def _quantity(acquisition: Acquisition, quantity: Any) -> Callable[[Fit, Frames], Any]:
    if callable(quantity):
        return quantity
    name = next(iter(acquisition.quantities)) if quantity is None else quantity
    if name not in acquisition.quantities:
        raise ConfigError(
            f"quantity={quantity!r} is not known here: use one of {', '.join(acquisition.quantities)}, or a function "
            "of the fit and the frames"
        )
    return acquisition.quantities[name]


def _as_quantity(value: Any) -> Quantity:
    if isinstance(value, Quantity):
        return value
    draws = np.asarray(value, dtype=np.float64)
    if draws.ndim != 1 or len(draws) < 2 or not np.isfinite(draws).all():
        raise ConfigError(f"quantity= must return a Quantity, or at least two finite draws (n,), not {draws.shape}")
    return Quantity.of(draws, unit="")


def _identity(system: System, model: Any, acquisition: Acquisition, seed: int, quantity: Any) -> dict[str, Any]:
    """What a loop is, but for when it stops."""
    learner = model.model if isinstance(model, Fit) else model
    config = {"model": _name(learner)}
    if isinstance(learner, Model):
        config = {"model": type(learner).__name__, **learner.config()}
    number = next(iter(acquisition.quantities)) if quantity is None else quantity
    mine = {"acquire": type(acquisition).__name__, "system": repr(system), "seed": seed, **config}
    mine["quantity"] = number if isinstance(number, str) else _name(number)
    return json.loads(json.dumps({**mine, **acquisition.identity()}, default=repr))


@contextmanager
def _held(path: Path, mine: dict[str, Any]) -> Iterator[None]:
    """Note whose folder it is, or refuse that of another loop; one of which no round came about is no loop yet."""
    file = path / "active.json"
    theirs = _noted(file, mine)
    refused = theirs.pop("refused", False)
    if different := [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]:
        if not refused:
            raise CheckpointError(
                f"{path} holds another active loop (different: {', '.join(sorted(different))}): give another out="
            )
        shutil.rmtree(path / "round-000", ignore_errors=True)
    if refused:
        write_file(file, json.dumps(mine, indent=1))
    try:
        yield
    except Interrupted:
        raise
    except BayescgError:
        if not (path / "history.json").exists():
            write_file(file, json.dumps({**mine, "refused": True}, indent=1))
        raise


def _name(function: Any) -> str:
    """Of a function, the same in another process."""
    return getattr(function, "__qualname__", type(function).__name__)


def _noted(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """What a file says; where there is none, it is to say `content`."""
    if not path.exists():
        write_file(path, json.dumps(content, indent=1))
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}): give another out=") from error
