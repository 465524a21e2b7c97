"""A recorded program is the program, draws, losses and gradients bit for bit; what cannot be recorded is refused."""

import importlib.util
import itertools
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg.errors import ModelError
from bayescg.recording.compiled import compile_step
from bayescg.recording.functional import seeded, state_of

spec = importlib.util.spec_from_file_location("programs", Path(__file__).with_name("programs.py"))
assert spec is not None
assert spec.loader is not None
programs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(programs)

BOTH = {**programs.PROGRAMS, "SubsampledPairs": programs.SubsampledPairs, "GammaDraws": programs.GammaDraws}
# torch tells once that it batches these draws one by one
slowly_batched = pytest.mark.filterwarnings("ignore:There is a performance drop")


def step(case, mode, members=False) -> Any:
    plain, params, buffers, tensors = case
    return compile_step(plain, params, buffers, tensors, members=members, clip=1e3, mode=mode, steps=1)


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, dict):
            assert a.keys() == b.keys()
            assert_equal(a.values(), b.values())
        else:
            assert torch.equal(a, b)


@slowly_batched
@pytest.mark.parametrize(
    ("dtype", "members", "particles"),
    [
        pytest.param(torch.float32, None, None, id="float32"),
        pytest.param(torch.float32, 3, None, id="refits"),
        pytest.param(torch.float64, None, None, id="float64", marks=pytest.mark.slow),
        pytest.param(torch.float32, None, 4, id="particles", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_recorded_equals_plain_bit_for_bit(name, dtype, members, particles):
    if particles and name in ("Eigenfunctions", "VectorisedParticles", "MovingBuffers", "GammaDraws"):
        pytest.skip("couples the frames, has draws of its own, or keeps what it draws")
    case = programs.prepared(BOTH[name], dtype, members, particles)
    plain, recorded = (step(case, mode, bool(members)) for mode in ("off", "trace"))
    assert (plain.mode, recorded.mode) == ("off", "trace")
    _, params, buffers, tensors = case
    for seed, (p, t) in enumerate([(params, tensors), ({k: 1.1 * v for k, v in params.items()}, flipped(tensors))]):
        assert_equal(plain.run(p, buffers, t, seed), recorded.run(p, buffers, t, seed))


def flipped(tensors):
    return {"x": tensors["x"].flip(0) * 1.2, "weight": tensors["weight"].flip(-1)}


@pytest.mark.parametrize(
    "name", [n for n in programs.PROGRAMS if programs.PROGRAMS[n].exact is not programs.Tiny.exact]
)
def test_the_loss_is_the_exact_one(name):
    """Weights, the scale of the batch, priors and sums over discrete variables, by hand in double precision."""
    for particles in (None, 4) if name == "ExactPosterior" else (None,):
        case = programs.prepared(programs.PROGRAMS[name], torch.float64, particles=particles)
        for mode in ("off", "trace"):
            _, loss, *_ = step(case, mode).run(*case[1:], 3)
            assert float(loss) == pytest.approx(programs.exact_loss(programs.PROGRAMS[name], case[3]), rel=1e-12)


@pytest.mark.parametrize("mode", ["off", "trace"])
def test_a_subsampled_plate_is_unbiased(mode):
    """The mean over many draws of three pairs of eight is the sum over all, within four standard errors."""

    class AllPairs(programs.SubsampledPairs):
        size = None

    whole = programs.prepared(AllPairs)
    exact = step(whole, "off").run(*whole[1:], 0)
    case = programs.prepared(programs.SubsampledPairs)
    run = step(case, mode).run
    found = [run(*case[1:], seed) for seed in range(300)]
    losses = torch.stack([loss for _, loss, *_ in found])
    assert abs(float(losses.mean() - exact[1])) < 4 * float(losses.std()) / 300**0.5
    gradients = torch.stack([g["inner.places"] for g, *_ in found])
    error = (gradients.mean(0) - exact[0]["inner.places"]).abs() / (gradients.std(0) / 300**0.5)
    assert float(error.max()) < 4


@pytest.mark.parametrize("name", ["Mixture", "RandomWeights"])
def test_batches_average_to_all_frames(name):
    """Without latent variables of the frames, the batches of an epoch average exactly to the loss of all."""
    plain, params, buffers, tensors = programs.prepared(programs.PROGRAMS[name], torch.float64)
    recorded = step((plain, params, buffers, {k: v[:4] for k, v in tensors.items()}), "trace")
    parts = [recorded.run(params, buffers, {k: v[i : i + 4] for k, v in tensors.items()}, 0) for i in (0, 4, 8)]
    gradients, loss, *_ = step((plain, params, buffers, tensors), "off").run(params, buffers, tensors, 0)
    assert float(sum(p[1] for p in parts) / 3) == pytest.approx(float(loss), rel=1e-13)
    for name, g in gradients.items():
        torch.testing.assert_close(sum(p[0][name] for p in parts) / 3, g, rtol=1e-12, atol=1e-13)


class Refused(programs.Tiny):
    """A base whose width a subclass makes in a way that no recording can follow."""

    def build(self):
        self.mean = nn.Parameter(torch.tensor([0.3, -0.2]))
        self.runs, self.history = 0, []

    def width(self, batch):
        raise NotImplementedError

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.mean, self.width(batch)).to_event(1), obs=batch.x)


class BranchOnFrames(Refused):
    def width(self, batch):
        return 1.0 if batch.x.mean().item() > 0 else 2.0  # here


class BranchOnParameter(Refused):
    def width(self, batch):
        if self.mean[0] > 0:  # here
            return 1.0
        return 2.0


class NumberOfFrames(Refused):
    def width(self, batch):
        return float(batch.x.std())  # here


class ListOfFrames(Refused):
    def width(self, batch):
        return sum(abs(v) for v in batch.x[:, 0].tolist())  # here


class LoopUntil(Refused):
    def width(self, batch):
        width = batch.x.abs().mean()
        while width > 0.1:  # here
            width = 0.5 * width
        return 1 + width


class Picked(Refused):
    def width(self, batch):
        return 1 + batch.x[batch.x > 0].square().mean()  # here


class AsManyDrawsAsFramesPicked(Refused):
    def width(self, batch):
        count = int((batch.x[:, 0] > 0).sum())  # here
        return 1 + torch.randn(count).square().mean()


class WarmUp(Refused):
    """Constant for longer than any comparison can wait."""

    def width(self, batch):
        self.runs += 1  # here
        return 1.0 if self.runs < 1000 else 2.0


class Drift(Refused):
    def width(self, batch):
        self.runs += 1  # here
        return 1 + 1e-9 * self.runs


class Remembers(Refused):
    def width(self, batch):
        self.history.append(len(batch))  # here
        return 1.0 if len(self.history) < 1000 else 2.0


class MoreDrawsEachTime(Refused):
    def width(self, batch):
        self.runs += 1  # here
        for _ in range(self.runs):
            torch.rand(())
        return 1 + torch.rand(())


class PythonsRandom(Refused):
    def width(self, batch):
        return 1 + random.random()

    def model(self, batch):
        width = self.width(batch)
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.mean, width).to_event(1), obs=batch.x)  # here


class Clock(PythonsRandom):
    def width(self, batch):
        return 1 + time.perf_counter() % 1


class NumpysRandom(PythonsRandom):
    def width(self, batch):
        return 1 + np.random.rand()  # noqa: NPY002


class Counter(PythonsRandom):
    count = itertools.count(1)

    def width(self, batch):
        return next(self.count)


def line_of(model_class) -> str:
    """File and line of the first comment "here" from a class's definition on, among its bases."""
    lines = Path(__file__).read_text().splitlines()
    for base in model_class.__mro__:
        first = lines.index(next(text for text in lines if text.startswith(f"class {base.__name__}(")))
        body = itertools.takewhile(lambda i: not lines[i].startswith(("class ", "def ")), range(first + 1, len(lines)))
        for number in body:
            if lines[number].endswith("# here"):
                return f"{Path(__file__).name}, line {number + 1}, in "
    raise AssertionError(model_class)


REFUSED = [
    BranchOnFrames, BranchOnParameter, NumberOfFrames, ListOfFrames, LoopUntil, Picked, AsManyDrawsAsFramesPicked,
    WarmUp, Drift, Remembers, MoreDrawsEachTime, PythonsRandom, Clock, NumpysRandom, Counter,
]  # fmt: skip


@pytest.mark.parametrize("members", [None, 3], ids=["one", "refits"])
@pytest.mark.parametrize("model_class", REFUSED)
def test_what_a_recording_would_freeze_runs_plainly_and_its_line_is_named(model_class, members):
    case = programs.prepared(model_class, members=members)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = step(case, "trace", bool(members))
    (warning,) = caught
    assert "the program runs plainly, because it cannot be recorded: " + line_of(model_class) in str(warning.message)
    assert found.mode == "off"
    assert "cannot be recorded" in found.why
    _, loss, bad, _ = found.run(*case[1:], 0)
    assert torch.isfinite(loss).all()
    assert not bad


def test_the_warning_points_at_the_users_call(toy_frames):
    with pytest.warns(UserWarning, match="runs plainly") as caught:
        fit = bcg.fit(BranchOnFrames(), toy_frames(dim=2), steps=3, compile="trace")
    assert [w.filename for w in caught] == [__file__]
    assert fit.diagnostics["compiled"] == "off"
    assert line_of(BranchOnFrames) in fit.diagnostics["compiled_why"]


class Numpy(Refused):
    def width(self, batch):
        return torch.as_tensor(np.abs(batch.x.numpy()).mean())  # here


def test_numpy_in_a_program_is_refused_before_the_fit(toy_frames):
    place = line_of(Numpy).removesuffix(", in ")
    with pytest.raises(ModelError, match=rf"{place} .*use torch"):
        bcg.fit(Numpy(), toy_frames(dim=2), steps=3)


class BranchOnLatent(programs.ExactPosterior):
    """Reads a latent value as a number."""

    def guide(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(self.slope * batch.x, self.log_sd.exp()).to_event(1))
        assert float(z.detach().sum()) < 1e9


class Rejection(programs.ExactPosterior):
    """Draws by rejection, as von Mises variables are, in the guide."""

    def guide(self, batch):
        angle = dist.VonMises(torch.zeros(len(batch)), torch.ones(len(batch))).sample()
        with batch.plate("frames"):
            mean = self.slope * batch.x + 0.01 * angle.unsqueeze(-1)
            pyro.sample("z", dist.Normal(mean, self.log_sd.exp()).to_event(1))


class Continuous(programs.ExactPosterior):
    """A continuous flow, whose integrator chooses its steps in an autograd function of its own."""

    def build(self):
        self.slope = nn.Parameter(torch.ones(()))
        self.flow = programs.zuko.flows.CNF(2, context=2, freqs=1, hidden_features=(3,))

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", programs.ZukoToPyro(self.flow(self.slope * batch.x)))


@pytest.mark.parametrize(
    ("model_class", "settings"),
    [
        (BranchOnLatent, {}),
        (BranchOnLatent, {"uncertainty": "bootstrap", "members": 3}),
        (BranchOnLatent, {"objective": "iwae"}),
        (Rejection, {}),
        (Continuous, {}),
        pytest.param(Rejection, {"uncertainty": "bootstrap", "members": 3}, marks=pytest.mark.slow),
        pytest.param(Rejection, {"objective": "iwae"}, marks=pytest.mark.slow),
        pytest.param(Continuous, {"uncertainty": "bootstrap", "members": 3}, marks=pytest.mark.slow),
        pytest.param(Continuous, {"objective": "iwae"}, marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_batched_runs_one_after_the_other(toy_frames, model_class, settings):
    """Also held out: a fit of a program that neither records nor batches goes through."""
    frames = toy_frames(30, dim=2)
    with pytest.warns(UserWarning, match="runs plainly"):
        fit = bcg.fit(model_class(), frames, steps=6, validation=0.3, particles=3, compile="trace", **settings)
    plain = bcg.fit(model_class(), frames, steps=6, validation=0.3, particles=3, compile="off", **settings)
    assert fit.log == plain.log
    assert all(torch.equal(v, state_of(plain.model)[k]) for k, v in state_of(fit.model).items())


def test_a_buffer_made_of_particles_is_refused(toy_frames):
    with pytest.raises(ModelError, match=r"buffer drawn is made of latent variables.*objective='elbo'"):
        bcg.fit(programs.MovingBuffers(), toy_frames(12, dim=2), steps=3, validation=0, objective="iwae")


def test_a_tensor_filled_in_place_keeps_its_numbers():
    """Nobody but torch's own distributions may have `t.normal_()` replaced by a new tensor."""

    class Fills(Refused):
        def width(self, batch):
            place = torch.zeros(2)
            place.normal_()
            return place.exp()

    case = programs.prepared(Fills)
    _, params, buffers, tensors = case
    with seeded(5):
        width = torch.zeros(2).normal_().exp().double()
    frames = programs.normal(tensors["x"].double(), params["inner.mean"].double(), width).sum(-1)
    exact = -float((frames * tensors["weight"].double()).sum()) / programs.FRAMES
    for mode in ("off", "trace"):
        _, loss, *_ = step(case, mode).run(params, buffers, tensors, 5)
        assert float(loss) == pytest.approx(exact, rel=1e-5)


def test_recording_leaves_the_process_as_it_is(toy_frames):
    model, frames = programs.Amortised(), toy_frames(dim=2)
    state = torch.random.get_rng_state()
    bcg.fit(model, frames, steps=3, compile="trace")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_loss_that_no_parameter_influences_is_refused(toy_frames):
    class Constant(Refused):
        def model(self, batch):
            pyro.factor("nothing", torch.zeros(()))

    with pytest.raises(ModelError, match="no parameter of the model influences its loss"):
        bcg.fit(Constant(), toy_frames(dim=2), steps=2)
