"""What data tell of many parameters, by sketches and by generated frames, where the posterior is known."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg.inference import informed_directions, laplace
from bayescg.inference.informed_directions import by_training_frames
from tests.calibration.parameter_posterior import Located

FRAMES, WEIGHTS, ROWS = 12_000, 400, 512


class Line(bcg.Model):
    """y ~ N(a w, 1) of frames (a, y), weights w ~ N(0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(WEIGHTS))

    def model(self, batch: bcg.Batch) -> None:
        weights = pyro.sample("weights", bcg.nets.gaussian(1.0)(self.weights))
        assert batch.x is not None
        with batch.plate("frames"):
            pyro.sample("y", dist.Normal(batch.x[:, :-1] @ weights, 1.0), obs=batch.x[:, -1])

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    def information(self, batch: bcg.Batch) -> torch.Tensor:
        assert batch.x is not None
        return batch.x[:, :-1] @ self.weights

    @classmethod
    def example(cls):
        raise NotImplementedError


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """Of whose weights some 200 are determined by them, the first ones best."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(WEIGHTS, WEIGHTS))[0]
    size = 3.0 * torch.exp(-torch.arange(WEIGHTS) / 40.0)
    return torch.cat([torch.randn(FRAMES, WEIGHTS) * size @ turn, torch.zeros(FRAMES, 1)], 1)


def width(frames: torch.Tensor, kept: int | None = None) -> float:
    """Mean standard deviation of a w over the exact one, by what `by_training_frames` keeps.

    `kept`, by so many exact directions, the prior's width left to all others.
    """
    information = (frames[:, :-1].T @ frames[:, :-1]).double()
    if kept is None:
        model = Line()
        point = {"weights": model.weights.detach()}
        torch.manual_seed(1)
        s, directions, sd = by_training_frames(
            model, ["weights"], point, torch.ones(WEIGHTS), FRAMES, lambda index: {"x": frames[index]}
        )
    else:
        values, vectors = torch.linalg.eigh(information)
        s, directions, sd = values[-kept:].sqrt(), vectors.T[-kept:], torch.ones(WEIGHTS)
    a = frames[::40, :-1].double()
    along = (a * sd) @ directions.T
    variance = (a * sd).square().sum(1) - (along.square() * (1 - 1 / (1 + s**2))).sum(1)
    exact = torch.linalg.inv(torch.eye(WEIGHTS) + information)
    return float((variance / ((a @ exact) * a).sum(1)).sqrt().mean())


def test_a_sketch_gives_the_exact_width(frames, monkeypatch):
    """To 3 per cent; what it says as it is would be too wide."""
    assert width(frames) == pytest.approx(1.0, abs=0.01)  # the whole matrix
    monkeypatch.setattr(informed_directions, "_EXACT", 0)
    monkeypatch.setattr(informed_directions, "_ROWS", ROWS)
    assert width(frames) == pytest.approx(1.0, abs=0.02)  # of four times so many rows
    monkeypatch.setattr(informed_directions, "_SQUARE", 0)
    assert width(frames) == pytest.approx(1.0, abs=0.03)
    monkeypatch.setattr(informed_directions, "unbiased", lambda values: 1.0)
    assert width(frames) > 1.15


def test_directions_that_are_not_kept_count_weight_by_weight(frames, monkeypatch):
    """Of some 200; the width that the prior would leave them is several times the right one."""
    monkeypatch.setattr(informed_directions, "_EXACT", 0)
    monkeypatch.setattr(informed_directions, "_ROWS", ROWS)
    monkeypatch.setattr(informed_directions, "_SQUARE", 0)
    for kept in (100, 40):
        monkeypatch.setattr(informed_directions, "_NUMBERS", kept * WEIGHTS)
        assert 1.0 < width(frames) < 1.5 < 0.5 * width(frames, kept)


def test_weights_beyond_the_sketch_are_told(frames, monkeypatch):
    monkeypatch.setattr(informed_directions, "_EXACT", 0)
    monkeypatch.setattr(informed_directions, "_ROWS", 128)
    monkeypatch.setattr(informed_directions, "_SQUARE", 0)
    with pytest.warns(UserWarning, match="determine more parameters than the 128 combinations"):
        width(frames)


@pytest.mark.parametrize("count", [50, 700])
def test_scores_of_generated_frames_give_the_exact_width(count, monkeypatch):
    """To 1 per cent; at 700 parameters what 2048 scores say as it is would be a quarter too wide."""
    x = np.random.default_rng(0).normal(size=(300, count)).astype(np.float32)
    frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    how = {"steps": 5, "validation": 0.0, "compile": "off", "progress": False}
    ratios = []
    for scale in (laplace.unbiased, lambda values: 1.0):
        monkeypatch.setattr(laplace, "unbiased", scale)
        fit = bcg.fit(Located(count), frames, uncertainty="laplace", **how)
        ratios.append(float(fit.parameters(500)["mean"].std(0).mean()) * 300.01**0.5)
    assert ratios[0] == pytest.approx(1.0, abs=0.01)
    assert count < 700 or ratios[1] > 1.2


class Pairs(Line):
    """Two observations of each frame, a w and b w, b being a with half of its directions turned round."""

    turn = torch.ones(WEIGHTS)
    turn[1::2] = -1.0

    def information(self, batch: bcg.Batch) -> torch.Tensor:
        assert batch.x is not None
        a = batch.x[:, :-1]
        return torch.stack([a @ self.weights, (a * self.turn) @ self.weights], 1).flatten()

    def residuals(self, batch: bcg.Batch) -> torch.Tensor:
        """One noise for both: what it does to half of the weights counts twice, and to the others nothing."""
        assert batch.x is not None
        return batch.x[:, -1:].expand(-1, 2).flatten()


@pytest.mark.parametrize("rows", [0, 512, 1024])
def test_posteriors_are_as_wide_as_scores_vary(rows, frames, monkeypatch):
    """To 3 per cent by the whole matrix, 6 by sketches; by the likelihood it would be narrower by a root of two."""
    if rows:
        monkeypatch.setattr(informed_directions, "_EXACT", 0)
        monkeypatch.setattr(informed_directions, "_ROWS", rows)
        monkeypatch.setattr(informed_directions, "_SQUARE", 8192 if rows == 512 else 0)
    torch.manual_seed(2)
    noisy = torch.cat([torch.randn(FRAMES, WEIGHTS) * frames[:, :-1].std(0), torch.randn(FRAMES, 1)], 1)
    model, ratios = Pairs(), {}
    information = 2 * noisy[:, :-1].square().sum(0).double()
    for kind in (Pairs, Line):
        monkeypatch.setattr(Pairs, "residuals", kind.residuals)
        point = {"weights": model.weights.detach()}
        s, directions, _ = by_training_frames(
            model, ["weights"], point, torch.ones(WEIGHTS), FRAMES, lambda index: {"x": noisy[index]}
        )
        variance = 1 - (directions.square() * (1 - 1 / (1 + s[:, None] ** 2))).sum(0)
        right = (1 + 2 * information * (model.turn > 0)) / (1 + information) ** 2
        ratios[kind] = (variance / right).sqrt()
    assert float(ratios[Pairs][::2].mean()) == pytest.approx(1.0, abs=0.06 if rows else 0.03)
    assert float(ratios[Line][::2].mean()) < 0.75
    assert float(ratios[Pairs][1::2].mean()) > 0.95
    assert rows or float(ratios[Pairs][1::2].mean()) == pytest.approx(1.0, abs=0.2)
