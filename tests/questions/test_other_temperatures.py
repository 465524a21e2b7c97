"""What one fit says of several temperatures, as a run and a notebook ask of it."""

from typing import Any

import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.experiments import load
from bayescg.experiments.build import check
from bayescg.models import BoltzmannGenerator
from bayescg.systems import from_function


def tilted(x: torch.Tensor) -> torch.Tensor:
    return 4 * (x[..., 0] ** 2 - 1) ** 2 + x[..., 0] + 2 * (x[..., 1:] ** 2).sum(-1)


def exact(kT: float) -> tuple[float, float]:
    """Population of the left well, and the configurational heat capacity in k."""
    x = torch.linspace(-4.0, 4.0, 40_001, dtype=torch.float64)[:, None]
    energy = tilted(x)
    weight = (-energy / kT).softmax(0)
    return float(weight[x[:, 0] < 0].sum()), float(weight @ (energy - weight @ energy) ** 2) / kT**2 + 0.5


@pytest.fixture(scope="module")
def answered() -> Any:
    model = BoltzmannGenerator(
        from_function(tilted, dim=2), layers=4, hidden=(16,), beta_start=0.25, buffer=3000, temperatures=(1.0, 3.0)
    )
    fit = bcg.fit(model, steps=800, batch_size=200, learning_rate=3e-3, seed=1, progress=False)
    settings = {
        "observables": ["x1"], "regions": {"left": {"x1": [-4.0, 0.0]}}, "temperatures": [3.0, 1.0, 1.7],
        "samples": 20_000,
    }  # fmt: skip
    return bcg.questions.ask(fit, fit.samples(20_000, seed=2), "other_temperatures", **settings)


@pytest.mark.parametrize("kT", [1.0, 1.7, 3.0])
def test_answers_are_the_exact_ones(answered, kT):
    left, capacity = exact(kT)
    for name, truth in (("population_left", left), ("heat_capacity", capacity)):
        quantity = answered.quantities[f"{name}_{kT:g}kT"]
        assert quantity.ci90 is not None
        assert abs(quantity.mean - truth) < 4 * quantity.sd < 0.3


def test_the_answers_differ_by_more_than_their_errors(answered):
    """What draws of another temperature would say is refused by these intervals."""
    cold, hot = (answered.quantities[f"population_left_{kT}kT"] for kT in ("1", "3"))
    assert abs(cold.mean - exact(3.0)[0]) > 10 * cold.sd
    assert abs(hot.mean - exact(1.0)[0]) > 10 * hot.sd


def test_what_people_see(answered):
    table = answered.tables["At other temperatures"]
    assert [row[0] for row in table.rows] == ["1 kT", "1.7 kT", "3 kT"]
    assert table.columns == ("temperature", "effective", "heat capacity", "left")
    assert answered.figures["temperatures"].draw().axes[1].get_ylabel() == "heat capacity (k)"
    assert set(answered.diagnostics["ess_fraction_by_temperature"]) == {"1 kT", "1.7 kT", "3 kT"}
    assert not answered.warnings


def test_temperatures_outside_of_the_models_are_refused_before_anything_is_computed():
    name, asked = "alanine-dipeptide-temperatures", "analysis.temperatures=[250.0]"
    with pytest.raises(ConfigError, match=r"analysis.temperatures = \[250.0\]: the model is trained at .*300.0, 600.0"):
        check(load(name, changes=[asked]))
    with pytest.raises(ConfigError, match="the model is trained at no range of temperatures"):
        check(load("alanine-dipeptide-boltzmann", changes=["analysis.temperatures=[300.0]"]))


def test_what_an_audit_misses_takes_every_interval_away() -> None:
    """A generator of one well of two: log Z and averages of its draws are as wrong as populations."""
    model = BoltzmannGenerator(
        from_function(tilted, dim=2), layers=4, hidden=(16,), beta_start=0.25, buffer=3000, temperatures=(1.0, 3.0)
    )
    fit = bcg.fit(model, steps=60, batch_size=200, learning_rate=3e-3, seed=1, progress=False)
    settings = {"observables": ["x1"], "regions": {"left": {"x1": [-4.0, 0.0]}}, "temperatures": [2.0], "samples": 9000}
    questions = ("samples", "averages", "free_energies", "other_temperatures")
    whole = bcg.questions.ask(fit, fit.samples(9000, seed=2), *questions, **settings)
    fit.diagnostics["audit"] = {"reference": "", "warnings": [], "missing": ["12 % is left out"]}
    lost = bcg.questions.ask(fit, fit.samples(9000, seed=2), *questions, **settings)
    assert {"log_z", "x1", "population_left", "heat_capacity_2kT"} <= lost.quantities.keys()
    assert any(quantity.ci90 is not None for quantity in whole.quantities.values())
    for name, quantity in lost.quantities.items():
        assert quantity.ci90 is None, name
        assert quantity.warning, name
