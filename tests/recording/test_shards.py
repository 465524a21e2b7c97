"""The parts of a batch add up to the batch: frames, random numbers, gradients."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ModelError
from bayescg.inference.job import Job
from bayescg.models import PredictiveCV
from bayescg.recording.functional import seeded
from bayescg.recording.recorded import gradient_function, lift_noise, record
from bayescg.recording.shards import Shard, frame_axes, sharded

BATCH = 13
KINDS = [
    ("none", "elbo"), ("mean-field", "elbo"), ("bootstrap", "elbo"),
    ("none", "iwae"), ("mean-field", "iwae"), ("bootstrap", "iwae"),
]  # fmt: skip


@pytest.fixture
def step(toy_frames):
    """Gradients of a fit's first step as a function, with its arguments."""

    def make(uncertainty: str, objective: str, model: bcg.Model | None = None):
        settings = {
            "steps": 9, "batch_size": BATCH, "validation": 0.0, "uncertainty": uncertainty, "learning_rate": 1e-3,
            "members": 3 if uncertainty == "bootstrap" else None, "clip": 1e9, "seed": 0, "objective": objective,
            "particles": 4,
        }  # fmt: skip
        model = model or PredictiveCV(latent_dim=2, hidden=(4,))
        job = Job(model, toy_frames(dtype=float), settings, "off", torch.device("cpu"))
        tensors = job.batch(0)
        refits = job.members is not None
        plain, _ = gradient_function(job.program, job.total, job.total_weight, refits, job.params, job.buffers, tensors)
        return plain, job.params, job.buffers, tensors

    return make


def values(function, params, buffers, tensors):
    with seeded(7), torch.no_grad():
        grads, loss, _ = function(params, buffers, tensors)
    return torch.cat([loss.flatten(), *(g.flatten() for g in grads.values())])


def mean_of_parts(plain, axes, arguments, count, run=values):
    params, buffers, tensors = arguments
    shards = [Shard.of(BATCH, rank, count) for rank in range(count)]
    parts = [run(sharded(plain, axes, s), params, buffers, s.tensors(tensors)) * (s.length / BATCH) for s in shards]
    return torch.stack(parts).sum(0)


def error(a, b) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("whole", "count"), [(13, 1), (13, 2), (13, 5), (12, 4), (3, 3)])
def test_shards_cover_a_batch_in_order_and_differ_by_one_frame_at_most(whole, count):
    rows = torch.arange(whole)
    shards = [Shard.of(whole, rank, count) for rank in range(count)]
    assert torch.equal(torch.cat([s.part(rows, 0) for s in shards]), rows)
    assert max(s.length for s in shards) - min(s.length for s in shards) <= 1


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize(("uncertainty", "objective"), KINDS)
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_parts(step, uncertainty, objective, count):
    plain, *arguments = step(uncertainty, objective)
    axes = frame_axes(plain, *arguments)
    whole = values(plain, *arguments)
    assert error(mean_of_parts(plain, axes, arguments, count), whole) < 1e-13


def test_also_recorded_with_draws_from_outside(step):
    plain, params, buffers, tensors = step("bootstrap", "iwae")

    def lifted(function, *arguments):
        graph, noise, complete = lift_noise(record(function, *arguments), arguments)
        assert complete
        generator = torch.Generator().manual_seed(7)
        out = graph(*(v for a in arguments for v in a.values()), *(n.draw(generator) for n in noise))
        return torch.cat([out[-1].flatten(), *(v.flatten() for v in out[:-1])])

    axes, whole = frame_axes(plain, params, buffers, tensors), values(plain, params, buffers, tensors)
    assert error(mean_of_parts(plain, axes, (params, buffers, tensors), 2, lifted), whole) < 1e-13


def test_without_its_part_of_the_draws_a_shard_computes_something_else(step):
    """Negative control: draws of its own make every process's latent variables other ones."""
    plain, *arguments = step("none", "elbo")
    undivided = mean_of_parts(plain, [None], arguments, 2)
    assert error(undivided, values(plain, *arguments)) > 1e-3


@pytest.mark.parametrize(
    ("uncertainty", "objective", "local"), [("none", "elbo", 0), ("none", "iwae", 1), ("bootstrap", "iwae", 2)]
)
def test_the_axis_of_the_frames_is_found_behind_members_and_particles(step, uncertainty, objective, local):
    assert frame_axes(*step(uncertainty, objective)) == [local]


def test_draws_of_the_weights_have_no_axis_of_frames(step):
    plain, params, buffers, tensors = step("mean-field", "elbo")
    axes = frame_axes(plain, params, buffers, tensors)
    assert axes[-1] == 0
    assert set(axes[:-1]) == {None}
    assert len(axes) - 1 == sum(name.startswith("log_sd") for name in params)


class Drawing(PredictiveCV):
    """Draws something more."""

    def __init__(self, draw):
        super().__init__(latent_dim=2, hidden=(4,))
        self.draw = draw

    def model(self, batch):
        super().model(batch)
        pyro.factor("more", self.draw(batch.x).sum())


def test_draws_outside_a_plate_are_divided_too(step):
    plain, *arguments = step("none", "elbo", Drawing(lambda x: x * torch.rand_like(x)))
    assert frame_axes(plain, *arguments) == [0, 0]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda x: torch.randn(x.numel()), "no axis is that of the frames"),
        (lambda x: torch.randn(len(x), len(x)), "no axis is that of the frames"),
        (lambda x: dist.Gamma(1 + x**2, 1.0).rsample(), "_standard_gamma"),
        (lambda x: torch.stack([torch.randn(()) for _ in x]), "for 2 frames and"),
    ],
)
def test_draws_that_cannot_be_divided_are_refused(step, draw, words):
    with pytest.raises(ModelError, match=f"{words}.*fit in one process"):
        frame_axes(*step("none", "elbo", Drawing(draw)))
