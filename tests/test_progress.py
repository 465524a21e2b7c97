"""Progress where nobody looks at a terminal: a line a minute, with the time left."""

from typing import Any

import pytest

from bayescg import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(clock: list[float], capsys: Any, show: bool | None, seconds: int = 150) -> list[str]:
    """Of work of 1000 seconds, of which the first 200 were done before."""
    with progress.Bar("fit", 1000, 200, show) as bar:
        for done in range(200, 200 + seconds):
            bar.update(done, f"{done} of 1000")
            clock[0] += 1.0
    return capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_a_minute_with_the_time_left(clock, capsys):
    assert lines(clock, capsys, None) == [
        f"fit: {done} of 1000  0:{(1000 - done) // 60}:{(1000 - done) % 60:02d} left" for done in (221, 282, 343)
    ]


def test_work_of_seconds_and_silence_on_request(clock, capsys):
    assert lines(clock, capsys, None, seconds=15) == []
    assert lines(clock, capsys, False) == []


def test_what_comes_after_long_work_is_said(clock, capsys):
    for seconds, said in ((21, ["fit: posterior of 5,377 parameters"]), (20, [])):
        with progress.Bar("fit", 1, 0, None) as bar:
            clock[0] += seconds
            bar.then("posterior of 5,377 parameters")
        assert capsys.readouterr().err.splitlines() == said
