"""Predictive coarse-graining against exact maximum likelihood, written anew, and against the physics that it learns."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate

import bayescg as bcg
from bayescg.data import Frames
from bayescg.distributions import LatticeDensity
from bayescg.errors import ConfigError, DataError
from bayescg.inference.reweighting import evidence, weighted_draws
from bayescg.models import PredictiveCoarseGraining
from tests.calibration.coarse_graining import simulate

LOADINGS = np.array([1.0, -0.6, 0.4, 0.8])
SHIFT = np.array([0.5, -1.0, 0.0, 2.0])
NOISE = np.array([0.5, 0.4, 0.6, 0.5])
FIT = {"steps": 300, "learning_rate": 0.1, "validation": 0.0, "compile": "trace"}


def hidden(x: np.ndarray) -> np.ndarray:
    """Energy of the hidden variable, in kT."""
    return 0.5 * x**4 - 2 * x**2 + 0.25 * x


def latent_frames(seed: int, count: int = 400) -> Frames:
    """Frames x = W X + m + noise in four dimensions, X of a double well."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-4, 4, 8001)
    density = np.exp(-hidden(grid))
    hidden_values = rng.choice(grid, size=(count, 1), p=density / density.sum())
    x = hidden_values * LOADINGS + SHIFT + NOISE * rng.normal(size=(count, 4))
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)


class Exact:
    """The same family in another gauge, U = 0.5 X^4 + b X^2 + a X, by the trapezoidal rule in double precision."""

    grid = torch.linspace(-4.5, 4.5, 301, dtype=torch.float64)

    def __init__(self, frames: Frames):
        x = torch.as_tensor(frames.positions).double()
        start = np.concatenate([[0.25, -2.0], LOADINGS, SHIFT, np.log(NOISE)])
        self.theta = torch.tensor(start, requires_grad=True)
        search = torch.optim.LBFGS([self.theta], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-12)

        def minus() -> torch.Tensor:
            search.zero_grad()
            loss = -self.log_likelihood(x)
            loss.backward()
            return loss

        search.step(minus)
        self.best = float(self.log_likelihood(x).detach())

    @property
    def log_density(self) -> torch.Tensor:
        a, b = self.theta[:2]
        u = 0.5 * self.grid**4 + b * self.grid**2 + a * self.grid
        return -u - torch.logsumexp(-u, 0)

    def log_likelihood(self, x: torch.Tensor) -> torch.Tensor:
        loadings, shift, log_sd = self.theta[2:].split(4)
        residual = (x[:, None] - self.grid[:, None] * loadings - shift) / log_sd.exp()
        normal = -0.5 * residual**2 - log_sd - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(self.log_density + normal.sum(-1), 1).sum()

    def observables(self) -> dict[str, float]:
        return observables(self.theta.detach()[2:].split(4), self.grid, self.log_density.detach())


def observables(parts, nodes: torch.Tensor, log_density: torch.Tensor) -> dict[str, float]:
    """Exact averages of what x = W X + m + noise predicts; none of them depends on the gauge of X."""
    (loadings, shift, log_sd), weight = parts, log_density.exp()
    mean = nodes[:, None] * loadings + shift
    below = torch.special.ndtr((0.0 - mean[:, 0]) / log_sd[0].exp())
    above = torch.special.ndtr((mean[:, 0] - 1.5) / log_sd[0].exp())
    first, second = weight @ mean[:, 1], weight @ mean[:, 1] ** 2
    return {
        "P(x0 < 0)": float(weight @ below),
        "E x0 x3": float(weight @ (mean[:, 0] * mean[:, 3])),
        "P(x0 > 1.5)": float(weight @ above),
        "Var x1": float(second - first**2 + (2 * log_sd[1]).exp()),
    }


class Unpinned(PredictiveCoarseGraining):
    """With a factor between X and its way back: the same frames with any unit of X."""

    def build(self, size: int) -> None:
        super().build(size)
        self.decoder = torch.nn.Sequential(Stretch(), *self.decoder)


class Stretch(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        torch.nn.init.zeros_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.exp()


def predicted(model: Any) -> dict[str, float]:
    with torch.no_grad():
        width, linear = model.scale.width, model.decoder[0]
        loadings, shift = width * linear.weight[:, 0], model.scale.mean + width * linear.bias
        nodes = model.potential.lattice
        log_density = torch.log_softmax(-model.potential(nodes), 0)
        return observables((loadings, shift, (width * model.log_noise.exp()).log()), nodes[:, 0], log_density)


@pytest.fixture(scope="module")
def latent():
    frames = latent_frames(0)
    return frames, bcg.fit(PredictiveCoarseGraining(), frames, seed=0, **FIT), Exact(frames)


def test_the_optimum_is_that_of_exact_maximum_likelihood(latent):
    frames, fit, exact = latent
    loss = exact.best - float(fit.log_density(frames).detach().double().sum())
    assert -0.01 < loss < 0.1  # nats, of all frames; the prior costs a few thousandths


def test_no_coordinate_captures_the_coarse_variable():
    """Of these frames a random start ends 83 nats below the optimum."""
    frames = simulate(18)
    fit = bcg.fit(PredictiveCoarseGraining(), frames, uncertainty="none", seed=18, **FIT)
    assert Exact(frames).best - float(fit.log_density(frames).detach().double().sum()) < 0.1


def test_answers_do_not_depend_on_the_gauge(latent):
    _, fit, exact = latent
    ours, theirs = predicted(fit.model), exact.observables()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=3e-3), name


def test_two_wells_are_needed(latent):
    """A Gaussian hidden variable, the same model with its potential taken away, predicts the shares of wells wrong."""
    frames, fit, exact = latent
    gaussian = bcg.fit(bcg.models.PredictiveCV(latent_dim=1, hidden=()), frames, uncertainty="none",
                       steps=400, learning_rate=0.05, validation=0.0, compile="trace")  # fmt: skip
    gain = fit.log_density(frames).sum() - gaussian.log_density(frames).sum()
    assert gain > 20
    share = float((gaussian.generate(40_000)[..., 0] > 1.5).float().mean())
    assert abs(share - exact.observables()["P(x0 > 1.5)"]) > 0.03


def test_the_fitted_potential_is_a_system(latent):
    _, fit, exact = latent
    system = fit.system()
    x = torch.tensor([[-1.0], [0.0], [2.0]])
    stretch = 2**0.25  # from 0.5 X^4 to X^4 / 4
    a, b = exact.theta.detach()[:2]
    sign = torch.sign(fit.model.decoder[0].weight[0, 0].detach())
    wanted = x**4 / 4 + b * x**2 / stretch**2 + a * sign * x / stretch
    difference = system.energy(x) - wanted[:, 0]
    torch.testing.assert_close(difference - difference[0], torch.zeros(3), atol=0.05, rtol=0)
    assert system.kT == 1.0
    many = fit.system(draws=50).energy(x.expand(50, 3, 1))
    assert 0.02 < float((many[:, 2] - many[:, 1]).std()) < 2
    run = bcg.sampling.overdamped(system, 2000, dt=0.005, chains=50, stride=20, equilibration=500, seed=0)
    potential = fit.model.potential
    coarse = LatticeDensity(potential.axis, -potential(potential.lattice).detach())
    chains = run.positions.reshape(50, -1).mean(1)
    assert abs(float(run.positions.mean()) - float(coarse.mean)) < 4 * chains.std() / 50**0.5 < 0.8


def test_a_question_finds_wells_and_barrier_with_their_band(latent):
    frames, fit, exact = latent
    finding = bcg.questions.ask(fit, frames, "latent_potential", draws=200)
    barrier, u = finding.quantities["coarse_barrier"], -exact.log_density.detach()
    height = float(u[(exact.grid.abs() < 0.5)].max() - u.min())
    assert barrier.mean == pytest.approx(height, abs=0.15)
    assert 0.1 < barrier.sd < 0.6
    assert barrier.ci90 is not None
    assert finding.diagnostics["wells"] == 2
    assert finding.diagnostics["latent_potential_gap"] < 0.5
    energy: Any = finding.datasets["latent_potential"]["energy"]
    step = float(energy["X1"][1] - energy["X1"][0])
    np.testing.assert_allclose(np.exp(-energy).sum("X1") * step, 1.0, atol=1e-5)
    finding.figures["latent_potential"].draw().draw_without_rendering()
    assert finding.warnings == fit.diagnostics["warnings"]


def test_without_parameter_uncertainty_a_barrier_has_no_interval(latent):
    frames, fit, _ = latent
    point = bcg.Fit(fit.model, replace(fit.weights, kind="none", tensors={}), {}, {}, {}, [], frames)
    barrier = bcg.questions.ask(point, frames, "latent_potential").quantities["coarse_barrier"]
    assert barrier.ci90 is None
    assert "no parameter uncertainty" in str(barrier.warning)


def test_the_gauge_is_pinned(latent):
    """Data narrow every direction of the parameters; a unit of X that is left open makes one that they do not."""
    frames, fit, _ = latent
    hessian = fit.diagnostics["hessian"]
    assert hessian["parameters"] == 14
    assert hessian["least_gain"] > 3
    fit = bcg.fit(Unpinned(), frames, seed=0, **FIT)
    assert fit.diagnostics["hessian"]["least_gain"] < 1.5


def test_a_lattice_too_coarse_for_what_frames_tell_is_doubted(latent):
    frames, *_ = latent
    model, x = PredictiveCoarseGraining(nodes=21, dim=4), torch.as_tensor(frames.positions)
    model.setup(frames)
    with torch.no_grad():
        model.log_noise.fill_(-4.0)
    doubts = model.doubts(model.inputs(x), torch.ones(400))
    assert any("use more than nodes=21" in words for words in doubts)
    with torch.no_grad():
        model.potential.coefficients.copy_(torch.tensor([0.0, -12.0]))
    doubts = model.doubts(model.inputs(x), torch.ones(400))
    assert any("where their lattice ends" in words for words in doubts)


def test_relative_entropy_has_the_gradient_of_minus_the_log_likelihood():
    """dS_rel/d theta = <phi> of the frames - <phi> of the model, the latter by adaptive quadrature."""
    potential = bcg.nets.CoarsePotential(1, degree=6).double()
    with torch.no_grad():
        potential.coefficients.copy_(torch.tensor([0.2, -1.0, 0.1, 0.3], dtype=torch.float64))
    x = torch.linspace(-1.8, 1.6, 50, dtype=torch.float64)[:, None]
    log_z = torch.logsumexp(-potential(potential.lattice), 0) + (potential.axis[1] - potential.axis[0]).log()
    loss = (potential(x) + log_z).mean()
    (gradient,) = torch.autograd.grad(loss, potential.coefficients)

    def boltzmann(v: float, k: int | None = None) -> float:
        point = torch.tensor([[v]], dtype=torch.float64)
        with torch.no_grad():
            factor = float(torch.exp(-potential(point)))
            return factor if k is None else factor * float(potential.functions(point)[0, k])

    z = integrate.quad(boltzmann, -4, 4, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
    assert float(log_z.detach()) == pytest.approx(math.log(z), abs=1e-10)
    for k in range(4):
        of_model = integrate.quad(boltzmann, -4, 4, args=(k,), epsabs=1e-12, epsrel=1e-12, limit=200)[0] / z
        assert float(potential.functions(x)[:, k].mean()) - of_model == pytest.approx(float(gradient[k]), abs=1e-8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"degree": 5}, "falls without end on one side"),
        ({"degree": 2}, "degree"),
        ({"latent_dim": 3}, "too many nodes"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"nodes": 5}, "nodes"),
        ({"ard": (0.0, 1.0)}, "ard"),
        ({"system": bcg.systems.DoubleWell}, "make one of the class first"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        PredictiveCoarseGraining(**arguments)


@pytest.fixture(scope="module")
def oscillator():
    model = PredictiveCoarseGraining(system=bcg.systems.Harmonic((1.0, 4.0)), hidden=(8,), nodes=65, beta_start=0.3)
    return bcg.fit(model, steps=300, batch_size=200, learning_rate=0.02, compile="trace", seed=0)


def test_without_data_the_partition_function_of_an_oscillator_comes_out(oscillator):
    """Exact: log(2 pi / sqrt(1 * 4))."""
    answer = evidence(weighted_draws(oscillator, 20_000, seed=0))
    assert abs(answer.log_z - math.log(math.pi)) < 4 * answer.log_z_sd < 0.02
    assert answer.ess_fraction > 0.9
    assert -oscillator.log[-1]["loss"] < math.log(math.pi) + 0.05  # a bound, up to the noise of its batches
    x = oscillator.generate(20_000, seed=1)[0]
    torch.testing.assert_close(x.std(0), torch.tensor([1.0, 0.5]), rtol=0.1, atol=0)
    assert oscillator.cv(torch.zeros(5, 2)).mean.shape == (5, 1)


def test_the_density_without_data_is_exact(oscillator):
    """What no reverse map approximates: the generated density integrates to one over the plane."""
    side = torch.linspace(-8, 8, 400)
    plane = torch.cartesian_prod(side, side)
    cell = (side[1] - side[0]) ** 2
    assert float((oscillator.model.marginal().log_prob(plane).exp().sum() * cell).detach()) == pytest.approx(
        1.0, abs=1e-3
    )


def test_saving_keeps_the_system(oscillator, tmp_path):
    oscillator.save(tmp_path)
    again = bcg.Fit.load(tmp_path)
    assert again.model.config()["system"]["stiffness"] == [1.0, 4.0]
    assert not again.model.needs_frames
    first, second = (bcg.analysis.reweighted(f, 1000) for f in (oscillator, again))
    assert (first.weights == second.weights).all()


def test_each_way_refuses_what_the_other_needs():
    system = bcg.systems.DoubleWell()
    frames = Frames.from_numpy(np.zeros((4, 2)), unit="reduced", temperature_kT=1.0)
    with pytest.raises(DataError, match="not from frames"):
        bcg.fit(PredictiveCoarseGraining(system=system), frames)
    with pytest.raises(DataError, match="there are no frames"):
        bcg.fit(PredictiveCoarseGraining())
    with pytest.raises(ConfigError, match="no frames to weigh"):
        bcg.fit(PredictiveCoarseGraining(system=system), uncertainty="bootstrap")
    molecule = bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0)
    with pytest.raises(ConfigError, match="unbounded_coordinates"):
        PredictiveCoarseGraining(bcg.features.torsions(molecule.topology), system=molecule)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_without_data_both_wells_are_kept(seed):
    """A double well whose right well holds 0.8 %, audited as embedded physics is."""
    fit = bcg.fit(PredictiveCoarseGraining(system=bcg.systems.DoubleWell()), steps=2000, batch_size=500,
                  learning_rate=0.01, seed=seed)  # fmt: skip
    frames = bcg.analysis.reweighted(fit, 200_000, 0)
    fes = bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 0])
    assert abs(fes.difference((-10.0, 0.16745), (0.16745, 10.0)).mean - 4.7776) < 0.1
    audit = bcg.analysis.audit(fit, samples=50_000)
    assert not audit.warnings
    assert audit.missing_mass_ci90[1] < 1e-3


@pytest.mark.slow
def test_without_data_what_is_lost_of_a_molecule_is_told():
    """One Gaussian a node cannot hold sixty coordinates: the audit finds what it lost, and no interval is quoted.

    After ten times the steps it leaves out 47 % [45, 49], and .3 % of its draws count.
    """
    molecule = bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0)
    fit = bcg.fit(PredictiveCoarseGraining(system=molecule, latent_dim=2), steps=300, uncertainty="none", seed=0)
    audit = bcg.analysis.audit(fit, evaluations=1_500_000)
    assert audit.missing_mass_ci90[0] > 0.05
    assert any("leaves out" in words for words in audit.warnings)
    frames = bcg.analysis.reweighted(fit, 20_000)
    difference = bcg.analysis.free_energy(fit, frames, cv="psi").difference((-2.0, 1.0), (1.0, 3.0))
    assert difference.ci90 is None
    assert "the generator leaves out" in str(difference.warning)
