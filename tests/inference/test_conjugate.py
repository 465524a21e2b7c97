"""Parameter posteriors against the exact one: the mean of a Gaussian of known width, with a Gaussian prior."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg import nets
from bayescg.data import Frames
from bayescg.errors import ModelError
from bayescg.inference.laplace import laplace
from bayescg.inference.uncertainty import block_weights

PRIOR_SD = 2.0
N = 200


class GaussianMean(bcg.Model):
    """mean ~ N(0, PRIOR_SD^2), x ~ N(mean, 1): the posterior is N(sum x / k, 1 / k), k = N + 1 / PRIOR_SD^2."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))

    def model(self, batch):
        mean = pyro.sample("mean", nets.gaussian(PRIOR_SD)(self.mean))
        with self.plate(batch):
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=batch.x)

    def plate(self, batch):
        return batch.plate("frames")

    def guide(self, batch):
        """Propose nothing: no variable belongs to a frame."""

    def config(self):
        return {}

    @classmethod
    def example(cls):
        return cls(), draws(), None


class PlateOfTheBatch(GaussianMean):
    """The bug that `batch.plate` is there to prevent."""

    def plate(self, batch):
        return pyro.plate("frames", len(batch), dim=-1)


def draws(n: int = N, **more) -> Frames:
    x = np.random.default_rng(5).normal(size=(n, 1)) + 0.7
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, **more)


def correlated(n: int = 4000, phi: float = 0.8) -> Frames:
    """AR(1) of unit variance, whose statistical inefficiency is (1 + phi) / (1 - phi) = 9."""
    noise = np.random.default_rng(6).normal(size=n) * np.sqrt(1 - phi**2)
    x = np.empty(n)
    x[0] = noise[0] / np.sqrt(1 - phi**2)
    for i in range(1, n):
        x[i] = phi * x[i - 1] + noise[i]
    return Frames.from_numpy(x[:, None] + 0.7, unit="reduced", temperature_kT=1.0, dt=1.0)


def moments(fit) -> tuple[float, float]:
    mean = fit.parameters(4000)["mean"].double()
    return float(mean.mean()), float(mean.std())


def trained(uncertainty: str, frames: Frames, model=GaussianMean, **settings):
    steps = 1500 if uncertainty == "mean-field" else 600  # a width takes longer to learn than a mean
    defaults = {"steps": steps, "validation": 0.0, "learning_rate": 2e-2, "compile": "trace"}
    return bcg.fit(model(), frames, uncertainty=uncertainty, **{**defaults, **settings})


def exact(frames: Frames, effective: float) -> tuple[float, float]:
    precision = effective + PRIOR_SD**-2
    return effective * float(frames.positions.mean()) / precision, precision**-0.5


@pytest.mark.parametrize("batch_size", [20, pytest.param(N, marks=pytest.mark.slow)])
@pytest.mark.parametrize("uncertainty", ["mean-field", "laplace"])
def test_posterior_is_the_exact_one(uncertainty, batch_size):
    mean, sd = exact(draws(), N)
    found_mean, found_sd = moments(trained(uncertainty, draws(), batch_size=batch_size))
    assert found_sd == pytest.approx(sd, rel=0.08)
    assert found_mean == pytest.approx(mean, abs=0.3 * sd)


def test_plate_of_the_batch_is_overdispersed():
    """Negative control: with plate(len(batch)) the posterior is that of 20 frames, not of 200."""
    _, sd = exact(draws(), N)
    found = moments(trained("mean-field", draws(), PlateOfTheBatch, batch_size=20))[1]
    assert found == pytest.approx(exact(draws(), 20)[1], rel=0.15)
    assert found > 2.5 * sd


@pytest.mark.parametrize("value", [-1.0, -1e-4, -5e-5, -1e-9, 0.0, 5e-5, 1.0])
def test_a_weight_that_frames_say_nothing_of_is_as_wide_as_its_prior(value):
    model, point = GaussianMean(), {"mean": torch.tensor([value])}
    sd = laplace(model, ["mean"], point, frames=1e-6, seed=0).draw(4000)["mean"].std()
    assert float(sd) == pytest.approx(PRIOR_SD, rel=0.05)


def test_laplace_refuses_a_prior_of_another_centre():
    class Shifted(GaussianMean):
        def model(self, batch):
            mean = pyro.sample("mean", dist.Normal(self.mean.new_full((1,), 3.0), 1.0).to_event(1))
            with batch.plate("frames"):
                pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=batch.x)

    with pytest.raises(ModelError, match=r"prior of 'mean'.*zero"):
        laplace(Shifted(), ["mean"], {"mean": torch.tensor([0.5])}, frames=10, seed=0)


@pytest.fixture(scope="module")
def of_correlated():
    return {choice: trained(choice, correlated(), batch_size=400) for choice in ("mean-field", "laplace")}


@pytest.mark.parametrize("uncertainty", ["mean-field", "laplace"])
def test_correlated_frames_count_less(of_correlated, uncertainty):
    frames, fit = correlated(), of_correlated[uncertainty]
    g = fit.diagnostics["statistical_inefficiency"]
    assert g == pytest.approx(9, rel=0.35)
    assert fit.diagnostics["effective_frames"] == pytest.approx(len(frames) / g, rel=1e-4)
    assert moments(fit)[1] == pytest.approx(exact(frames, len(frames) / g)[1], rel=0.08)


def test_correlation_widens_by_the_root_of_the_inefficiency(of_correlated):
    frames, fit = correlated(), of_correlated["laplace"]
    independent = Frames.from_numpy(frames.positions, unit="reduced", temperature_kT=1.0)
    narrow = moments(trained("laplace", independent, batch_size=400))[1]
    assert moments(fit)[1] / narrow == pytest.approx(fit.diagnostics["statistical_inefficiency"] ** 0.5, rel=0.12)


def test_refits_solve_their_weighted_problem():
    """Every refit of the bootstrap ends at the exact answer for its own weights."""
    frames = draws()
    fit = trained("bootstrap", frames, members=9, steps=800)
    weights = block_weights(torch.arange(N), 8, seed=0, share=1.0).double()
    x = torch.as_tensor(frames.positions[:, 0]).double()
    answer = (weights @ x) / (weights.sum(1) + PRIOR_SD**-2)
    torch.testing.assert_close(fit.parameters()["mean"].double().flatten(), answer, atol=1e-3, rtol=0)
    assert float(fit.weights.point["mean"]) == pytest.approx(exact(frames, N)[0], abs=1e-3)


@pytest.mark.parametrize("uncertainty", ["bootstrap", pytest.param("ensemble", marks=pytest.mark.slow)])
def test_bootstrap_spread_is_the_standard_error(uncertainty):
    frames = draws()
    fit = trained(uncertainty, frames, members=301, steps=400)
    spread = float(fit.parameters()["mean"].double().std())
    # the standard error of a mean; 300 refits give it to 4 %
    assert spread == pytest.approx(float(frames.positions.std()) / (N - 1) ** 0.5, rel=0.13)


def test_bootstrap_of_correlated_frames_is_wider():
    """True standard error of the mean: sqrt(9 / 4000) = 0.047; taken as independent, 0.016."""
    frames = correlated()
    spread = float(trained("bootstrap", frames, members=61, steps=400).parameters()["mean"].double().std())
    assert spread == pytest.approx((9 / len(frames)) ** 0.5, rel=0.35)
    independent = Frames.from_numpy(frames.positions, unit="reduced", temperature_kT=1.0)
    narrow = float(trained("bootstrap", independent, members=61, steps=400).parameters()["mean"].double().std())
    assert narrow < 0.5 * spread


def test_a_frame_of_weight_two_is_two_frames():
    x = draws().positions[:50]
    weights = np.where(x[:, 0] > 0.5, 2.0, 1.0)
    weighted = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, weights=weights)
    repeated = Frames.from_numpy(np.repeat(x, weights.astype(int), axis=0), unit="reduced", temperature_kT=1.0)
    a, b = (float(trained("none", f, steps=500).weights.point["mean"]) for f in (weighted, repeated))
    # equal but for the prior, which sees Kish's effective number of frames in the one and all of them in the other
    effective = weights.sum() ** 2 / (weights**2).sum()
    assert a * (effective + 0.25) / effective == pytest.approx(b * (len(repeated) + 0.25) / len(repeated), abs=1e-4)


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_fit_of_a_conjugate_model_keeps_the_contract(quick):
    from bayescg.contract.conformance import check_model

    GaussianMean.__doc__ = f"{GaussianMean.__doc__}\n\n    References\n    ----------\n    Any textbook.\n    "
    assert [o for o in check_model(GaussianMean, quick=quick) if not o.ok] == []
