import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bayescg.errors import ConfigError, OutputError
from bayescg.experiments import Experiment, resume, run
from bayescg.experiments.directory import Stages, prepare, read_experiment
from bayescg.stopping import claimed


def silent(_: str) -> None:
    """Say nothing."""


def test_a_directory_in_use_names_the_process(small: Callable[..., Experiment], tmp_path: Path) -> None:
    with claimed(tmp_path / "run"), pytest.raises(OutputError, match=f"in use by process {os.getpid()}.*--out"):
        run(small(), tmp_path / "run", silent)


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    with claimed(tmp_path):
        pass
    with claimed(tmp_path), (tmp_path / ".lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_another_run_in_the_directory_is_left_alone(small: Callable[..., Experiment], finished: Path) -> None:
    before = (finished / "config.toml").read_bytes()
    with pytest.raises(OutputError, match=r"another run \(different: run\.seed, fit\.steps\).*--out"):
        run(small("fit.steps=21", seed=1), finished, silent)
    assert (finished / "config.toml").read_bytes() == before


def test_a_run_that_failed_on_a_typo_does_not_stand_in_the_way(
    small: Callable[..., Experiment], unfinished: Path
) -> None:
    """What was made stays, and settings with which nothing was made may be others."""
    for name in ("fit", "checkpoint", "figures"):
        shutil.rmtree(unfinished / name)
    frames = {p: p.stat().st_mtime_ns for p in (unfinished / "trajectories").iterdir()}
    for changes in (["model.hidden=[0]"], ["fit.steps=7", "analysis.draws=11"]):
        with claimed(unfinished):
            prepare(unfinished, small(*changes))
        assert read_experiment(unfinished) == small(*changes)
    with claimed(unfinished), pytest.raises(OutputError, match=r"another run \(different: .*simulation\.dt"):
        prepare(unfinished, small("simulation.dt=0.001"))
    assert {p: p.stat().st_mtime_ns for p in (unfinished / "trajectories").iterdir()} == frames
    shutil.rmtree(unfinished / "trajectories")
    with claimed(unfinished):
        prepare(unfinished, small("simulation.dt=0.001"))
    assert (unfinished / "stages.json").read_text() == "{}"


def test_a_fit_in_the_making_is_not_given_up(small: Callable[..., Experiment], unfinished: Path) -> None:
    with claimed(unfinished), pytest.raises(OutputError, match=r"different: fit\.steps"):
        prepare(unfinished, small("fit.steps=7"))
    with claimed(unfinished):
        prepare(unfinished, small("analysis.draws=11"))  # of it, anything may be asked
    assert read_experiment(unfinished).analysis.draws == 11
    assert set(json.loads((unfinished / "stages.json").read_text())) == {"frames", "fit"}


def test_the_same_run_finished_points_at_its_report(small: Callable[..., Experiment], finished: Path) -> None:
    with pytest.raises(OutputError, match=r"finished: see .*report\.html.*--seed"):
        run(small(), finished, silent)
    with pytest.raises(OutputError, match=r"different: analysis\.bins.*bayescg report .* --set"):
        run(small("analysis.bins=5"), finished, silent)


def test_a_directory_of_something_else_is_left_alone(small: Callable[..., Experiment], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(OutputError, match=r"thesis\.tex and no config\.toml"):
        run(small(), tmp_path, silent)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_directory(small: Callable[..., Experiment], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"cannot use .* as output directory.*--out"):
            run(small(), path, silent)


def test_a_directory_that_cannot_be_written(small: Callable[..., Experiment]) -> None:
    with pytest.raises(OutputError, match="cannot use /proc/run as output directory"):
        run(small(), "/proc/run", silent)


def test_nothing_is_made_for_a_name_that_nothing_takes(small: Callable[..., Experiment], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run(small("model.latent_dims=2"), tmp_path / "run", silent)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_resume_needs_a_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match=r"is not a run's directory: it .*bayescg run"):
        resume(tmp_path / name, silent)


@pytest.mark.parametrize(("before", "after"), [("steps", "stepz"), ("[fit]", "[fit"), ("[analysis]", None)])
def test_a_damaged_config_is_named(unfinished: Path, before: str, after: str | None) -> None:
    config = unfinished / "config.toml"
    text = config.read_text()
    cut = text.index(before) + len(before) // 2  # the rest was never written
    config.write_text(text[:cut] if after is None else text.replace(before, after))
    with pytest.raises(ConfigError, match=r"config\.toml was changed or damaged"):
        resume(unfinished, silent)


def test_damaged_timings_are_named(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text('{"frames": {"sec')
    with pytest.raises(OutputError, match=r"stages\.json is damaged.*delete it"):
        Stages(tmp_path)


def test_a_complete_stage_keeps_its_seconds(tmp_path: Path) -> None:
    Stages(tmp_path).complete("frames", 10.0, ["short"])
    again = Stages(tmp_path)
    again.complete("frames", 0.1, [])
    again.complete("fit", 5.0, ["short", "rough"])
    assert (again.seconds, again.warnings) == (15.0, ["short", "rough"])


def test_an_interrupted_first_moment_is_no_obstacle(small: Callable[..., Experiment], tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("12345")
    (tmp_path / ".config.toml.partial").write_text("[exper")
    with claimed(tmp_path):
        prepare(tmp_path, small())
    assert (tmp_path / "config.toml").is_file()


def test_a_moved_run_is_the_same_run(finished: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(finished, tmp_path / "moved"))
    assert resume(moved, silent)["experiment"] == "alanine-dipeptide"
