"""Compiled steps give the plain numbers up to rounding, and fits in every mode the exact answers."""

import importlib.util
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import nn

import bayescg as bcg
from bayescg import checkpoint, nets
from bayescg.errors import FitError, Interrupted
from bayescg.inference.uncertainty import block_weights
from bayescg.recording import compiled
from bayescg.recording.compiled import compile_step
from bayescg.recording.functional import state_of
from bayescg.recording.lowering import can_compile
from bayescg.recording.optimiser import Adam

spec = importlib.util.spec_from_file_location("programs", Path(__file__).with_name("programs.py"))
assert spec is not None
assert spec.loader is not None
programs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(programs)

pytestmark = pytest.mark.skipif(bool(can_compile(torch.device("cpu"))), reason="there is no C++ compiler")

MODES = ("off", "trace", "inductor")
CLIP = 0.5


def settings_of_the_process() -> tuple[Any, ...]:
    """What a compiled fit must leave as it was."""
    import torch._dynamo.config
    import torch._functorch.config
    import torch._inductor.config

    configs = (torch._inductor.config, torch._functorch.config, torch._dynamo.config)
    copies = [c.get_config_copy() for c in configs]  # type: ignore[attr-defined]
    return (
        *copies, torch.get_num_threads(), torch.get_num_interop_threads(), torch.random.get_rng_state().tolist(),
        sys.gettrace(), torch.is_grad_enabled(), torch.get_default_dtype(), dict(os.environ),
    )  # fmt: skip


def steps_of(classes, dtype, modes=MODES) -> Any:
    case = programs.joined(classes, dtype)
    steps: dict[str, Any] = {m: compile_step(*case, members=False, clip=CLIP, mode=m, steps=1) for m in modes}
    assert {m: s.mode for m, s in steps.items()} == {m: m for m in modes}
    run = lambda mode, seed: steps[mode].run(*case[1:], seed)  # noqa: E731
    return SimpleNamespace(names=list(classes), dtype=dtype, arguments=case[1:], steps=steps, run=run)


FEW = ["Mixture", "MovingBuffers"]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((FEW, torch.float32), id="few"),
        pytest.param((list(programs.PROGRAMS), torch.float32), id="float32", marks=pytest.mark.slow),
        pytest.param((list(programs.PROGRAMS), torch.float64), id="float64", marks=pytest.mark.slow),
    ],
)
def every(request):
    """Programs without draws that stay inside, compiled as one."""
    names, dtype = request.param
    return steps_of({n: programs.PROGRAMS[n] for n in names}, dtype)


def of(name: str, values: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([v.flatten().double() for k, v in values.items() if k.startswith(f"{name}/")])


def limit(dtype: torch.dtype) -> float:
    return 1e-5 if dtype == torch.float32 else 1e-12


def test_compiled_gradients_are_the_plain_ones_on_the_same_draws(every):
    for seed in (0, 1):
        plain, recorded, fast = (every.run(mode, seed) for mode in MODES)
        for name in every.names:
            ours, theirs = of(name, fast[0]), of(name, plain[0])
            assert torch.equal(of(name, recorded[0]), theirs), name
            assert float((ours - theirs).norm()) <= limit(every.dtype) * float(theirs.norm()), name
        assert torch.equal(recorded[1], plain[1])
        torch.testing.assert_close(fast[1], plain[1], rtol=10 * limit(every.dtype), atol=0)


def test_the_compiled_loss_is_the_exact_one(every):
    _, _, tensors = every.arguments
    losses = every.run("inductor", 5)[1]
    for number, name in enumerate(every.names):
        own = {k.split("/")[1]: v for k, v in tensors.items() if k.startswith(f"{name}/")}
        exact = programs.exact_loss(programs.PROGRAMS[name], own)
        if exact is not None:
            assert float(losses[number]) == pytest.approx(exact, rel=limit(every.dtype)), name


def test_the_draws_are_the_plain_ones(every):
    plain, fast = (of("MovingBuffers", every.run(mode, 3)[3]) for mode in ("off", "inductor"))
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)
    other = of("MovingBuffers", every.run("inductor", 4)[3])
    assert not torch.allclose(other, fast, rtol=0.1)


def test_a_compiled_step_is_reproducible(every):
    first, _, again = (every.run("inductor", seed) for seed in (3, 4, 3))
    for a, b in zip(first, again, strict=True):
        for name in a if isinstance(a, dict) else ():
            assert torch.equal(a[name], b[name])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("mode", MODES)
def test_clipping_and_the_guard_are_part_of_the_step(every, mode):
    grads, _, bad, _ = every.run(mode, 0)
    assert float(torch.cat([g.flatten().double() for g in grads.values()]).norm()) == pytest.approx(CLIP, rel=1e-5)
    assert not bad
    params, buffers, tensors = every.arguments
    for value in (float("nan"), float("inf")):
        broken = {**tensors, "Mixture/x": tensors["Mixture/x"].clone().fill_(value)}
        assert every.steps[mode].run(params, buffers, broken, 0)[2]


@pytest.fixture(scope="module")
def left_inside():
    """Programs with draws that no compiler is given from outside: gammas, and which pairs of a plate."""
    classes = {c.__name__: c for c in (programs.SubsampledPairs, programs.GammaDraws)}
    return steps_of(classes, torch.float32)


@pytest.mark.parametrize("mode", [pytest.param("off", marks=pytest.mark.slow), "trace", "inductor"])
def test_draws_left_inside_follow_their_distribution(left_inside, mode):
    """Gamma(2, 1) draws pass a Kolmogorov-Smirnov test, and tell nothing of the normal ones beside them."""
    found = [left_inside.run(mode, seed)[3] for seed in range(250)]
    gammas, normals = (
        torch.cat([f[f"GammaDraws/inner.{name}"] for f in found]).numpy() for name in ("gamma", "normal")
    )
    assert scipy.stats.kstest(gammas, scipy.stats.gamma(2).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(normals, scipy.stats.norm.cdf).pvalue > 1e-3
    for other in (normals, abs(normals)):
        ranks = np.corrcoef(scipy.stats.rankdata(gammas), scipy.stats.rankdata(other))
        assert abs(ranks[0, 1]) < 4 / len(gammas) ** 0.5
    for name in ("gamma", "normal"):  # and not of each other, from step to step
        steps = np.stack([f[f"GammaDraws/inner.{name}"].numpy() for f in found])
        assert abs(np.corrcoef(steps[:-1].ravel(), steps[1:].ravel())[0, 1]) < 4 / steps.size**0.5


def test_draws_left_inside_are_reproducible(left_inside):
    first, _, again = (left_inside.run("inductor", seed)[3] for seed in (3, 4, 3))
    assert all(torch.equal(v, again[k]) for k, v in first.items())


def test_a_compiled_subsampled_plate_is_unbiased(left_inside):
    class AllPairs(programs.SubsampledPairs):
        size = None

    whole = programs.prepared(AllPairs)
    step: Any = compile_step(*whole, members=False, clip=1e9, mode="off", steps=1)
    exact = step.run(*whole[1:], 0)[1]
    losses = torch.stack([left_inside.run("inductor", seed)[1][0] for seed in range(300)])
    assert abs(float(losses.mean() - exact)) < 4 * float(losses.std()) / 300**0.5


class Watched(bcg.Model):
    """mean ~ N(0, 2^2), x ~ N(mean, 1), which is not a number for frames beyond 5 from a step on.

    It counts its steps and keeps a moving average of the batch, in buffers.
    """

    def __init__(self, fails_at: int = 10**9):
        super().__init__()
        self.steps: torch.Tensor
        self.average: torch.Tensor
        self.fails_at: torch.Tensor
        self.mean = nn.Parameter(torch.zeros(1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(1))
        self.register_buffer("fails_at", torch.tensor(fails_at))

    def model(self, batch):
        mean = pyro.sample("mean", nets.gaussian(2.0)(self.mean))
        spread = torch.ones_like(self.mean)
        if batch.x is not None:
            spread = torch.where((self.steps > self.fails_at) & (batch.x > 5), torch.nan, spread)
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(mean, spread).to_event(1), obs=batch.x)

    def guide(self, batch):
        self.steps += 1
        if batch.x is not None:
            weight = torch.ones(len(batch)) if batch.weight is None else batch.weight
            self.average = 0.9 * self.average + 0.1 * (weight.unsqueeze(-1) * batch.x).mean(0)

    def config(self):
        return {}

    @classmethod
    def example(cls):
        return cls(), frames(), None


def frames(far: int | None = None):
    x = np.random.default_rng(5).normal(size=(120, 1)) + 0.7
    if far is not None:
        x[far] = 6.0
    return bcg.data.Frames.from_numpy(x.astype(np.float32), unit="reduced", temperature_kT=1.0)


def trained(mode: str, data=None, fails_at: int = 10**9, uncertainty="none", **settings):
    """A fit of all frames but those held out; of one shape for each uncertainty, and so compiled once a process."""
    defaults = {"steps": 60, "validation": 0.2, "learning_rate": 2e-2, "members": 4, "seed": 2}
    model = Watched(fails_at)
    return bcg.fit(model, data or frames(), compile=mode, uncertainty=uncertainty, **{**defaults, **settings})


def training_frames(data) -> torch.Tensor:
    return torch.as_tensor(data.split(blocks=20, test=0.2, seed=2)[0].positions).double()


def assert_close(a, b):
    """Equal up to rounding in parameters, buffers and losses."""
    for ours, theirs in ((state_of(a.model), state_of(b.model)), (a.weights.tensors, b.weights.tensors)):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5)
    assert [row["loss"] for row in a.log] == pytest.approx([row["loss"] for row in b.log], rel=1e-5)


def test_a_fit_compiles_once_and_leaves_the_process_as_it_was(monkeypatch, tmp_path, caplog):
    """With evaluations, checkpoints and a bootstrap's refits: one recording and one compilation."""
    trained("trace", steps=2)  # imports what is imported late
    count = {"record": 0, "lower": 0}
    for name in count:
        plain = getattr(compiled, name)

        def counting(*args, name=name, plain=plain, **more):
            count[name] += 1
            return plain(*args, **more)

        monkeypatch.setattr(compiled, name, counting)
    from torch._dynamo.utils import counters

    compilations = lambda: sum(v for k, v in counters["inductor"].items() if k.startswith("fxgraph_cache"))  # noqa: E731
    before, started = settings_of_the_process(), compilations()
    with caplog.at_level(logging.INFO, logger="bayescg"):
        fit = trained("inductor", uncertainty="bootstrap", steps=130, run_dir=tmp_path, checkpoint_every=30)
    assert count == {"record": 1, "lower": 1}
    assert compilations() - started == 1
    for ours, theirs in zip(settings_of_the_process(), before, strict=True):
        assert ours == theirs
    assert fit.diagnostics["compiled"] == "inductor"
    assert fit.diagnostics["compiled_why"] == "asked for"
    assert "compile='inductor': inductor (asked for)" in caplog.text


def test_the_posterior_is_the_exact_one():
    """A conjugate normal: mean and standard deviation of its mean, in closed form."""
    data = frames()
    x = training_frames(data)
    precision = len(x) + 0.25
    fit = trained("inductor", data, uncertainty="mean-field", validation=0.2, steps=1500)
    draws = fit.parameters(4000)["mean"].double()
    assert fit.diagnostics["compiled"] == "inductor"
    assert float(draws.std()) == pytest.approx(precision**-0.5, rel=0.08)
    assert float(draws.mean()) == pytest.approx(float(x.sum()) / precision, abs=0.3 * precision**-0.5)


@pytest.mark.parametrize("uncertainty", ["none", "bootstrap"])
def test_fits_agree_and_buffers_move_by_their_recursion(uncertainty):
    """Once a step, from the batch of the step alone, with each refit's own weights of the frames."""
    data = frames()
    x = training_frames(data)
    fits = {m: trained(m, data, uncertainty=uncertainty) for m in MODES}
    traced, plain = (state_of(fits[m].model) for m in ("trace", "off"))
    assert all(torch.equal(v, plain[k]) for k, v in traced.items())
    assert fits["trace"].log == fits["off"].log
    assert_close(fits["inductor"], fits["off"])
    weight = torch.ones(1, len(x))
    if uncertainty == "bootstrap":
        weight = torch.cat([weight, block_weights(torch.arange(len(x)), 3, seed=2, share=1.0)])
    mean = (weight.double() @ x) / len(x)
    for fit in fits.values():
        buffers = {k: state_of(fit.model)[k].unsqueeze(0) for k in ("steps", "average")}
        if uncertainty == "bootstrap":
            buffers = {k: torch.cat([v, fit.weights.tensors[k]]) for k, v in buffers.items()}
        steps = buffers["steps"].double().unsqueeze(-1)
        assert int(steps[0]) == fit.diagnostics["best_step"]  # a refit's best state may be an earlier one
        assert ((steps > 40) & (steps <= 60)).all()
        torch.testing.assert_close(buffers["average"].double(), mean * (1 - 0.9**steps), rtol=1e-5, atol=0)


def newest(directory: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.latest(directory / "checkpoint")
    assert found is not None
    assert found[1]["step"] == 7
    return found[0]


BY_DEFAULT = {("off", False, "none"), ("trace", True, "bootstrap"), ("inductor", False, "none")}


@pytest.mark.parametrize(
    ("mode", "queued", "uncertainty"),
    [
        pytest.param(*case, choice, marks=() if (*case, choice) in BY_DEFAULT else pytest.mark.slow)
        for case in (*((mode, False) for mode in MODES), ("trace", True))
        for choice in ("none", "bootstrap")
    ],
)
def test_a_loss_that_is_not_finite_stops_at_its_step_with_the_state_before(
    tmp_path, monkeypatch, mode, queued, uncertainty
):
    """Step, site and frame are named; the checkpoint is that of a fit interrupted before, moved buffers too."""
    if queued:  # as on a device whose steps are looked at long after they were asked for
        monkeypatch.setattr("bayescg.inference.job._PROMPT", ())
    data = frames(far=17)
    where = int((training_frames(data) > 5).flatten().nonzero())
    with pytest.raises(FitError, match=rf"not finite at step 7: site 'x', training frames \[{where}\]"):
        trained(mode, data, 7, uncertainty, run_dir=tmp_path / "fails")
    plain, left = Adam.step, [7]

    def step(self, *args):
        plain(self, *args)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Adam, "step", step)
        with pytest.raises(Interrupted):
            trained(mode, data, uncertainty=uncertainty, run_dir=tmp_path / "stopped")
    failed, sound = (newest(tmp_path / directory) for directory in ("fails", "stopped"))
    assert {k for k in sound if k.startswith(("params/", "buffers/", "adam/"))} <= set(failed)
    for name in sound:
        if name.startswith(("params/", "buffers/", "adam/")):
            assert torch.equal(failed[name], sound[name]), name
    assert (failed["buffers/inner.steps"] == 7).all()
    with pytest.raises(FitError, match="at step 7"):  # going on from it meets the same step
        trained(mode, data, 7, uncertainty, run_dir=tmp_path / "fails")


def test_auto_compiles_where_it_pays_says_so_and_keeps_to_it(monkeypatch, tmp_path, caplog):
    short = trained("auto")
    assert short.diagnostics["compiled"] == "off"
    assert "60 steps are too few" in short.diagnostics["compiled_why"]
    settings = {"steps": 300, "run_dir": tmp_path, "checkpoint_every": 100}
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, logger="bayescg"):
        patch.setattr(compiled, "_seconds_a_step", lambda step, *_: 9.0 if step.mode == "trace" else 1.0)
        whole = trained("auto", **{**settings, "run_dir": tmp_path / "whole"})
        assert whole.diagnostics["compiled"] == "inductor"
        assert whole.diagnostics["compiled_why"] == "300 steps of 9e+03 ms are left"
        assert "compile='auto': inductor (300 steps" in caplog.text
        trained("auto", **settings)
    for path in sorted((tmp_path / "checkpoint").glob("step-000000300*")):
        path.unlink()
    # now a step looks so short that compiling would not pay: the choice in the checkpoint is kept all the same
    resumed = trained("auto", **settings)
    assert resumed.diagnostics["compiled"] == "inductor"
    assert all(torch.equal(v, state_of(whole.model)[k]) for k, v in state_of(resumed.model).items())
    assert resumed.log == whole.log
    fresh = trained("auto", **{**settings, "run_dir": None})
    assert fresh.diagnostics["compiled"] == "trace"
    assert "too few to pay" in fresh.diagnostics["compiled_why"]


def test_a_compiled_step_that_is_slower_is_not_taken(monkeypatch):
    monkeypatch.setattr(compiled, "_seconds_a_step", lambda step, *_: 9.0 if step.mode == "trace" else 10.0)
    fit = trained("auto", steps=300)
    assert fit.diagnostics["compiled"] == "trace"
    assert "compiled ones take longer" in fit.diagnostics["compiled_why"]


def test_where_the_compiler_fails_the_recording_runs(monkeypatch):
    def fails(*_, **__):
        raise ValueError("no such instruction\nand a long story")

    monkeypatch.setattr(compiled, "lower", fails)
    with pytest.warns(UserWarning, match="recording runs as it is: ValueError: no such instruction$") as caught:
        fit = trained("inductor")
    assert [w.filename for w in caught] == [__file__]
    assert fit.diagnostics["compiled"] == "trace"
    assert fit.log == trained("trace").log


def test_a_compilation_that_gives_other_numbers_is_not_used(monkeypatch):
    plain = compiled.lower
    monkeypatch.setattr(compiled, "lower", lambda *a, **k: lambda *b: [1.001 * v for v in plain(*a, **k)(*b)])
    with pytest.warns(UserWarning, match=r"recording runs as it is: ArithmeticError: .* differ by 1\.0e-03"):
        assert trained("inductor").diagnostics["compiled"] == "trace"


WITHOUT = """
import warnings
import bayescg as bcg
from bayescg.models import PredictiveCV
model, frames, _ = PredictiveCV.example()
settings = {"steps": 250, "uncertainty": "none", "validation": 0.0, "batch_size": 8}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fits = [bcg.fit(model, frames, compile=mode, **settings) for mode in ("trace", "inductor", "auto")]
print([str(w.message) for w in caught])
print([(fit.diagnostics["compiled"], fit.diagnostics["compiled_why"]) for fit in fits])
print(fits[0].log == fits[1].log == fits[2].log)
"""


def without_compiler(compiler: str) -> list[str]:
    environment = {**os.environ, "CXX": compiler}
    command = [sys.executable, "-c", WITHOUT]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()


WHY = "no working C++ compiler was found"
SAYS = f"compile='inductor' is not possible, the recording runs as it is: {WHY}"


@pytest.fixture
def no_compiler():
    """What torch looks for is not there, nor remembered from before."""
    from torch._inductor import config, cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    with config.patch({"cpp.cxx": ("/nonexistent",)}):
        yield
    cpp_builder.cpp_compiler_search.cache_clear()


def test_without_a_compiler_everything_runs_traced_and_says_so(no_compiler):
    with pytest.warns(UserWarning, match="the recording runs as it is") as caught:
        fits = [trained(mode, steps=220) for mode in ("trace", "inductor", "auto")]
    assert [str(w.message) for w in caught] == [SAYS]
    assert [fit.diagnostics["compiled"] for fit in fits] == ["trace"] * 3
    assert [fit.diagnostics["compiled_why"] for fit in fits] == ["asked for", WHY, WHY]
    assert fits[0].log == fits[1].log == fits[2].log


@pytest.mark.slow
def test_a_process_without_a_compiler_runs_everything_traced_and_says_so():
    said, modes, same = without_compiler("/nonexistent")
    assert said == f'["{SAYS}"]'
    assert modes == str([("trace", "asked for"), ("trace", WHY), ("trace", WHY)])
    assert same == "True"


@pytest.mark.slow
def test_with_a_compiler_that_does_not_compile_everything_runs_traced(tmp_path):
    broken = tmp_path / "g++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exec g++ --version\nexit 1\n')
    broken.chmod(0o755)
    said, modes, same = without_compiler(str(broken))
    assert "the recording runs as it is" in said
    assert modes.startswith("[('trace', 'asked for'), ('trace', ")
    assert same == "True"
