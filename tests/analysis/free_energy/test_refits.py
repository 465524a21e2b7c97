"""Refits that lost a mode are seen beside those that did not, wherever free energies are made of their draws."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import FreeEnergy, free_energy
from bayescg.analysis.free_energy.refits import log_partition
from bayescg.models import EmbeddedPhysics
from tests.refitted import two_wells

LEFT, RIGHT = (-10.0, 0.0), (0.0, 10.0)


def first(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def refitted(lost: tuple[int, ...], share: float, refits: int = 5) -> FreeEnergy:
    """Of two wells, of which some refits never visit the right one."""
    return free_energy(None, two_wells(lost, share, refits), cv=first, bins=20, draws=20)


def apart(found: FreeEnergy) -> list[str]:
    return [w for w in found.warnings if "log Z" in w]


def test_refits_that_agree_are_not_warned_of() -> None:
    found = refitted((), 0.1)
    assert apart(found) == []
    assert found.difference(LEFT, RIGHT).warning is None
    assert found.difference(LEFT, RIGHT).ci90 is not None


def test_a_large_mode_shows_in_the_partition_function() -> None:
    found = refitted((1, 3), 0.1)
    (told,) = apart(found)
    assert "2 of 5 refits (1, 3)" in told
    (percent,) = re.findall(r"up to ([\d.]+)% of the probability", told)
    assert float(percent) == pytest.approx(10.0, abs=3.0)  # two refits' errors of half a per cent
    for one in (found.difference(LEFT, RIGHT), found.population(RIGHT)):
        assert str(one.warning).startswith("0 to 10: 2 of 5 refits (1, 3) have less than a tenth")
        assert one.ci90 is None
    assert found.population(LEFT).warning is None


def test_a_small_mode_shows_in_its_population_only() -> None:
    """One per cent is two standard errors of log Z."""
    found = refitted((2,), 0.01)
    assert apart(found) == []
    assert "1 of 5 refits (2) has" in str(found.difference(LEFT, RIGHT).warning)


def test_few_draws_say_nothing_of_what_others_lost_but_are_no_interval() -> None:
    quantity = refitted((2,), 0.002).difference(LEFT, RIGHT)  # eight draws or so in the others
    assert quantity.ci90 is None
    assert "in 5 of 5 refits (0, 1, 2, 3, 4) by fewer than 20 effective draws" in str(quantity.warning)


def test_what_an_audit_misses_leaves_no_interval() -> None:
    """Of any region, of a fit's own draws; frames of a simulation do not care."""
    fit = bcg.fit(EmbeddedPhysics.example()[0], steps=1, uncertainty="none", compile="off", progress=False)
    fit.diagnostics["audit"] = {"warnings": ["w"], "missing": ["the generator leaves out 3 %"]}
    weighted = two_wells((), 0.3, 5)
    own_frames = replace(weighted, provenance={**weighted.provenance, "pareto_k": 0.1, "ess_fraction": [0.5]})
    quantity = free_energy(fit, own_frames, cv=first, bins=20, draws=20).difference(LEFT, RIGHT)
    assert (quantity.ci90, quantity.warning) == (None, "the generator leaves out 3 %")
    simulated = replace(own_frames, provenance={})
    assert free_energy(fit, simulated, cv=first, bins=20, draws=20).difference(LEFT, RIGHT).ci90 is not None


@pytest.mark.slow  # by default: frames that stand for such refits, above
def test_refits_of_a_model_that_lost_a_well_are_told_apart() -> None:
    """Untempered, with two components: at this seed half of them find the right well, of 0.8 %, and half do not."""
    model = EmbeddedPhysics(bcg.systems.DoubleWell(), hidden=(16,), components=2, wake=0.0, beta_start=1.0)
    fit = bcg.fit(
        model, uncertainty="ensemble", members=6, steps=400, batch_size=200, learning_rate=5e-3, seed=5,
        compile="trace", progress=False,
    )  # fmt: skip
    found = free_energy(fit, bcg.analysis.reweighted(fit, 60_000), cv=lambda x: x[:, 0])
    one = found.difference((-10.0, 0.16745), (0.16745, 10.0))
    assert len(apart(found)) == 1
    assert "have less than a tenth" in str(one.warning)
    assert one.ci90 is None
    assert any("compared with nothing" in w for w in found.warnings)


def test_the_partition_function_of_an_ensemble_has_the_error_of_its_spread() -> None:
    frames = two_wells((1,), 0.1)
    values = np.array(frames.provenance["log_z"])
    found = log_partition(frames, 20_000, 0)
    assert found.mean == pytest.approx(values.mean(), abs=0.003)
    sampling, parameter = found.sd_by_source["sampling"], found.sd_by_source["parameter"]
    assert sampling is not None
    assert parameter is not None
    assert np.hypot(sampling, parameter) == pytest.approx(values.std(ddof=1) / 5**0.5)
    assert found.ci90 is not None
    low, high = found.ci90  # Student's t with four degrees of freedom
    assert (high - low) / 2 == pytest.approx(2.132 * values.std(ddof=1) / 5**0.5, rel=0.1)


def test_draws_beside_a_region_are_counted_by_their_weights() -> None:
    frames = two_wells((), 0.1)
    landscape = free_energy(None, frames, cv=first, bins=20, draws=20)
    right = int((np.asarray(frames.positions)[:, 0] >= 0).sum())
    assert landscape.effective_outside(LEFT) == pytest.approx(right)
    assert landscape.effective_outside((-10.0, 10.0)) == 0.0
    weights = np.random.default_rng(1).uniform(0.5, 1.5, len(frames))
    heaviest = int(np.flatnonzero(np.asarray(frames.positions)[:, 0] >= 0)[0])
    weights[heaviest] = 1e6  # one of them outweighs all others
    weighted = free_energy(None, replace(frames, weights=weights), cv=first, bins=20, draws=20)
    assert weighted.effective_outside(LEFT) == pytest.approx(1.0, abs=0.01)
