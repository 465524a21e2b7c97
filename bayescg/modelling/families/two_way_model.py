"""What models share that learn either from frames or, given a system, from its energies alone."""

from __future__ import annotations

from typing import Any, Self

from bayescg.arguments import check_positive
from bayescg.distributions import system_config, system_from_config
from bayescg.features import Features
from bayescg.modelling.feature_model import FeatureModel
from bayescg.modelling.model_arguments import arguments_from_json
from bayescg.modelling.system_model import SystemModel, box_of
from bayescg.nets import Standardise
from bayescg.systems import System

__all__ = ["TwoWayModel"]


class TwoWayModel(FeatureModel, SystemModel):
    """Base of models that are trained forwards, as models of frames, or backwards, as guides to a system.

    A subclass takes `features`, `dim`, `system` and `guard` among its arguments, hands them on to `begin_either` at the
    end of its ``__init__`` and writes `build`, which makes its networks. Its programs ask which way they are run:
    ``self.system is None`` where there are frames.

    Attributes
    ----------
    system : System or None
        None where it learns from frames.
    features : Features or None
        What of a configuration is modelled; given a molecular system, its coordinates.
    """

    needs_frames = True
    scale: Standardise
    system: System | None  # type: ignore[assignment]

    def begin_either(self, features: Features | None, dim: int | None, system: System | None, guard: float) -> None:
        """Begin as a `FeatureModel`, or given a system as a `SystemModel`, whose coordinates are the features.

        Raises
        ------
        ConfigError
            This is no system, these are no features, or of a system no coordinates, or a number is out of range.
        """
        check_positive(guard=guard)
        self.system, self.guard = None, float(guard)
        if system is None:
            self.begin(features, dim)
            return
        SystemModel.begin(self, system, features, guard)  # type: ignore[arg-type]
        self.needs_frames, self.uncertainty = False, "none"  # type: ignore[misc]
        assert self.system is not None
        self.begin(self.coordinates, self.system.dim)
        if (reference := self.system.reference) is not None:
            self.scale.set(reference.mean, reference.stddev)
        elif (box := box_of(self.system)) is not None:
            self.scale.set(box.mean(1), 0.25 * (box[:, 1] - box[:, 0]))

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
