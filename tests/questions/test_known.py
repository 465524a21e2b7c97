"""What is known follows the system that is asked about, not the numbers of the one in a file."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bayescg import systems
from bayescg.analysis import Quantity
from bayescg.experiments import load
from bayescg.inference import Fit
from bayescg.questions import Context, Finding
from bayescg.questions.asking import answer
from bayescg.questions.known import by_quadrature, note_given
from bayescg.questions.mixture_modes import modes_found
from bayescg.questions.reading_order import find_question
from bayescg.sampling import equilibrium
from bayescg.systems import DoubleWell, GaussianMixture, alanine_dipeptide

WEIGHTED = {"pareto_k": 0.1, "ess_fraction": [1.0], "log_z": [0.0], "log_z_sd": [0.1], "energy_evaluations": 0}


def exact_values(system: Any, experiment: str) -> dict[str, float]:
    """What is known of the quantities of an experiment, by the questions that it asks of weighted draws."""
    frames = equilibrium(system, 2000)
    frames = replace(frames, provenance={**frames.provenance, **WEIGHTED})
    fit = object.__new__(Fit)  # that has learned nothing
    fit.model, fit.frames, fit.cost = SimpleNamespace(), None, {"energy_evaluations": 0, "energy_gradients": 0}  # type: ignore[assignment]
    fit.diagnostics = {"audit": {"warnings": []}}
    context = Context(fit, frames, load(experiment).analysis, system=system)
    return answer(context, [find_question(name) for name in ("samples", "averages", "free_energies")]).truth


def system_of(name: str) -> Any:
    system = load(name).system
    assert system is not None
    return getattr(systems, system.name)(**system.arguments)


@pytest.mark.parametrize("kt", [1.0, 2.0])
def test_truth_is_that_of_the_temperature(kt: float) -> None:
    x = np.linspace(-12, 12, 400_001)
    p = np.exp(-(x**4 / 4 - 3 * x**2 + x) / kt)
    left, right = ((x >= lo) & (x < hi) for lo, hi in ((-10, 0.16745), (0.16745, 10)))
    found = exact_values(DoubleWell(kt), "double-well")
    assert found["free_energy_difference"] == pytest.approx(np.log(p[left].sum() / p[right].sum()), abs=1e-3)
    assert found["population_left"] == pytest.approx(p[left].sum() / p.sum(), abs=1e-5)
    assert found["x1"] == pytest.approx((p @ x) / p.sum(), abs=1e-5)
    log_z = np.log(p.sum() * (x[1] - x[0])) + np.log(2 * np.pi * kt) / 2
    assert found["log_z"] == pytest.approx(log_z, abs=1e-6)


def test_the_published_numbers() -> None:
    many = exact_values(system_of("many-well"), "many-well")
    assert many["log_z"] == pytest.approx(164.69568, abs=1e-5)
    assert many["free_energy_difference"] == pytest.approx(-1.6906, abs=1e-4)
    forty = exact_values(system_of("gaussian-mixture"), "gaussian-mixture")
    assert forty["log_z"] == pytest.approx(0.0, abs=1e-9)
    assert (forty["x1"], forty["x2"]) == pytest.approx((-2.14052, 1.24003), abs=1e-5)
    assert by_quadrature(alanine_dipeptide(), lambda system: system.dim) is None


def test_a_number_of_another_system_is_not_believed() -> None:
    """A file's truth is one system's; beside a molecule, of which quadrature knows nothing, it stands."""
    given = {"x1": -2.4411, "rg": 0.3}
    for exact, believed in ((-2.4411, True), (-2.0009, False)):
        finding = Finding()
        for name in ("x1", "rg"):
            finding.add(name, Quantity.of(np.linspace(-1, 1, 20), ""), exact if name == "x1" else None)
        note_given(finding, given)
        assert finding.truth == {"x1": exact, "rg": 0.3}
        assert believed == (not finding.warnings)
    assert "not that of this system" in finding.warnings[0]


@pytest.mark.slow  # by default: an example of modes_found, and test_forty_modes of annealing
@pytest.mark.parametrize("kt", [1.0, 2.0])
def test_exact_draws_find_all_modes(kt: float) -> None:
    """20 000 draws: about 500 a mode, so that a fifth of a share is more than four standard errors."""
    found = modes_found(equilibrium(GaussianMixture(kt), 20_000, seed=0), GaussianMixture(kt))
    assert (found["modes"], found["found"], found["within_20_percent"]) == (40, 40, 40)
