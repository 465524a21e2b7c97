"""Timescales against lag, of frames that tell too little at the longer ones."""

from typing import Any

import pytest

import bayescg as bcg
from bayescg.errors import DataError
from bayescg.models import ReversibleDeepMSM


@pytest.fixture(scope="module")
def fit_and_frames() -> tuple[bcg.Fit, bcg.data.Frames]:
    frames = bcg.sampling.overdamped(bcg.systems.Prinz(), 4000, dt=0.001, chains=20, stride=10, seed=0)
    model = ReversibleDeepMSM(states=3, hidden=(8,))
    return bcg.fit(model, frames.lagged(0.05), steps=60, members=2, compile="off", seed=0), frames


def refusing(function: Any, longest: float) -> Any:
    """The function, which refuses longer lags."""

    def stand_in(fit: Any, frames: Any, lag: float | None = None, **settings: Any) -> Any:
        if max((lag or 0.0) * n for n in settings.get("multiples", [1])) > longest + 1e-9:
            raise DataError("the trajectories do not say how probable frames are at equilibrium")
        return function(fit, frames, lag, **settings)

    return stand_in


def test_a_lag_that_is_refused_leaves_the_others(
    fit_and_frames: tuple[bcg.Fit, bcg.data.Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("spectrum", "chapman_kolmogorov"):
        monkeypatch.setattr(bcg.analysis, name, refusing(getattr(bcg.analysis, name), 0.15))
    finding = bcg.questions.ask(*fit_and_frames, "lag_times", draws=20)
    assert finding.datasets["implied_timescales"].sizes["lag"] == 3
    assert "chapman_kolmogorov" in finding.figures
    for lag in ("0.2", "0.25"):
        assert any(w.startswith(f"no timescale at lag {lag}: the trajectories do not say") for w in finding.warnings)


def test_what_is_left_is_answered_where_the_test_is_refused(
    fit_and_frames: tuple[bcg.Fit, bcg.data.Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bcg.analysis, "chapman_kolmogorov", refusing(bcg.analysis.chapman_kolmogorov, 0.15))
    finding = bcg.questions.ask(*fit_and_frames, "lag_times", draws=20, lags=[0.05, 0.1])
    assert finding.datasets["implied_timescales"].sizes["lag"] == 2
    assert "chapman_kolmogorov" not in finding.figures
    assert any(w.startswith("no Chapman-Kolmogorov test: the trajectories do not say") for w in finding.warnings)
