"""Several sets of features of the same atoms, one after the other."""

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from bayescg.errors import ConfigError, TopologyError
from bayescg.features.interface import Features, features_from_config, register

__all__ = ["Chain", "chain"]


@register
class Chain(Features):
    """Concatenated features.

    Parameters
    ----------
    parts : Features
        At least one; all for the same number of atoms.

    Raises
    ------
    ConfigError
        No parts, or what are no features.
    TopologyError
        The parts expect different numbers of atoms.
    """

    def __init__(self, *parts: Features):
        if not parts:
            raise ConfigError("a chain of features needs at least one part")
        if strangers := [part for part in parts if not isinstance(part, Features)]:
            raise ConfigError(f"a chain is of features, such as bcg.features.torsions(top), not of {strangers[0]!r}")
        if len({part.atoms for part in parts}) > 1:
            counts = ", ".join(f"{type(part).__name__}: {part.atoms}" for part in parts)
            raise TopologyError(f"the parts of a chain were made for different numbers of atoms ({counts})")
        super().__init__(size=sum(part.size for part in parts), atoms=parts[0].atoms)
        self.parts = nn.ModuleList(parts)

    @property
    def names(self) -> list[str]:
        """The names of the parts, in order."""
        return [name for part in self._features() for name in part.names]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {"type": "Chain", "parts": [part.config() for part in self._features()]}

    def check_frames(self, frames: Any) -> None:
        """See `Features.check_frames`."""
        for part in self._features():
            part.check_frames(frames)

    def _features(self) -> list[Features]:
        return cast("list[Features]", list(self.parts))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild from the configs of the parts."""
        return cls(*(features_from_config(part) for part in config["parts"]))

    def forward(self, x: Tensor) -> Tensor:
        """Positions to ``(..., size)``."""
        return torch.cat([part(x) for part in self.parts], dim=-1)


def chain(*parts: Features) -> Chain:
    """Join features of the same atoms.

    Parameters
    ----------
    parts : Features
        Made by `torsions`, `distances`, ...

    Examples
    --------
    >>> from bayescg.features import cartesian
    >>> chain(cartesian(2), cartesian(2))(torch.tensor([1.0, 2.0]))
    tensor([1., 2., 1., 2.])
    """
    return Chain(*parts)
