"""A run's directory: which run it holds, and which stages are complete."""

import json
import shutil
from pathlib import Path
from typing import Any

from bayescg.checkpoint import write_file
from bayescg.errors import ConfigError, OutputError
from bayescg.experiments.schema import Experiment
from bayescg.experiments.settings import parse, read_toml, to_toml

__all__ = ["Stages", "change", "is_finished", "prepare", "read_experiment", "refuse_strangers"]


def prepare(path: Path, experiment: Experiment) -> None:
    """Write ``config.toml``, or make sure that what is there is this run and unfinished. Call it while claimed.

    Settings with which nothing was made yet may be others: a run that failed on a typo does not stand in the way.

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
    changed = _differences(before.model_dump(), experiment.model_dump())
    if changed and not is_finished(path) and {key.partition(".")[0] for key in changed} <= _unused(path):
        change(path, experiment)
        return
    different = f"(different: {', '.join(changed)})"
    if changed and all(key.startswith("analysis.") for key in changed):
        raise OutputError(
            f"{path} holds this run, finished, of which something else was asked {different}. To ask this, without "
            f"another fit: bayescg report {path} --set KEY=VALUE. To do all again, choose another directory with --out."
        )
    if changed:
        raise OutputError(
            f"{path} holds another run {different}. Choose another directory with --out, or delete it; bayescg resume "
            f"{path} goes on with the run that is there."
        )
    if is_finished(path):
        raise OutputError(
            f"{path} holds this run, finished: see {path / 'report.html'}. To repeat it, delete the directory or "
            "choose another one with --out; another --seed gives an independent run."
        )


def change(path: Path, experiment: Experiment) -> None:
    """Write another ``config.toml`` over that of a run whose frames and fit stay; what was asked of them is gone."""
    (path / "summary.json").unlink(missing_ok=True)
    if not (parts := _made(path)):
        shutil.rmtree(path / "trajectories", ignore_errors=True)  # settings of a simulation that did not begin
    Stages(path).forget("analysis" if parts else None)
    write_file(path / "config.toml", to_toml(experiment))


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

    def forget(self, stage: str | None) -> None:
        """Forget a stage, or all of them."""
        self._done = {name: done for name, done in self._done.items() if stage not in (None, name)}
        write_file(self._file, json.dumps(self._done, indent=1))

    @property
    def seconds(self) -> float:
        """Of all stages, without time lost in stages that were interrupted."""
        return sum(stage["seconds"] for stage in self._done.values())

    @property
    def warnings(self) -> list[str]:
        """Of all stages, each once."""
        return list(dict.fromkeys(w for stage in self._done.values() for w in stage["warnings"]))


def _made(path: Path) -> set[str]:
    """Folders of a run that hold what takes long to make, be it half made."""
    files = ("trajectories/**/*trajectory-*", "trajectories/**/*.npy", "checkpoint/*", "fit/*", "fits/*/*")
    return {file.relative_to(path).parts[0] for pattern in files for file in path.glob(pattern)}


def _unused(path: Path) -> set[str]:
    """Sections of ``config.toml`` with which nothing was made yet."""
    there = _made(path)
    if not there:
        return set(Experiment.model_fields)
    return {"analysis", *(("data", "features", "model", "fit") if there == {"trajectories"} else ())}


def _differences(a: Any, b: Any, key: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = dict.fromkeys([*a, *b])
        return [d for k in names for d in _differences(a.get(k), b.get(k), f"{key}.{k}".lstrip("."))]
    return [] if a == b else [key]
