"""Backmapping: atoms around beads, with an exact density, the beads where they were, and error bars over refits."""

from dataclasses import replace
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch.distributions import Normal

import bayescg as bcg
from bayescg.analysis.resampled import average
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError, TopologyError
from bayescg.features import internal_coordinates
from bayescg.features.zmatrix import zmatrix_around
from bayescg.models import Backmapping
from bayescg.systems import peptide
from tests.calibration import placed_atoms as toy

BACKBONE = ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"]


LEANING, ANGLE, BENT = toy.PLACED, toy.ANGLE, toy.BENT


def given(y: torch.Tensor) -> Normal:
    """Bond, angle and torsion of the hydrogen, which leans as the chain bends."""
    lean = (y[:, 3] - ANGLE) / BENT
    mean = torch.stack([0.11 + 0 * lean, 1.9 + 0.1 * lean, 2.0 + 0.1 * lean], 1)
    return Normal(mean, torch.tensor([0.003, 0.05, 0.05]))


def leaning_frames(n: int, seed: int) -> Frames:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    y = torch.empty(n, 6, dtype=torch.float64)
    y[:, :2], y[:, 3] = 0.15 + 0.003 * noise[:, :2], ANGLE + BENT * noise[:, 3]
    likely = given(y)
    y[:, [2, 4, 5]] = likely.mean + likely.stddev * noise[:, [2, 4, 5]]
    x = LEANING.positions(y).numpy()
    return Frames.from_numpy(x, unit="nm", temperature=300.0, topology=toy.topology())


def log_density(model: Backmapping, x: torch.Tensor, beads: torch.Tensor | None = None) -> torch.Tensor:
    """Of the model, of the other coordinates of frames around their own beads, or those of others."""
    u = model.inputs(x)
    v = (u if beads is None else model.inputs(beads))[:, model.bead_places]
    return model.density(v).log_prob(u[:, model.others]).detach()


def exact_log_density(model: Backmapping, x: torch.Tensor) -> torch.Tensor:
    """The same of the frames' own law: each of its coordinates is stretched by itself."""
    assert model.coordinates is not None
    u = model.inputs(x).requires_grad_()
    y = model.coordinates.bounded(u)
    stretch = torch.autograd.grad(y.sum(), u)[0].abs().log()
    likely = given(LEANING(x)).log_prob(LEANING(x)[:, [2, 4, 5]])
    return (likely.sum(1) + stretch[:, model.others].sum(1)).detach()


@pytest.fixture(scope="module")
def leaning() -> Any:
    frames = leaning_frames(3000, 0)
    mapping = bcg.features.beads(frames, ["C1", "C2", "C3"])
    model = Backmapping(mapping, layers=2, bins=8, hidden=(16,))
    settings: dict[str, Any] = {"steps": 500, "learning_rate": 0.01, "validation": 0.0, "seed": 0}
    return bcg.fit(model, frames, uncertainty="bootstrap", members=4, **settings)


def test_the_density_is_that_of_the_atoms_given_the_beads(leaning):
    test = torch.as_tensor(leaning_frames(2000, 1).positions)
    exact, ours = exact_log_density(leaning.model, test), log_density(leaning.model, test)
    below = exact - ours
    assert -3 * below.std() / 2000**0.5 < below.mean() < 0.1
    # around other beads than its own, an atom is not where it would be
    assert (exact - log_density(leaning.model, test, test.roll(1, 0))).mean() > 5


def test_atoms_drawn_around_beads_leave_these_and_follow_them(leaning):
    test = leaning_frames(4000, 2)
    beads = replace(test, positions=test.positions[:, :3], topology=leaning.model.mapping.topology)
    atoms = bcg.sampling.backmapped(leaning, beads, seed=3)
    assert np.abs(np.asarray(atoms.positions)[:, :3] - beads.positions).max() < 1e-6
    y, likely = (LEANING(torch.as_tensor(f.positions)) for f in (atoms, test))
    lean = (likely[:, 3] - ANGLE) / BENT
    for column in (4, 5):
        slope = (
            ((y[:, column] - y[:, column].mean()) * lean).mean(),
            ((likely[:, column] - likely[:, column].mean()) * lean).mean(),
        )
        assert slope[0] == pytest.approx(float(slope[1]), abs=0.01)  # of .1: the width of 4000 slopes is .001
        assert y[:, column].std() == pytest.approx(float(likely[:, column].std()), rel=0.06)


def counts(frames: Frames) -> list[int]:
    """Frames of each draw."""
    draw = bcg.data.draw_of(frames)
    assert draw is not None
    return np.bincount(draw).tolist()


def test_draws_of_the_backmapping_are_told_apart(leaning):
    test = leaning_frames(200, 4)
    beads = replace(test, positions=test.positions[:, :3], topology=leaning.model.mapping.topology)
    atoms = bcg.sampling.backmapped(leaning, beads, draws=3)
    assert len(atoms) == 200
    assert len(np.unique(atoms.trajectory)) == 1
    values = LEANING(torch.as_tensor(atoms.positions))[:, 5].numpy()
    with pytest.warns(UserWarning, match="3 draws"):
        parts = average(values, atoms, 200, 0, "rad").sd_by_source
    assert parts is not None
    assert parts["parameter"] is not None
    assert parts["parameter"] > 0
    assert sorted(counts(atoms)) == [66, 67, 67]
    assert counts(atoms[:99]) == [33, 33, 33]  # in turn
    assert sorted(counts(atoms[::3])) != [0, 0, 67]  # and in no order
    together = replace(beads, trajectory=np.repeat(np.arange(3), [50, 75, 75]))
    of_potentials = replace(together, provenance={"potential_draws": 3, "chains": 3})
    paired = bcg.sampling.backmapped(leaning, of_potentials, draws=3)
    assert counts(paired) == [50, 75, 75]
    for frames, draws, words in (
        (of_potentials, 2, "of 3 draws of a potential: give draws=3"),
        (beads, 4, "draws=4, but there are 3 refits"),
        (beads[:2], 3, "2 frames cannot be divided"),
    ):
        with pytest.raises(ConfigError, match=words):
            bcg.sampling.backmapped(leaning, frames, draws=draws)


def test_beads_that_nothing_is_known_of_are_named(leaning):
    test = leaning_frames(50, 5)
    beads = replace(test, positions=test.positions[:, :3].copy(), topology=leaning.model.mapping.topology)
    bcg.sampling.backmapped(leaning, beads)  # 3000 frames of training reach further than 50 others
    beads.positions[17, 2] += 3 * (beads.positions[17, 2] - beads.positions[17, 1])
    with pytest.warns(
        UserWarning, match=r"beads of 1 of 50 .* frame 17: bond\(.*C2.*, .*C3.*\) is 0\.\d+, in the training"
    ):
        bcg.sampling.backmapped(leaning, beads)
    in_a_box = replace(beads, box=np.tile(0.8 * np.eye(3), (50, 1, 1)))
    with pytest.raises(DataError, match="beads of frame 17 are broken across the periodic box: MOL0-C2 and MOL0-C3"):
        bcg.sampling.backmapped(leaning, in_a_box)
    assert len(bcg.sampling.backmapped(leaning, in_a_box[:17])) == 17


def test_beads_of_a_peptide_are_placed_by_each_other_alone():
    for beads in (BACKBONE, "CA"):
        top = mdtraj.Topology.from_openmm(peptide("ACE-ALA-ALA-ALA-ALA-NME" if beads == "CA" else "ACE-ALA-NME")[0])
        atoms = [a.index for a in top.atoms if a.name == "CA"] if beads == "CA" else [4, 6, 8, 14, 16]
        rows = zmatrix_around(top, atoms)
        assert [row[0] for row in rows[: len(atoms)]] == atoms
        assert {atom for row in rows[: len(atoms)] for atom in row} == set(atoms)
        bonds = {frozenset((a.index, b.index)) for a, b in top.bonds}
        assert all(frozenset(row[:2]) in bonds for row in rows[len(atoms) :])
        x = torch.as_tensor(peptide("ACE-ALA-ALA-ALA-ALA-NME" if beads == "CA" else "ACE-ALA-NME")[1]._value).double()
        internal = internal_coordinates(top, rows)
        back = internal.positions(internal(x))
        assert torch.allclose(torch.cdist(back, back), torch.cdist(x, x), atol=1e-5)


def test_hydrogens_of_methyl_groups_are_any_of_the_three():
    model, frames, _ = Backmapping.example()
    model.setup(frames)
    assert model.coordinates is not None
    (rotor,) = (r for r in model.coordinates.rotors if r[0] == 11)  # of the side chain
    beads = torch.as_tensor(np.asarray(frames.positions))[:1, model.atoms].expand(3000, -1, -1)
    with torch.no_grad():
        x = model.around(beads)
    torsion = bcg.features.torsions(frames, [[6, 8, 10, rotor[0]]])(x)
    turn = torch.atan2(torsion[:, 0], torsion[:, 1])
    third = (3 * turn / (2 * np.pi)).round().long() % 3
    assert torch.bincount(third, minlength=3).double().sub(1000).abs().max() < 4 * (3000 * 2 / 9) ** 0.5
    x = torch.as_tensor(np.asarray(frames.positions))[:5]
    assert torch.allclose(model.inputs(model.coordinates.exchanged(x)), model.inputs(x))


def test_what_cannot_be_mapped_back_is_refused(leaning):
    top = mdtraj.Topology.from_openmm(peptide("ACE-ALA-NME")[0])
    with pytest.raises(ConfigError, match="bead ACE1 is the centre of 6 atoms"):
        Backmapping(bcg.features.beads(top, "residues"))
    with pytest.raises(TopologyError, match="no atom is called 'CX'"):
        Backmapping("CX", top)
    for count in (2, 22):
        with pytest.raises(ConfigError, match=f"{count} beads of 22 atoms: give three, and not all"):
            Backmapping(list(range(count)), top)
    with pytest.raises(TopologyError, match="one of 22 atoms, these frames are of 4"):
        Backmapping(bcg.features.beads(top, BACKBONE)).setup(leaning_frames(10, 0))
    test = leaning_frames(20, 0)
    beads = replace(test, positions=test.positions[:, :3].copy(), topology=leaning.model.mapping.topology)
    with pytest.raises(TopologyError, match="around 3 beads, these frames are of 4"):
        bcg.sampling.backmapped(leaning, test)
    weighted = replace(beads, weights=np.linspace(0.5, 1.5, 20))
    assert bcg.sampling.backmapped(leaning, weighted).weights is weighted.weights
    with pytest.raises(ConfigError, match="the frames have weights"):
        bcg.sampling.backmapped(leaning, weighted, draws=3)
    beads.positions[4, 0] = np.nan
    with pytest.raises(DataError, match="beads of frame 4 are not finite"):
        bcg.sampling.backmapped(leaning, beads)
    beads.positions[4, 0] = test.positions[4, 0]
    beads.positions[7, 2] = 2 * beads.positions[7, 1] - beads.positions[7, 0]
    with pytest.raises(DataError, match="beads of frame 7: three of them lie on a line"):
        bcg.sampling.backmapped(leaning, beads)
    other: Any = bcg.fit(
        bcg.models.PredictiveCV(dim=4), bcg.models.PredictiveCV.example()[1], steps=2, uncertainty="none"
    )
    with pytest.raises(ModelError, match="PredictiveCV places no atoms around beads"):
        bcg.sampling.backmapped(other, beads)
