"""What is said of a learned potential's forces: the errors are those of the frames, here and elsewhere."""

from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.inference.uncertainty import Posterior
from bayescg.models import NeuralPotential
from bayescg.questions import Context
from bayescg.questions.learned_forces import LearnedForces
from bayescg.questions.reading_order import Analysis
from bayescg.systems import MorseCluster


def morse(n: int, seed: int) -> Frames:
    system, generator = MorseCluster(4), torch.Generator().manual_seed(seed)
    x = (torch.as_tensor(system.start).flatten() + 0.1 * torch.randn(n, 12, generator=generator)).float()
    labels: dict[str, Any] = {"energy": system.energy(x).numpy(), "forces": system.forces(x).numpy()}
    return Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=0.25, **labels)


@pytest.fixture(scope="module")
def fit() -> bcg.Fit:
    settings: dict[str, Any] = {"validation": 0.0, "compile": "off", "progress": False}
    return bcg.fit(NeuralPotential(width=4, cutoff=3.0), morse(20, 0), steps=60, **settings)


def context(fit: bcg.Fit, **settings: Any) -> Context:
    analysis = Analysis(draws=30, elsewhere_dt=0.01, **settings)  # pyright: ignore[reportCallIssue]
    return Context(fit, morse(60, 1), analysis, 0, fit.frames, morse(40, 2), MorseCluster(4))


def test_errors_are_those_of_the_judged_half(fit):
    question, about = LearnedForces(), context(fit, elsewhere=[{"temperature_kT": 0.5}, {"atoms": 5}])
    assert question.applies(about)
    finding = question.ask(about)
    test = morse(40, 2)
    judged, spent = test.split(blocks=10, test=0.5, seed=0)
    error = fit.system().forces(torch.as_tensor(np.asarray(judged.positions))).numpy() - np.asarray(judged.forces)
    assert finding.quantities["force_error_held_out"].mean == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)
    assert 0.7 < finding.quantities["force_coverage_held_out"].mean <= 1.0
    rows = {row[0]: row for row in finding.tables["Learned forces"].rows}
    assert list(rows) == ["held out", "temperature_kT 0.5", "atoms 5"]
    assert rows["held out"][1] == str(len(judged))
    assert rows["atoms 5"][1] == "60"
    assert float(rows["temperature_kT 0.5"][2]) > float(rows["held out"][2])
    assert finding.diagnostics["forces_calibration"]["frames"] == len(spent)
    finding.figures["learned-forces"].draw()


def test_it_asks_of_what_has_bands(fit):
    plain = bcg.Fit(fit.model, Posterior("none", fit.weights.point), fit.settings, {}, fit.cost, fit.log)
    assert not LearnedForces().applies(context(plain))
    with pytest.raises(ConfigError, match="MorseCluster cannot be made with"):
        LearnedForces().ask(context(fit, elsewhere=[{"temperature": 300.0}]))
