"""Every door gives back exactly what was written, in nm and ps."""

import struct
import warnings
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest

from bayescg.data import Frames, from_colvar, from_mdanalysis, from_openmm, load
from bayescg.errors import DataError, UnitError

# half a unit in the last place that the format keeps, plus float32 rounding at 3 nm
PRECISION = {"xtc": 5.1e-4, "trr": 0.0, "h5": 0.0, "dcd": 3e-7, "pdb": 5.1e-5, "nc": 3e-7, "xyz": 5.1e-5}
TIMED = ("xtc", "trr", "h5", "nc")


def write_format(write, kind, **options):
    if kind == "h5":
        pytest.importorskip("tables")
    with warnings.catch_warnings():
        # mdtraj advises on netCDF4, a faster package for nc files
        warnings.simplefilter("ignore")
        return write(f"a.{kind}", **options)


@pytest.mark.parametrize("kind", PRECISION)
def test_round_trip_through_every_format(kind, write, top, positions):
    path = write_format(write, kind, x=positions, start=10.0)
    frames: Any = load(
        path, None if kind in ("pdb", "h5") else top, temperature=300.0, dt=None if kind in TIMED else 0.5
    )
    assert np.abs(frames.positions - positions).max() <= PRECISION[kind]
    assert frames.positions.dtype == np.float32
    assert frames.unit == "nm"
    assert frames.dt == 0.5
    np.testing.assert_array_equal(frames.times, (10.0 if kind in TIMED else 0.0) + 0.5 * np.arange(25))
    assert frames.temperature == 300.0
    assert frames.topology.n_atoms == 8
    assert frames.provenance["files"] == [path]


@pytest.mark.parametrize("kind", ["dcd", "pdb"])
def test_files_without_times_are_ordered_but_have_no_lag(kind, write, top):
    frames: Any = load(write(f"a.{kind}"), top)
    assert frames.dt is None
    assert frames.times is None
    np.testing.assert_array_equal(frames.order, np.arange(25))
    train, test = frames.split(blocks=5)
    assert np.unique(test.blocks(5)).size == 1
    assert len(train) + len(test) == 25


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 24, 25])
@pytest.mark.parametrize("chunk_bytes", [1, 400, 2**24])
def test_stride_is_that_of_the_file_whatever_the_chunks(stride, chunk_bytes, write, top, positions, monkeypatch):
    monkeypatch.setattr("bayescg.data.readers.files.CHUNK_BYTES", chunk_bytes)
    path = write("a.trr", x=positions)
    frames: Any = load([path, write("b.trr", x=positions + 0.1)], top, stride=stride)
    kept = positions[::stride]
    np.testing.assert_array_equal(frames.positions, np.concatenate([kept, positions[::stride] + np.float32(0.1)]))
    np.testing.assert_array_equal(frames.trajectory, np.repeat([0, 1], len(kept)))
    assert frames.dt == (0.5 * stride if stride < 24 else 12.0 if stride == 24 else 12.5)


def test_select_keeps_atoms_and_their_bonds(write, top, positions):
    frames: Any = load(write("a.trr", x=positions), top, select="backbone and not name O")
    np.testing.assert_array_equal(frames.positions, positions[:, [0, 1, 2, 4, 5, 6]])
    assert [a.name for a in frames.topology.atoms] == ["N", "CA", "C"] * 2
    assert frames.topology.n_bonds == 5


def test_a_unit_against_the_convention_of_the_format(write, top, positions):
    path = write("a.trr", x=positions * np.float32(10))
    np.testing.assert_allclose(load(path, top, unit="angstrom").positions, positions, rtol=1e-6)


def test_box_in_nm(write, top):
    frames: Any = load(write("a.xtc", box=4.0), top)
    np.testing.assert_allclose(frames.box, np.broadcast_to(4 * np.eye(3), (25, 3, 3)), atol=1e-6)
    assert frames[3:5].box.shape == (2, 3, 3)


def test_topology_objects_serve_as_top(write, topology, positions):
    path = write("a.trr", x=positions)
    loaded = mdtraj.load(path, top=topology)
    for given in (topology, loaded):
        np.testing.assert_array_equal(load(path, given).positions, loaded.xyz)


def test_trajectories_in_memory_serve_as_files(write, top, topology, positions):
    loaded = [mdtraj.load(write(f"{name}.trr", x=positions, start=10.0, box=4.0), top=top) for name in "ab"]
    doors: list[Any] = [
        load(loaded, temperature=300.0),
        load(loaded, topology.to_openmm()),
        load([loaded[0], write("b.trr", positions, start=10.0, box=4.0)], top),
    ]
    for frames in doors:
        np.testing.assert_array_equal(frames.positions, np.concatenate([positions] * 2))
        np.testing.assert_allclose(frames.box, np.broadcast_to(4 * np.eye(3), (50, 3, 3)), atol=1e-6)
        assert frames.dt == 0.5
    some: Any = load(loaded[0], select="name CA", stride=3)
    np.testing.assert_array_equal(some.positions, positions[::3, [1, 5]])
    np.testing.assert_array_equal(some.times, 10.0 + 1.5 * np.arange(9))


def test_numbers_of_frames_are_no_times(write, top):
    """Mdtraj counts frames where a file has no times, and would make 25 ps of any dcd."""
    counted = mdtraj.load(write("a.dcd"), top=top, stride=2)
    np.testing.assert_array_equal(counted.time, 2 * np.arange(13))
    assert load(counted).dt is None
    assert load(counted, dt=0.2).dt == 0.2


def test_patterns(write, top, tmp_path):
    for name in ("run1.xtc", "run2.xtc", "other.xtc"):
        write(name)
    frames = load(tmp_path / "run*.xtc", top)
    assert frames.provenance["files"] == [str(tmp_path / "run1.xtc"), str(tmp_path / "run2.xtc")]
    np.testing.assert_array_equal(frames.trajectory, np.repeat([0, 1], 25))
    assert len(load([f"{tmp_path}/run[12].xtc", tmp_path / "other.xtc"], top)) == 75
    write("odd[1].xtc")
    assert len(load(tmp_path / "odd[1].xtc", top)) == 25


@pytest.mark.parametrize("start", [0.0, 7.0])
@pytest.mark.parametrize("kind", ["nc", "xtc"])
def test_times_that_stand_still_are_none(kind, start, write, top):
    path = write_format(write, kind, times=np.full(25, start))
    assert load(path, top).times is None
    frames: Any = load(path, top, dt=0.5, stride=2)
    np.testing.assert_array_equal(frames.times, np.arange(13.0))


def test_a_dcd_of_a_run_that_ended_early(write, top, positions):
    path = Path(write("a.dcd", x=positions))
    header, frame = 276, (path.stat().st_size - 276) // 25
    path.write_bytes(path.read_bytes()[: header + 9 * frame])
    with pytest.warns(UserWarning, match="promises 25 frames, 9 are there"):
        assert len(load(path, top)) == 9


@pytest.mark.parametrize("at", [276, 276 + 4 + 4 * 8])  # before and after the first coordinates of eight atoms
@pytest.mark.parametrize("length", [-8, -(2**31), 0, 2**31 - 1])
def test_a_dcd_whose_records_have_other_lengths(write, top, positions, at, length):
    """No seeking before the beginning, no loop, and no division by the frames that are there."""
    path = Path(write("a.dcd", x=positions))
    content = bytearray(path.read_bytes())
    content[at : at + 4] = struct.pack("<i", length)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.dcd: (cut short or damaged|cannot be read)"):
        load(path, top)


def test_boxes_without_volume(write, top, topology, positions):
    """Zeros stand for no box, and what CHARMM writes of a triclinic one makes mdtraj read angles of few degrees."""
    loaded = mdtraj.load(write("a.xtc", x=positions), top=top)
    loaded.unitcell_lengths, loaded.unitcell_angles = np.zeros((25, 3)), np.full((25, 3), 90.0)
    path = write().replace("a.xtc", "b.dcd")
    loaded.save(path)
    assert load(path, top).box is None
    loaded.unitcell_lengths, loaded.unitcell_angles = np.full((25, 3), 3.0), np.tile([2.6, 9.6, 14.6], (25, 1))
    loaded.save(path)
    for source in (path, loaded):
        with pytest.raises(DataError, match=r"no volume.*from_mdanalysis"):
            load(source, top)


@pytest.mark.parametrize("unit", ["kJ/mol", "kcal/mol", "hartree"])
def test_units_of_energy(unit, positions, tmp_path):
    factor = {"kJ/mol": 1.0, "kcal/mol": 4.184, "hartree": 2625.4996394799}[unit]
    energy, forces = np.arange(25.0), np.ones_like(positions)
    frames: Any = Frames.from_numpy(
        10 * positions, unit="angstrom", energy=energy / factor, forces=forces / factor, energy_unit=unit
    )
    np.testing.assert_allclose(frames.energy, energy)
    np.testing.assert_allclose(frames.forces, 10 * forces, rtol=1e-6)
    path, kT = tmp_path / "COLVAR", 0.00831446261815324 * 300.0
    path.write_text("#! FIELDS time d u.bias\n" + "".join(f"{k} 0.0 {kT * k / factor:.12f}\n" for k in range(3)))
    weights: Any = from_colvar(path, temperature=300.0, weights="bias", energy_unit=unit).weights
    np.testing.assert_allclose(weights / weights[0], np.exp([0.0, 1.0, 2.0]), rtol=1e-6)
    with pytest.raises(UnitError, match="'kcal'; use one of kJ/mol, kcal/mol"):
        Frames.from_numpy(positions, unit="nm", energy=energy, energy_unit="kcal")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_npy(dtype, tmp_path, topology, positions):
    x = positions.astype(dtype)
    np.save(tmp_path / "nm.npy", x)
    np.save(tmp_path / "angstrom.npy", x.reshape(25, 24) * dtype(10))
    one = load(tmp_path / "nm.npy", topology, unit="nm", dt=0.5)
    assert isinstance(one.positions, np.memmap)
    np.testing.assert_array_equal(one.positions, x)
    assert one.positions.dtype == dtype
    two = load(tmp_path / "angstrom.npy", topology, unit="angstrom", stride=5, dt=0.5)
    np.testing.assert_allclose(two.positions, x[::5], rtol=1e-6)
    assert two.dt == 2.5
    assert load(tmp_path / "nm.npy", topology, unit="nm").order is None


def test_frames_beyond_the_memory_limit_go_to_disk_and_are_the_same(write, top, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths = [write("a.xtc"), write("b.xtc", box=4.0)]
    for path in paths:
        kept, spilled = load(path, top), load(path, top, memory_limit=0)
        assert isinstance(spilled.positions, np.memmap)
        np.testing.assert_array_equal(kept.positions, spilled.positions)
        assert kept.fingerprint() == spilled.fingerprint()
        assert list(tmp_path.glob("bayescg-*"))
        del spilled
        assert not list(tmp_path.glob("bayescg-*"))


def test_cache_is_used_again_and_only_for_the_same_question(write, top, tmp_path, monkeypatch):
    path, cache = write("a.xtc", box=4.0, start=7.0), tmp_path / "cache"
    fresh: Any = load(path, top, cache=cache)
    with monkeypatch.context() as patch:
        patch.setattr("bayescg.data.readers.loading.chunks", lambda *_: pytest.fail("decoded again"))
        again = load(path, top, cache=cache)
    for name in ("positions", "times", "trajectory", "order", "box"):
        np.testing.assert_array_equal(getattr(fresh, name), getattr(again, name))
    assert fresh.fingerprint() == again.fingerprint()
    assert len(load(path, top, cache=cache, stride=2)) == 13
    assert len(list(cache.iterdir())) == 2


def test_a_failed_load_leaves_no_cache(write, top, tmp_path):
    x = np.array(load(write("a.trr"), top).positions)
    x[20] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        load(write("bad.trr", x=x), top, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_mdanalysis(write, top, positions):
    import MDAnalysis

    path = write("a.trr", x=positions, start=2.0, box=6.0)
    universe = MDAnalysis.Universe(top, path)
    frames: Any = from_mdanalysis(universe, temperature=310.0, stride=3)
    np.testing.assert_allclose(frames.positions, positions[::3], atol=3e-7)
    np.testing.assert_array_equal(frames.times, 2.0 + 1.5 * np.arange(9))
    np.testing.assert_allclose(frames.box[0], 6 * np.eye(3), atol=1e-6)
    assert frames.topology.n_bonds == 7
    part: Any = from_mdanalysis(universe.select_atoms("name CA C"), select="name CA", memory_limit=0)
    np.testing.assert_allclose(part.positions, positions[:, [1, 5]], atol=3e-7)
    assert [a.residue.resSeq for a in part.topology.atoms] == [1, 2]


@pytest.mark.parametrize("kind", ["dcd", "xtc", "pdb"])
def test_openmm_reporters(kind, tmp_path, topology, positions):
    import openmm.unit
    from openmm import app

    unit: Any = openmm.unit
    system, path = topology.to_openmm(), tmp_path / f"a.{kind}"
    if kind == "pdb":
        with open(path, "w") as file:
            for k, x in enumerate(positions):
                app.PDBFile.writeModel(system, x.tolist() * unit.nanometers, file, modelIndex=k)
    elif kind == "dcd":
        with open(path, "wb") as file:
            dcd = app.DCDFile(file, system, dt=0.002 * unit.picoseconds, interval=250)
            for x in positions:
                dcd.writeModel(x.tolist() * unit.nanometers)
    else:
        xtc = app.XTCFile(str(path), system, dt=0.002 * unit.picoseconds, interval=250)
        for x in positions:
            xtc.writeModel(x.tolist() * unit.nanometers)
    frames = from_openmm(
        path, system, temperature=300 * unit.kelvin, dt=0.5 * unit.picosecond if kind == "pdb" else None
    )
    assert np.abs(frames.positions - positions).max() <= PRECISION[kind]
    assert frames.dt == 0.5
    assert frames.temperature == 300.0


COLVAR = """#! FIELDS time phi psi metad.bias metad.rbias restraint.bias
#! SET min_phi -pi
 0.000000 -1.0 2.0 0.0 -1.0 0.5
 0.200000 -1.5 2.5 1.0 0.0 0.0
#! FIELDS time phi psi metad.bias metad.rbias restraint.bias
 0.400000 -1.25 2.25 2.0 1.0 1.5
"""


def test_colvar(tmp_path):
    path = tmp_path / "COLVAR"
    path.write_text(COLVAR)
    frames: Any = from_colvar(path, temperature=300.0, weights="bias")
    np.testing.assert_array_equal(frames.positions, [[-1.0, 2.0], [-1.5, 2.5], [-1.25, 2.25]])
    np.testing.assert_allclose(frames.times, [0.0, 0.2, 0.4])
    assert frames.provenance["columns"] == ["phi", "psi"]
    kT = 0.00831446261815324 * 300.0
    np.testing.assert_allclose(frames.weights / frames.weights[0], np.exp([0.0, 0.5 / kT, 3.0 / kT]))
    chosen: Any = from_colvar(path, ["psi"], temperature=300.0, weights=["metad.rbias"])
    np.testing.assert_array_equal(chosen.positions, [[2.0], [2.5], [2.25]])
    np.testing.assert_allclose(chosen.weights / chosen.weights[0], np.exp([0.0, 1 / kT, 2 / kT]))
    assert from_colvar(path, weights=None).weights is None


def test_several_walkers_are_several_trajectories(tmp_path):
    for name in ("COLVAR.0", "COLVAR.1"):
        (tmp_path / name).write_text(COLVAR.replace(" 0.4", " 0.400000 0.0 0.0 0.0 0.0 0.0\n 0.6"))
    frames = from_colvar(sorted(tmp_path.iterdir()), weights=None)
    np.testing.assert_array_equal(frames.trajectory, [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(frames.lagged(0.6).i, [0, 4])


def test_weights_of_a_colvar_serve_the_structures(write, top, tmp_path):
    path = tmp_path / "COLVAR"
    path.write_text("#! FIELDS time d u.bias\n" + "".join(f"{0.5 * k} {k} {k % 3}\n" for k in range(25)))
    weights = from_colvar(path, temperature=300.0, weights="bias").weights
    frames: Any = load(write(), top, temperature=300.0, weights=weights)
    np.testing.assert_array_equal(frames.weights, weights)


def test_the_published_text_format(published):
    x = np.loadtxt(published / "dataset_50.txt").T
    top = mdtraj.load_topology(str(published / "ala2.pdb"))
    frames = Frames.from_numpy(x, unit="angstrom", topology=top)
    assert frames.positions.shape == (50, 22, 3)
    np.testing.assert_allclose(frames.positions.reshape(50, 66), x / 10, rtol=1e-12)
    for topology in (top, None):
        with pytest.raises(UnitError, match="unit='angstrom'"):
            Frames.from_numpy(x, unit="nm", topology=topology)
