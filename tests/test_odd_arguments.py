"""Arguments that came to the doors under fire (`tests/fire`) and were answered with a traceback of somebody else."""

# pyright: reportArgumentType=false

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError, DataError, ModelError, TopologyError, UnitError
from bayescg.models import (
    Autoencoder,
    DirectMap,
    EmbeddedPhysics,
    MultitaskCV,
    NeuralPotential,
    PredictiveCoarseGraining,
    PredictiveCV,
)

X = np.zeros((3, 2))
TOP = bcg.systems.peptide("ACE-ALA-NME")[0]
CASES = {
    "a unit that is no word": (lambda: frames(unit={}), UnitError, "unknown unit of length"),
    "a limit in words": (lambda: bcg.data.load("a.xtc", memory_limit="A"), ConfigError, "memory_limit"),
    "a unit that is an array": (lambda: bcg.data.load("a.xtc", unit=X), UnitError, "name of a unit"),
    "a box of words": (lambda: frames(box={"a": 1}), DataError, "box= takes an array of numbers"),
    "weights of words": (lambda: frames(weights="A"), DataError, "weights= takes an array"),
    "forces of words": (lambda: frames(forces="phi"), DataError, "not an array of numbers"),
    "energies of words": (lambda: frames(energy=""), DataError, "energy= takes an array"),
    "several answers": (lambda: frames(whole=np.ones(2)), ConfigError, "whole"),
    "complex positions": (lambda: bcg.data.Frames.from_numpy(X + 1j, unit="reduced"), DataError, "complex"),
    "half an atom": (lambda: bcg.features.distances(TOP, [(0, 1.5)]), ConfigError, "groups of 2 atoms"),
    "an atom by name": (lambda: bcg.features.distances(TOP, "ab"), ConfigError, "whole numbers"),
    "one of two selections": (lambda: bcg.features.distances(TOP, select=("all",)), ConfigError, "one selection"),
    "a box by name": (lambda: bcg.features.contacts(TOP, box="phi"), ConfigError, "box= takes an array"),
    "a cutoff of several": (lambda: bcg.features.contacts(TOP, cutoff=[1, 2]), ConfigError, "cutoff"),
    "a reference by name": (lambda: bcg.features.aligned(TOP, "A"), TopologyError, "reference= takes an array"),
    "a torsion by number": (lambda: bcg.features.torsions(TOP, 3), ConfigError, "names of torsions"),
    "pairs of no atoms": (lambda: bcg.features.invariants(TOP, [1]), ConfigError, "groups of 2 atoms"),
    "a chain of no features": (lambda: bcg.features.chain(TOP), ConfigError, "a chain is of features"),
    "radii of nothing": (lambda: bcg.features.radii("A", [[0]]), ConfigError, "top='A'"),
    "radii of a half": (lambda: bcg.features.radii(2, [[0.5]]), ConfigError, "groups of coordinates"),
    "beads by name": (lambda: bcg.features.beads(3, "CA"), ConfigError, "beads= takes an array"),
    "positions of beads that are none": (lambda: bcg.features.beads(2, [0.5, 0.5])(None), TopologyError, "NoneType"),
    "a row of a z-matrix": (lambda: bcg.features.internal_coordinates(TOP, zmatrix=[3]), ConfigError, "z-matrix"),
    "a prior of one number": (lambda: PredictiveCV(ard=3), ConfigError, "ard=3"),
    "a prior of none": (lambda: PredictiveCoarseGraining(ard=None), ConfigError, "ard=None"),
    "a guard in words": (lambda: PredictiveCoarseGraining(guard="high"), ConfigError, "guard"),
    "a guard of a system": (lambda: EmbeddedPhysics(bcg.systems.DoubleWell(), guard="high"), ConfigError, "guard"),
    "strengths without terms": (lambda: Autoencoder(regularise=1), ModelError, "maps terms to their strengths"),
    "no dimension": (lambda: DirectMap(dim=-1), ConfigError, "dim=-1"),
    "tasks by number": (lambda: MultitaskCV(tasks=2.0), ConfigError, "tasks=2.0"),
    "kinds by number": (lambda: NeuralPotential(kinds=[1, 2]), ConfigError, "kinds"),
}


def frames(**arguments):
    return bcg.data.Frames.from_numpy(X, **{"unit": "reduced", "temperature_kT": 1.0, **arguments})


@pytest.mark.parametrize("case", CASES)
def test_what_is_odd_is_refused_in_words(case):
    make, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        make()


def test_what_is_not_odd_is_taken():
    assert bcg.features.distances(TOP, np.array([[0, 1]])).size == 1
    assert bcg.features.distances(TOP, torch.tensor([[0, 1]])).size == 1
    assert NeuralPotential(kinds=("A", "B")).kinds == ("A", "B")
    assert PredictiveCV(ard=[1, 2]).ard == (1, 2)
