"""Named regions of configuration space, and which configurations lie in them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bayescg.errors import ConfigError
from bayescg.systems.core import System

__all__ = ["Region", "Regions"]

Region = Callable[[Tensor], Any]
"""From positions (n, atoms, 3) of molecules, or (n, dim), to bool (n,): whether a configuration is in a set."""


class Regions:
    """Regions that are to exclude each other.

    Parameters
    ----------
    system : System
        Whose configurations.
    regions : mapping of str to callable
        At least two.

    Raises
    ------
    ConfigError
        They are fewer, or no functions.

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> sides = Regions(DoubleWell(), {"left": lambda x: x[:, 0] < -1, "right": lambda x: x[:, 0] > 1})
    >>> sides.reached(torch.tensor([[-2.0, 0.0], [0.0, 0.0], [3.0, 1.0]]))
    tensor([ 0, -1,  1])
    """

    def __init__(self, system: System, regions: Mapping[str, Region]):
        if not isinstance(regions, Mapping) or len(regions) < 2 or not all(callable(r) for r in regions.values()):
            raise ConfigError(
                'regions must be two or more functions of positions by name, {"A": lambda x: x[:, 0] < -1.0, "B": ...},'
                f" not {regions!r}"
            )
        self.names, self._functions = list(regions), list(regions.values())
        self._molecule = system.topology is not None

    def reached(self, x: Tensor) -> Tensor:
        """Number of the region that each configuration (n, dim) is in, (n,); -1 for none, -2 where regions overlap."""
        positions = x.unflatten(-1, (-1, 3)) if self._molecule else x
        inside = torch.stack([self._member(k, positions) for k in range(len(self.names))]).int()
        place = (inside * torch.arange(len(self.names), device=x.device)[:, None]).sum(0)
        count = inside.sum(0)
        return torch.where(count == 1, place, -1 - (count > 1).int())

    def check(self, reached: Tensor, x: Tensor) -> None:
        """Refuse configurations (n, dim) that lie in several regions.

        Raises
        ------
        ConfigError
        """
        if bool((reached == -2).any()):
            row = int((reached == -2).int().argmax())
            positions = x[row : row + 1].unflatten(-1, (-1, 3)) if self._molecule else x[row : row + 1]
            both = [name for k, name in enumerate(self.names) if bool(self._member(k, positions))]
            where = "" if self._molecule else f" at {[round(v, 4) for v in x[row].tolist()]}"
            raise ConfigError(f"the regions {' and '.join(map(repr, both))} overlap{where}: make them smaller")

    def _member(self, k: int, positions: Tensor) -> Tensor:
        inside = torch.as_tensor(self._functions[k](positions), device=positions.device)
        if inside.shape != (len(positions),):
            raise ConfigError(
                f"region {self.names[k]!r} must map positions {tuple(positions.shape)} to ({len(positions)},), not "
                f"{tuple(inside.shape)}: lambda x: x[:, 0] < -1.0, say"
            )
        return inside > 0
