"""The calibration table and the command that makes it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bayescg.analysis.coverage import acceptance
from bayescg.cli import app
from bayescg.errors import ConfigError
from bayescg.experiments import calibration

ROWS = """
from dataclasses import replace
from functools import partial
import numpy as np
from bayescg.analysis import Quantity
from bayescg.experiments import Row

def mean(seed, width):
    rng = np.random.default_rng(seed)
    return {"mean": rng.normal() + width * rng.normal(size=999)}

def shifted(seed):
    draws = mean(seed, 1.0)["mean"]
    return {"mean": replace(Quantity.of(draws, ""), mean=draws.mean() + 1.0)}

def truth():
    return {"mean": 0.0}

ROWS = [
    Row("right", "a number", partial(mean, width=1.0), truth),
    Row("narrow", "a number, half as wide", partial(mean, width=0.5), truth),
    Row("known", "a number, half as wide", partial(mean, width=0.5), truth, expect="no claim"),
    Row("control", "a number, another control", partial(mean, width=1.0), truth, partial(mean, width=1.0)),
    Row("shifted", "a number, whose mean is not", shifted, truth),
    Row("interval", "a number, whose mean is not", shifted, truth, expect="interval"),
    Row("refuses", "a number, to be refused", partial(mean, width=1.0), truth, expect="refused"),
]
"""


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "numbers.py").write_text(ROWS)
    return tmp_path


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["calibrate", "studies", "--workers", "0", *arguments])
    return result.exit_code, result.output


def test_one_command_writes_the_table_and_says_which_rows_fail(rows: Path) -> None:
    status, text = command("--repeats", "60")
    assert status == 1
    verdicts = {n: r["verdict"] for n, r in json.loads((rows / "docs" / "calibration.json").read_text()).items()}
    assert verdicts == {
        "right": "ok",
        "narrow": "FAILED",
        "known": "no claim",
        "control": "FAILED: control passes",
        "shifted": "FAILED",
        "interval": "ok, intervals only",
        "refuses": "FAILED: not refused",
    }
    page = (rows / "docs" / "calibration.md").read_text()
    assert page == calibration.table(calibration.read(rows / "docs" / "calibration.md"))
    lines = [line for line in page.splitlines() if line.startswith("| a number")]
    assert len(lines) == 7
    low, high = acceptance(60, cells=5)
    assert f"of 60 | {low} to {high} |" in lines[0]  # of five cells: rows that claim no interval are none
    assert "held" in text


def test_some_rows_again_leave_the_others_and_keep_no_repeats(rows: Path) -> None:
    command("--repeats", "5")
    before = json.loads((rows / "docs" / "calibration.json").read_text())
    assert command("--only", "right", "--repeats", "60")[0] == 0
    after = json.loads((rows / "docs" / "calibration.json").read_text())
    assert after["right"]["repeats"] == 60
    assert {**after, "right": 0} == {**before, "right": 0}
    assert list(after) == list(before)
    assert not list((rows / "runs" / "calibration").iterdir())


@pytest.mark.slow
def test_processes_find_the_functions_of_the_file(rows: Path) -> None:
    assert command("--only", "right", "--workers", "1", "--repeats", "60")[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no ROWS"),
        ("ROWS = 1 / 0", "numbers.py does not run: ZeroDivisionError"),
        (ROWS.replace('"narrow"', '"right"'), "two rows are called right"),
    ],
)
def test_files_without_rows_of_their_own_names_are_refused(rows: Path, text: str, message: str) -> None:
    (rows / "other").mkdir()
    (rows / "other" / "numbers.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        calibration.rows_of([rows / "other"])
    with pytest.raises(ConfigError, match="does not exist"):
        calibration.rows_of([rows / "nowhere"])
    with pytest.raises(ConfigError, match="no row has timescale in its name; there are right, narrow"):
        calibration.selected(calibration.rows_of([rows / "studies"]), ["timescale"])
