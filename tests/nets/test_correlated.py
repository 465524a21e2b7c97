"""Correlated Gaussians, and outputs that begin spread out."""

import torch

from bayescg.nets import ConditionalGaussian


def test_a_correlated_gaussian_is_a_multivariate_normal() -> None:
    torch.manual_seed(0)
    net = ConditionalGaussian(2, 3, hidden=(4,), correlated=True)
    assert net.lower is not None
    torch.nn.init.normal_(net.lower)
    z = torch.randn(5, 2)
    x = torch.randn(5, 3)
    mean, log_sd = net.net(z).chunk(2, -1)
    mixing = net.lower.tril(-1) + torch.eye(3)
    scale = mixing @ torch.diag_embed((8 * torch.tanh(log_sd / 8)).exp())
    exact = torch.distributions.MultivariateNormal(mean @ mixing.T, scale_tril=scale)
    torch.testing.assert_close(net(z).log_prob(x), exact.log_prob(x), atol=1e-4, rtol=1e-5)
    found = net(z[:1].expand(50_000, -1)).rsample().detach()
    error = float(exact.variance[0].max().detach()) ** 0.5 / 50_000**0.5
    assert float((found.mean(0) - exact.mean[0].detach()).abs().max()) < 5 * error


def test_a_fresh_correlated_gaussian_is_diagonal() -> None:
    net = ConditionalGaussian(2, 3, hidden=(4,), correlated=True)
    assert net.lower is not None
    torch.nn.init.normal_(net.lower)
    net.reset_parameters()
    assert not net.lower.any()


def test_outputs_are_spread_over_the_inputs() -> None:
    torch.manual_seed(0)
    net = ConditionalGaussian(2, 4, hidden=(8,))
    z = torch.randn(2000, 2)
    before = net(z)
    net.spread(z, torch.tensor([1, 3]), sd=0.3)
    after = net(z)
    torch.testing.assert_close(after.mean[:, [0, 2]], before.mean[:, [0, 2]])
    torch.testing.assert_close(after.mean[:, [1, 3]].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.mean[:, [1, 3]].std(0), torch.ones(2), atol=1e-4, rtol=0)
    assert ((after.stddev[:, [1, 3]].log().mean(0) - torch.tensor(0.3).log()).abs() < 0.01).all()
