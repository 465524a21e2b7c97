"""Arguments that came to the doors under fire (`tests/fire`) and were answered with a traceback of somebody else."""

# pyright: reportArgumentType=false

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError, DataError, ModelError, TopologyError, UnitError
from bayescg.models import (
    ActionMap,
    Autoencoder,
    BoltzmannGenerator,
    DirectMap,
    EffectiveDynamics,
    EmbeddedPhysics,
    ForceMatchingPotential,
    HiddenMarkov,
    MultitaskCV,
    NeuralPotential,
    PredictiveCoarseGraining,
    PredictiveCV,
    ReversibleDeepMSM,
)

X = np.zeros((3, 2))
TOP, _start = bcg.systems.peptide("ACE-ALA-NME")
ATOMS = torch.tensor(_start._value, dtype=torch.float32)[None]
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
    "a bias that is none": (lambda: frames(bias=0), DataError, "bias= takes a bayescg.data.Bias"),
    "a frame that is not there": (lambda: frames()[3], DataError, "chooses none of 3 frames"),
    "half a frame": (lambda: frames()[0.5], DataError, "chooses none of 3 frames"),
    "a mask of others": (lambda: frames().subset(np.ones(4, bool)), DataError, "or a mask of 3"),
    "frames in a table": (lambda: frames().subset(np.zeros((2, 2), int)), DataError, "chooses none"),
    "no step": (lambda: frames().gather(slice(None, None, 0)), DataError, "chooses none"),
    "a field that is not there": (lambda: frames().gather([0], "energy"), DataError, "have no energy"),
    "a pair that is not there": (lambda: frames(dt=1.0).lagged(1.0)[2], DataError, "none of 2 pairs"),
    "a lag without end": (lambda: frames(dt=1.0).lagged(1e30), DataError, "shorter lag"),
    "a time in words": (lambda: frames(dt=1.0).first("long"), ConfigError, "time='long'"),
    "blocks by name": (lambda: frames().blocks("A"), ConfigError, "length='A'"),
    "half a block": (lambda: frames().split(blocks=2.5), ConfigError, "blocks=2.5"),
    "a seed of a half": (lambda: frames().split(blocks=2, seed=0.5), ConfigError, "seed=0.5"),
    "no path": (lambda: bcg.data.load([None], top=TOP), DataError, "None among the trajectories"),
    "several answers of files": (lambda: bcg.data.load("a.xtc", whole=X), ConfigError, "True or False"),
    "a cache by number": (lambda: bcg.data.load("a.xtc", cache=3), ConfigError, "cache=3 must be a path"),
    "positions in whole numbers": (lambda: bcg.features.torsions(TOP)(ATOMS.long()), TopologyError, "x.double"),
    "positions of half precision": (lambda: bcg.features.distances(TOP)(ATOMS.half()), TopologyError, "x.double"),
    "atoms by number": (lambda: bcg.features.distances(TOP, select=X), ConfigError, "not understood by mdtraj"),
    "a centre that is an array": (lambda: bcg.features.beads(TOP, ["CA"], centre=X), ConfigError, "centre="),
    "more than any number": (lambda: DirectMap(waves=10**30), ConfigError, r"below 2\^63"),
    "fractions by list": (lambda: BoltzmannGenerator(bcg.systems.DoubleWell(), warm=[0, 1]), ConfigError, "warm="),
    "powers by number": (lambda: ActionMap(powers=1), ConfigError, "powers=1 must be a list"),
    "powers in words": (lambda: ActionMap(powers="A"), ConfigError, "powers.0.='A'"),
    "no powers": (lambda: ActionMap(dim=2, powers=()), ConfigError, "one power at least"),
    "powers without waves": (
        lambda: ActionMap(waves=3, powers=(1, 3, 5, 7)),
        ConfigError,
        "no more than there are waves",
    ),
    "kinds of one number": (lambda: ActionMap(kinds=1), ConfigError, "kinds=1 must be a list"),
    "a prior of a tensor": (lambda: PredictiveCV(ard=torch.tensor(0.5)), ConfigError, "ard="),
    "a lag in words": (lambda: EffectiveDynamics(lag="cuda"), ConfigError, "lag='cuda'"),
    "a range upside down": (lambda: EffectiveDynamics(low=1.0, high=0.0), ConfigError, "low=1.0 and high=0.0"),
    "neither yes nor no": (lambda: HiddenMarkov(equilibrium=X), ConfigError, "True or False"),
    "cells of nothing": (lambda: HiddenMarkov(alphabet=2), ConfigError, "alphabet=2 is a number of cells"),
    "a decoder that is an array": (lambda: PredictiveCV(decoder=X), ConfigError, "use one of gaussian, flow"),
    "a form that is an array": (lambda: ForceMatchingPotential(form=X), ConfigError, "one of network, splines"),
    "a generator that is an array": (lambda: ReversibleDeepMSM(generator=X), ConfigError, "one of None, flow"),
    "an objective of numbers": (lambda: fit(objective=torch.ones(2)), ConfigError, "use one of elbo, iwae"),
    "an uncertainty of numbers": (lambda: fit(uncertainty=X), ConfigError, "use one of none, mean-field"),
    "a device of numbers": (lambda: fit(device=X), ConfigError, "use one of auto, cpu, cuda"),
    "progress by numbers": (lambda: fit(progress=X), ConfigError, "True or False"),
}


def fit(**arguments):
    model, data, _ = Autoencoder.example()
    return bcg.fit(model, data, **arguments)


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
    several = frames(dt=1.0)
    assert [len(frame) for frame in several] == [1, 1, 1]
    assert [len(pair) for pair in several.lagged(1.0)] == [1, 1]
    half = torch.tensor(0.5)
    assert (len(several.lagged(2 * half)), len(several.first(2 * half))) == (2, 1)
    assert [len(part) for part in several.split(blocks=3, test=half)] == [2, 1]
    assert np.array_equal(frames(weights=torch.ones(3, requires_grad=True)).weights, np.ones(3))
    assert len(bcg.data.Frames.from_numpy(torch.ones(3, 2, requires_grad=True), unit="reduced")) == 3


def test_what_is_not_a_number_stays_so_in_its_own_frame():
    x = ATOMS.repeat(2, 1, 1)
    x[0, 4] = np.nan
    aligned = bcg.features.aligned(TOP, ATOMS[0])
    assert aligned(x)[0].isnan().all()
    torch.testing.assert_close(aligned(x)[1], aligned(x[1:])[0], rtol=0.0, atol=1e-7)  # a batch may round otherwise


@pytest.mark.parametrize("header", [b"{'descr': '<f4', (", b"{'descr': '<f4' \n  'x': 1,\n 'y': 2, \xff}"])
def test_the_header_of_an_array_may_be_anything(tmp_path, header):
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24))
    with pytest.raises(DataError, match=r"x.npy: not a readable array"):
        bcg.data.load(path, unit="reduced")


def test_a_damaged_hdf5_file_does_not_end_the_process(tmp_path, monkeypatch):
    """PyTables may: it is not asked, neither for frames nor for the topology."""
    path = tmp_path / "x.h5"
    trajectory = mdtraj.Trajectory(ATOMS.repeat(3, 1, 1).numpy(), mdtraj.Topology.from_openmm(TOP), [0.0, 2.0, 4.0])
    trajectory.unitcell_vectors = np.tile(3 * np.eye(3), (3, 1, 1))
    trajectory.save(str(path))
    monkeypatch.setattr("tables.open_file", lambda *_, **__: pytest.fail("PyTables was asked"))
    whole = bcg.data.load(path)
    assert np.array_equal(whole.gather(slice(None)), trajectory.xyz)
    assert whole.dt == 2.0
    assert whole.topology == trajectory.topology
    assert np.allclose(whole.box, trajectory.unitcell_vectors)
    content = path.read_bytes()
    for damage in (content[:3000], content[:680] + bytes(len(content) - 680), content[:700] + b"xxxx" + content[704:]):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=r"x\.h5: cannot be read after frame 0"):
            bcg.data.load(path, top=TOP)
        with pytest.raises(TopologyError, match=r"x\.h5: no topology can be read"):
            bcg.data.load(path)


@pytest.mark.parametrize(("text", "words"), [("quick = 3", "quick = 3"), ("run = 3", "run = 3")])
def test_a_value_in_place_of_a_section(tmp_path, text, words):
    path = tmp_path / "x.toml"
    path.write_text(
        f'{text}\n[experiment]\nname = "x"\n[system]\nname = "DoubleWell"\n[model]\nname = "EmbeddedPhysics"'
    )
    with pytest.raises(ConfigError, match=words):
        bcg.experiments.load(path, quick=True)
