"""Many runs: each once, in order, whatever happens to the workers."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bayescg as bcg
from bayescg.errors import ConfigError, OutputError, RunError
from bayescg.experiments import load
from bayescg.experiments.settings import to_toml
from bayescg.many import cluster, pool
from bayescg.many.jobs import name_of

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def mapped() -> Iterator[Any]:
    """The module of the runs, where workers find it too."""
    sys.path.insert(0, str(HERE))
    yield importlib.import_module("mapped")
    sys.path.remove(str(HERE))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def noted(log: Path, what: str) -> list[tuple[int, int]]:
    """Number and process of every start, or end."""
    rows = [line.split() for line in log.read_text().splitlines()]
    return [(int(number), int(process)) for event, number, process in rows if event == what]


def times(log: Path, what: str) -> dict[int, int]:
    return dict(Counter(number for number, _ in noted(log, what)))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for two minutes"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Killer(threading.Thread):
    """Kill the process that begins a run of the given number, once."""

    def __init__(self, log: Path, number: int, ready: Callable[[], bool] = lambda: True):
        super().__init__()
        self.log, self.number, self.ready = log, number, ready

    def run(self) -> None:
        wait_until(lambda: self.number in times(self.log, "start") and self.ready())
        os.kill(dict(noted(self.log, "start"))[self.number], signal.SIGKILL)


def test_results_come_in_the_order_of_the_settings_each_run_once(mapped: Any, log: Path, tmp_path: Path) -> None:
    settings = [{"number": n, "log": str(log), "after": None if n else 5} for n in range(6)]
    results = bcg.experiments.map(mapped.nap, settings, workers=2)
    assert [r["number"] for r in results] == list(range(6))
    assert [number for number, _ in noted(log, "end")][-1] == 0, "they did end in another order"
    assert times(log, "start") == times(log, "end") == dict.fromkeys(range(6), 1)
    assert len({process for _, process in noted(log, "start")}) == 2
    assert list(tmp_path.iterdir()) == [log], "without out= and run_dir nothing is written"


def test_nothing_to_run() -> None:
    assert bcg.experiments.map(dict, []) == []


def test_workers_share_the_cores(mapped: Any, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "cores", lambda: 7)
    monkeypatch.delenv("OMP_NUM_THREADS")
    settings = [{"number": n, "log": str(log)} for n in range(2)]
    assert {r["threads"] for r in bcg.experiments.map(mapped.nap, settings, workers=2)} == {"3"}
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert {r["threads"] for r in bcg.experiments.map(mapped.nap, settings, workers=2)} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_killed_worker_costs_its_own_run_a_retry(mapped: Any, log: Path) -> None:
    killer = Killer(log, 2)
    killer.start()
    settings = [{"number": n, "log": str(log), "seconds": 0.4} for n in range(5)]
    results = bcg.experiments.map(mapped.nap, settings, workers=2)
    killer.join()
    assert [r["number"] for r in results] == list(range(5))
    assert times(log, "start") == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1}
    assert times(log, "end") == dict.fromkeys(range(5), 1)


@pytest.mark.slow
def test_a_killed_fit_goes_on_from_its_checkpoint_to_the_same_numbers(mapped: Any, log: Path, tmp_path: Path) -> None:
    settings = [{"seed": 1, "log": str(log), "die_at": 47}]
    (result,) = bcg.experiments.map(mapped.fit, settings, out=tmp_path / "out", workers=1)
    undisturbed = mapped.fit(1, None, os.devnull)
    assert result["digest"] == undisturbed["digest"]
    assert result["begun"] == 40
    assert undisturbed["trained"] - result["trained"] == 40, "steps were repeated"
    assert (times(log, "start"), times(log, "end")) == ({1: 2}, {1: 1})


def test_a_run_that_always_kills_its_worker_is_given_up(mapped: Any, log: Path) -> None:
    settings = [{"number": n, "log": str(log)} for n in range(4)]
    with pytest.raises(RunError, match=r"1 of 4 runs failed") as caught:
        bcg.experiments.map(mapped.die, settings, workers=2, retries=2)
    assert "its worker process died 3 times, the last time by SIGKILL" in caught.value.failures[0]["error"]
    assert caught.value.results == [0, None, 2, 3]
    assert times(log, "start") == {0: 1, 1: 3, 2: 1, 3: 1}


def test_an_exception_is_reported_at_the_end_and_the_same_call_repeats_only_what_failed(
    mapped: Any, log: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    settings = [{"number": n, "log": str(log), "flag": str(flag)} for n in range(5)]
    with pytest.raises(RunError, match=r"2 of 5 runs failed") as caught:
        bcg.experiments.map(mapped.fail, settings, out=tmp_path / "out", workers=1)
    for part in ("number=1", "ValueError: no luck with 1", "number=3", "ValueError: no luck with 3"):
        assert part in str(caught.value)
    assert caught.value.results == [0, None, 2, None, 4]
    assert [f["settings"] for f in caught.value.failures] == [settings[1], settings[3]]
    assert "mapped.py" in caught.value.failures[0]["traceback"]
    assert times(log, "start") == dict.fromkeys(range(5), 1), "an exception was retried"
    flag.unlink()
    assert bcg.experiments.map(mapped.fail, settings, out=tmp_path / "out", workers=1) == list(range(5))
    assert times(log, "start") == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1}


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import bayescg as bcg
import mapped
if __name__ == "__main__":
    settings = [{"number": n, "log": sys.argv[2], "seconds": 0.1 if n < 2 else 600.0} for n in range(4)]
    bcg.experiments.map(mapped.kept_nap, settings, out=sys.argv[3], workers=2)
"""


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_after_an_interruption_no_worker_is_left_and_the_same_call_goes_on(
    mapped: Any, log: Path, tmp_path: Path, number: signal.Signals
) -> None:
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(HERE), str(log), str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: times(log, "end") == {0: 1, 1: 1} and {2, 3} <= set(times(log, "start")))
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    wait_until(lambda: not any(alive(p) for _, p in noted(log, "start")))
    if number != signal.SIGKILL:
        assert f"Interrupted: stopped by {number.name}" in told
        assert str(out) in told
        assert told.count("Traceback") == 1, "a worker wrote one too"
    for directory in out.iterdir():  # shorter, the rest of it
        record = json.loads((directory / "run.json").read_text())
        record["settings"]["seconds"] = 0.1
        (directory / "run.json").write_text(json.dumps(record))
        directory.rename(out / directory.name.replace("600.0", "0.1"))
    settings = [{"number": n, "log": str(log), "seconds": 0.1} for n in range(4)]
    results = bcg.experiments.map(mapped.kept_nap, settings, out=out, workers=1)
    assert [r["number"] for r in results] == list(range(4))
    assert times(log, "start") == {0: 1, 1: 1, 2: 2, 3: 2}
    assert times(log, "end") == dict.fromkeys(range(4), 1)


def test_a_result_that_json_does_not_hold_comes_back_whole_and_is_not_kept(mapped: Any, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    results = bcg.experiments.map(mapped.tensors, [{"seed": s} for s in (4, 5)], out=tmp_path / "out", workers=1)
    assert [float(r[-1].sum()) for r in results] == [12.0, 15.0]
    assert len(os.listdir("/proc/self/fd")) <= before + 2, "tensors keep files open"
    assert "result" not in json.loads((tmp_path / "out" / "seed=4" / "run.json").read_text())


def test_without_out_a_callable_with_run_dir_gets_a_new_directory(
    mapped: Any, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (result,) = bcg.experiments.map(mapped.kept_nap, [{"number": 0, "log": "log"}], workers=1)
    (path,) = (tmp_path / "runs").glob("kept_nap-*/*")
    assert path.name == result["directory"] == "log=log,number=0"


def test_an_experiment_that_is_finished_is_read(tmp_path: Path) -> None:
    settings = [{"seed": s, "quick": True, "fit.steps": 60} for s in range(2)]
    for one in settings:
        path = tmp_path / name_of(one)
        path.mkdir()
        experiment = load("alanine-dipeptide", seed=one["seed"], quick=True, changes=["fit.steps=60"])
        (path / "config.toml").write_text(to_toml(experiment))
        (path / "summary.json").write_text(json.dumps({"schema": 1, "seed": one["seed"]}))
    found = bcg.experiments.map("alanine-dipeptide", settings, out=tmp_path)
    assert found == [{"schema": 1, "seed": 0}, {"schema": 1, "seed": 1}]


@pytest.mark.parametrize(
    ("settings", "more", "told"),
    [
        ([{"number": 0, "lag": 1}], {}, ["'lag'", "nap(number"]),
        ([{"number": 0}], {}, ["'log'"]),
        ([{"number": 0, "log": "a", "run_dir": "b"}], {}, ["run_dir is not a setting"]),
        ([{"number": 0, "log": "a"}] * 2, {"out": "here"}, ["settings 0 and 1 are the same"]),
        ([{"number": object(), "log": "a"}], {"out": "here"}, ["cannot name a run's directory"]),
        ([{"number": 0, "log": "a"}], {"workers": -1}, ["workers=-1"]),
        ([{"number": 0, "log": "a"}], {"retries": -1}, ["retries=-1"]),
        ([{"number": lambda: 0, "log": "a"}], {}, ["cannot be sent to another process"]),
    ],
)
def test_a_mistake_is_told_before_anything_runs(
    mapped: Any, settings: list[dict[str, Any]], more: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        bcg.experiments.map(mapped.nap, settings, **more)
    for part in told:
        assert part in str(caught.value)
    assert not Path("here").exists()


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("alanine-dipeptid", {}, 'did you mean "alanine-dipeptide"'),
        ("alanine-dipeptide", {"fit.stepz": 3}, 'did you mean "steps"'),
        ("alanine-dipeptide", {"steps": 3}, "fit.steps"),
        ("alanine-dipeptide", {"model.latent_dims": 3}, 'did you mean "latent_dim"'),
    ],
)
def test_an_experiment_or_key_that_is_unknown(tmp_path: Path, name: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        bcg.experiments.map(name, [{"seed": 0}, {"seed": 1, **settings}], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_directory_of_other_settings_is_refused(mapped: Any, log: Path, tmp_path: Path) -> None:
    settings = [{"number": 0, "log": str(log)}]
    bcg.experiments.map(mapped.nap, settings, out=tmp_path / "out", workers=1)
    (record,) = (tmp_path / "out").glob("*/run.json")
    record.write_text(record.read_text().replace('"number": 0', '"number": 9'))
    with pytest.raises(OutputError, match="holds the run of other settings"):
        bcg.experiments.map(mapped.nap, settings, out=tmp_path / "out", workers=1)
    record.write_text("{")
    with pytest.raises(OutputError, match=r"run\.json is damaged"):
        bcg.experiments.map(mapped.nap, settings, out=tmp_path / "out", workers=1)


def as_main(monkeypatch: pytest.MonkeyPatch, path: Path | None = None) -> ModuleType:
    """A module that stands for the main one: of a script, or of a notebook, which has no file."""
    main = ModuleType("__main__")
    if path is not None:
        main.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_a_function_of_a_notebook_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    main = as_main(monkeypatch)
    exec("def run(seed): return seed", main.__dict__)
    with pytest.raises(ConfigError, match="run is defined in a notebook or at a prompt"):
        bcg.experiments.map(main.run, [{"seed": 0}])


def test_a_script_without_a_main_guard_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its worker begins by importing it, and so comes to the same call."""
    script = tmp_path / "script.py"
    script.write_text("import bayescg as bcg\nbcg.experiments.map(dict, [{'seed': 0}], workers=1)\n")
    as_main(monkeypatch, script)
    with pytest.raises(ConfigError, match=r'the worker processes cannot start.*`if __name__ == "__main__":`'):
        bcg.experiments.map(dict, [{"seed": 0}], workers=1)
    assert "bootstrapping phase" in capfd.readouterr().err


def test_dask_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'bayescg\[cluster\]'"):
        bcg.experiments.map(dict, [{"seed": 0}], cluster="tcp://127.0.0.1:8786")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "carrier-pigeon://home"])
def test_an_address_that_does_not_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_TIMEOUT", 0.5)
    with pytest.raises(ConfigError, match=f"no Dask scheduler answers at {address}"):
        bcg.experiments.map(dict, [{"seed": 0}], cluster=address)


@pytest.fixture(scope="module")
def dask(mapped: Any) -> Iterator[Any]:
    """A scheduler with two worker processes, each under a nanny that starts another one when it dies."""
    import distributed

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as found:
        yield found


def test_at_a_cluster_results_come_in_order_and_exceptions_are_reported(
    mapped: Any, dask: Any, log: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    settings = [{"number": n, "log": str(log), "flag": str(flag)} for n in range(5)]
    with pytest.raises(RunError, match=r"2 of 5 runs failed") as caught:
        bcg.experiments.map(mapped.fail, settings, dask.scheduler_address)
    assert caught.value.results == [0, None, 2, None, 4]
    assert "mapped.py" in caught.value.failures[1]["traceback"]
    assert times(log, "start") == dict.fromkeys(range(5), 1)
    assert bcg.experiments.map(lambda seed: seed + 1, [{"seed": 1}], cluster=dask) == [2]


def test_a_killed_dask_worker_costs_its_own_run_a_retry(mapped: Any, dask: Any, log: Path, tmp_path: Path) -> None:
    killer = Killer(log, 2)
    killer.start()
    settings = [{"number": n, "log": str(log), "seconds": 0.4} for n in range(5)]
    results = bcg.experiments.map(mapped.kept_nap, settings, dask.scheduler_address, out=tmp_path / "out")
    killer.join()
    assert [r["number"] for r in results] == list(range(5))
    assert times(log, "start") == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1}
    assert times(log, "end") == dict.fromkeys(range(5), 1)


@pytest.mark.slow
def test_a_dask_worker_is_killed_in_the_middle_of_eight_fits_and_each_finishes_once(
    mapped: Any, dask: Any, log: Path, tmp_path: Path
) -> None:
    settings = [{"seed": s, "log": str(log), "pause": 0.01} for s in range(8)]
    out = tmp_path / "out"
    killer = Killer(log, 3, lambda: len(list((out / name_of(settings[3])).glob("checkpoint/*.json"))) == 2)
    killer.start()
    results = bcg.experiments.map(mapped.fit, settings, dask.scheduler_address, out=out)
    killer.join()
    assert times(log, "end") == dict.fromkeys(range(8), 1)
    assert times(log, "start") == {s: 2 if s == 3 else 1 for s in range(8)}
    assert results[3]["begun"] >= 20
    for s in range(8):
        undisturbed = mapped.fit(s, None, os.devnull)
        assert results[s]["digest"] == undisturbed["digest"]
        assert undisturbed["trained"] - results[s]["trained"] == results[s]["begun"], "steps were repeated"
    assert len({r["digest"] for r in results}) == 8
    before = log.read_text()
    assert bcg.experiments.map(mapped.fit, settings, dask.scheduler_address, out=out) == results
    assert log.read_text() == before


def test_a_dask_worker_with_several_threads_runs_one_thing_at_a_time(mapped: Any, log: Path) -> None:
    import distributed

    settings = [{"number": n, "log": str(log), "seconds": 0.05} for n in range(4)]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, dashboard_address=":0", silence_logs=50
    ) as threads:
        bcg.experiments.map(mapped.nap, settings, cluster=threads)
    events = [line.split()[0] for line in log.read_text().splitlines()]
    assert events == ["start", "end"] * 4


CLUSTER_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import bayescg as bcg
import mapped
settings = [{"number": n, "log": sys.argv[2], "seconds": 3.0} for n in range(8)]
bcg.experiments.map(mapped.kept_nap, settings, sys.argv[4], out=sys.argv[3])
"""


@pytest.mark.slow
def test_after_an_interruption_a_cluster_begins_nothing_more_and_the_same_call_goes_on(
    mapped: Any, dask: Any, log: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", CLUSTER_SCRIPT, str(HERE), str(log), str(out), dask.scheduler_address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(times(log, "start")) == 2)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert "Interrupted: stopped by SIGTERM" in told
    wait_until(lambda: len(times(log, "end")) == 2)
    time.sleep(1.0)
    assert len(times(log, "start")) == 2, "a run began after the interruption"
    settings = [{"number": n, "log": str(log), "seconds": 3.0} for n in range(8)]
    results = bcg.experiments.map(mapped.kept_nap, settings, dask.scheduler_address, out=out)
    assert [r["number"] for r in results] == list(range(8))
    assert times(log, "start") == times(log, "end") == dict.fromkeys(range(8), 1)


@pytest.mark.slow
def test_a_run_that_always_kills_its_dask_worker_is_given_up(mapped: Any, dask: Any, log: Path) -> None:
    settings = [{"number": n, "log": str(log)} for n in range(4)]
    with pytest.raises(RunError, match=r"1 of 4 runs failed") as caught:
        bcg.experiments.map(mapped.die, settings, dask.scheduler_address)
    assert "its worker died again and again" in caught.value.failures[0]["error"]
    assert caught.value.results == [0, None, 2, 3]
    assert times(log, "start")[1] == 4
