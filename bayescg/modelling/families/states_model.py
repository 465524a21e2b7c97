"""What models of soft states share: where the states are read, and the configurations that they may generate."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_choice
from bayescg.data import Pairs, evenly, in_parts
from bayescg.errors import ConfigError, ModelError
from bayescg.features import Features, UnboundedCoordinates, unbounded_coordinates
from bayescg.modelling.feature_model import PairModel
from bayescg.nets import SoftStates, StateDensities

__all__ = ["StatesModel"]


class StatesModel(PairModel):
    """Base of models of the jumps between soft states, each of which may be a density of configurations, too.

    A subclass takes `states`, which it keeps, `features`, `generator`, `coordinates`, `dim`, `lag` and `rank` among its
    arguments and hands all but the first on to `begin_states`. In `build` it makes its `net` where it `reads`, its
    `densities` where `generated` is not None, and the buffer `occupation`. Its programs read both parts of `inputs` by
    `split`.

    Attributes
    ----------
    generator : {None, "flow"}
    coordinates : UnboundedCoordinates or None
        Bonds, angles and torsions of a molecule, which the densities are over; None: over flat coordinates.
    net : SoftStates
    densities : StateDensities
    occupation : Tensor
        How often each state occurs in equilibrium, ``(states,)``.
    """

    states: int
    net: SoftStates
    densities: StateDensities
    occupation: Tensor

    def begin_states(
        self,
        features: Features | None,
        generator: str | None,
        coordinates: UnboundedCoordinates | None,
        dim: int | None,
        lag: float | None,
        rank: int | None,
    ) -> None:
        """Take the generator, and `begin`. Refits are trained where asked for only: each would take as long again.

        Raises
        ------
        ConfigError
            There is no such generator, or `begin` refuses an argument.
        """
        check_choice(generator=(generator, (None, "flow")))
        self.generator, self.coordinates = generator, coordinates
        if generator is not None:
            self.uncertainty = "none"  # type: ignore[misc]
        self.begin(features, dim, lag, rank)

    @property
    def reads(self) -> bool:
        """Whether a network reads the states off features, or else they are where their densities are."""
        return self.generator is None or self.features is not None

    @property
    def generated(self) -> int | None:
        """Of a configuration, how many coordinates are generated; None: none, or it is not known before `setup`."""
        if self.generator is None or (self.features is not None and self.coordinates is None):
            return None
        return self.scale.mean.numel() if self.coordinates is None else self.coordinates.size

    @abstractmethod
    def equilibrium_joint(self) -> Tensor:
        """How often which states follow each other, ``(states, states)``, symmetric and of sum 1 to the last digit."""

    def occupied(self, pairs: Pairs, weight: Tensor) -> Tensor:
        """Sum of the states' probabilities over both ends of pairs, which count by weights (n,), ``(states,)``."""
        total = torch.zeros(self.states, dtype=torch.float64, device=weight.device)
        each = sum(np.bincount(end, weight.double().cpu(), len(pairs.frames)) for end in (pairs.i, pairs.j))
        parts = torch.as_tensor(each).to(total).split(size := 16_384)
        for (x,), counting in zip(in_parts(pairs.frames, size), parts, strict=True):
            total += counting @ self.logits(x.to(next(self.parameters()))).softmax(-1).double()
        return total

    def logits(self, x: Tensor) -> Tensor:
        """Log probabilities of the states at positions, ``(n, states)``, each row up to a constant."""
        if self.reads:
            return self.net(super().inputs(x))
        return self.occupation.log() + self.densities.log_prob(self.configuration(x))

    def transition(self, u: Tensor) -> torch.distributions.Distribution:
        """p(y | x) of configurations ``(n, size)``, a lag time later: batch shape ``(n,)``, event shape ``(size,)``."""
        return self._generating().transition(u, self.equilibrium_joint())

    def log_equilibrium(self, u: Tensor) -> Tensor:
        """Log mu of configurations ``(n, size)``; of a molecule per volume of conformations, rigid motions apart."""
        volume = 0.0 if self.coordinates is None else self.coordinates.log_abs_det_jacobian(u)
        return self._generating().equilibrium(self.equilibrium_joint()).log_prob(u) - volume

    def inputs(self, x: Tensor) -> Tensor:
        """Whitened features of positions, ``(n, rank)``, and beside them what a generator is over."""
        y = super().inputs(x)
        return y if self.generator is None else torch.cat([y, self.configuration(x)], -1)

    def split(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """Of `inputs`: whitened features, and what a generator is over."""
        rank = len(self.scale.get_buffer("back"))
        return inputs[:, :rank], inputs[:, rank:]

    def configuration(self, x: Tensor) -> Tensor:
        """What a generator is over, ``(n, size)``: flat positions, or the bonds, angles and torsions of a molecule."""
        return x.flatten(1) if self.coordinates is None else self.coordinates(x)

    def positions(self, x: Tensor) -> Tensor:
        """Positions of what a generator has drawn, ``(..., size)``."""
        if self.generator is None:
            return super().positions(x)
        return x if self.coordinates is None else self.coordinates.positions(x)

    def setup(self, frames: Pairs) -> None:
        """Take the lag, whiten, and begin with the clusters of a conventional Markov state model.

        Raises
        ------
        ConfigError
            A generator beside features has no molecule that it could be over.
        """
        if self.generator is not None and frames.frames.topology is not None:
            self.coordinates = self.coordinates or unbounded_coordinates(frames.frames)
        elif self.generator is not None and self.features is not None:
            raise ConfigError(
                "generator='flow' with features is over bonds, angles and torsions of a molecule: give frames with a "
                "topology, or features=None for flat coordinates"
            )
        super().setup(frames)
        ends = frames.gather(evenly(frames))
        (now, where), (later, _) = (self.split(self.inputs(torch.as_tensor(end))) for end in ends)
        clusters = self.net if self.reads else SoftStates(now.shape[1], self.states, ()).to(now)
        clusters.begin(now, later)
        if self.generator is not None:
            self.densities.begin(where, clusters(now).softmax(-1).detach())

    def _generating(self) -> StateDensities:
        if self.generator is None:
            name = type(self).__name__
            raise ModelError(f"this {name} generates no configurations: make it with generator='flow'")
        return self.densities
