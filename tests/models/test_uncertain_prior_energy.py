"""Prior energies whose parameters are random: closed forms, coverage, every uncertainty; and the relative entropy."""

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.inference.fitted import Fit
from bayescg.modelling import Batch
from bayescg.models import ForceMatchingPotential
from bayescg.recording.functional import call_with
from tests.calibration import mean_forces as toy
from tests.models.test_neighbours_of_beads import chiral

SETTINGS: dict[str, Any] = {"validation": 0.0, "batch_size": 5000, "compile": "off", "progress": False}
TINY: dict[str, Any] = {
    "hidden": (2,), "noise": "constant", "weights": 1e-4, "prior_parameters": "uncertain",
}  # fmt: skip
STIFF = torch.tensor([0.6, 1.0, 1.5, 2.0]).double()
REST = torch.tensor([-0.4, 0.0, 0.2, 0.4]).double()
NOISE = 2.0

pytestmark = pytest.mark.filterwarnings("ignore:forces do not belong:UserWarning")  # these are of no equilibrium


def springs(seed: int, n: int = 300) -> Frames:
    """Springs of other stiffness and rest than the frames show, and noise: the prior energy alone is right."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    forces = -STIFF.numpy() * (x - REST.numpy()) + NOISE * rng.normal(size=x.shape)
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, forces=forces)


def learned(frames: Frames, **more: Any) -> Fit:
    settings: dict[str, Any] = {**SETTINGS, "steps": 300, "learning_rate": 0.03, **more}
    return bcg.fit(ForceMatchingPotential(**TINY), frames, **settings)


def stiffness(fit: Fit, draws: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Draws of stiffness and rest, in the unit of the coordinates, each ``(draws, 4)``."""
    values = fit.parameters(draws, seed=1)
    energy: Any = fit.model.springs
    width, mean = energy.width.numpy(), energy.mean.numpy()
    k = np.exp(values["springs.log_stiffness"].numpy()) / width**2
    return k, mean + width * values["springs.rest"].numpy()


def on_a_grid(fit: Fit, frames: Frames, d: int) -> tuple[float, float, float, float]:
    """Mean and sd of stiffness and rest of one coordinate, by sums over the exact posterior at the noise of the fit."""
    model: Any = fit.model
    width, mean = (float(v[d]) for v in (model.springs.width, model.springs.mean))
    noise = float(model.log_noise.detach()[d].exp())
    log_k, r = np.meshgrid(np.linspace(-1.5, 1.5, 1001), np.linspace(-1.0, 1.0, 501), indexing="ij")
    x = (np.asarray(frames.positions)[:, d] - mean) / width
    forces = np.asarray(frames.forces)[:, d] * width
    k, scale = np.exp(log_k), (noise * width) ** 2
    # sum over frames of (f + k (x - r))^2, by the moments of x and f
    square = (forces**2).sum() + 2 * k * ((forces * x).sum() - r * forces.sum())
    square = square + k**2 * ((x**2).sum() - 2 * r * x.sum() + len(x) * r**2)
    log_p = -0.5 * square / scale - 0.5 * (log_k / 0.5) ** 2 - 0.5 * (r / 0.5) ** 2
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    answers = []
    for values in (k / width**2, mean + width * r):
        m = float((p * values).sum())
        answers += [m, float((p * (values - m) ** 2).sum()) ** 0.5]
    return answers[0], answers[1], answers[2], answers[3]


def test_the_posterior_is_the_exact_one_and_nearly_that_of_linear_regression():
    """Forces -k x + k r are linear in k and k r, whose posterior without a prior is least squares."""
    frames = springs(0, 12_000)  # Laplace's is one of ln k, whose mean is off by some twice its width
    fit = learned(frames, batch_size=12_000)
    k, rest = stiffness(fit, 4000)
    noise = fit.model.get_parameter("log_noise").detach().exp().numpy()
    x, forces = np.asarray(frames.positions), np.asarray(frames.forces)
    assert noise == pytest.approx(NOISE, rel=0.05)
    for d in range(4):
        mean_k, sd_k, mean_rest, sd_rest = on_a_grid(fit, frames, d)
        for draws, mean, sd in ((k[:, d], mean_k, sd_k), (rest[:, d], mean_rest, sd_rest)):
            assert draws.mean() == pytest.approx(mean, abs=0.1 * sd)
            assert draws.std() == pytest.approx(sd, rel=0.06)
        design = np.stack([-x[:, d], np.ones(len(x))], 1)
        covariance = np.linalg.inv(design.T @ design) * noise[d] ** 2
        slope, _ = covariance @ design.T @ forces[:, d] / noise[d] ** 2
        # the prior, ten times as wide, takes a hundredth of it, and of ln k = -.6 a fifth of a standard deviation
        assert k[:, d].mean() == pytest.approx(slope, abs=0.3 * covariance[0, 0] ** 0.5)
        assert k[:, d].std() == pytest.approx(covariance[0, 0] ** 0.5, rel=0.06)


def covered(sets: int, shrink: float = 1.0) -> int:
    """Of 4 stiffnesses a set, in how many 90 % intervals the truth lies; of `shrink` too narrow ones, the control."""
    count = 0
    for seed in range(sets):
        logs = np.log(stiffness(learned(springs(100 + seed)))[0])
        low, high = np.quantile(logs, [0.05, 0.95], axis=0)
        middle = 0.5 * (low + high)
        count += int((np.abs(STIFF.log().numpy() - middle) < shrink * 0.5 * (high - low)).sum())
    return count


def test_intervals_of_stiffness_hold_it_in_a_few_data_sets():
    assert covered(4) >= 11  # of 16 intervals of 90 %: 99.5 times of a hundred


@pytest.mark.slow
def test_intervals_of_stiffness_hold_it_as_often_as_they_say():
    counts = covered(50), covered(50, 0.5)
    print(counts)
    assert 166 <= counts[0] <= 191  # of 200 intervals of 90 %: 99 times of a hundred
    assert counts[1] < 166


def test_fixed_parameters_cannot_follow():
    """Negative control: the same fit with the stiffness that the frames show is wrong by what they differ."""
    frames = springs(0, 3000)
    wrong = bcg.fit(
        ForceMatchingPotential(**{**TINY, "prior_parameters": "fixed"}),
        frames,
        steps=120,
        uncertainty="none",
        **SETTINGS,
    )
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(1)).double()
    truth = -STIFF * (x - REST)
    errors = [
        float((f.system().forces(x) - truth).square().mean()) for f in (learned(frames, uncertainty="none"), wrong)
    ]
    assert errors[0] < 0.05 < 0.2 < errors[1]


@pytest.mark.parametrize("uncertainty", ["laplace", "bootstrap", "mean-field", "none"])
def test_bonds_angles_and_radii_are_learned_with_the_network(uncertainty, tmp_path):
    frames = chiral(60)
    model = ForceMatchingPotential(hidden=(4,), prior_parameters="uncertain")
    fit = bcg.fit(model, frames, uncertainty=uncertainty, **{**SETTINGS, "steps": 3})
    names = {"springs.log_stiffness": (5,), "springs.rest": (5,), "springs.log_radius": (1,)}
    assert {k: tuple(v.shape) for k, v in fit.model.named_parameters() if k.startswith("springs")} == names
    if uncertainty in ("laplace", "bootstrap"):
        values = fit.parameters(3, seed=0)
        for name in names:
            assert (values[name].std(0) > 0).all(), name
    fit.save(tmp_path)
    again, x = Fit.load(tmp_path), torch.as_tensor(frames.positions).flatten(1)
    assert torch.equal(again.system().energy(x), fit.system().energy(x))


def test_the_prior_is_centred_at_what_the_frames_show():
    frames = chiral(200)
    energies = {}
    for choice in ("fixed", "uncertain"):
        model = ForceMatchingPotential(prior_parameters=choice)
        model.setup(frames)
        model.reset()
        assert model.springs is not None
        energies[choice] = model.springs(torch.as_tensor(frames.positions).flatten(1)).detach()
    assert torch.allclose(*energies.values(), rtol=1e-6)


def test_parameters_of_no_prior_energy_are_refused():
    with pytest.raises(ConfigError, match="prior_parameters='uncertain' are those of a prior energy"):
        ForceMatchingPotential(prior=None, prior_parameters="uncertain")


@pytest.mark.parametrize("choice", ["fixed", "uncertain"])
def test_the_slope_of_the_density_is_that_of_the_relative_entropy(choice):
    """d(-log p) / d theta = n (E_f[dU / d theta] - E_c[dU / d theta]) / kT, the latter a sum over points.

    Shell, J. Chem. Phys. 129, 144108 (2008).
    """
    x = torch.as_tensor(np.asarray(toy.independent(3, 200).positions)).double()
    model: Any = ForceMatchingPotential(hidden=(8,), evidence="density", prior_parameters=choice)
    model.setup(Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0))
    torch.manual_seed(1)
    model.reset()
    state = {k: v.detach() for k, v in model.named_parameters()}

    def minus_log_p(values):
        def loss(m):
            trace: Any = poutine.trace(poutine.condition(m.model, values)).get_trace(Batch(x=x, total=len(x)))
            trace.compute_log_prob()
            return -trace.nodes["positions"]["log_prob"].sum()

        return call_with(model, values, loss)

    def energies(values, y):
        return call_with(model, values, lambda m: m.potential(y))

    slopes = torch.func.grad(minus_log_p)(state)
    grid = model.box.points
    p = (-energies(state, grid)).exp()
    fine, coarse = (
        torch.func.grad(lambda v, y=y, w=w: w @ energies(v, y))(state)
        for y, w in ((x, torch.ones(len(x)).double()), (grid, len(x) * p / p.sum()))
    )
    for name, slope in slopes.items():
        scale = 1.0 + float(fine[name].abs().max())
        assert torch.allclose(slope, fine[name] - coarse[name], rtol=0, atol=1e-8 * scale), name
    wrong = [
        not torch.allclose(s, fine[name], rtol=0, atol=1e-2) for name, s in slopes.items() if "springs" not in name
    ]
    assert any(wrong)  # negative control: without the ensemble of the potential
