"""What is known follows the system that is run, not the numbers of the one in a file."""

import numpy as np
import pytest

from bayescg.analysis import Quantity
from bayescg.experiments import load
from bayescg.questions.known import exact_values, note_truth
from bayescg.questions.mixture_modes import modes_found
from bayescg.questions.predictions import Answers
from bayescg.sampling import equilibrium
from bayescg.systems import DoubleWell, GaussianMixture, alanine_dipeptide


@pytest.mark.parametrize("kt", [1.0, 2.0])
def test_truth_is_that_of_the_temperature(kt: float) -> None:
    x = np.linspace(-12, 12, 400_001)
    p = np.exp(-(x**4 / 4 - 3 * x**2 + x) / kt)
    left, right = ((x >= lo) & (x < hi) for lo, hi in ((-10, 0.16745), (0.16745, 10)))
    found = exact_values(DoubleWell(kt), load("double-well").analysis)
    assert found["free_energy_difference"] == pytest.approx(np.log(p[left].sum() / p[right].sum()), abs=1e-3)
    assert found["population_left"] == pytest.approx(p[left].sum() / p.sum(), abs=1e-5)
    assert found["x1"] == pytest.approx((p @ x) / p.sum(), abs=1e-5)
    log_z = np.log(p.sum() * (x[1] - x[0])) + np.log(2 * np.pi * kt) / 2
    assert found["log_z"] == pytest.approx(log_z, abs=1e-6)


def test_the_published_numbers() -> None:
    many = exact_values(load_system("many-well"), load("many-well").analysis)
    assert many["log_z"] == pytest.approx(164.69568, abs=1e-5)
    assert many["free_energy_difference"] == pytest.approx(-1.6906, abs=1e-4)
    forty = exact_values(load_system("gaussian-mixture"), load("gaussian-mixture").analysis)
    assert forty["log_z"] == pytest.approx(0.0, abs=1e-9)
    assert (forty["x1"], forty["x2"]) == pytest.approx((-2.14052, 1.24003), abs=1e-5)
    assert exact_values(alanine_dipeptide(), load("alanine-dipeptide-embedded").analysis) == {}


def test_a_number_of_another_system_is_not_believed() -> None:
    """A file's truth is one system's; beside a molecule, of which quadrature knows nothing, it stands."""
    settings = load("double-well", changes=["analysis.truth.x1=-2.4411", "analysis.truth.rg=0.3"]).analysis
    answers = Answers()
    for name in ("x1", "rg"):
        answers.add(name, Quantity.of(np.linspace(-1, 1, 20), ""))
    note_truth(settings, answers, DoubleWell(1.0))
    assert not answers.warnings
    assert answers.quantities["rg"]["truth"] == 0.3
    note_truth(settings, answers, DoubleWell(2.0))
    assert answers.quantities["x1"]["truth"] == pytest.approx(-2.0009, abs=1e-4)
    assert len(answers.warnings) == 1
    assert "not that of this system" in answers.warnings[0]


@pytest.mark.parametrize("kt", [1.0, 2.0])
def test_exact_draws_find_all_modes(kt: float) -> None:
    """20 000 draws: about 500 a mode, so that a fifth of a share is more than four standard errors."""
    found = modes_found(equilibrium(GaussianMixture(kt), 20_000, seed=0), GaussianMixture(kt))
    assert (found["modes"], found["found"], found["within_20_percent"]) == (40, 40, 40)


def load_system(name: str) -> object:
    import bayescg.systems as systems

    system = load(name).system
    assert system is not None
    return getattr(systems, system.name)(**system.arguments)
