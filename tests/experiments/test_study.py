"""Many runs as one table, figures and a page; and a study that is killed twice and goes on."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayescg as bcg
from bayescg.analysis import Quantity
from bayescg.errors import ConfigError, Interrupted, RunError
from bayescg.experiments import study
from tests.experiments import mapped

ROOT = Path(__file__).parents[2]
SETTINGS: list[dict[str, Any]] = [{"seed": s, "width": w} for w in (0.1, 0.2) for s in range(3)]


def test_the_table_has_a_row_for_each_quantity_of_each_run() -> None:
    results = [{"a": 1.0, "b": Quantity.of(np.arange(19.0), "kT"), "c": {"mean": 2.0, "truth": 2.5}} for _ in SETTINGS]
    found = study(SETTINGS, results)
    assert len(found.table) == 18
    b = found.table[found.table["quantity"] == "b"].iloc[0]
    assert (b["unit"], b["mean"], b["low"], b["high"]) == ("kT", 9.0, 0.0, 18.0)
    assert np.isnan(found.table["truth"].iloc[0])
    data = found.to_xarray()
    assert dict(data.sizes) == {"seed": 3, "width": 2, "quantity": 3}
    assert float(data["truth"].sel(seed=2, width=0.2, quantity="c")) == 2.5


def test_runs_that_failed_are_in_no_row_and_on_the_page(tmp_path: Path) -> None:
    failures = [{"settings": SETTINGS[1], "error": "no <luck>"}]
    found = study(SETTINGS, [{"a": 1.0}, None, *[{"a": 2.0}] * 4], failures)
    assert len(found.table) == 5
    page = found.write(tmp_path, "widths").read_text()
    assert "5 of 6 runs finished" in page
    assert "1 of 6 runs failed: see below" in page
    assert "no &lt;luck&gt;" in page
    assert "what to cite" not in page
    assert not re.search(r'src="(?!data:)', page)
    assert pd.read_csv(tmp_path / "runs.csv")["mean"].tolist() == [1.0, 2.0, 2.0, 2.0, 2.0]
    with xr.open_dataset(tmp_path / "runs.nc", engine="h5netcdf") as data:
        assert data["mean"].isnull().sum() == 1


def test_runs_without_an_interval_are_named_and_what_is_to_be_cited(tmp_path: Path) -> None:
    sure = {"unit": "", "mean": 2.0, "sd": 0.1, "ci90": [1.8, 2.2], "truth": None}
    results = [{"quantities": {"a": sure}, "diagnostics": {"warnings": [], "quick": True}}] * 5
    page = study(SETTINGS, [*results, {"a": 9.0}]).write(tmp_path, cite=["Euler (1755)", "", "Euler (1755)"])
    text = page.read_text()
    assert "1 of 3 runs say nothing of how far to trust a at width=0.2" in text
    assert "at width=0.1: they" not in text
    assert "A quick run: it shows that everything works" in text
    assert text.count("Euler (1755)") == 1


def test_a_setting_of_several_kinds_is_written_as_words(tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [{"seed": 0, "width": [16]}, {"seed": 0, "width": 1}, {"seed": 0}]
    found = study(settings, [{"a": 1.0}] * 3)
    found.write(tmp_path)
    assert found.table["width"].tolist() == ["[16]", "1", ""]
    with xr.open_dataset(tmp_path / "runs.nc", engine="h5netcdf") as data:
        assert data["mean"].sel(width="1").item() == 1.0


def test_there_is_parquet_where_pyarrow_is(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    study(SETTINGS[:2], [{"a": 1.0}, {"a": 2.0}]).write(tmp_path)
    assert pd.read_parquet(tmp_path / "runs.parquet")["mean"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("results", "message"),
    [([{"a": 1.0}], "6 settings and 1 results"), ([1.0] * 6, "a result is a float"), ([{"a": "x"}] * 6, "a is a str")],
)
def test_what_is_no_study_is_refused(results: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(SETTINGS, results)


def test_seeds_that_disagree_are_warned_of_with_their_settings(tmp_path: Path) -> None:
    def quantity(mean: float) -> dict[str, Any]:
        return {"q": {"unit": "kT", "mean": mean, "sd": 0.1, "ci90": [mean - 0.16, mean + 0.16], "truth": None}}

    results = [quantity(m) for m in (1.0, 1.1, 0.9, 1.0, 3.0, 5.0)]
    page = study(SETTINGS, results).write(tmp_path).read_text()
    assert "seeds disagree about q at width=0.2: its error bars are too narrow" in page
    assert "disagree about q at width=0.1" not in page
    assert "Quantities, width=0.1" in page


def begun(count: int, out: Path, log: Path, seconds: float, workers: int) -> subprocess.Popen[bytes]:
    """Start a study in a process of its own."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import bayescg as bcg
from tests.experiments.mapped import measured
if __name__ == "__main__":
    settings = [{{"seed": s, "width": w, "log": {str(log)!r}, "seconds": {seconds}}}
                for w in (0.1, 0.2) for s in range({count // 2})]
    results = bcg.experiments.map(measured, settings, out={str(out)!r}, workers={workers}, progress=False)
    plain = [{{"seed": s["seed"], "width": s["width"]}} for s in settings]
    bcg.experiments.study(plain, results).write({str(out)!r}, "widths")
"""
    file = out.parent / "study.py"
    file.write_text(script)
    return subprocess.Popen([sys.executable, str(file)], start_new_session=True)


def killed_twice(count: int, tmp_path: Path, seconds: float, workers: int) -> None:
    """Kill all processes of a study when a third, and two thirds, of its runs are over; then let it end."""
    out, log = tmp_path / "study", tmp_path / "log"
    log.touch()
    for part in (count // 3, 2 * count // 3):
        process = begun(count, out, log, seconds, workers)
        while log.read_text().count("end") < part:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("run.json") if "result" in json.loads(p.read_text())}
    assert begun(count, out, log, seconds, workers).wait() == 0
    ends = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("end")]
    assert len(before) >= 2 * count // 3 - 2
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    assert count <= len(ends) <= count + 4  # a run that ended before its result was kept, at most one a worker and kill
    table = pd.read_csv(out / "runs.csv")
    assert len(table) == count
    page = (out / "report.html").read_text()
    assert f"{count} of {count} runs finished" in page


def test_a_study_that_is_interrupted_twice_runs_nothing_twice(tmp_path: Path) -> None:
    """The same in one process, where Ctrl-C comes during the third run and during the fifth."""
    log, flags = tmp_path / "log", [tmp_path / str(n) for n in (2, 4)]
    for flag in flags:
        flag.touch()
    settings = [{"number": n, "log": str(log), "flags": str(tmp_path)} for n in range(6)]
    for _ in flags:
        with pytest.raises(Interrupted):
            bcg.experiments.map(mapped.interrupted, settings, out=tmp_path / "study", workers=0)
    results = bcg.experiments.map(mapped.interrupted, settings, out=tmp_path / "study", workers=0)
    assert [result["number"] for result in results] == list(range(6))
    lines = log.read_text().splitlines()
    assert sorted(line.split()[1] for line in lines if line.startswith("end")) == [str(n) for n in range(6)]
    assert len([line for line in lines if line.startswith("start")]) == 8  # two were begun again


@pytest.mark.slow
def test_a_study_of_forty_runs_is_killed_twice(tmp_path: Path) -> None:
    killed_twice(40, tmp_path, 0.5, workers=2)


def test_a_study_in_a_notebook_goes_on_after_a_failure(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    settings = [{**s, "log": log} for s in SETTINGS]
    results = bcg.experiments.map(mapped.measured, settings, out=tmp_path / "runs", workers=0)
    found = study(SETTINGS, results)
    height = found.groups[0]["quantities"]["height"]
    assert height["truth"] == 0.1
    assert height["covered"] == 3
    flag = tmp_path / "flag"
    flag.touch()
    numbers = [{"number": n, "log": log, "flag": str(flag)} for n in range(3)]
    with pytest.raises(RunError) as error:
        bcg.experiments.map(mapped.fail, numbers, workers=0)
    assert len(study(numbers, [{"n": r} if r is not None else None for r in error.value.results]).table) == 2
