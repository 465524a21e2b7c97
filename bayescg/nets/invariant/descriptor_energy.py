"""An energy that is a network of invariant descriptors: of one molecule, with its atoms in one order."""

from collections.abc import Sequence

from torch import Tensor, nn

from bayescg.nets.invariant.smooth import check_smooth
from bayescg.nets.mlp import MLP, Standardise

__all__ = ["DescriptorEnergy"]


class DescriptorEnergy(nn.Module):
    """Energy of one molecule as a network of standardised descriptors, such as distances, angles and torsions.

    It is as invariant as the descriptors, and as blind: of distances alone it cannot tell mirror images apart.

    Parameters
    ----------
    descriptors : Module
        From positions ``(n, atoms, 3)`` to ``(n, size)``: `bayescg.features.invariants` for one.
    size : int
        Of the descriptors.
    hidden : sequence of int
    activation : {"tanh", "silu", "softplus"}

    Raises
    ------
    ConfigError
        The activation has no second derivative, so that forces cannot be learned.

    References
    ----------
    Wang et al., "Machine learning of coarse-grained molecular dynamics force fields", ACS Cent. Sci. 5, 755 (2019).

    Examples
    --------
    >>> import torch
    >>> pair = lambda x: (x[:, 0] - x[:, 1]).norm(dim=-1)[:, None]
    >>> DescriptorEnergy(pair, 1, hidden=(4,))(torch.randn(5, 2, 3)).shape
    torch.Size([5])
    """

    def __init__(self, descriptors: nn.Module, size: int, hidden: Sequence[int] = (64, 64), activation: str = "tanh"):
        super().__init__()
        check_smooth(activation)
        self.descriptors = descriptors
        self.scale = Standardise(size)
        self.net = MLP(size, 1, hidden, activation)

    def measure(self, x: Tensor) -> None:
        """Standardise the descriptors by positions ``(n, atoms, 3)``."""
        y = self.descriptors(x)
        self.scale.set(y.mean(0), y.std(0, correction=0))

    def forward(self, x: Tensor, kinds: Tensor | None = None) -> Tensor:
        """Energies ``(n,)`` of positions ``(n, atoms, 3)``; `kinds` are those of the molecule, whatever they are."""
        return self.net(self.scale(self.descriptors(x)))[:, 0]
