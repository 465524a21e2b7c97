"""What models of the energy of particles share that is one of any number of them: which kinds these are."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from bayescg.arguments import names_of
from bayescg.errors import DataError
from bayescg.modelling.potential_model import PotentialModel
from bayescg.topologies import kinds_of

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["ParticleModel"]


class ParticleModel(PotentialModel):
    """Base of models of a potential energy of particles of several kinds.

    A subclass takes `topology`, `kinds`, `species`, `dim`, `temperature` and `temperature_kT` among its arguments,
    hands them on to `begin_particles` at the end of its ``__init__`` and writes `build`, which makes its network.

    Attributes
    ----------
    kinds : tuple of str or None
        The kind of every particle: elements of the topology's atoms, where there is one; None before `setup`.
    species : tuple of str or None
        All kinds that the network knows.
    numbers : Tensor
        Of the kinds among the species, ``(atoms,)``.
    """

    kinds: tuple[str, ...] | None
    species: tuple[str, ...] | None
    numbers: Tensor

    @abstractmethod
    def build(self, kinds: int) -> None:
        """Make the network of particles of so many kinds."""

    def begin_particles(
        self,
        topology: Any,
        kinds: Sequence[str] | None,
        species: Sequence[str] | None,
        dim: int | None,
        temperature: float | None,
        temperature_kT: float | None,
    ) -> None:
        """Build now, if the kinds are known; otherwise `setup` does.

        Raises
        ------
        ConfigError
            These are no names, or `begin_potential` refuses an argument.
        """
        self.kinds = None if kinds is None else names_of(kinds, "kinds")
        self.species = None if species is None else names_of(species, "species")
        self.begin_potential(topology, dim, temperature, temperature_kT)
        if self.kinds is not None or self.topology is not None:
            self._begin_kinds(self.kinds or kinds_of(self.topology))

    def setup(self, frames: Frames) -> None:
        """Take the kinds of the particles, which are all alike where nothing tells.

        Raises
        ------
        DataError
            Coordinates are not three a particle, or the kinds are of another number of them.
        """
        super().setup(frames)
        if (dim := self.dim or 0) % 3:
            raise DataError(f"{dim} coordinates are not three for each particle: it learns from positions in space")
        if self.kinds is not None and len(self.kinds) != dim // 3:
            raise DataError(f"kinds are of {len(self.kinds)} particles, the frames of {dim // 3}")
        if self.kinds is None:
            self._begin_kinds(("particle",) * (dim // 3) if self.topology is None else kinds_of(self.topology))

    def of(self, kinds: Sequence[str]) -> Self:
        """The same potential of other particles of these kinds, for :meth:`bayescg.Fit.transferred`.

        Raises
        ------
        DataError
            It was not trained on one of the kinds.
        """
        other = copy.deepcopy(self)
        other.kinds, other.dim, other.topology = tuple(kinds), 3 * len(kinds), None
        other.numbers = self._numbers(kinds).to(self.numbers.device)
        return other

    def _begin_kinds(self, kinds: Sequence[str]) -> None:
        self.kinds, self.species = tuple(kinds), self.species or tuple(sorted(set(kinds)))
        self.register_buffer("numbers", self._numbers(kinds), persistent=False)
        self.build(len(self.species))

    def _numbers(self, kinds: Sequence[str]) -> Tensor:
        species = self.species or ()
        if unknown := sorted(set(kinds) - set(species)):
            raise DataError(
                f"this {type(self).__name__} knows particles of kind {', '.join(species)}, not {', '.join(unknown)}: "
                "train it on frames that have them"
            )
        return torch.tensor([species.index(kind) for kind in kinds])
