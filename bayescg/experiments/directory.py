"""A run's directory: which run it holds, and which stages are complete."""

import json
from pathlib import Path
from typing import Any

from bayescg.checkpoint import write_file
from bayescg.errors import ConfigError, OutputError
from bayescg.experiments.schema import Experiment
from bayescg.experiments.settings import parse, read_toml, to_toml

__all__ = ["Stages", "is_finished", "prepare", "read_experiment", "refuse_strangers"]


def prepare(path: Path, experiment: Experiment) -> None:
    """Write ``config.toml``, or make sure that what is there is this run and unfinished. Call it while claimed.

    Raises
    ------
    OutputError
        The directory holds a finished run, another run, or something else.
    """
    if not (path / "config.toml").exists():
        refuse_strangers(path)
        write_file(path / "config.toml", to_toml(experiment))
        return
    before = read_experiment(path)
    if before != experiment and {p.name for p in path.iterdir() if not p.name.startswith(".")} == {"config.toml"}:
        write_file(path / "config.toml", to_toml(experiment))  # that run was refused before it made anything
        return
    if before != experiment:
        changed = ", ".join(_differences(before.model_dump(), experiment.model_dump()))
        raise OutputError(
            f"{path} holds another run (different: {changed}). Choose another directory with --out, or delete it; "
            f"bayescg resume {path} goes on with the run that is there."
        )
    if is_finished(path):
        raise OutputError(
            f"{path} holds this run, finished: see {path / 'report.html'}. To repeat it, delete the directory or "
            "choose another one with --out; another --seed gives an independent run."
        )


def refuse_strangers(path: Path) -> None:
    """Refuse a directory that holds files of something else."""
    strangers = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    if strangers:
        raise OutputError(
            f"{path} holds {', '.join(strangers[:3])} and no config.toml: it is not a run's directory. Choose an "
            "empty or new one with --out."
        )


def read_experiment(path: Path) -> Experiment:
    """The experiment of a run's directory.

    Raises
    ------
    OutputError
        It is not a run's directory.
    ConfigError
        Its ``config.toml`` was damaged.
    """
    config = path / "config.toml"
    if not config.is_file():
        what = "has no config.toml" if path.is_dir() else "does not exist"
        raise OutputError(f"{path} is not a run's directory: it {what}. Start one: bayescg run NAME --out {path}")
    try:
        return parse(read_toml(config), str(config))
    except ConfigError as error:
        raise ConfigError(
            f"the run in {path} cannot be read, its config.toml was changed or damaged. {error}\n"
            "Put it right, or start a new run with --out."
        ) from error


def is_finished(path: Path) -> bool:
    """Whether a run is complete: ``summary.json`` is written last."""
    return (path / "summary.json").exists()


class Stages:
    """Seconds and warnings of the stages that are complete, kept in ``stages.json``.

    Parameters
    ----------
    path : Path
        The run's directory.
    """

    def __init__(self, path: Path):
        self._file = path / "stages.json"
        self._done: dict[str, Any] = {}
        if self._file.exists():
            try:
                self._done = json.loads(self._file.read_text())
            except ValueError as error:
                raise OutputError(f"{self._file} is damaged ({error}); delete it: only timings are lost") from error

    def complete(self, stage: str, seconds: float, warnings: list[str]) -> None:
        """Note a stage that is complete; one that was keeps its seconds."""
        if stage not in self._done:
            self._done[stage] = {"seconds": seconds, "warnings": warnings}
            write_file(self._file, json.dumps(self._done, indent=1))

    @property
    def seconds(self) -> float:
        """Of all stages, without time lost in stages that were interrupted."""
        return sum(stage["seconds"] for stage in self._done.values())

    @property
    def warnings(self) -> list[str]:
        """Of all stages, each once."""
        return list(dict.fromkeys(w for stage in self._done.values() for w in stage["warnings"]))


def _differences(a: Any, b: Any, key: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = dict.fromkeys([*a, *b])
        return [d for k in names for d in _differences(a.get(k), b.get(k), f"{key}.{k}".lstrip("."))]
    return [] if a == b else [key]
