"""Files that others wrote, of GROMACS, CHARMM, NAMD and AMBER: adenylate kinase, water boxes, peptides.

They come with the package MDAnalysisTests (in the extra `test`), without which these tests skip.
"""

import warnings
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import from_mdanalysis, load
from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.models import PredictiveCV

files: Any = pytest.importorskip("MDAnalysisTests.datafiles", reason="MDAnalysisTests is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*promises 500 frames, 98 are there"),  # of the CHARMM run
    pytest.mark.filterwarnings("ignore::DeprecationWarning:MDAnalysis"),
]


def universe(top: str, *trajectories: str) -> Any:
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MDAnalysis on what it guesses
        return MDAnalysis.Universe(top, *trajectories)


def neighbours(frames: Any) -> np.ndarray:
    """Distances of successive atoms, (frames, atoms - 1)."""
    return np.linalg.norm(np.diff(frames.positions, axis=1), axis=-1)


CA = "protein and name CA"
LONG = pytest.mark.slow  # 48 thousand atoms, read in seconds
PROTEINS = {
    "GROMACS, gro and xtc": lambda: load(files.XTC, files.GRO, select=CA, whole=True),
    "GROMACS, pdb and trr": lambda: load(files.TRR, files.PDB, select=CA, whole=True),
    "GROMACS, tpr and xtc": lambda: from_mdanalysis(universe(files.TPR, files.XTC), select="name CA", whole=True),
    "CHARMM, psf and dcd": lambda: load(files.DCD, files.PSF, select="name CA"),
    "NAMD, psf and dcd": lambda: load(files.DCD_NAMD_GBIS, files.PSF_NAMD_GBIS, select="name CA"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=LONG) if "trr" in name or "tpr" in name else name for name in PROTEINS]
)
def test_adenylate_kinase_is_whole(name: str):
    frames = PROTEINS[name]()
    assert frames.positions.shape[1] == 214
    # 0.38 nm, but for a cis proline
    assert 0.28 < neighbours(frames).min() < 0.3
    assert 0.39 < neighbours(frames).max() < 0.42
    assert frames.dt == {"GROMACS": 100.0, "CHARMM": 1.0, "NAMD": 0.01}[name.split(",")[0]]


@pytest.mark.parametrize(
    "door",
    [
        lambda: load(files.XTC, files.GRO, select=CA),
        pytest.param(lambda: from_mdanalysis(universe(files.TPR, files.XTC), select="name CA"), marks=LONG),
    ],
    ids=["load", "from_mdanalysis"],
)
def test_a_broken_protein_is_refused_whatever_is_selected(door: Any):
    with pytest.raises(DataError, match=r"GLU44-CG\) and 652 \(GLU44-CD\) are bonded but 7.86 nm.*whole=True"):
        door()


@LONG
def test_a_tpr_file_and_a_universe_without_bonds_lead_somewhere():
    with pytest.raises(TopologyError, match=r"adk_oplsaa.tpr: no topology.*from_mdanalysis\(universe\)"):
        load(files.XTC, files.TPR)
    with pytest.raises(TopologyError, match=r"the universe has none.*\.tpr"):
        from_mdanalysis(universe(files.GRO, files.XTC), whole=True)


def test_every_file_of_atoms_serves_features():
    assert len(bcg.features.torsions(files.PRM, "psi").labels) > 0
    assert bcg.features.distances(files.PSF, select="name CA").size == 214 * 213 // 2
    assert bcg.features.aligned(files.PDB_small, select="name CA").size == 3 * 3341
    assert bcg.features.torsions(files.PSF_NAMD_GBIS, "chi1", select="resid 1 to 2").labels == [
        "chi1 ARG-2",
        "chi1 ILE-3",
    ]
    with pytest.raises(ConfigError, match="no coordinates: give reference="):
        bcg.features.aligned(files.PSF)


@LONG
def test_a_broken_conformation_is_no_reference():
    for make in (bcg.features.aligned, bcg.features.native_contacts):
        with pytest.raises(TopologyError, match=r"GLU44-C[GD] and GLU44-C[GD] are bonded and 7.\d+ nm apart"):
            make(files.GRO, select="name CA")


@LONG
def test_water_is_whole_with_its_virtual_sites():
    """Four-site water, whose fourth has no bond."""
    frames = load(files.XTC, files.GRO, whole=True, stride=5)
    top: Any = frames.topology
    oxygen, site = top.select("water and name O"), top.select("water and name MW")
    assert len(oxygen) == len(site) == 11084
    x = frames.positions
    np.testing.assert_allclose(np.linalg.norm(x[:, oxygen] - x[:, site], axis=-1), 0.015, atol=0.002)
    centre = x.mean(axis=(0, 1))
    assert np.abs(x[:, oxygen] - centre).max() < np.linalg.norm(frames.box[0].sum(0))  # type: ignore[index]


TIMES = {
    "mdtraj, NetCDF of AMBER whose times are all 0": (lambda: load(files.NCDF, files.PRMncdf), None),
    "MDAnalysis, NetCDF of AMBER whose times are all 0": (
        lambda: from_mdanalysis(universe(files.PRMncdf, files.NCDF)),
        None,
    ),
    "mdtraj, NetCDF of AMBER": (lambda: load(files.TRJ_NCBOX, files.PRM_NCBOX), 1.0),
    "mdtraj, mdcrd": (lambda: load(files.TRJ, files.PRM), None),
    "MDAnalysis, mdcrd, which it would count in ps": (lambda: from_mdanalysis(universe(files.PRM, files.TRJ)), None),
    "MDAnalysis, models of NMR": (lambda: from_mdanalysis(universe(files.PDB_multiframe)), None),
    "mdtraj, models of NMR": (lambda: load(files.PDB_multiframe), None),
    "mdtraj, water of NAMD": (lambda: load(files.waterDCD, files.waterPSF), 0.02),
    "MDAnalysis, water of NAMD": (lambda: from_mdanalysis(universe(files.waterPSF, files.waterDCD)), 0.02),
}


@pytest.mark.filterwarnings("ignore:.*netCDF4|Unlikely unit cell vectors")
@pytest.mark.parametrize("name", TIMES)
def test_no_times_are_made_up(name: str):
    make, dt = TIMES[name]
    assert make().dt == (None if dt is None else pytest.approx(dt))


def test_two_readers_agree():
    pairs: list[tuple[Any, Any]] = [
        (load(files.waterDCD, files.waterPSF), universe(files.waterPSF, files.waterDCD)),
        (load(files.TRJ_NCBOX, files.PRM_NCBOX), universe(files.PRM_NCBOX, files.TRJ_NCBOX)),
        (load(files.DCD, files.PSF, stride=20), universe(files.PSF, files.DCD)),
    ]
    for one, other in pairs:
        again: Any = from_mdanalysis(other, stride=20 if len(one) == 5 else 1)
        np.testing.assert_allclose(one.positions, again.positions, atol=1e-5)
        assert one.topology.n_bonds == again.topology.n_bonds
        assert (one.box is None) == (again.box is None)
        if one.box is not None:
            np.testing.assert_allclose(one.box, again.box, atol=1e-5)


def test_a_box_that_mdtraj_misreads_is_refused_and_mdanalysis_reads_it():
    with pytest.raises(DataError, match=r"tip125_tric_C36.dcd: a periodic box .*no volume.*from_mdanalysis"):
        load(files.DCD_TRICLINIC, files.PSF_TRICLINIC)
    frames: Any = from_mdanalysis(universe(files.PSF_TRICLINIC, files.DCD_TRICLINIC))
    alike = mdtraj.Trajectory(frames.positions[:1], frames.topology)
    alike.unitcell_vectors = frames.box[:1]
    # of MDAnalysis' tests: CHARMM's own numbers
    np.testing.assert_allclose(alike.unitcell_lengths[0], [3.544604, 3.506156, 3.41585], rtol=1e-5)  # type: ignore[index]
    np.testing.assert_allclose(alike.unitcell_angles[0], [91.32802, 61.73521, 44.40703], rtol=1e-5)  # type: ignore[index]
    assert load(files.PDB_NAMD, files.PSF_NAMD).box is None  # its CRYST1 line is all zeros


@LONG
def test_distances_across_the_box_are_those_of_mdtraj():
    """Water oxygens around adenylate kinase, in a box that is a dodecahedron and fluctuates."""
    frames = load(files.XTC, files.GRO, select="(water and name O) or (protein and name CA)", whole=True)
    features = bcg.features.distances(frames, select=("water", "resid 0 to 5"))
    exact = features(torch.as_tensor(frames.positions), torch.as_tensor(frames.box))
    alike = mdtraj.Trajectory(np.array(frames.positions), frames.topology)
    alike.unitcell_vectors = np.array(frames.box)
    expected = mdtraj.compute_distances(alike, features.pairs.numpy(), periodic=True)
    plain = mdtraj.compute_distances(alike, features.pairs.numpy(), periodic=False)
    np.testing.assert_allclose(exact, expected, atol=1e-5)
    assert np.abs(plain - expected).max() > 3.0
    with pytest.raises(DataError, match="apart in the periodic box"):
        features.check_frames(frames)


def test_adenylate_kinase_from_files_to_a_figure(tmp_path):
    """The transition from closed to open, which no other motion of these frames rivals."""
    frames = load(files.DCD, files.PSF, temperature=300.0, select="name CA")
    x = torch.as_tensor(frames.positions)
    opened = bcg.features.observables.Rmsd(x[0])(x).numpy()
    assert np.corrcoef(np.argsort(np.argsort(opened)), np.arange(98))[0, 1] > 0.99
    closed = bcg.features.native_contacts(frames, cutoff=1.0, tolerance=1.2)(x)[:, 0]
    assert closed.argmax() == 0
    assert closed[80:].mean() < closed[:10].mean() - 0.05
    hinges = bcg.features.distances(frames, select="resid 20 or resid 54 or resid 130 or resid 180")
    fit = bcg.fit(PredictiveCV(hinges, latent_dim=1), frames, steps=120, batch_size=32, uncertainty="none", seed=0)
    cv = fit.cv(x).mean[:, 0].numpy()
    assert abs(np.corrcoef(cv, opened)[0, 1]) > 0.9
    bcg.plot.cv(fit, frames).savefig(tmp_path / "cv.png")
    assert (tmp_path / "cv.png").stat().st_size > 5000
