"""What every set of features has: a size, names, a check of its input, and a JSON that rebuilds it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from bayescg.arguments import whole_rows
from bayescg.errors import ConfigError, TopologyError

__all__ = ["Features", "HasPositions", "atom_groups", "features_from_config", "register", "scripting"]


class Features(nn.Module):
    """Base class: a differentiable map from positions to a vector of features.

    A subclass implements ``forward``, ``names`` and ``config``, and is decorated with `register`. Constants
    are buffers, so that they follow the module between devices; ``config`` holds them, the ``state_dict``
    does not.

    Parameters
    ----------
    size : int
        Number of features.
    atoms : int or None
        Number of atoms that ``forward`` expects; None for features of flat coordinates.
    """

    size: int
    atoms: int | None

    def __init__(self, size: int, atoms: int | None):
        super().__init__()
        self.size = size
        self.atoms = atoms

    @property
    def names(self) -> list[str]:
        """One name for each feature."""
        raise TypeError(f"{type(self).__name__} does not name its features")

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds these features through `features_from_config`."""
        raise TypeError(f"{type(self).__name__} has no config")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild from `config()` without its ``"type"``."""
        return cls(**config)

    def checked(self, x: Tensor) -> Tensor:
        """Return positions unchanged after a look at their shape, which must be ``(..., atoms, 3)``.

        Raises
        ------
        TopologyError
            Another number of atoms, or not positions at all.
        """
        if scripting():
            return x
        if not isinstance(x, Tensor):
            raise TopologyError(
                f"{type(self).__name__} features take a torch tensor, not a {type(x).__name__}; give torch.as_tensor(x)"
            )
        if x.dtype not in (torch.float32, torch.float64):
            raise TopologyError(
                f"{type(self).__name__} features take positions of torch.float32 or torch.float64, not of {x.dtype}; "
                "give x.double()"
            )
        if x.ndim < 2 or x.shape[-1] != 3:
            raise TopologyError(
                f"{type(self).__name__} features take positions (..., {self.atoms}, 3), not {tuple(x.shape)}"
            )
        if x.shape[-2] != self.atoms:
            raise TopologyError(
                f"these {type(self).__name__} features were made for {self.atoms} atoms, but the positions "
                f"have {x.shape[-2]}; use the topology, and the atom selection, that belong to the positions"
            )
        return x

    def check_frames(self, frames: Any) -> None:
        """Refuse frames in whose periodic boxes these features would be wrong.

        Raises
        ------
        DataError
            Distances reach across the box, and the features have none.
        """

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"size={self.size}, atoms={self.atoms}"


@runtime_checkable
class HasPositions(Protocol):
    """Features that are themselves a conformation's coordinates, so that they can be read back as one."""

    def positions(self, y: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` in nm from features ``(..., size)``."""
        ...


_REGISTRY: dict[str, type[Features]] = {}


F = TypeVar("F", bound=Features)


def register(cls: type[F]) -> type[F]:
    """Class decorator: make the class known to `features_from_config` under its own name."""
    _REGISTRY[cls.__name__] = cls
    return cls


def features_from_config(config: Mapping[str, Any]) -> Features:
    """Rebuild features from their `config()`; only classes registered here can be named, nothing is imported.

    Parameters
    ----------
    config : mapping
        What ``Features.config()`` returned, perhaps read from JSON.

    Raises
    ------
    ConfigError
        The type is not known, or the rest does not fit it.

    Examples
    --------
    >>> from bayescg.features import cartesian
    >>> features_from_config(cartesian(2).config()).names
    ['x1', 'x2']
    """
    rest = dict(config)
    name = rest.pop("type", None)
    if name not in _REGISTRY:
        raise ConfigError(f"unknown type of features {name!r}; known are {', '.join(sorted(_REGISTRY))}")
    try:
        return _REGISTRY[name].from_config(rest)
    except (TypeError, KeyError) as error:
        raise ConfigError(f"this is not the config of {name} features: {error}") from error


def scripting() -> bool:
    """Whether TorchScript is tracing: shapes are tensors then, and a check of them would not be kept."""
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def atom_groups(groups: Sequence[Sequence[int]], per_group: int, atoms: int) -> Tensor:
    """Check groups of atom indices; returns them as an integer tensor ``(groups, per_group)``.

    Raises
    ------
    ConfigError
        No group, a group of another size, or the same atom twice in one.
    TopologyError
        An atom that does not exist.
    """
    rows = whole_rows(groups, f"groups of {per_group} atoms")
    if not rows:
        raise ConfigError(f"no groups of {per_group} atoms were given")
    for row in rows:
        if len(row) != per_group or len(set(row)) != per_group:
            raise ConfigError(f"each group needs {per_group} different atoms; got {row}")
        if min(row) < 0 or max(row) >= atoms:
            raise TopologyError(f"atom indices {row} do not exist in a system of {atoms} atoms, numbered from 0")
    return torch.tensor(rows)
