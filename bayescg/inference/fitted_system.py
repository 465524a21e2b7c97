"""A fitted potential energy as a System: at the trained values, for a draw of the parameters, or for many at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.func import jvp

from bayescg.errors import ConfigError, ModelError
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.model import Model
from bayescg.modelling.potential_model import HasPotential
from bayescg.recording.functional import Params, call_with, forward_mode, over
from bayescg.systems.core import System

__all__ = ["FittedSystem", "fitted_system"]


class FittedSystem(System):
    r"""The potential energy that a model has learned. Made by :meth:`bayescg.inference.fitted.Fit.system`.

    With a Laplace posterior a draw is one of the linearised model,
    :math:`U(x; \hat\theta) + \nabla_\theta U(x; \hat\theta) \cdot (\theta - \hat\theta)`: only there is it Gaussian.

    Parameters
    ----------
    model : Model and HasPotential
        With the trained values.
    point : dict of str to Tensor
        Those.
    varying : dict of str to Tensor
        Draws of the parameters that vary, ``(draws, ...)``.
    linear : bool
        Whether they are draws of the linearised model.
    draws : int, optional
        None: of one draw the system itself.

    Attributes
    ----------
    model, point, varying, linear
        As given.
    start : ndarray or None
        Where samplers begin that are told nothing else: the first of the frames that the fit learned from.
    draws : int or None
        The system is a batch of so many: of n configurations, ``(n, dim)``, the first n / draws are the first draw's,
        and so on, so that positions ``(draws, n, dim)`` give energies ``(draws, n)``. n chains of a sampler are divided
        alike.
    """

    def __init__(self, model: Any, point: Params, varying: Params, linear: bool, draws: int | None = None):
        topology = None if model.topology is None else model.topology.to_openmm()
        units: dict[str, Any] = {"temperature": model.temperature, "temperature_kT": model.temperature_kT}
        super().__init__(self._energies, model.dim, topology=topology, **units)
        self.model, self.draws = model, draws
        self.start: Any = None
        self.point, self.varying, self.linear = point, varying, linear

    def _energies(self, x: Tensor) -> Tensor:
        if self.draws is None:
            return self._at({k: v[0] for k, v in self.varying.items()}, x)
        if len(x) % self.draws:
            raise ConfigError(
                f"{len(x)} configurations cannot be divided among {self.draws} draws of the posterior: take a multiple "
                "of it, such as as many chains of each"
            )
        each = x.unflatten(0, (self.draws, -1))
        return over(self._at)({k: v for k, v in self.varying.items()}, each).flatten()

    def strays(self, x: Tensor) -> str:
        """Configurations ``(n, dim)`` far from all that the model was trained on, where it says what these are."""
        outside = getattr(self.model, "strays", None)
        return "" if outside is None else outside(x)

    def _at(self, values: Params, x: Tensor) -> Tensor:
        molecule = self.topology is not None
        positions = x.unflatten(-1, (-1, 3)) if molecule else x
        dtype = next(v.dtype for v in self.point.values() if v.is_floating_point())

        def energy(values: Params) -> Tensor:
            point = {k: v.to(x.device) for k, v in {**self.point, **values}.items()}
            return call_with(self.model, point, lambda m: m.potential(positions.to(dtype))).to(x.dtype)

        if not values or not self.linear:
            return energy(values)
        trained = {k: self.point[k] for k in values}
        with forward_mode():
            value, change = jvp(energy, (trained,), ({k: values[k] - trained[k] for k in values},))[:2]
        return value + change


def fitted_system(model: Model, weights: Posterior, draw: int | None, draws: int | None, seed: int) -> FittedSystem:
    """What `Fit.system` gives.

    Raises
    ------
    ModelError
        The model has no potential, or a draw is wanted of a fit that has no parameter uncertainty.
    ConfigError
        Both `draw` and `draws` are given, or there are not so many refits.
    """
    if not isinstance(model, HasPotential):
        raise ModelError(f"{type(model).__name__} has no potential energy, so that there is no system of it")
    varying, many = weights.some(draw, draws, seed, type(model).__name__)
    return FittedSystem(model, weights.point, varying, weights.kind == "laplace" and bool(varying), many)
