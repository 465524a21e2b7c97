"""Weighted draws give exact averages, and the wake term has the gradient of the divergence from p to q."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg
from bayescg.modelling import Batch, Model
from bayescg.modelling.schedules.importance import draw, log_generated
from bayescg.modelling.schedules.weighted import wake
from bayescg.modelling.traces import run_pair
from bayescg.models import EmbeddedPhysics
from bayescg.recording.functional import state_of


class Line(Model):
    """x ~ N(mean, e^log_sd) against N(0, 1): every quantity in closed form.

    References
    ----------
    None.
    """

    needs_frames = False

    def __init__(self, mean=0.5, sd=1.5):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([mean]))
        self.log_sd = nn.Parameter(torch.tensor([math.log(sd)]))

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.mean, self.log_sd.exp()).to_event(1))

    def config(self):
        return {}

    @classmethod
    def example(cls):
        return cls(), None, None


def test_the_wake_term_is_the_opposite_divergence():
    """Its gradient is that of -E_p log q: with p = N(0, 1) it is (m - 0) / s^2 and 1 - (1 + m^2) / s^2."""
    torch.manual_seed(0)
    line, batch = Line(), Batch(total=400_000, index=torch.arange(400_000))
    proposed, found, *traces = run_pair(line.model, line.guide, batch)
    for trace in traces:
        trace.compute_log_prob()
    loss = wake(line.guide, batch, proposed, found)
    assert float(loss.detach()) == 0.0
    mean, log_sd = torch.autograd.grad(loss, [line.mean, line.log_sd])
    # standard errors with 400 000 draws of effective fraction 0.7: below 0.002
    assert abs(float(mean) - 0.5 / 1.5**2) < 0.01
    assert abs(float(log_sd) - (1 - 1.25 / 1.5**2)) < 0.01


def test_weights_give_the_partition_function_and_averages():
    """Of an untrained generator, wide enough: the weights correct whatever it is."""
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0, 4.0)), hidden=(4,), components=3)
    torch.manual_seed(1)
    model.reset()
    draws = draw(model, [], state_of(model), 100_000, seed=0)
    w = draws.log_importance.double().exp()
    exact = 2 * math.pi / 2.0
    assert abs(float(w.mean()) - exact) < 4 * float(w.std()) / len(w) ** 0.5
    square = draws.x[:, 0].double() ** 2
    error = float((w * (square - 1.0)).std() / w.mean()) / len(w) ** 0.5
    assert abs(float((w * square).sum() / w.sum()) - 1.0) < 4 * error
    torch.testing.assert_close(draws.log_target, model.system.log_prob(draws.x))


def test_the_generators_density_integrates_to_one():
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0,)), hidden=(4,), components=2)
    torch.manual_seed(2)
    model.reset()
    grid = torch.linspace(-9, 9, 181)
    with torch.no_grad():
        total = torch.trapezoid(log_generated(model, grid[:, None], 2000).exp(), grid)
    assert abs(float(total) - 1) < 0.02


def untrained():
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0, 4.0)), hidden=(4,), components=3)
    torch.manual_seed(1)
    model.reset()
    with torch.no_grad():
        model.prior.logits.copy_(torch.tensor([0.1, 0.0, -0.1]))  # weights of 0.87, 0.12 and 0.02
    return model


def test_more_particles_keep_averages_right_and_make_weights_even():
    """Exact within four standard errors, as with one; but evener, and near to those of the density itself."""
    model, spread = untrained(), []
    for particles in (1, 4, 32):
        draws = draw(model, [], state_of(model), 10_000, seed=3, particles=particles)
        w, share = draws.log_importance.double().exp(), draws.log_share.double().exp()
        for found, exact in ((w, math.pi), (w * draws.x[:, 0].double() ** 2, math.pi), (share, 1.0)):
            assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / len(w) ** 0.5 + 1e-6
        spread.append(float(w.std() / w.mean()))
    assert spread[2] < spread[1] < spread[0]
    few = slice(0, 500)
    with torch.no_grad():
        density = log_generated(model, draws.x[few], 4000)
        exact = model.system.log_prob(draws.x[few]) - density
    error = (draws.log_weight[few] - exact).square().mean().sqrt()
    assert float(error) < 0.3 * float(exact.std())


def test_without_the_draws_own_latent_variables_the_average_is_wrong():
    """The negative control: fresh ones alone make densities too small on average where the reverse map is far off."""
    model = untrained()
    draws = draw(model, [], state_of(model), 60_000, seed=3)
    with torch.no_grad():
        torch.manual_seed(0)
        fresh = model.system.log_prob(draws.x) - log_generated(model, draws.x, 2)
        w = (draws.log_share + fresh).double().exp()
    assert abs(float(w.mean()) - math.pi) > 6 * float(w.std()) / len(w) ** 0.5
