"""What is no system, temperature or structure is refused by an error that says what to do."""

from typing import Any

import numpy as np
import openmm
import pytest
import torch

import bayescg.systems
from bayescg.errors import ConfigError, TopologyError, UnitError
from bayescg.systems.core import check_system

systems: Any = bayescg.systems


def unseen(x):
    with torch.no_grad():
        return (x**2).sum(-1)


ENERGIES = {
    "in no_grad": (unseen, "no gradient.*no_grad"),
    "detached": (lambda x: (x.detach() ** 2).sum(-1), "no gradient"),
    "by NumPy, detached": (lambda x: torch.as_tensor((x.detach().numpy() ** 2).sum(-1)), "no gradient"),
    "by NumPy": (lambda x: np.exp(x).sum(-1), r"fails on a tensor of shape \(2, 2\).*torch alone"),
    "a number": (lambda x: 3.0, "it returned float"),
    "another shape": (lambda x: x, r"it returned shape \(2, 2\)"),
    "no function": (3.0, "not callable"),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_an_energy_without_forces_is_refused(name):
    energy, what = ENERGIES[name]
    with pytest.raises(ConfigError, match=f"(?s){what}"):
        systems.from_function(energy, dim=2)


def test_a_flat_energy_is_an_energy():
    flat = systems.from_function(lambda x: 0.0 * x.sum(-1), dim=2)
    assert not flat.forces(torch.ones(3, 2)).any()
    with torch.no_grad():
        assert systems.from_function(lambda x: x.sum(-1), dim=2).dim == 2


WELLS = ["DoubleWell", "Harmonic", "QuarticDoubleWell", "QuadrupleWell", "Prinz", "CurvedWell", "RippledWell",
         "ThreeWellRing", "ManyWell32", "GaussianMixture", "ThreeWell5D", "MuellerBrown5D"]  # fmt: skip


@pytest.mark.parametrize("name", WELLS)
def test_a_temperature_is_positive(name):
    for kT in (-1.0, 0.0, float("nan"), "1"):
        with pytest.raises(ConfigError, match=r"temperature_kT=.* must be positive and finite"):
            getattr(systems, name)(temperature_kT=kT)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: systems.Harmonic(3.0), "one number for each coordinate"),
        (lambda: systems.Harmonic((1.0, -2.0)), r"stiffness\[1\]=-2.0"),
        (lambda: systems.QuarticDoubleWell(0), "dim=0"),
        (lambda: systems.ThreeWellRing(2.5), "dim=2.5"),
        (lambda: systems.CurvedWell(0.0), "epsilon=0.0"),
        (lambda: systems.from_function(lambda x: x.sum(-1), dim=1.5), "dim=1.5"),
        (lambda: systems.alanine_dipeptide(hydrogen_mass=30), r"hydrogen_mass=30 must be a number in \[1, 4\]"),
        (lambda: systems.alanine_dipeptide(hydrogen_mass=-1), "hydrogen_mass=-1"),
        (lambda: systems.alanine_dipeptide(temperature=0), "temperature=0 must be positive"),
        (lambda: check_system(systems.DoubleWell), r"make one of the class first, DoubleWell\(\)"),
        (lambda: check_system(lambda x: x.sum(-1)), "from_function"),
        (
            lambda: systems.DoubleWell().forces(np.zeros((3, 2))),
            "tensor of floats, not a ndarray; give torch",
        ),
        (lambda: systems.DoubleWell().energy(torch.zeros(3, 2, dtype=torch.int64)), "not a tensor of torch.int64"),
        (lambda: systems.DoubleWell().guarded("high"), "cut='high' must be a number"),
        (lambda: check_system(None), "a NoneType, not a System"),
        (lambda: check_system(openmm.System()), "an? openmm.System, not a System of bayescg.*from_openmm"),
        (lambda: systems.from_openmm(None, None, 300.0), "openmm_system is a builtins.NoneType; give the openmm.Sys"),
        (lambda: systems.peptide(None), "None must be a string, such as 'ACE-ALA-NME'"),
        (lambda: systems.peptide(["A"]), r"\['A'\] must be a string"),
    ],
)
def test_other_arguments(make, what):
    with pytest.raises(ConfigError, match=what):
        make()


@pytest.fixture(scope="module")
def molecule():
    import openmm.app as app

    topology, positions = systems.peptide("ACE-GLY-NME")
    return app.ForceField("amber14-all.xml").createSystem(topology), topology, positions


def test_quantities_and_units_of_molecules(molecule):
    import mdtraj
    import openmm.unit

    unit: Any = openmm.unit
    system, topology, positions = molecule
    made = systems.from_openmm(system, topology, 300 * unit.kelvin, positions)
    assert made.temperature == 300
    assert made.kT == pytest.approx(systems.from_openmm(system, topology, 300.0).kT)
    angstrom = np.array(positions.value_in_unit(unit.angstrom))
    refused: list[tuple[Any, type[Exception], str]] = [
        ((topology, 300 * unit.picosecond), UnitError, "in ps was given where one in K"),
        ((topology, 300.0, angstrom), UnitError, "bonded atoms are 1.* nm apart"),
        ((topology, 300.0, "a.pdb"), TopologyError, "finite numbers of shape"),
        ((mdtraj.Topology.from_openmm(topology), 300.0), TopologyError, "openmm.app.Topology"),
    ]
    for arguments, kind, what in refused:
        with pytest.raises(kind, match=what):
            systems.from_openmm(system, *arguments)
