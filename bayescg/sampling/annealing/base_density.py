"""The broad density that annealing begins from."""

import copy

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Uniform

from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem
from bayescg.systems.core import System

__all__ = ["base_of", "draw"]


def base_of(system: System, base: Distribution | None, device: torch.device) -> Distribution:
    """The base that was given, fit for densities outside its support; or the system's box.

    Raises
    ------
    ConfigError
        There is none, or it is no density of the system's coordinates.
    """
    if base is None:
        bounds = system.bounds if isinstance(system, AnalyticSystem) else None
        if bounds is None:
            raise ConfigError(
                f"{system!r} does not say where its probability lies in its coordinates; give base=, a distribution of "
                f"them wide enough for all wells: Independent(Normal(torch.zeros({system.dim}), width), 1), say"
            )
        low, high = torch.tensor(bounds, device=device).T
        base = Independent(Uniform(low, high, validate_args=False), 1)
    if not isinstance(base, Distribution):
        raise ConfigError(f"base={base!r} must be a distribution of torch.distributions")
    if tuple(base.batch_shape) or tuple(base.event_shape) != (system.dim,):
        raise ConfigError(
            f"the base has batch shape {tuple(base.batch_shape)} and event shape {tuple(base.event_shape)}; it must be "
            f"() and ({system.dim},): wrap independent coordinates in torch.distributions.Independent(..., 1)"
        )
    return _unchecked(base)


def draw(base: Distribution, n: int, seed: int, device: torch.device) -> Tensor:
    """Draws (n, dim); torch's own generators stay as they are."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        return base.sample(torch.Size([n])).to(device).contiguous()


def _unchecked(base: Distribution) -> Distribution:
    """A copy that answers with minus infinity, not with an error, where its density is zero."""
    base = copy.copy(base)
    base._validate_args = False
    for name in ("base_dist", "_component_distribution", "_mixture_distribution"):
        inner = getattr(base, name, None)
        if isinstance(inner, Distribution):
            setattr(base, name, _unchecked(inner))
    return base
