"""Checkpoints of the samplers: a run that was stopped, or killed, ends with the same numbers as one that was not."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from bayescg import systems
from bayescg.errors import CheckpointError, Interrupted, OutputError
from bayescg.sampling import annealed_importance, hmc, langevin, overdamped, parallel_tempering, saved, smc, umbrella

STARTS = torch.tensor([[-2.5, 0.0], [2.3, 0.5], [-2.0, 1.0]])


class Stopping(systems.System):
    """A double well whose user loses patience at the n-th call for forces."""

    def __init__(self, patience=10**9):
        super().__init__(systems.DoubleWell().energy, 2, temperature_kT=1.0)
        self.patience = patience
        self.calls = 0

    def forces(self, x):
        self.calls += 1
        if self.calls == self.patience:
            raise KeyboardInterrupt
        return super().forces(x)


def chain(sampler, **more):
    def run(system, **where):
        return sampler(
            system, 30, dt=0.1, starts=STARTS, stride=3, equilibration=5, forces=True, compile="off", **more, **where
        )

    return run


def windows(system, **where):
    return umbrella(
        system, lambda x: x[:, 0], 30, dt=0.01, starts=STARTS, windows=3, walkers=2, stiffness=0.5, exchange_every=2,
        stride=3, equilibration=5, energy=True, compile="off", **where,
    )  # fmt: skip


def annealed(sampler, **more):
    base = Independent(Normal(torch.zeros(2), 4.0), 1)
    return lambda system, **where: sampler(system, base=base, forces=True, compile="off", **more, **where).frames


RUNS = {
    "langevin": (chain(langevin, energy=True), 20),
    "overdamped": (chain(overdamped, energy=True), 20),
    "hmc": (chain(hmc, leapfrog=2), 40),
    "parallel tempering": (chain(parallel_tempering, leapfrog=2, temperatures=(1.0, 2.0, 4.0)), 40),
    "umbrella": (windows, 20),
    "smc": (annealed(smc, islands=60, particles=10), 60),
    "annealed importance": (annealed(annealed_importance, chains=400), 60),
}


def same(a, b):
    weights = a.weights is b.weights is None or np.array_equal(a.weights, b.weights)
    windows = a.bias is b.bias is None or np.array_equal(a.bias.window, b.bias.window)
    return (
        weights
        and windows
        and all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("positions", "energy", "forces"))
    )


@pytest.mark.parametrize("name", RUNS)
def test_an_interrupted_run_goes_on_bit_for_bit(name, tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "EVERY", 0.0)
    run, patience = RUNS[name]
    whole = Stopping()
    expected = run(whole)
    with pytest.raises(Interrupted, match="goes on from the last checkpoint"):
        run(Stopping(patience), run_dir=tmp_path)
    rest = Stopping()
    assert same(run(rest, run_dir=tmp_path), expected)
    assert patience // 2 < whole.calls - rest.calls <= patience
    finished = Stopping()
    again = run(finished, run_dir=tmp_path)
    assert same(again, expected)
    assert finished.calls <= 3  # those of the start, of recording and of the final frames
    cost = {k: v for k, v in again.provenance["cost"].items() if k != "wall_seconds"}
    assert cost.items() <= expected.provenance["cost"].items()


def test_without_a_directory_nothing_is_kept():
    with pytest.raises(Interrupted, match="nothing was saved"):
        RUNS["langevin"][0](Stopping(20))


SCRIPT = """
    import time, torch
    from bayescg.sampling import langevin, saved
    from bayescg.systems import from_function

    def energy(x):
        time.sleep(0.02)
        return 0.25 * (x**4).sum(-1)

    saved.EVERY = 0.0
    langevin(from_function(energy, dim=2), 400, dt=0.05, chains=20, stride=2, run_dir={out!r}, compile="off")
"""


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    out = tmp_path / "run"
    script = textwrap.dedent(SCRIPT.format(out=str(out)))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoint/step-*[1-9]?.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    def energy(x):
        return 0.25 * (x**4).sum(-1)

    system = systems.from_function(energy, dim=2)
    settings = {"dt": 0.05, "chains": 20, "stride": 2, "compile": "off"}
    resumed = langevin(system, 400, **settings, run_dir=out)
    expected = langevin(system, 400, **settings)
    assert isinstance(resumed.positions, np.memmap)
    assert np.array_equal(resumed.positions, expected.positions)


def test_another_run_is_refused(tmp_path):
    run, _ = RUNS["langevin"]
    first = run(Stopping(), run_dir=tmp_path)
    kept = first.positions.copy()
    for other, what in (({"seed": 1}, "another seed"), ({"friction": 2.0}, "another friction")):
        with pytest.raises(CheckpointError, match=what):
            run(Stopping(), run_dir=tmp_path, **other)
    with pytest.raises(CheckpointError, match="mean energy of the starts"):
        run(systems.System(lambda x: (x**2).sum(-1), 2, temperature_kT=1.0), run_dir=tmp_path)
    with pytest.raises(CheckpointError, match="another system"):
        run(systems.DoubleWell(), run_dir=tmp_path)
    anew = run(Stopping(), run_dir=tmp_path, seed=1, resume=False)
    assert not np.array_equal(first.positions, anew.positions)
    assert np.array_equal(first.positions, kept)  # what is mapped is not written over


def test_other_masses_are_another_run(tmp_path):
    from bayescg.sampling import hmc, langevin, parallel_tempering

    light, heavy = systems.alanine_dipeptide(), systems.alanine_dipeptide(hydrogen_mass=3.0)
    common = {"dt": 1e-4, "chains": 1, "compile": "off"}
    for name, run in (
        ("langevin", lambda system, out: langevin(system, 1, run_dir=out, **common)),
        ("hmc", lambda system, out: hmc(system, 1, leapfrog=1, run_dir=out, **common)),
        (
            "tempering",
            lambda system, out: parallel_tempering(
                system, 1, temperatures=(330.0, 350.0), leapfrog=1, run_dir=out, **common
            ),
        ),
    ):
        first = run(light, tmp_path / name)
        assert np.array_equal(run(light, tmp_path / name).positions, first.positions)
        with pytest.raises(CheckpointError, match="another masses"):
            run(heavy, tmp_path / name)


def test_frames_that_are_gone_are_told(tmp_path):
    run, _ = RUNS["langevin"]
    run(Stopping(), run_dir=tmp_path)
    (tmp_path / "frames" / "forces.npy").unlink()
    with pytest.raises(CheckpointError, match=r"forces.npy cannot be read"):
        run(Stopping(), run_dir=tmp_path)
    np.save(tmp_path / "frames" / "forces.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match="other frames than its checkpoint"):
        run(Stopping(), run_dir=tmp_path)


def test_a_full_disk_is_told_before_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    system = Stopping()
    with pytest.raises(OutputError, match="No space left on device"):
        RUNS["langevin"][0](system, run_dir=tmp_path)
    assert system.calls <= 1
    assert not list((tmp_path / "frames").iterdir())


@pytest.mark.parametrize("name", RUNS)
def test_progress_is_shown_when_asked_for(name, capfd):
    RUNS[name][0](Stopping(), progress=True)
    assert name.split()[0] in capfd.readouterr().err
    RUNS[name][0](Stopping(), progress=False)
    assert capfd.readouterr().err == ""
