"""CVs inside PLUMED: exact where a PLUMED is at hand, whole on disk, and refused where they cannot be."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import DataError, ModelError, OutputError
from bayescg.models import Autoencoder, PredictiveCV

VALUE, GRADIENT = 1e-12, 1e-11
"""Largest errors, of the largest value and slope; measured 2e-14 and 1e-12."""


@pytest.fixture(scope="session")
def plumed():
    """PLUMED with its Python wrapper; the wheel `hillclimber` of PyPI has both."""
    module = pytest.importorskip("plumed", reason="no PLUMED here: pip install --no-deps hillclimber has one")
    if not os.environ.get("PLUMED_KERNEL"):
        pytest.skip("the package plumed is here, its kernel is not: set PLUMED_KERNEL")
    return module


def by_plumed(plumed, folder, x, output="z1", box=None):
    """Values ``(n,)`` and gradients ``(n, atoms, 3)`` of a label of a folder's input."""
    text = (folder / "plumed.dat").read_text().replace("FILE=COLVAR", f"FILE={folder}/COLVAR")
    (folder / "run.dat").write_text(text + f"push: BIASVALUE ARG={output}\n")
    engine, atoms = plumed.Plumed(), x.shape[1]
    settings = {"setNatoms": atoms, "setMDLengthUnits": 1.0, "setMDEnergyUnits": 1.0, "setMDTimeUnits": 1.0}
    settings |= {"setTimestep": 1.0, "setLogFile": f"{folder}/log", "setPlumedDat": f"{folder}/run.dat"}
    for key, setting in settings.items():
        engine.cmd(key, setting)
    engine.cmd("init")
    values, slopes, value = [], [], np.zeros(1)
    engine.cmd(f"getDataRank {output}", np.zeros(1, dtype=int))
    engine.cmd(f"setMemoryForData {output}", value)
    for step, positions in enumerate(x):
        forces, placed = np.zeros((atoms, 3)), np.array(positions, dtype=float)
        engine.cmd("setStep", step)
        for key, array in (("setPositions", placed), ("setForces", forces), ("setVirial", np.zeros((3, 3)))):
            engine.cmd(key, array)
        engine.cmd("setBox", np.zeros((3, 3)) if box is None else box)
        engine.cmd("setMasses", np.ones(atoms))
        engine.cmd("setCharges", np.zeros(atoms))
        engine.cmd("calc")
        values.append(value[0])
        slopes.append(-forces)
    engine.finalize()
    return np.array(values), np.array(slopes)


def assert_equal(ours, theirs):
    for mine, exact, error in zip(ours, theirs, (VALUE, GRADIENT), strict=True):
        np.testing.assert_allclose(mine, exact, rtol=0, atol=error * max(1, np.abs(exact).max()))


@pytest.mark.parametrize(
    ("fit", "outputs"), [("gaussian", ("z1", "sd2")), ("refitted", ("z1", "z2", "sd1")), ("lengths", ("z1",))]
)
def test_it_is_exact(plumed, request, fit, outputs, frames, conformations, by_torch, tmp_path):
    fit = request.getfixturevalue(fit)
    folder = bcg.export.to_plumed(fit, tmp_path / "cv", frames=frames)
    for output in outputs:
        assert_equal(by_plumed(plumed, folder, conformations, output), by_torch(fit, conformations, output))


def test_neurons_that_are_not_tanh_are_exact(plumed, frames, molecule, conformations, by_torch, tmp_path):
    for activation in ("silu", "softplus", "selu"):
        model = Autoencoder(bcg.features.torsions(molecule), latent_dim=1, hidden=(4,))
        model.encoder.net[1] = bcg.nets.ACTIVATIONS[activation]()
        fit = bcg.fit(model, frames, steps=1, uncertainty="none", progress=False)
        folder = bcg.export.to_plumed(fit, tmp_path / activation)
        assert_equal(by_plumed(plumed, folder, conformations), by_torch(fit, conformations))


def test_atoms_may_have_other_numbers_and_a_box(plumed, frames, molecule, conformations, by_torch, tmp_path):
    features = bcg.features.distances(molecule, pairs=[(1, 18), (5, 16)], box=[3.0, 3.0, 3.0])
    fit = bcg.fit(Autoencoder(features, 1, hidden=(3,)), frames, steps=2, uncertainty="none", progress=False)
    numbers = [25 - i for i in range(22)]
    x = np.zeros((8, 30, 3))
    x[:, numbers] = conformations[:8]
    x[:, numbers[5]] += (0.0, 6.0, -3.0)
    folder = bcg.export.to_plumed(fit, tmp_path / "cv", atoms=numbers)
    values, slopes = by_plumed(plumed, folder, x, box=np.diag([3.0, 3.0, 3.0]))
    assert_equal((values, slopes[:, numbers]), by_torch(fit, conformations[:8]))


def test_its_program_passes_the_self_test(plumed, refitted, tmp_path):
    """In a process that knows nothing of bayescg: the command that plumed.dat names."""
    if not hasattr(plumed, "cli"):
        pytest.skip("this package plumed has no program: pip install --no-deps hillclimber has one")
    folder = bcg.export.to_plumed(refitted, tmp_path / "cv")
    (command,) = re.findall(r"^#\s+plumed (driver .*)$", (folder / "plumed.dat").read_text(), re.MULTILINE)
    program = [sys.executable, "-c", "import plumed; plumed.cli()", *command.split()]
    paths = {**os.environ, "PYTHONPATH": str(Path(plumed.__file__).parents[1])}
    subprocess.run(program, cwd=folder, env=paths, check=True, capture_output=True)
    printed, expected = (np.loadtxt(folder / name) for name in ("COLVAR", "COLVAR.expected"))
    fields = [(folder / name).read_text().partition("\n")[0].split() for name in ("COLVAR", "COLVAR.expected")]
    assert fields[0] == fields[1]
    np.testing.assert_allclose(printed, expected, atol=3e-9)


def test_a_folder_is_complete(refitted, molecule, by_torch, tmp_path):
    folder = bcg.export.to_plumed(refitted, tmp_path / "new" / "cv")
    names = "COLVAR.expected cv.pt cv_float32.pt frames.xyz plumed.dat reference.pdb versions.json"
    assert " ".join(sorted(p.name for p in folder.iterdir())) == names
    assert [p.name for p in folder.parent.iterdir()] == ["cv"]
    lines = (folder / "frames.xyz").read_text().split("\n")
    x = np.array([line.split()[1:] for line in lines if line.startswith("X")], dtype=float).reshape(-1, 22, 3)
    expected = np.loadtxt(folder / "COLVAR.expected")
    for column, output in enumerate(("z1", "z2", "sd1", "sd2"), 1):
        np.testing.assert_allclose(expected[:, column], by_torch(refitted, x, output)[0], atol=1e-9)
    written = mdtraj.load(folder / "reference.pdb")
    assert [a.element.symbol for a in written.topology.atoms] == [a.element.symbol for a in molecule.topology.atoms()]
    assert np.abs(written.xyz[0] - x[0]).max() < 1e-4
    record = json.loads((folder / "versions.json").read_text())
    assert (record["model"], record["refits"], record["outputs"]) == ("Autoencoder", 3, ["z1", "z2", "sd1", "sd2"])
    assert record["versions"]["torch"] == torch.__version__ or record["versions"]["torch"] in torch.__version__


READ = """
import sys, warnings, numpy, torch
warnings.simplefilter("ignore")
y = torch.tensor(numpy.load("y.npy"))
for name, kind in (("cv.pt", torch.float64), ("cv_float32.pt", torch.float32)):
    print(*torch.jit.load(name)(y.to(kind))[:, 3].tolist())
    assert tuple(torch.jit.load(name)(y[:1].to(kind)).shape) == (1, 4)
assert "bayescg" not in sys.modules
"""


@pytest.mark.slow  # a process that imports torch takes seconds
def test_a_process_without_bayescg_reads_the_script(refitted, frames, by_torch, tmp_path):
    folder = bcg.export.to_plumed(refitted, tmp_path / "cv")
    x = frames.positions[:4].astype(float)
    np.save(folder / "y.npy", refitted.model.features(torch.tensor(x)).numpy())
    done = subprocess.run([sys.executable, "-c", READ], cwd=folder, check=True, capture_output=True, text=True)
    double, single = (np.array(line.split(), dtype=float) for line in done.stdout.splitlines())
    exact, _ = by_torch(refitted, x, "sd2")
    np.testing.assert_allclose(double, exact, rtol=VALUE)
    np.testing.assert_allclose(single, exact, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_scripts_give_all_outputs(gaussian, frames, by_torch, tmp_path):
    folder = bcg.export.to_plumed(gaussian, tmp_path / "cv")
    x = frames.positions[:4].astype(float)
    y = gaussian.model.features(torch.tensor(x))
    for name, dtype, error in (("cv.pt", torch.float64, VALUE), ("cv_float32.pt", torch.float32, 1e-5)):
        columns = torch.jit.load(folder / name)(y.to(dtype)).T
        for column, output in zip(columns, ("z1", "z2", "sd1", "sd2"), strict=True):
            np.testing.assert_allclose(column, by_torch(gaussian, x, output)[0], rtol=error)


class TestRefused:
    def test_a_folder_that_holds_something(self, gaussian, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(OutputError, match="is there already and not empty"):
            bcg.export.to_plumed(gaussian, tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]

    def test_nothing_is_left_of_a_folder_that_could_not_be_written(self, gaussian, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("bayescg.export.plumed_folder._write_pdb", full)
        with pytest.raises(OutputError, match="No space left on device"):
            bcg.export.to_plumed(gaussian, tmp_path / "cv")
        assert list(tmp_path.iterdir()) == []

    def test_features_that_plumed_has_not(self, frames, molecule, tmp_path):
        fit = bcg.fit(PredictiveCV(bcg.features.aligned(molecule), 1, (3,)), frames, steps=1, uncertainty="none")
        with pytest.raises(ModelError, match="Aligned features are no functions of torsion angles and distances"):
            bcg.export.to_plumed(fit, tmp_path / "cv")
        assert list(tmp_path.iterdir()) == []

    def test_a_loaded_fit_without_frames(self, gaussian, frames, molecule, tmp_path):
        gaussian.save(tmp_path / "fit")
        loaded = bcg.Fit.load(tmp_path / "fit")
        with pytest.raises(DataError, match="loaded without its frames: give frames="):
            bcg.export.to_plumed(loaded, tmp_path / "cv")
        bare = bcg.data.Frames.from_numpy(frames.positions, unit="nm", temperature=300.0)
        with pytest.raises(DataError, match="neither the frames nor top= say what the atoms are"):
            bcg.export.to_plumed(loaded, tmp_path / "cv", frames=bare)
        again = bcg.export.to_plumed(loaded, tmp_path / "cv", frames=bare, top=molecule)
        first = bcg.export.to_plumed(gaussian, tmp_path / "other")
        assert (again / "plumed.dat").read_bytes() == (first / "plumed.dat").read_bytes()
