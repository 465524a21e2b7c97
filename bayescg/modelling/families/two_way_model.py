"""What models share that learn either from frames or, given a system, from its energies alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from pyro import poutine
from torch import Tensor

from bayescg.arguments import check_numbers, check_positive
from bayescg.distributions import LatticeMixture, StratifiedLattice, system_config, system_from_config
from bayescg.features import Features
from bayescg.modelling.batch import Batch
from bayescg.modelling.feature_model import FeatureModel
from bayescg.modelling.model_arguments import arguments_from_json
from bayescg.modelling.schedules.adaptive_tempering import tempering
from bayescg.modelling.schedules.schedule import Schedule
from bayescg.modelling.system_model import SystemModel, box_of
from bayescg.nets import Standardise
from bayescg.systems import System

__all__ = ["TwoWayModel"]


class TwoWayModel(FeatureModel, SystemModel):
    """Base of models that are trained forwards, as models of frames, or backwards, as guides to a system.

    A subclass takes `features`, `dim`, `system`, `guard`, `wake`, `beta_start` and `cess`, which are of
    :class:`bayescg.models.EmbeddedPhysics`, among its arguments, hands them on to `begin_either` at the end of its
    ``__init__`` and writes `build`, which makes its networks. Its programs ask which way they are run:
    ``self.system is None`` where there are frames.

    Attributes
    ----------
    system : System or None
        None where it learns from frames.
    features : Features or None
        What of a configuration is modelled; given a molecular system, its coordinates.
    """

    needs_frames = True
    beta: Tensor
    scale: Standardise
    system: System | None  # type: ignore[assignment]

    def begin_either(
        self,
        features: Features | None,
        dim: int | None,
        system: System | None,
        guard: float,
        wake: float = 0.5,
        beta_start: float = 0.02,
        cess: float = 0.9,
    ) -> None:
        """Begin as a `FeatureModel`, or given a system as a `SystemModel`, whose coordinates are the features.

        Raises
        ------
        ConfigError
            This is no system, these are no features, or of a system no coordinates, or a number is out of range.
        """
        check_positive(guard=guard)
        check_numbers(wake=(wake, "[0, inf)"), beta_start=(beta_start, "(0, 1]"), cess=(cess, "(0, 1)"))
        self.wake, self.beta_start, self.cess = float(wake), float(beta_start), float(cess)
        self.system, self.guard = None, float(guard)
        if system is None:
            self.begin(features, dim)
            return
        SystemModel.begin(self, system, features, guard)  # type: ignore[arg-type]
        self.needs_frames, self.uncertainty = False, "none"  # type: ignore[misc]
        self.additive = False  # type: ignore[misc]  # the wake term's weights are those of a whole batch
        self.register_buffer("beta", torch.ones(()))
        assert self.system is not None
        self.begin(self.coordinates, self.system.dim)
        if (reference := self.system.reference) is not None:
            self.scale.set(reference.mean, reference.stddev)
        elif (box := box_of(self.system)) is not None:
            self.scale.set(box.mean(1), 0.25 * (box[:, 1] - box[:, 0]))

    def schedule(self, steps: int, members: int | None, frames: bool) -> Schedule:
        """Without data beta rises as the draws allow, unless it begins at 1."""
        if frames:
            return super().schedule(steps, members, frames)
        return tempering(self.beta_start, self.cess, steps, self.wake)

    @contextmanager
    def draws(self, batch: Batch, mixture: LatticeMixture) -> Iterator[LatticeMixture]:
        """Plate over draws of a mixture, each counting as its node's probability asks; gives what they are of."""
        if batch.index is None:  # nothing but draws
            with batch.plate("frames"):
                yield mixture
            return
        stratified = StratifiedLattice(mixture.log_weights, mixture.mean_of, mixture.sd, len(batch))
        with batch.plate("frames"), poutine.scale(scale=stratified.share):
            yield stratified

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, where its system is one of :mod:`bayescg.systems`."""
        config = super().config()
        return config if self.system is None else {**config, "system": system_config(self.system)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        arguments = arguments_from_json(config)
        return cls(**{**arguments, "system": system_from_config(config["system"]) if "system" in config else None})

    def arguments(self, *without: str) -> dict[str, Any]:
        """Arguments as JSON, the system apart."""
        return super().arguments("system", *without)
