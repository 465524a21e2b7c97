"""What cannot be right is refused at the door, by a typed error that says what, where and what to do."""

from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest

from bayescg.data import Frames, from_colvar, from_mdanalysis, load
from bayescg.errors import BayescgError, ConfigError, DataError, OutputError, TopologyError, UnitError


def array(x=None, **options):
    """`Frames` of two good frames of four points, or of `x`."""
    good = np.array([[[0.0, 0, 0], [0.15, 0, 0], [0.3, 0, 0], [0.45, 0, 0]]] * 2)
    return Frames.from_numpy(good if x is None else x, **{"unit": "nm", **options})


def draws(n=10, **options):
    return Frames.from_numpy(np.zeros((n, 2)), unit="reduced", **options)


ARRAYS = {
    "no unit": (lambda: array(unit=None), UnitError, ["no default unit", 'unit="nm"']),
    "unknown unit": (lambda: array(unit="furlong"), UnitError, ["furlong", "angstrom"]),
    "angstrom as nm": (lambda: array(10 * array().positions), UnitError, ["nearest neighbours", "unit='angstrom'"]),
    "nm as angstrom": (lambda: array(unit="angstrom"), UnitError, ["nearest neighbours", "unit='nm'"]),
    "NaN": (
        lambda: draws_with(np.nan, [3, 5, 6, 7, 8, 9]),
        DataError,
        ["run 7", "6 of 10", "frames 3, 5, 6, 7, 8, ...", "remove them"],
    ),
    "infinite": (lambda: draws_with(np.inf, [4]), DataError, ["1 of 10", "frames 4;"]),
    "empty": (lambda: array(np.zeros((0, 4, 3))), DataError, ["no frames", "(0, 4, 3)"]),
    "one dimension": (lambda: array(np.zeros(5)), DataError, ["(5,)", "(n, atoms, 3)"]),
    "not in space": (lambda: array(np.zeros((5, 4))), DataError, ["(5, 4)", 'unit="reduced"']),
    "weights too few": (lambda: draws(weights=np.ones(9)), DataError, ["(9,)", "10 frames", "stride"]),
    "weights negative": (lambda: draws(weights=-np.arange(10.0)), DataError, ["9 weights", "[1, 2, 3, 4, 5]", "exp"]),
    "weights infinite": (lambda: draws(weights=[1.0] * 9 + [np.inf]), DataError, ["1 weights", "[9]"]),
    "weights zero": (lambda: draws(weights=np.zeros(10)), DataError, ["all weights are zero", "bias"]),
    "temperature zero": (lambda: draws(temperature=0.0), DataError, ["temperature", "positive", "K"]),
    "temperature NaN": (lambda: draws(temperature_kT=np.nan), DataError, ["temperature_kT", "nan"]),
    "mixed temperatures": (lambda: draws(temperature=[300.0, 310.0]), DataError, ["mixed", "310", "reweight"]),
    "temperature missing": (lambda: draws().kT, DataError, ["temperature= (K)"]),
    "temperature a word": (lambda: draws(temperature="warm"), DataError, ["temperature must be a number", "warm"]),
    "ragged": (lambda: array([[1.0], [2.0, 3.0]]), DataError, ["not an array of numbers"]),
    "topology a path": (lambda: array(topology="a.pdb"), TopologyError, ["a.pdb", "no such file"]),
    "dt negative": (lambda: draws(dt=-1.0), DataError, ["dt", "positive"]),
    "trajectory of another length": (lambda: draws(trajectory=[0, 1]), DataError, ["(10,)", "(2,)"]),
    "trajectory interrupted": (
        lambda: draws(trajectory=[0, 0, 1, 1, 0, 0, 2, 2, 2, 2]),
        DataError,
        ["trajectory 0", "sort"],
    ),
    "flat box": (lambda: array(box=np.zeros((3, 3))), DataError, ["without a volume", "box=None"]),
    "box of another shape": (lambda: array(box=np.ones(3)), DataError, ["(3,)", "(3, 3)"]),
    "lag off the grid": (lambda: draws(dt=0.2).lagged(0.5), DataError, ["0.5", "0.2", "nearest is 0.4"]),
    "lag negative": (lambda: draws(dt=0.2).lagged(-1.0), DataError, ["nearest is 0.2"]),
    "lag without times": (lambda: draws().lagged(1.0), DataError, ["no time axis", "dt="]),
    "lag too long": (lambda: draws(dt=1.0).lagged(10.0), DataError, ["longest trajectory has 10", "shorter lag"]),
    "lag of shuffled frames": (lambda: draws(dt=1.0)[[3, 1, 2]].lagged(1.0), DataError, ["out of order"]),
    "first part of nothing": (lambda: draws().first(1.0), DataError, ["no time axis", "dt="]),
    "first part too long": (lambda: draws(dt=1.0).first(11.0), DataError, ["11 ps", "10 ps"]),
    "empty subset": (lambda: draws()[10:], DataError, ["empty", "10 frames"]),
    "too short to split": (lambda: draws(1).split(), DataError, ["1 frame", "two blocks"]),
    "test fraction": (lambda: draws().split(test=1.5), ConfigError, ["test=1.5", "(0, 1)"]),
    "one block": (lambda: draws().split(blocks=1), ConfigError, ["blocks=1", "at least 2"]),
    "empty blocks": (lambda: draws().blocks(0), ConfigError, ["length=0", "[1, inf]"]),
}


def draws_with(value, frames):
    x = np.zeros((10, 2))
    x[frames, 1] = value
    return Frames.from_numpy(x, unit="reduced", source="run 7")


def refused(make, kind, told):
    with pytest.raises(BayescgError) as caught:
        make()
    assert type(caught.value) is kind
    for part in told:
        assert str(part) in str(caught.value)


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(case):
    refused(*ARRAYS[case])


class Bench:
    """Makes bad files out of a good one."""

    def __init__(self, folder: Path, write, top: str, topology, x: np.ndarray) -> None:
        self.folder, self.write, self.top, self.topology, self.x = folder, write, top, topology, x

    def cut(self, name: str, keep: float = 0.55, **options) -> str:
        path = Path(self.write(name, self.x, **options))
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        return str(path)

    def file(self, name: str, text: str | bytes = "") -> str:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def changed(self, frame: int, atom: int, value) -> np.ndarray:
        x = self.x.copy()
        x[frame, atom] = value
        return x

    def across(self) -> np.ndarray:
        """Frame 4 on: the last four atoms on the other side of a box of 1.8 nm."""
        x = self.x.copy()
        x[4:, 4:, 0] -= np.float32(1.8)
        return x

    def two(self, first: str, second: str) -> Frames:
        return load([first, second], self.top)

    def array(self, x: np.ndarray, name: str = "x.npy") -> str:
        np.save(self.folder / name, x)
        return str(self.folder / name)

    def loaded(self) -> mdtraj.Trajectory:
        return mdtraj.load(self.write(), top=self.top)

    def unbonded(self) -> mdtraj.Topology:
        topology = self.topology.copy()
        topology._bonds = []
        return topology

    def without_oxygen(self) -> dict:
        atoms = self.topology.select("not name O")
        return {"x": self.x[:, atoms], "top": self.topology.subset(atoms.tolist())}


@pytest.fixture
def bench(tmp_path, write, top, topology, positions):
    return Bench(tmp_path, write, top, topology, positions)


FILES = {
    "missing": (lambda b: load("gone.xtc", b.top), DataError, ["gone.xtc", "no such file"]),
    "missing top": (lambda b: load(b.write(), "gone.pdb"), TopologyError, ["gone.pdb", "no such file"]),
    "nothing": (lambda b: load(None, b.top), DataError, ["NoneType", "give a path"]),
    "no files": (lambda b: load([], b.top), DataError, ["empty", "pattern"]),
    "a directory": (lambda b: load(b.folder, b.top), DataError, ["is a directory", "*.xtc"]),
    "twice the same": (lambda b: b.two(b.write(), b.write()), DataError, ["a.xtc", "twice"]),
    "unknown extension": (lambda b: load(b.file("a.foo"), b.top), DataError, ["a.foo", ".foo", ".xtc"]),
    "no topology": (lambda b: load(b.write()), TopologyError, ["a.xtc", "top="]),
    "topology of junk": (lambda b: load(b.write(), b.file("t.pdb", "junk")), TopologyError, ["t.pdb", "topology"]),
    "empty file": (lambda b: load(b.file("a.xtc"), b.top), DataError, ["a.xtc", "cut short"]),
    "empty dcd": (lambda b: load(b.file("a.dcd"), b.top), DataError, ["a.dcd", "cut short"]),
    "junk": (lambda b: load(b.file("a.trr", "junk" * 50), b.top), DataError, ["a.trr", "another format"]),
    "cut xtc": (lambda b: load(b.cut("a.xtc"), b.top), DataError, ["a.xtc", "cut short", "gmx trjconv"]),
    "cut trr": (lambda b: load(b.cut("a.trr"), b.top), DataError, ["a.trr", "cut short"]),
    "cut dcd": (lambda b: load(b.cut("a.dcd"), b.top), DataError, ["a.dcd", "promises 25", "there"]),
    "cut pdb": (lambda b: load(b.cut("a.pdb"), b.top), DataError, ["a.pdb", "cut short"]),
    "cut npy": (
        lambda b: load(b.file("a.npy", Path(b.array(b.x)).read_bytes()[:400]), unit="nm"),
        DataError,
        ["a.npy", "cut short"],
    ),
    "pickled npy": (lambda b: load(b.array(np.array([{}])), unit="nm"), DataError, ["x.npy", "array of numbers"]),
    "npy of integers": (lambda b: load(b.array(np.ones((9, 3), int)), unit="nm"), DataError, ["int64", "float32"]),
    "npy without unit": (lambda b: load(b.array(b.x)), UnitError, ["x.npy", 'unit="nm"']),
    "transposed": (
        lambda b: Frames.from_numpy(b.x.reshape(25, 24).T, unit="nm", topology=b.topology),
        TopologyError,
        ["24 rows", "x.T"],
    ),
    "other atom count": (
        lambda b: load(b.write("b.xtc", **b.without_oxygen()), b.top),
        TopologyError,
        ["b.xtc", "6 atoms", "8"],
    ),
    "other atom count, selected": (
        lambda b: load(b.write("b.trr", **b.without_oxygen()), b.top, select="name N"),
        TopologyError,
        ["b.trr", "6 atoms", "8"],
    ),
    "atom count changes": (
        lambda b: b.two(b.write(), b.write("b.dcd", **b.without_oxygen())),
        TopologyError,
        ["b.dcd", "6 atoms", "8"],
    ),
    "atom count changes, npy": (
        lambda b: load([b.array(b.x), b.array(b.x[:, :6], "y.npy")], unit="nm"),
        TopologyError,
        ["y.npy", "6", "8"],
    ),
    "array and topology": (
        lambda b: Frames.from_numpy(b.x[:, :6], unit="nm", topology=b.topology),
        TopologyError,
        ["6 atoms", "8"],
    ),
    "atoms in another order": (
        lambda b: load(b.write("b.xtc", b.x[:, [5, 1, 2, 3, 4, 0, 6, 7]]), b.top),
        TopologyError,
        ["b.xtc", "GLY1-N", "another order"],
    ),
    "NaN in one file of two": (
        lambda b: b.two(b.write(), b.write("b.trr", b.changed(17, 2, np.nan))),
        DataError,
        ["b.trr", "1 of 25", "frames 17"],
    ),
    "NaN after a stride": (
        lambda b: load(b.write("b.trr", b.changed(18, 2, np.nan)), b.top, stride=3),
        DataError,
        ["b.trr", "frames 18"],
    ),
    "NaN in npy": (
        lambda b: load(b.array(b.changed(7, 0, np.inf)), unit="nm"),
        DataError,
        ["x.npy", "1 of 25", "frames 7"],
    ),
    "angstrom in an xtc": (
        lambda b: load(b.write("b.xtc", b.x * 10), b.top),
        UnitError,
        ["b.xtc", "bonded atoms", "unit='angstrom'"],
    ),
    "nm in a dcd": (
        lambda b: load(b.write("b.dcd", b.x / 10), b.top),
        UnitError,
        ["b.dcd", "read as angstrom", "unit='nm'"],
    ),
    "unknown unit": (lambda b: load(b.write(), b.top, unit="mile"), UnitError, ["mile", "angstrom"]),
    "broken molecule": (
        lambda b: load(b.write("b.xtc", b.across(), box=1.8), b.top),
        DataError,
        ["b.xtc", "frame 4", "GLY1-C", "GLY2-N", "gmx trjconv -pbc", "whole=True"],
    ),
    "broken molecule, array": (
        lambda b: Frames.from_numpy(b.across(), unit="nm", topology=b.topology, box=1.8 * np.eye(3)),
        DataError,
        ["array", "frame 4", "whole"],
    ),
    "box in one file of two": (
        lambda b: b.two(b.write(), b.write("b.xtc", box=4.0)),
        DataError,
        ["b.xtc", "periodic box", "apart"],
    ),
    "time repeats": (
        lambda b: load(b.write(times=np.r_[0:13, 12:24]), b.top),
        DataError,
        ["a.xtc", "frames 12 and 13", "repeated", "remove"],
    ),
    "time goes back": (
        lambda b: load(b.write(times=np.r_[0:13, 3:15]), b.top),
        DataError,
        ["a.xtc", "frames 12 and 13", "goes back", "separate"],
    ),
    "time has a gap": (
        lambda b: load(b.write(times=np.r_[0:13, 20:32]), b.top),
        DataError,
        ["a.xtc", "frames 12 and 13", "separate"],
    ),
    "time steps differ": (
        lambda b: b.two(b.write(), b.write("b.xtc", dt=1.0)),
        DataError,
        ["b.xtc", "1 ps", "a.xtc", "0.5 ps"],
    ),
    "time step against the file": (lambda b: load(b.write(), b.top, dt=2.0), DataError, ["0.5 ps", "dt= gives 2"]),
    "times in one file of two": (
        lambda b: b.two(b.write(), b.write("b.dcd")),
        DataError,
        ["b.dcd", "no times", "dt="],
    ),
    "broken molecule, selection without bonds": (
        lambda b: load(b.write("b.xtc", b.across(), box=1.8), b.top, select="name CA"),
        DataError,
        ["b.xtc", "frame 4", "GLY1-C", "GLY2-N", "whole=True"],
    ),
    "broken molecule, mdanalysis": (
        lambda b: from_mdanalysis(universe(b, b.write("a.trr", b.across(), box=1.8)), select="name CA"),
        DataError,
        ["a.trr", "frame 4", "GLY1-C", "GLY2-N", "whole=True"],
    ),
    "whole without a box": (lambda b: load(b.write(), b.top, whole=True), DataError, ["a.xtc", "periodic box"]),
    "whole without bonds": (
        lambda b: load(b.write(box=4.0), b.unbonded(), whole=True),
        TopologyError,
        ["whole=True", "needs bonds"],
    ),
    "pattern without a match": (lambda b: load(b.folder / "z*.xtc", b.top), DataError, ["z*.xtc", "no file matches"]),
    "cache of what is in memory": (
        lambda b: load(b.loaded(), cache=b.folder / "cache"),
        ConfigError,
        ["cache=", "mdtraj.Trajectory"],
    ),
    "trajectory of other atoms": (
        lambda b: load(b.loaded(), b.write("small.pdb", **b.without_oxygen())),
        TopologyError,
        ["8 atoms", "6"],
    ),
    "nothing selected": (lambda b: load(b.write(), b.top, select="name XX"), DataError, ["name XX", "8 atoms", "GLY"]),
    "unreadable selection": (lambda b: load(b.write(), b.top, select="nam CA"), DataError, ["nam CA", "language"]),
    "selection without atoms": (
        lambda b: load(b.array(b.x), unit="nm", select="name CA"),
        TopologyError,
        ["name CA", "top="],
    ),
    "stride": (lambda b: load(b.write(), b.top, stride=0), ConfigError, ["stride=0", "every frame"]),
    "temperature": (lambda b: load(b.write(), b.top, temperature=-5.0), DataError, ["temperature", "positive"]),
    "mixed temperatures": (
        lambda b: load([b.write(), b.write("b.xtc")], b.top, temperature=[300.0, 320.0]),
        DataError,
        ["mixed", "320"],
    ),
    "weights": (lambda b: load(b.write(), b.top, stride=2, weights=np.ones(25)), DataError, ["(25,)", "13 frames"]),
    "cache that is a file": (
        lambda b: load(b.write(), b.top, cache=b.file("cache", "")),
        OutputError,
        ["cache", "cannot write"],
    ),
    "damaged cache": (lambda b: damaged_cache(b), DataError, ["cache", "delete this directory"]),
    "mdanalysis selection": (
        lambda b: from_mdanalysis(universe(b), select="name XX"),
        DataError,
        ["name XX", "8 atoms"],
    ),
    "no universe": (lambda b: from_mdanalysis(b.write()), DataError, ["Universe or an AtomGroup", "not a str"]),
    "mdanalysis language": (lambda b: from_mdanalysis(universe(b), select="nam"), DataError, ["MDAnalysis' selection"]),
}


def universe(b, path=None):
    import MDAnalysis

    return MDAnalysis.Universe(b.top, path or b.write("a.trr", b.x))


def damaged_cache(b):
    path, cache = b.write(), b.folder / "cache"
    load(path, b.top, cache=cache)
    (stored,) = cache.glob("*/positions.npy")
    stored.write_bytes(stored.read_bytes()[:-100])
    load(path, b.top, cache=cache)


@pytest.mark.parametrize("case", FILES)
def test_files(case, bench):
    make, kind, told = FILES[case]
    refused(lambda: make(bench), kind, told)


HEAD = "#! FIELDS time d m.bias\n"
ROWS = "0.0 1.0 0.0\n1.0 1.1 0.5\n2.0 1.2 0.6\n"
COLVARS = {
    "biased": (HEAD + ROWS, {}, DataError, ["COLVAR", "m.bias", "weights='bias'", "weights=None"]),
    "no temperature": (HEAD + ROWS, {"weights": "bias"}, DataError, ["COLVAR", "temperature= (K)"]),
    "no bias": ("#! FIELDS time d\n0 1\n1 1\n", {"weights": "bias"}, DataError, ["no column ends in .bias"]),
    "unknown choice": (HEAD + ROWS, {"weights": "all"}, ConfigError, ["'all'", "'bias'"]),
    "unknown column": (HEAD + ROWS, {"columns": ["D"], "weights": None}, DataError, ["COLVAR", "'D'", "time d m.bias"]),
    "misspelt column": (
        HEAD + ROWS,
        {"weights": ["m.bais"], "temperature": 300.0},
        DataError,
        ["did you mean 'm.bias'"],
    ),
    "no column left": ("#! FIELDS time m.bias\n0 1\n", {"weights": None}, DataError, ["columns="]),
    "no header": (ROWS, {}, DataError, ["COLVAR", "FIELDS"]),
    "header only": (HEAD, {}, DataError, ["COLVAR", "empty"]),
    "cut line": (HEAD + ROWS + "3.0 1.", {"weights": None}, DataError, ["COLVAR", "row 4", "remove it"]),
    "not numbers": (HEAD + "0.0 x 1.0\n", {"weights": None}, DataError, ["COLVAR", "not numbers"]),
    "fewer columns": (HEAD + "0.0 1.0\n", {"weights": None}, DataError, ["2 columns", "the header names 3"]),
    "columns change": (
        HEAD + ROWS + "#! FIELDS time e m.bias\n3.0 1.0 0.0\n",
        {"weights": None},
        DataError,
        ["line 5", "time e m.bias", "split the file"],
    ),
    "restart": (HEAD + ROWS + ROWS, {"weights": None}, DataError, ["COLVAR", "frames 2 and 3", "goes back"]),
    "NaN": (HEAD + "0 nan 0\n1 1 1\n", {"weights": None}, DataError, ["COLVAR", "frames 0"]),
    "NaN bias": (HEAD + "0 1 nan\n1 1 1\n", {"weights": "bias", "temperature": 1.0}, DataError, ["weights", "[0]"]),
}


@pytest.mark.parametrize("case", COLVARS)
def test_colvars(case, tmp_path):
    text, options, kind, told = COLVARS[case]
    (tmp_path / "COLVAR").write_text(text)
    refused(lambda: from_colvar(tmp_path / "COLVAR", **options), kind, told)


def test_walkers_of_other_columns_or_steps(tmp_path):
    for name, text in (("a", HEAD + ROWS), ("b", HEAD.replace("d", "e", 1) + ROWS), ("c", HEAD + "0 1 1\n2 1 1\n")):
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"b: its columns are"):
        from_colvar([tmp_path / "a", tmp_path / "b"], weights=None)
    with pytest.raises(DataError, match=r"c: its frames are 2 ps apart, .* 1 ps"):
        from_colvar([tmp_path / "a", tmp_path / "c"], weights=None)
    with pytest.raises(DataError, match="empty"):
        from_colvar([])


def test_a_full_disk_leaves_nothing(bench, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = bench.write()
    monkeypatch.setattr("bayescg.data.store.os.fsync", full)
    monkeypatch.setattr("tempfile.tempdir", str(bench.folder))
    tries: list[dict[str, Any]] = [{"cache": bench.folder / "cache"}, {"memory_limit": 0}]
    for options in tries:
        with pytest.raises(OutputError, match="No space left"):
            load(path, bench.top, **options)
    assert list((bench.folder / "cache").iterdir()) == []
    assert not list(bench.folder.glob("bayescg-*"))
