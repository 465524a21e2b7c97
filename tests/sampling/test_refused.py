"""Samplers take quantities of OpenMM, and refuse what is no number, path or structure by an error that says so."""

from typing import Any

import numpy as np
import openmm.unit
import pytest
import torch

import bayescg as bcg
import bayescg.sampling
from bayescg.errors import ConfigError, TopologyError, UnitError
from bayescg.units import plain

sampling: Any = bayescg.sampling  # as people call them, whom no types hold
unit: Any = openmm.unit
PS, FS, A, K = unit.picosecond, unit.femtosecond, unit.angstrom, unit.kelvin
WELL: Any = bcg.systems.DoubleWell()


@pytest.fixture(scope="module")
def molecule() -> Any:
    return bcg.systems.alanine_dipeptide(hydrogen_mass=3.0 * unit.dalton)


def same(a, b, apart=2e-6):
    np.testing.assert_allclose(np.asarray(a.positions), np.asarray(b.positions), rtol=0, atol=apart)
    assert a.dt == b.dt


def test_quantities_are_what_they_stand_for(molecule):
    x = molecule.start[None]
    common = {"chains": 1, "compile": "off", "progress": False}
    asked = sampling.langevin(molecule, 4, dt=0.5 * FS, friction=2 / PS, starts=10 * x * A, **common)
    same(asked, sampling.langevin(molecule, 4, dt=0.0005, friction=2.0, starts=x, **common))
    for ladder in ([330, 400] * K, [330 * K, 400 * K]):
        asked = sampling.parallel_tempering(molecule, 2, temperatures=ladder, dt=0.5 * FS, leapfrog=2, **common)
        same(
            asked,
            sampling.parallel_tempering(molecule, 2, temperatures=[330, 400], dt=0.0005, leapfrog=2, **common),
        )
    lighter = bcg.systems.alanine_dipeptide()
    mass: Any = [s.openmm_system.getParticleMass(0).value_in_unit(unit.dalton) for s in (molecule, lighter)]
    np.testing.assert_allclose(mass, [3.0, 1.008], atol=2e-3)
    assert molecule.guarded(1000.0 * unit.kilojoule_per_mole).guard.cut == 1000.0
    assert molecule.guarded(1.0 * unit.kilocalorie_per_mole).guard.cut == pytest.approx(4.184)


@pytest.mark.parametrize("name", ["molecular_dynamics", "batched_dynamics"])
def test_trajectories_take_quantities(name, molecule, tmp_path):
    x, run = molecule.start[None], getattr(sampling, name)
    given = {"dt": 0.001, "friction": 1.0, "frame_every": 0.002, "equilibration": 0.002}
    plainly = run(molecule, 0.004, out=tmp_path / "a", starts=x, progress=False, **given)
    asked = {"dt": 1 * FS, "friction": 1 / PS, "frame_every": 2 * FS, "equilibration": 0.002 * PS}
    same(
        run(molecule, 4 * FS, out=tmp_path / "b", starts=10 * x * A, progress=False, **asked), plainly, 1.1e-3
    )  # XTC rounds


WRONG = {
    "dt of a length": (lambda m, out: sampling.langevin(m, 1, dt=1 * A), UnitError, "in A .* one in ps"),
    "dt of a length, hmc": (lambda m, out: sampling.hmc(m, 1, dt=1 * A), UnitError, "in A .* one in ps"),
    "friction a time": (lambda m, out: sampling.langevin(m, 1, dt=0.001, friction=1 * PS), UnitError, "one in 1/ps"),
    "starts a time": (lambda m, out: sampling.langevin(m, 1, dt=0.001, starts=m.positions * PS), UnitError, "in nm"),
    "a cut in K": (lambda m, out: m.guarded(300 * K), UnitError, "one in kJ/mol"),
    "a diffusion with a unit": (
        lambda m, out: sampling.overdamped(WELL, 1, dt=0.01, diffusion=np.ones(2) * A),
        ConfigError,
        "has a unit",
    ),
    "a mass in nm": (
        lambda m, out: bcg.systems.alanine_dipeptide(hydrogen_mass=3 * unit.nanometer),
        UnitError,
        "one in dalton",
    ),
    "temperatures in ps": (
        lambda m, out: sampling.parallel_tempering(m, 1, temperatures=[330, 400] * PS, dt=0.001),
        UnitError,
        "one in K",
    ),
    "run_dir": (lambda m, out: sampling.langevin(WELL, 1, dt=0.01, run_dir=3), ConfigError, "run_dir=3 must be a path"),
    "a base": (lambda m, out: sampling.smc(WELL, base="n"), ConfigError, "base='n' must be a distribution"),
    "a schedule": (lambda m, out: sampling.smc(WELL, schedule="x"), ConfigError, "schedule='x' must be the schedule"),
    "no molecule": (lambda m, out: sampling.ramachandran_starts(WELL, 4), ConfigError, "not DoubleWell"),
    "chains": (lambda m, out: sampling.ramachandran_starts(m, 0), ConfigError, "chains=0"),
}
for _name in ("molecular_dynamics", "batched_dynamics"):
    for _given, _error, _told in (
        ({"time": 1 * A}, UnitError, "in A .* one in ps"),
        ({"time": "1 ns"}, ConfigError, "time='1 ns'"),
        ({"dt": "a"}, ConfigError, "dt='a'"),
        ({"friction": "a"}, ConfigError, "friction='a'"),
        ({"equilibration": None}, ConfigError, "equilibration=None"),
        ({"frame_every": "a"}, ConfigError, "frame_every='a'"),
        ({"out": 3}, ConfigError, "out=3 must be a path"),
        ({"starts": "a.pdb"}, TopologyError, r"starts must be .* \(chains, 22, 3\)"),
        ({"starts": np.zeros((2, 66))}, TopologyError, r"not \(2, 66\)"),
        ({"system": None}, ConfigError, "not a System"),
    ):
        WRONG[f"{_name} {next(iter(_given))} {_told}"] = (
            lambda m, out, f=_name, g=_given: getattr(sampling, f)(**{"system": m, "time": 1.0, "out": out, **g}),
            _error,
            _told,
        )


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused(name, molecule, tmp_path):
    call, error, told = WRONG[name]
    with pytest.raises(error, match=told):
        call(molecule, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_of_other_quantities_are_as_they_are():
    assert plain("3", "dalton") == "3"
    assert plain([1.0, 2.0], "K") == [1.0, 2.0]
    assert torch.equal(plain(torch.ones(2), "nm"), torch.ones(2))


BATCH: Any = bcg.systems.DoubleWell()
BATCH.draws = 4


@pytest.mark.parametrize(
    "run",
    [
        lambda: sampling.parallel_tempering(BATCH, 2, temperatures=[1.0, 2.0], dt=0.1, chains=4),
        lambda: sampling.umbrella(BATCH, lambda x: x[:, 0], 2, dt=0.1, starts=np.zeros((4, 2))),
        lambda: sampling.smc(BATCH, particles=8, islands=4),
        lambda: sampling.flattened(BATCH, 10, dt=0.1),
        lambda: sampling.commitment(BATCH, np.zeros((4, 2)), {}, dt=0.1),
        lambda: sampling.quench(BATCH, np.zeros((4, 2)), {}),
    ],
    ids=["parallel_tempering", "umbrella", "smc", "flattened", "commitment", "quench"],
)
def test_a_batch_of_potentials_is_for_chains_alone(run):
    with pytest.raises(ConfigError, match=r"mixes its configurations, and this system is 4 draws of a potential"):
        run()
    assert BATCH.guarded(10.0).draws == 4
