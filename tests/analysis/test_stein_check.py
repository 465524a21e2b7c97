"""Forces that belong to their frames pass as often as is said; others do not, and their fault is named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import bayescg as bcg
from bayescg.analysis import stein_check
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError
from tests.analysis.stein_chains import KT, chain

Spoil = Callable[[Frames], np.ndarray]


SPOILT: dict[str, tuple[Spoil, str]] = {
    "scaled": (
        lambda f: 1.15 * f.forces,
        r"^forces are 1\.\d* times too large, or simulated at 3\d\d K in place of 301 K$",
    ),
    "kcal": (lambda f: f.forces / 4.184, "0.239 times too large: kcal/mol where kJ/mol are meant"),
    "angstrom": (lambda f: 0.1 * f.forces, "0.1 times too large: per angstrom where per nm is meant$"),
    "of MD codes": (lambda f: f.forces / 41.84, "0.0239 times too large: kcal/mol/angstrom where kJ/mol/nm are meant$"),
    "gradients": (lambda f: -f.forces, "gradients of the energy where forces are meant"),
    "late": (lambda f: np.roll(f.forces, 1, 0), "out of step: the forces of a frame stand with the frame after it"),
    "early": (lambda f: np.roll(f.forces, -1, 0), "out of step: the forces of a frame stand with the frame before it"),
    "shuffled": (lambda f: np.random.default_rng(0).permutation(f.forces), "next to nothing to do with positions"),
    "reordered": (lambda f: f.forces[:, [1, 0, 2, 3]], r"neither another unit .* nor a shift .*\(pairs 0, 1; "),
}


@pytest.mark.parametrize("fault", SPOILT)
@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_faults_are_named(fault: str, memory: float):
    frames = chain(1, 200 if memory == 0 else 1000, memory, trajectories=10)
    spoil, words = SPOILT[fault]
    assert stein_check(frames).passed
    check = stein_check(replace(frames, forces=spoil(frames)))
    assert not check.passed
    with pytest.raises(AssertionError, match=words):  # so that a failure shows what was named
        raise AssertionError(check.cause)
    assert check.cause in check.reason


def test_numbers_of_a_chain():
    frames = chain(0, 20_000)
    check = stein_check(frames, pairs=[(0, 1), (1, 2), (0, 3)])
    assert check.labels == ("0, 1", "1, 2", "0, 3")
    x, f = np.asarray(frames.positions, np.float64), np.asarray(frames.forces, np.float64)
    d = x[:, 0] - x[:, 1]
    r = np.linalg.norm(d, axis=1)
    force = ((f[:, 0] - f[:, 1]) * d).sum(1) / r
    mean = force + 4 * KT / r
    assert check.mean_force[0].mean == pytest.approx(mean.mean())
    assert check.mean_force[0].sd == pytest.approx(mean.std() / len(mean) ** 0.5, rel=0.1)
    work, heat = -force * (r - r.mean()), KT * (2 + 4 * (r - r.mean()) / r)
    ratio = check.temperature_ratio[0]
    assert ratio.mean == pytest.approx(work.mean() / heat.mean())
    assert ratio.sd == pytest.approx((work - ratio.mean * heat).std() / heat.mean() / len(mean) ** 0.5, rel=0.1)
    # means over all pairs are surer than each, and the whole is no part of what it is made of twice
    assert check.overall.sd < min(quantity.sd for quantity in check.temperature_ratio)
    assert np.abs(check.z).max() < 3.5
    assert "all " in repr(check)
    assert repr(check).count("\n") == 5


@pytest.mark.parametrize(("memory", "frames"), [(0.0, 200), (0.8, 900)])
def test_right_forces_fail_as_often_as_is_said(memory: float, frames: int):
    p = [stein_check(chain(seed, frames, memory, 3), draws=500).p_value for seed in range(60)]
    assert binom.ppf(0.005, 60, 0.2) <= np.sum(np.array(p) < 0.2) <= binom.isf(0.005, 60, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "frames"), [(0.0, 500), (0.9, 4000)])
def test_right_forces_fail_as_often_as_is_said_of_200_sets(memory: float, frames: int):
    p = np.array([stein_check(chain(seed, frames, memory)).p_value for seed in range(200)])
    for level in (0.01, 0.05, 0.1):
        assert binom.ppf(0.002, 200, level) <= np.sum(p < level) <= binom.isf(0.002, 200, level)


def test_too_many_fail_where_correlated_frames_pass_for_independent():
    """The control."""
    shuffled = np.random.default_rng(0).permutation(2700)
    p = [stein_check(replace(chain(seed, 2700, 0.8)[shuffled], order=None), draws=500).p_value for seed in range(30)]
    assert np.sum(np.array(p) < 0.2) > binom.isf(0.005, 30, 0.2)


def test_a_toy_system_by_its_coordinates():
    well = bcg.systems.DoubleWell()
    frames = bcg.sampling.langevin(well, 1500, dt=0.05, chains=100, stride=10, forces=True, seed=1)
    check = stein_check(frames)
    assert (check.passed, check.labels) == (True, ("x1", "x2"))
    scaled = stein_check(replace(frames, forces=1.2 * frames.forces))
    assert "or were computed at kT = 1.22 in place of 1" in scaled.cause
    with pytest.raises(ConfigError, match="leave pairs= out"):
        stein_check(frames, pairs=[(0, 1)])


def test_weights_count():
    frames = chain(3, 2000)
    weights = np.arange(2000) % 2
    wrong = frames.forces * (3 - 2 * weights)[:, None, None]
    assert not stein_check(replace(frames, forces=wrong)).passed
    assert stein_check(replace(frames, forces=wrong, weights=weights)).passed


@pytest.fixture(scope="module")
def dipeptide() -> tuple[Any, Frames]:
    system = bcg.systems.alanine_dipeptide()
    settings: dict[str, Any] = {"dt": 0.0005, "friction": 20.0, "chains": 64, "stride": 200, "forces": True}
    return system, bcg.sampling.langevin(system, 4_000, equilibration=2_000, **settings)


def test_flexible_alanine_dipeptide(dipeptide: Any):
    system, frames = dipeptide
    mapping = bcg.features.beads(system, ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"])
    for aggregation in ("slice", "optimal"):
        forces = bcg.sampling.mapped_forces(frames, system, mapping, aggregation)
        check = stein_check(forces)
        assert len(check.labels) == 7
        assert check.passed
        assert np.abs(check.z).max() <= 3.5
        for spoilt, words in (
            (1.15 * forces.forces, "times too large"),
            (forces.forces / 4.184, "kcal/mol"),
            (np.roll(forces.forces, 1, 0), "out of step"),
        ):
            assert words in stein_check(replace(forces, forces=spoilt)).cause


def test_a_run_is_told(dipeptide: Any):
    from bayescg.models import PredictiveCV

    _, frames = dipeptide
    fit = bcg.fit(
        PredictiveCV(bcg.features.torsions(frames), latent_dim=1, hidden=(4,)), frames, steps=2, progress=False
    )
    finding = bcg.questions.ask(fit, frames, "force_identities")
    assert finding.diagnostics["forces"]["passed"]
    assert len(finding.tables["Forces and frames"].rows) == 57  # of all atoms: 21 bonds and 36 angles
    spoilt = bcg.questions.ask(fit, replace(frames, forces=frames.forces / 4.184), "force_identities")
    assert any("kcal/mol where kJ/mol" in warning for warning in spoilt.warnings)
    with pytest.raises(ConfigError, match="cannot be asked"):
        bcg.questions.ask(fit, replace(frames, forces=None), "force_identities")


def test_a_fit_of_forces_is_warned_before_it():
    from bayescg.models import ForceMatchingPotential

    frames = chain(5, 400)
    model = ForceMatchingPotential(hidden=(2,), prior=None)
    bcg.fit(model, frames, steps=1, uncertainty="none", compile="off", progress=False)  # without a word
    with pytest.warns(UserWarning, match="kcal/mol where kJ/mol are meant"):
        bcg.fit(model, replace(frames, forces=frames.forces / 4.184), steps=1, uncertainty="none", progress=False)


def test_what_is_refused():
    frames = chain(0, 50)
    with pytest.raises(DataError, match="no forces"):
        stein_check(replace(frames, forces=None))
    with pytest.raises(DataError, match="all forces of the frames are 0"):
        stein_check(replace(frames, forces=np.zeros_like(frames.forces)))
    with pytest.raises(DataError, match="temperature"):
        stein_check(replace(frames, temperature=None))
    for pairs in ([(0, 0)], [(0, 4)], [(0,)], [], [(0.0, 1.0)]):
        with pytest.raises(ConfigError, match="numbered from 0 to 3"):
            stein_check(frames, pairs=pairs)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="level"):
        stein_check(frames, level=1.5)
    with pytest.raises(ConfigError, match="one atom alone"):
        stein_check(Frames.from_numpy(np.zeros((9, 1, 3)), unit="nm", forces=np.zeros((9, 1, 3)), temperature=300.0))
    x = np.array(frames.positions)
    x[7, 1] = x[7, 0]
    with pytest.raises(DataError, match="frame 7: atoms 0 and 1 are at one place"):
        stein_check(replace(frames, positions=x))
