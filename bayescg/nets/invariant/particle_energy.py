"""An energy that is a sum over particles, each of which sees its neighbours: of any number of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bayescg.nets.invariant.smooth import check_smooth, smooth_cutoff
from bayescg.nets.mlp import MLP
from bayescg.nets.random import Prior, fan_in

__all__ = ["ParticleEnergy"]


class ParticleEnergy(nn.Module):
    r"""Energy of particles by continuous-filter convolutions, with a triple product that sees handedness.

    Each particle holds features :math:`h_i`, at first those of its kind. A block adds to them what its neighbours
    hold, filtered by distance, :math:`h_i \leftarrow h_i + \phi(\sum_j W(r_{ij}) \circ V h_j)`. Then vectors
    :math:`v_i = \sum_j w(r_{ij}) \circ (u h_j)\, \hat r_{ij}` are formed, of which their products
    :math:`v \cdot v'` and, where `handed`, the triple products :math:`v \cdot (v' \times v'')` enter the energy of the
    particle. The latter change their sign in a mirror, so that L and D, or torsions :math:`\phi` and :math:`-\phi`,
    differ, which no function of distances achieves.

    All pairs are computed. Rotations, translations and exchanges of like particles change nothing, and two groups
    further apart than the cutoff have the sum of their energies. All weights are those of linear layers.

    Parameters
    ----------
    kinds : int
        How many kinds of particles there are.
    width : int
        Features of a particle.
    blocks : int
        Convolutions; none: the energy is one of the surroundings of each particle alone.
    radial : int
        Gaussians on the distances.
    cutoff : float or None
        Distance at which neighbours have faded, smoothly to the second derivative; None: `measure` sets it beyond all
        distances that it is shown.
    handed : bool
        Whether mirror images may have different energies.
    activation : {"silu", "tanh", "softplus"}

    Raises
    ------
    ConfigError
        The activation has no second derivative, so that forces cannot be learned.

    References
    ----------
    Schütt et al., "SchNet", J. Chem. Phys. 148, 241722 (2018), eqs. (3) to (5), for the convolution. Schütt, Unke,
    Gastegger, "Equivariant message passing for the prediction of tensorial properties and molecular spectra", ICML
    2021, for features that are vectors.

    Examples
    --------
    >>> net = ParticleEnergy(kinds=2, width=8)
    >>> net(torch.randn(5, 4, 3), torch.tensor([0, 1, 1, 0])).shape
    torch.Size([5])
    """

    start: Tensor
    reach: Tensor
    neighbours: Tensor

    def __init__(
        self,
        kinds: int,
        width: int = 32,
        blocks: int = 1,
        radial: int = 20,
        cutoff: float | None = None,
        handed: bool = True,
        activation: str = "silu",
    ):
        super().__init__()
        check_smooth(activation)
        self.kinds, self.radial, self.handed = kinds, radial, handed
        self.fixed_cutoff, self.groups = cutoff, max(width // 4, 1)
        self.register_buffer("start", torch.tensor(0.0))
        self.register_buffer("reach", torch.tensor(1.0 if cutoff is None else float(cutoff)))
        self.register_buffer("neighbours", torch.tensor(1.0))
        self.embedding = nn.Linear(kinds, width, bias=False)
        self.filters = nn.ModuleList(nn.Linear(radial, width) for _ in range(blocks))
        self.senders = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.updates = nn.ModuleList(MLP(width, width, (width,), activation) for _ in range(blocks))
        self.vector_filter = nn.Linear(radial, 3 * self.groups)
        self.vector_sender = nn.Linear(width, 3 * self.groups, bias=False)
        self.readout = MLP(width + (4 if handed else 3) * self.groups, 1, (width,), activation)

    def prior(self, scale: float) -> Prior:
        """Of its weights: what comes out of each layer has that standard deviation."""
        return fan_in(scale)

    def begin(self) -> None:
        """Draw weights of layers whose outputs are of size 1."""
        for p in self.parameters():
            nn.init.normal_(p, 0.0, p.shape[-1] ** -0.5 if p.dim() > 1 else 0.1)

    def measure(self, x: Tensor) -> None:
        """Place the Gaussians, and count neighbours, by positions ``(n, atoms, 3)`` of training."""
        i, j = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
        r = (x[:, i] - x[:, j]).norm(dim=-1)
        if self.fixed_cutoff is None:
            self.reach.copy_(1.5 * r.max())
        self.start.copy_(torch.minimum(r.min(), 0.5 * self.reach))
        self.neighbours.copy_(2 * smooth_cutoff(r, self.reach).square().sum(1).mean() / x.shape[1])

    def forward(self, x: Tensor, kinds: Tensor) -> Tensor:
        """Energies ``(n,)`` of positions ``(n, atoms, 3)`` of particles of kinds ``(atoms,)``."""
        return self.of_particles(x, kinds).sum(-1)

    def of_particles(self, x: Tensor, kinds: Tensor) -> Tensor:
        """What each particle adds to the energy, ``(n, atoms)``."""
        away = x[:, None, :, :] - x[:, :, None, :]
        itself = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        # no particle is its own neighbour, and the root of zero has no gradient
        r = (away.square().sum(-1) + itself).sqrt()
        near = smooth_cutoff(r, self.reach) * (1.0 - itself) * self.neighbours.rsqrt()
        spacing = (self.reach - self.start) / self.radial
        centres = self.start + spacing * torch.arange(self.radial, dtype=x.dtype, device=x.device)
        norm = (self.radial / math.sqrt(math.pi)) ** 0.5  # of Gaussians one width apart: their squares sum to `radial`
        radial = (-0.5 * ((r[..., None] - centres) / spacing).square()).exp() * norm
        one_hot = (kinds[:, None] == torch.arange(self.kinds, device=x.device)).to(x.dtype) * self.kinds**0.5
        h = self.embedding(one_hot).expand(x.shape[0], -1, -1)
        for filters, sender, update in zip(self.filters, self.senders, self.updates, strict=True):
            h = h + update(torch.einsum("nijf,njf->nif", filters(radial) * near[..., None], sender(h)))
        weight = self.vector_filter(radial) * near[..., None]
        vectors = torch.einsum("nijf,njf,nijk->nifk", weight, self.vector_sender(h), away / r[..., None])
        a, b, c = vectors.chunk(3, dim=-2)
        products = [(a * b).sum(-1), (b * c).sum(-1), (a * c).sum(-1)]
        if self.handed:
            products.append((torch.linalg.cross(a, b) * c).sum(-1))
        return self.readout(torch.cat([h, *products], -1))[..., 0]
