"""Frames: what goes in comes out, in nm; blocks, splits and lagged pairs stay inside a trajectory."""

import mmap
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescg import units
from bayescg.data import Frames, evenly
from bayescg.data.rows import _extent, take, will_need
from bayescg.errors import DataError


def runs(lengths, **options):
    """Frames whose one coordinate is (trajectory, time) told apart: 1000 * trajectory + step."""
    x = np.concatenate([1000.0 * k + np.arange(n) for k, n in enumerate(lengths)])[:, None]
    return Frames.from_numpy(x, unit="reduced", trajectory=np.repeat(np.arange(len(lengths)), lengths), **options)


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def test_round_trip(positions, topology):
    frames = Frames.from_numpy(positions, unit="nm", dt=0.5, temperature=300.0, topology=topology)
    assert frames.positions is positions
    np.testing.assert_array_equal(frames.times, 0.5 * np.arange(25))
    assert frames.kT == units.kT(300.0)
    assert frames.dim == 24
    assert "25 x 8 x 3, nm, 1 trajectory, dt=0.5" in repr(frames)


def test_units_and_types(positions):
    for unit, factor in (("angstrom", 10), ("pm", 1000)):
        frames = Frames.from_numpy(positions * np.float32(factor), unit=unit)
        np.testing.assert_allclose(frames.positions, positions, rtol=1e-6)
        assert frames.unit == "nm"
        assert frames.positions.dtype == np.float32
    assert Frames.from_numpy(positions.astype(float), unit="nm").positions.dtype == np.float64
    assert Frames.from_numpy(np.arange(4).reshape(2, 2), unit="reduced").positions.dtype == np.float32
    assert Frames.from_numpy(positions.reshape(25, 24), unit="nm").positions.shape == (25, 8, 3)
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(Frames.from_numpy(torch.tensor(positions), unit="nm").positions, positions)


def test_arbitrary_points_have_no_unit_to_contradict():
    x = np.random.default_rng(0).normal(size=(40, 22, 3))
    for scale in (0.01, 1.0, 100.0):
        Frames.from_numpy(scale * x, unit="nm")


@pytest.mark.parametrize("index", [3, [3], [4, 0, 4], slice(2, 9, 3), np.arange(10) % 3 == 0])
def test_memory_maps_behave_as_arrays(index, tmp_path):
    x = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options: dict[str, Any] = {"unit": "reduced", "dt": 1.0, "weights": np.arange(10.0) + 1}
    a, b = Frames.from_numpy(x, **options), Frames.from_numpy(mapped, **options)
    np.testing.assert_array_equal(a.gather(index), b.gather(index))
    np.testing.assert_array_equal(a.gather(index), x[index])
    assert type(b.gather(index)) is np.ndarray
    assert b.gather(index).flags.writeable
    one, two = a[index], b[index]
    for name in ("positions", "times", "weights", "order", "trajectory"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.fingerprint() == two.fingerprint()
    np.testing.assert_array_equal(one[::-1].gather(0), two[::-1].gather(0))
    np.testing.assert_array_equal(one.positions[:1, 2], two.positions[:1, 2])


@pytest.mark.parametrize("shape", [(3000, 7), (3000,), (300, 40, 3)])
def test_what_is_asked_of_the_disk_holds_the_rows(shape, tmp_path):
    x = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    keep = np.arange(len(x)) % 50 != 3
    for source, there in ((mapped, x), (mapped[20:], x[20:]), (np.asarray(mapped), x), (take(mapped, keep), x[keep])):
        for start, stop in ((0, 10), (100, 250), (len(there) - 1, len(there))):
            found = _extent(source, start, stop)
            assert found is not None
            owner, low, length = found
            assert low % mmap.PAGESIZE == 0
            asked = owner[low : low + length]
            assert len(asked) == length < (stop - start) * x[:1].nbytes * 1.2 + mmap.PAGESIZE
            assert all(row.tobytes() in asked for row in there[start:stop])
            will_need(source, start, stop)
    for source in (x, take(mapped, np.arange(len(x))[::-1]), take(mapped, np.arange(len(x)) % 9 == 0)):
        assert _extent(source, 0, 10) is None
        will_need(source, 0, 10)


def test_gathering_copies():
    frames = runs([5])
    frames.gather(slice(None))[:] = 7
    assert frames.positions[0, 0] == 0


def test_fingerprint_tells_data_apart():
    x = np.random.default_rng(0).normal(size=(50, 3))
    base: dict[str, Any] = {"unit": "reduced", "dt": 1.0, "temperature_kT": 1.0}
    changed = x.copy()
    changed[31, 2] += 1e-9
    variants: list[tuple[np.ndarray, dict[str, Any]]] = [
        (x, {}),
        (changed, {}),
        (x[:49], {}),
        (x.astype(np.float32), {}),
        (x, {"dt": 2.0}),
        (x, {"temperature_kT": 2.0}),
        (x, {"weights": np.ones(50)}),
        (x, {"trajectory": np.arange(50) // 25}),
    ]
    prints = {Frames.from_numpy(y, **(base | more)).fingerprint() for y, more in variants}
    assert len(prints) == 8
    assert Frames.from_numpy(x, **base).fingerprint() == Frames.from_numpy(x.copy(), **base).fingerprint()


def test_rows_of_many_frames_are_exact():
    """Single precision counts to 1.6e7: the last of 99 996 000 frames was once number 99 996 000."""
    assert evenly(range(99_996_000), 8192)[[0, -1]].tolist() == [0, 99_995_999]


@given(lengths, st.integers(1, 12))
def test_pairs_are_all_those_a_lag_apart_and_no_other(lengths, steps):
    frames = runs(lengths, dt=0.1)
    expected = {(1000 * k + i, 1000 * k + i + steps) for k, n in enumerate(lengths) for i in range(n - steps)}
    if not expected:
        with pytest.raises(DataError, match="longest trajectory"):
            frames.lagged(0.1 * steps)
        return
    pairs = frames.lagged(0.1 * steps)
    now, later = pairs.gather(slice(None))
    assert set(zip(now.ravel(), later.ravel(), strict=True)) == expected
    assert len(pairs) == len(expected)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bayescg.data.pairs.ROWS", 7)  # frames at a time
        parts = frames.lagged(0.1 * steps)
    assert np.array_equal(parts.i, pairs.i)
    assert np.array_equal(parts.j, pairs.j)


@given(lengths, st.integers(1, 5), st.integers(0, 100))
def test_pairs_of_a_split_keep_the_lag(lengths, steps, seed):
    if sum(lengths) < 2:
        return
    for part in runs(lengths, dt=1.0).split(blocks=6, test=0.4, seed=seed):
        try:
            pairs = part.lagged(float(steps))
        except DataError:
            continue
        now, later = pairs.gather(slice(None))
        assert (later - now == steps).all()


@given(lengths, st.integers(1, 50))
def test_blocks_are_contiguous_and_never_mix_trajectories(lengths, length):
    frames = runs(lengths, dt=1.0)
    ids = frames.blocks(length)
    assert (np.diff(ids) >= 0).all()
    assert set(ids) == set(range(ids.max() + 1))
    for block in range(ids.max() + 1):
        inside = np.flatnonzero(ids == block)
        assert np.unique(frames.trajectory[inside]).size == 1
        assert len(inside) < 2 * length or len(inside) == 1


@given(lengths, st.integers(2, 25), st.floats(0.05, 0.9), st.integers(0, 1000))
def test_splits_share_no_frame_and_lose_none(lengths, blocks, test, seed):
    frames = runs(lengths, dt=1.0)
    if sum(lengths) < 2:
        return
    try:
        train, held = frames.split(blocks=blocks, test=test, seed=seed)
    except DataError:
        assert len(np.unique(frames.blocks(max(1, len(frames) // blocks)))) < 2
        return
    together = np.concatenate([train.gather(slice(None)), held.gather(slice(None))]).ravel()
    np.testing.assert_array_equal(np.sort(together), frames.positions.ravel())
    assert abs(len(held) - test * len(frames)) <= max(np.bincount(frames.blocks(max(1, len(frames) // blocks))))


def test_ordered_frames_are_split_in_blocks_and_draws_one_by_one():
    ordered: Any = runs([1000], dt=1.0).split(blocks=20, test=0.2, seed=1)[1]
    assert len(ordered) == 200
    assert (np.diff(ordered.order) != 1).sum() <= 3
    draws = runs([1000]).split(blocks=20, test=0.2, seed=1)[1]
    assert len(draws) == 200
    assert (np.diff(draws.positions.ravel()) != 1).sum() > 100


def test_splits_are_fixed_by_their_seed():
    frames = runs([300, 200], dt=1.0)
    one, two, other = (frames.split(seed=s)[1].fingerprint() for s in (0, 0, 1))
    assert one == two != other


def test_blocks_break_at_gaps():
    frames = runs([20], dt=1.0)[np.r_[0:5, 12:20]]
    np.testing.assert_array_equal(frames.blocks(100), [0] * 5 + [1] * 8)


def test_first_part_of_every_trajectory():
    part = runs([10, 4], dt=0.5).first(2.0)
    np.testing.assert_array_equal(part.positions.ravel(), [0, 1, 2, 3, 1000, 1001, 1002, 1003])
    assert len(runs([10, 4], dt=0.5).first(5.0)) == 14


def test_one_frame_is_a_data_set():
    frames = Frames.from_numpy(np.zeros((1, 2)), unit="reduced", dt=1.0)
    assert len(frames) == 1
    np.testing.assert_array_equal(frames.gather([0]), [[0.0, 0.0]])


def told(frames):
    """Forces, energies, labels and commitments as numbers that can be compared."""
    return [np.asarray(getattr(frames, name)) for name in ("forces", "energy", "labels", "commitments")]


def test_forces_are_converted_with_the_unit_of_length(positions):
    forces = np.random.default_rng(0).normal(size=positions.shape)
    for unit, per_nm in (("nm", 1.0), ("angstrom", 10.0), ("pm", 1000.0)):
        x = positions * np.float32(per_nm)
        more: dict[str, Any] = {"labels": np.arange(25) % 3, "commitments": np.ones((25, 2), np.int32)}
        frames = Frames.from_numpy(x, unit=unit, forces=forces, energy=np.arange(25), **more)
        np.testing.assert_allclose(frames.forces, forces * per_nm, rtol=1e-14)
        np.testing.assert_array_equal(frames.energy, np.arange(25.0))
        assert told(frames)[2].dtype == told(frames)[3].dtype == np.int64
    flat = Frames.from_numpy(positions, unit="nm", forces=forces.reshape(25, 24).astype(np.float32))
    np.testing.assert_array_equal(flat.forces, forces.astype(np.float32))


@pytest.mark.parametrize("mapped", [False, True])
def test_forces_energies_and_labels_stay_with_their_frames(mapped, tmp_path):
    x = np.arange(40.0, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    forces = -2 * x
    if mapped:
        np.save(tmp_path / "f.npy", forces)
        forces = np.load(tmp_path / "f.npy", mmap_mode="r")
    number = np.arange(40)
    frames = Frames.from_numpy(
        x, unit="reduced", dt=1.0, forces=forces, energy=x[:, 0] ** 2, labels=number,
        commitments=np.c_[number, 2 * number],
    )  # fmt: skip
    for part in (frames[3:30:2], frames[[5, 2]], frames[number % 2 == 0], *frames.split(blocks=5), frames.first(7.0)):
        k = part.gather(slice(None))[:, 0]
        for found, expected in zip(told(part), (-2 * part.positions[:], k**2, k, np.c_[k, 2 * k]), strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(part.gather([1, 0], "forces"), np.asarray(part.forces)[[1, 0]])


def test_fingerprint_tells_forces_energies_and_labels_apart():
    x = np.ones((4, 2))
    variants: list[dict[str, Any]] = [
        {},
        {"forces": x},
        {"forces": 2 * x},
        {"energy": x[:, 0]},
        {"labels": [0, 1, 0, 1]},
        {"labels": [0, 0, 0, 1]},
        {"labels": [0, -1, 0, 1]},
        {"commitments": [[1, 2]] * 4},
        {"commitments": [[2, 1]] * 4},
    ]
    assert len({Frames.from_numpy(x, unit="reduced", **more).fingerprint() for more in variants}) == len(variants)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"forces": np.ones((4, 3))}, "forces of shape"),
        ({"forces": [[0.0, 0.0]] * 3 + [[0.0, np.nan]]}, r"forces: 1 of 4 frames .* frames 3"),
        ({"energy": np.ones((4, 1))}, "energies of shape"),
        ({"energy": [0.0, np.inf, 0.0, 0.0]}, r"1 energies are infinite, first at frames \[1\]"),
        ({"energy": [np.nan] * 4}, "none of the 4 energies is known"),
        ({"labels": [0.0, 1.0, 0.0, 1.0]}, "one integer a frame"),
        ({"labels": [0, 1, 2]}, "one integer a frame"),
        ({"labels": [0, -2, 2, 2]}, "label -2 of frame 1"),
        ({"commitments": [1, 2, 3, 4]}, r"integers of shape \(4, regions\); it is \(4,\)"),
        ({"commitments": [[1]] * 4}, "each of two regions or more"),
        ({"commitments": [[1.0, 2.0]] * 4}, "it is .* float64"),
        ({"commitments": [[1, 2], [3, 4], [5, -6], [7, 8]]}, r"frame 2: \[5, -6\] shots"),
    ],
)
def test_forces_energies_and_labels_that_do_not_fit_are_refused(more, message):
    with pytest.raises(DataError, match=message):
        Frames.from_numpy(np.ones((4, 2)), unit="reduced", **more)


def test_energies_and_labels_may_be_unknown_in_places():
    energy, labels = [0.0, np.nan, 2.0, 1.0], [0, -1, 2, -1]
    frames = Frames.from_numpy(
        np.ones((4, 2, 3)), unit="angstrom", energy_unit="kcal/mol", energy=energy, labels=labels
    )
    np.testing.assert_allclose(np.asarray(frames.energy), np.multiply(energy, 4.184))
    np.testing.assert_array_equal(np.asarray(frames.labels), labels)


def test_quantities_and_topologies_of_openmm_are_converted():
    import openmm.unit

    from bayescg.errors import UnitError
    from bayescg.systems import peptide

    unit: Any = openmm.unit
    topology, positions = peptide("ACE-GLY-NME")
    x = np.asarray(positions.value_in_unit(unit.nanometer))[None]
    options: dict[str, Any] = {"unit": "nm", "dt": 2 * unit.femtosecond, "temperature": 300 * unit.kelvin}
    frames = Frames.from_numpy(x, **options, topology=topology)
    assert frames.dt == pytest.approx(0.002)
    assert frames.temperature == 300.0
    assert frames.topology is not None
    assert [a.name for a in frames.topology.atoms] == [a.name for a in topology.atoms()]
    for wrong in ({"dt": 300 * unit.kelvin}, {"temperature": 2 * unit.femtosecond}):
        with pytest.raises(UnitError, match="was given where one in"):
            Frames.from_numpy(x, **{**options, **wrong})
    with pytest.raises(UnitError, match="OpenMM quantity"):
        Frames.from_numpy(positions, unit="nm")


def test_frames_left_out_evenly_are_no_gaps():
    frames = Frames.from_numpy(np.zeros((4000, 1)), unit="reduced", dt=0.1, trajectory=np.repeat([0, 1], 2000))[::5]
    assert frames.blocks(100).tolist() == np.repeat(range(8), 100).tolist()
    train, test = frames.lagged(1.0).split(blocks=8, test=0.25, seed=0)
    assert train.frames.order is not None
    lost = 2 * (1 + np.count_nonzero(np.diff(train.frames.order) > 5))  # pairs that reach out of each piece
    assert len(test.frames) == 200
    assert len(train) + lost <= 600
    assert len(train) > 500


def test_frames_left_out_evenly_are_told():
    """Where they are printed, and where a lag falls between them."""
    frames = runs([30, 30], dt=0.5)[::3]
    assert repr(frames).endswith("2 trajectories, dt=0.5, one in 3 kept)")
    assert len(frames.lagged(3.0)) == 16
    with pytest.raises(DataError, match=r"no two frames are 1 apart: one in 3 was kept, 1.5 after the one before"):
        frames.lagged(1.0)
    with pytest.raises(DataError, match=r"no two frames are 30 apart: .* has 10 frames, 1.5 apart"):
        frames.lagged(30.0)
