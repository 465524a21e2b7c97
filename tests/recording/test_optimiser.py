"""Adam against its formula, whatever the gradient's place in memory."""

import pytest
import torch

from bayescg.recording.optimiser import Adam

LAYOUTS = {
    "as the parameter": lambda g: g,
    "transposed": lambda g: g.mT.contiguous().mT,
    "members last": lambda g: g.movedim(0, -1).contiguous().movedim(-1, 0),
    "a part of a larger tensor": lambda g: torch.cat([g, g], -1)[..., : g.shape[-1]],
    "expanded": lambda g: g[..., :1].expand_as(g),
}


def by_hand(value, grads, rate):
    """Kingma & Ba 2015, algorithm 1."""
    mean, square = torch.zeros_like(value), torch.zeros_like(value)
    for t, g in enumerate(grads, 1):
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        value = value - rate * (mean / (1 - 0.9**t)) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
    return value


@pytest.mark.parametrize("turned", [False, True], ids=["contiguous", "transposed parameter"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_adam_is_the_formula(layout, turned):
    start = torch.randn(3, 4, 5, dtype=torch.float64)
    start = start.mT.contiguous().mT if turned else start
    grads = [LAYOUTS[layout](torch.randn(3, 4, 5, dtype=torch.float64)) for _ in range(4)]
    params = {"a": start.clone(), "b": torch.zeros(2, dtype=torch.float64)}
    adam = Adam(params)
    for g in grads:
        adam.step({"a": g, "b": torch.ones(2, dtype=torch.float64)}, 0.1, torch.zeros(()))
    assert torch.allclose(params["a"], by_hand(start, grads, 0.1), rtol=0, atol=1e-13)
    assert torch.allclose(params["b"], torch.full((2,), -0.4, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_bad_step_changes_nothing():
    params = {"a": torch.ones(2)}
    adam = Adam(params)
    adam.step({"a": torch.full((2,), float("nan"))}, 0.1, torch.ones(()))
    assert torch.equal(params["a"], torch.ones(2))
    assert all(float(v.abs().sum()) == 0 for v in adam.state().values())
