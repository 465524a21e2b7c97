"""A loop of short trajectories: it goes on where an engine failed, and does not stop by its sd alone."""

import json
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import next_seeds
from bayescg.errors import CheckpointError, ConfigError, DataError, RunError
from bayescg.experiments import active
from bayescg.models import PredictiveCV, ReversibleDeepMSM

SYSTEM = bcg.systems.QuarticDoubleWell(temperature_kT=0.25)
EDGES = torch.linspace(-1.5, 1.5, 20)
STARTS = np.full((10, 1), -1.0)
TIMES: dict[str, Any] = {"length": 2.0, "frame_every": 0.2, "dt": 0.01}


def cells(x):
    return torch.bucketize(x[:, 0].float().contiguous(), EDGES)


def frames_of(path):
    return bcg.data.Frames.from_numpy(np.array(path), unit="reduced", dt=0.2, temperature_kT=SYSTEM.kT)


def loop(out, rounds=3, model: Any = cells, system=SYSTEM, starts: Any = STARTS, until=None, **more):
    settings = {"compile": "off", **TIMES, **more}
    if "simulate" in more:
        del settings["compile"]
    return active(system, model, "seeds", until=until or {"rounds": rounds}, out=out, starts=starts, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return loop(tmp_path_factory.mktemp("seeds") / "run")


def test_rounds_add_up(finished):
    assert [r.frames for r in finished.history] == [110, 220, 330]
    assert [r.evaluations for r in finished.history] == [2000, 4000, 6000]
    assert finished.frames.dt == pytest.approx(0.2)
    assert finished.fit is cells
    x = finished.frames.gather(slice(None)).reshape(30, 11)
    assert (x[:10, 0] == -1.0).all()
    assert np.isin(x[10:20, 0], x[:10]).all(), "the second round begins at frames of the first"
    draws = next_seeds(cells, finished.frames, "log t1", seed=3).draws
    np.testing.assert_array_equal(finished.quantity.draws, draws)
    assert finished.quantity.ci90 is None
    assert "10 each way are needed" in finished.quantity.warning


def test_a_loop_that_is_killed_goes_on_to_the_same_numbers(finished, tmp_path):
    class Killed(Exception):
        pass

    def die(line: str) -> None:
        if line.startswith("round 1"):
            raise Killed

    with pytest.raises(Killed):
        loop(tmp_path / "run", say=die)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("round-*/*")}
    again = loop(tmp_path / "run")
    assert len(before) == 4  # a query and trajectories, twice
    assert {file: file.stat().st_mtime_ns for file in before} == before
    np.testing.assert_array_equal(again.frames.positions, finished.frames.positions)
    assert again.quantity.mean == finished.quantity.mean


class Engine:
    """Brownian steps of its own, which fails once."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = [], fails_at

    def __call__(self, start, seed):
        self.calls.append(seed)
        if len(self.calls) == self.fails_at:
            raise OSError("the licence server is down")
        noise = np.random.default_rng(seed).standard_normal((10, 20, 1)) * (2 * 0.01 * SYSTEM.kT) ** 0.5
        x, path = start.astype(float), []
        for steps in noise:
            for step in steps:
                x = x - 0.01 * 4 * x * (x**2 - 1) + step
            path.append(x)
        return frames_of(path) if seed % 2 else path


def test_an_engine_that_fails_simulates_nothing_twice(tmp_path):
    steady, unlucky = Engine(), Engine(fails_at=14)
    undisturbed = loop(tmp_path / "steady", simulate=steady)
    with pytest.raises(RunError, match="licence server"):
        loop(tmp_path / "unlucky", simulate=unlucky)
    again = loop(tmp_path / "unlucky", simulate=unlucky)
    assert len(steady.calls) == len(set(steady.calls)) == 30
    assert sorted(unlucky.calls) == sorted([*steady.calls, unlucky.calls[13]])
    np.testing.assert_array_equal(again.frames.positions, undisturbed.frames.positions)
    assert [r.evaluations for r in again.history] == [2000, 4000, 6000]


def test_openmm_may_be_the_engine(tmp_path):
    import openmm

    molecule = bcg.systems.alanine_dipeptide()
    reference = openmm.Platform.getPlatformByName("Reference")

    def simulate(start, seed):
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.001)
        integrator.setRandomNumberSeed(seed)
        context = openmm.Context(molecule.openmm_system, integrator, reference)
        context.setPositions(start.astype(float))
        context.setVelocitiesToTemperature(300.0, seed)
        for _ in range(4):
            integrator.step(5)
            yield context.getState(positions=True).getPositions(asNumpy=True)._value

    run = active(
        molecule, lambda x: (x[:, 1, 0] > x[:, 8, 0]).long(), "seeds", until={"rounds": 2}, out=tmp_path, n=3,
        starts=np.repeat(molecule.start[None], 2, 0), length=0.02, frame_every=0.005, dt=0.001,
        simulate=lambda start, seed: np.stack(list(simulate(start, seed))),
    )  # fmt: skip
    assert run.frames.positions.shape == (25, 22, 3)
    assert run.frames.topology is not None
    np.testing.assert_array_equal(run.frames.positions[0], molecule.start.astype(np.float32))
    bonds = np.linalg.norm(run.frames.positions[:, 0] - run.frames.positions[:, 1], axis=1)
    assert (bonds < 0.14).all(), "of hydrogen to carbon"


def test_another_loop_in_the_folder_is_refused(finished):
    changes: tuple[dict[str, Any], ...] = (
        {"explore": 1.0},
        {"quantity": "log t2"},
        {"starts": STARTS + 0.1},
        {"model": ReversibleDeepMSM()},
    )
    for change in changes:
        with pytest.raises(CheckpointError, match=f"another active loop .*{next(iter(change))}"):
            loop(finished.path, **change)


def test_it_stops_when_the_process_was_crossed_and_not_before(tmp_path):
    """At kT = 1 wells are left all the time; the sd is small from the first round on."""
    warm = bcg.systems.QuarticDoubleWell(temperature_kT=1.0)
    run = loop(tmp_path, system=warm, until={"sd": 0.5, "rounds": 12}, length=4.0)
    assert run.reason == "its sd is at most 0.5"
    assert min(run.quantity.visits) >= 10
    assert len(run.history) >= 4, "three rounds without a new state"
    assert run.history[-2].sd < 0.5
    assert run.quantity.ci90 is not None
    assert run.quantity.ci90[0] < -np.log(bcg.truth.spectrum(warm, 1).eigenvalues[0]) < run.quantity.ci90[1]


def test_wells_that_nothing_connects_yet_are_explored(tmp_path):
    run = loop(tmp_path, rounds=2, starts=np.repeat([[-1.0], [1.0]], 3, 0), n=4, length=0.4)
    assert "are apart" in str(run.quantity.warning)
    assert np.isnan(run.quantity.sd)
    assert json.loads((tmp_path / "history.json").read_text())[0]["sd"] is None
    start = run.frames.gather(slice(18, None)).reshape(4, 3)[:, 0]
    first = cells(torch.as_tensor(run.frames.gather(slice(18)).reshape(-1, 1)))
    counts = np.bincount(first, minlength=21)
    assert counts[cells(torch.as_tensor(start)[:, None])].max() <= np.sort(counts[counts > 0])[4], "the rarest states"


def test_a_model_learns_its_states_in_each_round(tmp_path):
    model = ReversibleDeepMSM(states=4, hidden=[8])
    settings = {"lag": 0.4, "fit": {"steps": 30, "batch_size": 64, "compile": "trace"}}
    run = loop(tmp_path, rounds=2, model=model, **settings)
    assert model.lag is None, "that of the user is untouched"
    assert run.fit.model.lag == 0.4
    files = sorted(tmp_path.glob("round-*/fit/fit.json"))
    before = [file.stat().st_mtime_ns for file in files]
    again = loop(tmp_path, rounds=2, model=model, **settings)
    assert len(files) == 2
    assert [file.stat().st_mtime_ns for file in files] == before
    assert again.quantity.mean == run.quantity.mean


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"quantity": "log t"}, ConfigError, "use one of log t1"),
        ({"quantity": "logit p"}, ConfigError, "quantity=.logit p. is not known here: use one of log t1"),
        ({"quantity": "logit p", "region": [20]}, None, "no visited state is in region=\\[20\\]"),
        ({"n": 111}, ConfigError, "n=111 trajectories begin at frames of the first round, which has only 110"),
        ({"lag": 4.0}, DataError, "longer than the trajectories"),
        ({"lag": 0.3}, DataError, "0.3"),
        ({"dt": 0.03}, DataError, "0.03"),
        ({"model": PredictiveCV(dim=1)}, ConfigError, "has no states"),
        ({"model": 3}, ConfigError, "a function from positions"),
        ({"dynamics": "monte carlo"}, ConfigError, "overdamped"),
        ({"strid": 3}, ConfigError, "strid= is not known here"),
        ({"starts": np.zeros((2, 3))}, ConfigError, "starts"),
        ({"simulate": lambda start, seed: np.zeros((3, 1))}, RunError, "must give 10 finite frames"),
    ],
)
def test_what_makes_no_loop_is_refused(tmp_path, change, kind, message):
    if kind is None:  # a region may yet be reached
        assert message.replace("\\", "") in loop(tmp_path, rounds=1, **change).quantity.warning
        return
    with pytest.raises(kind, match=message):
        loop(tmp_path, rounds=1, **change)
