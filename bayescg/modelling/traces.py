"""Pyro's traces, read the one way this package needs them."""

from collections.abc import Callable
from typing import Any

from pyro import poutine

__all__ = ["is_local", "run_pair", "sites"]


def run_pair(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any
) -> tuple[dict[str, Any], dict[str, Any], poutine.Trace, poutine.Trace]:
    """Run a guide, then the model with the guide's values: sites of the guide and of the model, and both traces."""
    proposed = poutine.trace(guide).get_trace(*args)
    trace = poutine.trace(poutine.replay(model, proposed)).get_trace(*args)
    return sites(proposed), sites(trace), proposed, trace


def sites(trace: poutine.Trace) -> dict[str, Any]:
    """The sample sites of a trace by name, without those that only choose a minibatch."""
    nodes: dict[str, Any] = dict(trace.nodes)
    return {k: s for k, s in nodes.items() if s["type"] == "sample" and type(s["fn"]).__name__ != "_Subsample"}


def is_local(site: dict[str, Any]) -> bool:
    """Whether a site has one value for each frame, rather than one for all."""
    return any(f.vectorized for f in site["cond_indep_stack"])
