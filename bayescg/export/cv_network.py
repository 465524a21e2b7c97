"""CVs as affine layers over features, in double precision: what every engine's form is written from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bayescg import nets

__all__ = ["CVNetwork"]

_LINEAR = "linear"
_FUNCTIONS = {"linear": torch.nn.Identity(), **{name: kind() for name, kind in nets.ACTIVATIONS.items()}}


class CVNetwork(nn.Module):
    r"""Means and standard deviations of CVs as functions of features.

    A refit m maps features f through affine layers with activations to means :math:`\mu_m`, and, where its CVs are
    Gaussian, to numbers :math:`r_m` of which their widths are :math:`s_m = \exp(8 \tanh(r_m / 8))`. With the orthogonal
    maps :math:`G_m` of the refits onto the trained CVs, already part of the means,

    .. math:: z = \langle \mu_m \rangle_m, \qquad
       \mathrm{sd}_a^2 = \langle \textstyle\sum_d G_{m,da}^2 s_{m,d}^2 + (\mu_{m,a} - z_a)^2 \rangle_m

    are mean and standard deviation of ``fit.cv``, the even mixture of the refits.

    Parameters
    ----------
    layers : sequence of (weight, bias, activation)
        ``(refits, outputs, inputs)``, ``(refits, outputs)`` and one of `nets.ACTIVATIONS` or ``"linear"``.
    gauge : Tensor, shape (refits, latent_dim, latent_dim)

    Attributes
    ----------
    outputs : list of str
        ``z1, z2, ...`` and, where they have any, the standard deviations ``sd1, sd2, ...``.
    """

    gauge: Tensor

    def __init__(self, layers: Iterable[tuple[Tensor, Tensor, str]], gauge: Tensor):
        super().__init__()
        weights, biases, self.activations = zip(*layers, strict=True)
        self.weights, self.biases = (
            nn.ParameterList(nn.Parameter(v.double(), requires_grad=False) for v in values)
            for values in (weights, biases)
        )
        self.register_buffer("gauge", gauge.double())
        self.refits, self.latent_dim = gauge.shape[:2]
        self.gaussian = weights[-1].shape[1] == 2 * self.latent_dim
        kinds = ("z", "sd") if self.gaussian or self.refits > 1 else ("z",)
        self.outputs = [f"{kind}{i + 1}" for kind in kinds for i in range(self.latent_dim)]

    @property
    def layers(self) -> list[tuple[Tensor, Tensor, str]]:
        """Weight, bias and activation of each layer."""
        return list(zip(self.weights, self.biases, self.activations, strict=True))

    @property
    def hidden(self) -> list[int]:
        """Widths of the hidden layers."""
        return [len(bias[0]) for bias in list(self.biases)[:-1]]

    def forward(self, f: Tensor) -> Tensor:
        """Outputs ``(n, outputs)`` of features ``(n, size)``."""
        h = f.unsqueeze(-2)  # the same for all refits
        for weight, bias, activation in self.layers:
            h = _FUNCTIONS[activation]((weight @ h.unsqueeze(-1)).squeeze(-1) + bias)
        means = h[..., : self.latent_dim]
        z = means.mean(-2)
        if len(self.outputs) == self.latent_dim:
            return z
        variance = (means - z.unsqueeze(-2)).square().mean(-2)
        if self.gaussian:
            widths = (8.0 * torch.tanh(h[..., self.latent_dim :] / 8.0)).exp()
            variance = variance + torch.einsum("...md,mda->...ma", widths.square(), self.gauge.square()).mean(-2)
        return torch.cat([z, variance.sqrt()], -1)
