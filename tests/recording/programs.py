"""Tiny models, one for each thing that a program may hold, with the exact loss where there is one."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
import zuko
from pyro import poutine
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor, nn

import bayescg as bcg
from bayescg import nets
from bayescg.inference.objectives import Program
from bayescg.modelling.model import check_programs
from bayescg.recording.functional import seeded
from bayescg.recording.recorded import gradient_function

torch.distributions.Distribution.set_default_validate_args(True)  # which importing zuko switches off

FRAMES, TOTAL = 12, 24


class Tiny(bcg.Model):
    """Two coordinates a frame; nothing is proposed unless a subclass does."""

    def __init__(self):
        super().__init__()
        self.build()

    def build(self):
        raise NotImplementedError

    def model(self, batch):
        with batch.plate("frames"):
            pyro.factor("log_density", self.log_density(batch))

    def log_density(self, batch) -> Tensor:
        raise NotImplementedError

    def guide(self, batch):
        """Nothing to propose."""

    def config(self):
        return {}

    @classmethod
    def example(cls):
        return cls(), bcg.data.Frames.from_numpy(torch.ones(4, 2).numpy(), unit="reduced", temperature_kT=1.0), None

    def exact(self, x: Tensor) -> tuple[Tensor, float] | None:
        """Log density of each frame and log prior of the parameters, worked out by hand; None where there are draws."""


def normal(x, mean, sd) -> Tensor:
    sd = torch.as_tensor(sd, dtype=torch.float64)
    return -0.5 * ((x - mean) / sd) ** 2 - sd.log() - 0.5 * math.log(2 * math.pi)


class RandomWeights(Tiny):
    """Weights with a prior, proposed at their own values: log p(x, weights)."""

    def build(self):
        self.net = nn.Linear(1, 2)

    def model(self, batch):
        net = nets.random_net(self, "net", {"weight": nets.ard(1.0, 2.0), "bias": nets.gaussian(2.0)})
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(net(batch.x[:, :1]), 0.5).to_event(1), obs=batch.x)

    def exact(self, x):
        weight, bias = self.net.weight.detach().double(), self.net.bias.detach().double()
        student = torch.distributions.StudentT(torch.tensor(2.0).double(), 0.0, 2**0.5)
        prior = float(student.log_prob(weight).sum() + normal(bias, 0.0, 2.0).sum())
        return normal(x, x[:, :1] @ weight.T + bias, 0.5).sum(-1), prior


class Amortised(Tiny):
    """Latent variables of each frame, proposed by a network; the network of the model is random as well."""

    def build(self):
        self.decoder, self.encoder = nn.Linear(1, 2), nets.ConditionalGaussian(2, 1, hidden=(3,))

    def model(self, batch):
        decoder = nets.random_net(self, "decoder", {"weight": nets.ard(1.0, 2.0), "bias": nets.gaussian(2.0)})
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(batch.x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", self.encoder(batch.x))


class ExactPosterior(Tiny):
    """z ~ N(0, 1), x ~ N(z, 1), q(z | x) the posterior: the bound is log p(x) at every draw, with any particles."""

    def build(self):
        self.slope = nn.Parameter(torch.tensor(0.5))
        self.log_sd = nn.Parameter(torch.tensor(-0.5 * math.log(2.0), dtype=torch.float64))

    def model(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(self.slope.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", dist.Normal(self.slope * batch.x, self.log_sd.exp()).to_event(1))

    def exact(self, x):
        return normal(x, 0.0, 2**0.5).sum(-1), 0.0


class VectorisedParticles(ExactPosterior):
    """The same with five draws a frame on a plate of their own."""

    def model(self, batch):
        with pyro.plate("draws", 5, dim=-2), poutine.scale(scale=0.2), batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(batch.x.new_zeros(2), 1.0).to_event(1))
            pyro.factor("x", dist.Normal(z, 1.0).to_event(1).log_prob(batch.x))

    def guide(self, batch):
        with pyro.plate("draws", 5, dim=-2), poutine.scale(scale=0.2), batch.plate("frames"):
            pyro.sample("z", dist.Normal((self.slope * batch.x).expand(5, -1, 2), self.log_sd.exp()).to_event(1))


class Mixture(Tiny):
    """A discrete variable summed in closed form."""

    def build(self):
        self.places = nn.Parameter(torch.tensor([-1.0, 0.5]))
        self.logits = nn.Parameter(torch.tensor([0.3, -0.2]))

    def model(self, batch):
        each = dist.Normal(self.places.unsqueeze(-1).expand(2, 2), 0.7).to_event(1)
        with batch.plate("frames"):
            pyro.sample("x", dist.MixtureSameFamily(dist.Categorical(logits=self.logits), each), obs=batch.x)

    def exact(self, x):
        weights = self.logits.detach().double().softmax(-1)
        each = normal(x[:, None, :], self.places.detach().double()[None, :, None], 0.7).sum(-1)
        return (weights * each.exp()).sum(-1).log(), 0.0


class Quartic(dist.TorchDistribution):
    """A distribution of the user's own, unnormalised."""

    support = dist.constraints.real  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, stiffness: Tensor):
        self.stiffness = stiffness
        super().__init__(stiffness.shape, validate_args=False)

    def rsample(self, sample_shape=()):
        return torch.randn(self._extended_shape(sample_shape), dtype=self.stiffness.dtype) / self.stiffness

    def log_prob(self, value):
        return -self.stiffness * value**4

    def expand(self, batch_shape, _instance=None):
        return Quartic(self.stiffness.expand(batch_shape))


class OwnDistribution(Tiny):
    def build(self):
        self.stiffness = nn.Parameter(torch.tensor(1.5))

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", Quartic(self.stiffness.expand(2)).to_event(1), obs=batch.x)

    def exact(self, x):
        return -1.5 * (x**4).sum(-1), 0.0


class Spline(Amortised):
    """A spline flow of zuko's proposes."""

    def build(self):
        super().build()
        self.encoder = zuko.flows.NSF(1, context=2, transforms=1, bins=3, hidden_features=(3,))

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", ZukoToPyro(self.encoder(batch.x)))


class Autoregressive(Tiny):
    """An autoregressive flow of zuko's generates."""

    def build(self):
        self.flow = zuko.flows.MAF(2, transforms=2, hidden_features=(3,))

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", ZukoToPyro(self.flow()), obs=batch.x)


class Forces(Tiny):
    """Force matching: f(x) = -grad (k_1 x_1^2 + k_2 x_2^2) / 2 beside -x."""

    def build(self):
        self.stiffness = nn.Parameter(torch.tensor([0.5, 2.0]))

    def force(self, x):
        return -torch.func.grad(lambda y: 0.5 * (self.stiffness * y**2).sum())(x)

    def log_density(self, batch):
        return dist.Normal(self.force(batch.x), 1.0).to_event(1).log_prob(-batch.x)

    def exact(self, x):
        return normal(-x, -self.stiffness.detach().double() * x, 1.0).sum(-1), 0.0


class ForcesByTape(Forces):
    """The same as plain PyTorch has it, which function transforms refuse."""

    def force(self, x):
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(0.5 * (self.stiffness * x**2).sum(), x, create_graph=True)
        return -gradient


class ForcesOfSystem(Tiny):
    """Energies and forces of a system, beside a parameter."""

    def build(self):
        self.scale = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
        self.system = bcg.systems.from_function(lambda x: (x**4).sum(-1), dim=2, temperature_kT=2.0)

    def log_density(self, batch):
        return self.system.log_prob(self.scale * batch.x) - self.system.forces(batch.x)[:, 0] * self.scale

    def exact(self, x):
        return -((0.7 * x) ** 4).sum(-1) / 2.0 + 0.7 * 4 * x[:, 0] ** 3, 0.0


class Eigenfunctions(Tiny):
    """Rayleigh quotients of two functions after whitening: the generalised eigenvalues of energy and covariance."""

    kind, additive, minimum_batch = "generalised", False, 4

    def build(self):
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.5], [0.2, -1.0]]))

    def functions(self, x):
        return torch.tanh(x @ self.weight.T)

    def model(self, batch):
        gradients = torch.func.jacrev(lambda x: self.functions(x).sum(0))(batch.x)  # (function, frame, coordinate)
        chi = self.functions(batch.x)
        chi = chi - chi.mean(0)
        lower = torch.linalg.cholesky(chi.T @ chi / len(chi))
        energy = torch.einsum("mbi,nbi->mn", gradients, gradients) / len(chi)
        half = torch.linalg.solve_triangular(lower, energy, upper=False)
        whole = torch.linalg.solve_triangular(lower, half.T, upper=False)
        pyro.factor("loss", -torch.linalg.eigvalsh((whole + whole.T) / 2).sum() * TOTAL)

    def exact(self, x):
        weight = self.weight.detach().double()
        chi = torch.tanh(x @ weight.T)
        gradients = (1 - chi**2).unsqueeze(-1) * weight  # (frame, function, coordinate)
        energy = torch.einsum("bmi,bni->mn", gradients, gradients) / len(x)
        trace = torch.linalg.solve(torch.cov(chi.T, correction=0), energy).trace()
        return torch.zeros(len(x), dtype=torch.float64), -float(trace) * TOTAL


class MovingBuffers(Amortised):
    """Buffers that the program updates, in place and by assignment, from the batch and from draws."""

    def build(self):
        super().build()
        self.register_buffer("runs", torch.zeros((), dtype=torch.int64))
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("drawn", torch.zeros(FRAMES, 1))

    def guide(self, batch):
        self.runs += 1
        self.mean.mul_(0.9).add_(0.1 * batch.x.mean(0))
        with batch.plate("frames"):
            z = pyro.sample("z", self.encoder(batch.x - self.mean))
        self.drawn = z.detach()


class OtherDraws(Amortised):
    """Draws that torch makes in place."""

    def guide(self, batch):
        mean = self.encoder(batch.x).mean
        with batch.plate("frames"):
            noise = dist.Exponential(torch.ones_like(mean)).rsample() - dist.Laplace(0.0 * mean, 1.0).rsample()
            pyro.sample("z", dist.Normal(mean + 0.1 * noise, 0.5).to_event(1))


class DrawsInMemoryOrder(Amortised):
    """Noise shaped like a transposed tensor, which is drawn in the order of its memory."""

    def guide(self, batch):
        mean = self.encoder(batch.x).mean
        noise = torch.randn_like(batch.x.T).T[:, :1]
        with batch.plate("frames"):
            pyro.sample("z", dist.Normal(mean + noise, 0.5).to_event(1))


PROGRAMS: dict[str, type[Tiny]] = {
    c.__name__: c
    for c in (
        RandomWeights, Amortised, ExactPosterior, VectorisedParticles, Mixture, OwnDistribution, Spline, Autoregressive,
        Forces, ForcesByTape, ForcesOfSystem, Eigenfunctions, MovingBuffers, OtherDraws, DrawsInMemoryOrder,
    )
}  # fmt: skip


class SubsampledPairs(Tiny):
    """A plate of eight pairs, three of which are drawn inside the program."""

    size: int | None = 3

    def build(self):
        self.places = nn.Parameter(torch.linspace(-1.0, 1.0, 8))

    def model(self, batch):
        pairs = pyro.plate("pairs", 8, subsample_size=self.size, dim=-2)
        with pairs as index, batch.plate("frames"):
            pyro.factor("pair", -((self.places[index, None] - batch.x[:, 0]) ** 2))


class GammaDraws(Tiny):
    """A gamma draw, which no compiler is given from outside, beside a normal one; the buffers keep both."""

    def build(self):
        self.shape = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("gamma", torch.zeros(FRAMES))
        self.register_buffer("normal", torch.zeros(FRAMES))

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("g", dist.Gamma(2.0, 1.0))
            pyro.sample("z", dist.Normal(batch.x[:, 0], 1.0))

    def guide(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(batch.x[:, 1], 1.0))
            g = pyro.sample("g", dist.Gamma(self.shape, 1.0))
        self.normal, self.gamma = (z - batch.x[:, 1]).detach(), g.detach() + torch.zeros_like(batch.x[:, 0])


def prepared(model_class: type[Tiny], dtype=torch.float32, members=None, particles=None) -> tuple[Any, ...]:
    """Gradients of a tiny model, and example parameters, buffers and batch; members' parameters differ a little."""
    with seeded(1):
        model = model_class().to(dtype)
        x = torch.randn(FRAMES, 2, dtype=dtype)
        weight = torch.rand(FRAMES, dtype=dtype) + 0.5
        names = check_programs(model, bcg.Batch(x=x, total=TOTAL))
    program = Program(model, names, particles=particles)
    params = {k: v.detach().clone() for k, v in program.named_parameters()}
    buffers = {k: v.detach().clone() for k, v in program.named_buffers()}
    if members:
        params = {k: torch.stack([v + 0.01 * i for i in range(members)]) for k, v in params.items()}
        weight = torch.stack([weight.roll(i) for i in range(members)])
    tensors = {"x": x, "weight": weight}
    plain, moving = gradient_function(program, TOTAL, float(TOTAL), bool(members), params, buffers, tensors)
    if members:
        buffers |= {k: buffers[k].expand(members, *buffers[k].shape).clone() for k in moving}
    return plain, params, buffers, tensors


def exact_loss(model_class: type[Tiny], tensors) -> float | None:
    """Minus the bound per frame by hand, at the parameters that `prepared` starts from."""
    with seeded(1):
        found = model_class().exact(tensors["x"].double())
    if found is None:
        return None
    frames, prior = found
    weight = tensors["weight"].double()
    return -float((frames * weight).sum() * TOTAL / len(frames) + prior) / TOTAL


def joined(classes: dict[str, type[Tiny]], dtype=torch.float32) -> tuple[Any, ...]:
    """Several programs as one, so that one compilation tests them all; the loss is a vector of theirs."""
    cases = {name: prepared(c, dtype) for name, c in classes.items()}

    def plain(params, buffers, tensors):
        grads, losses, moved = {}, [], {}
        for name, (function, *arguments) in cases.items():
            own = zip(arguments, (params, buffers, tensors), strict=True)
            g, loss, m = function(*({k: given[f"{name}/{k}"] for k in a} for a, given in own))
            losses.append(loss)
            grads |= {f"{name}/{k}": v for k, v in g.items()}
            moved |= {f"{name}/{k}": v for k, v in m.items()}
        return grads, torch.stack(losses), moved

    def flat(i: int) -> dict[str, Tensor]:
        return {f"{name}/{k}": v for name, case in cases.items() for k, v in case[i].items()}

    return plain, flat(1), flat(2), flat(3)
