"""What the CVs of refits are together."""

import torch

from bayescg.inference.refit_cvs import mixture, turned


def test_states_that_are_all_but_certain_have_a_distribution():
    """Probabilities of twelve states, most of them 1e-13: variances as small beside .2, turned together."""
    generator = torch.Generator().manual_seed(0)
    p = torch.softmax(torch.cat([torch.zeros(2), torch.full((10,), -30.0)]), 0).repeat(9, 5, 1)
    gauge = torch.linalg.qr(torch.randn(9, 12, 12, generator=generator))[0]
    cv = mixture(*turned(p, p * (1 - p), gauge))
    assert torch.isfinite(cv.log_prob(cv.mean)).all()
    exact = torch.einsum("mnd,mda->nma", p, gauge).mean(1)
    torch.testing.assert_close(cv.mean, exact)
