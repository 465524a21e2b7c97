"""What a checkpoint must agree on to be gone on from."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

from bayescg.data import Frames, Pairs, Stretches
from bayescg.modelling.model import Model

__all__ = ["identity"]


def identity(model: Model, frames: Frames | Pairs | Stretches | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Digests of a model, its text and what it learns from, and the settings of the fit."""
    config = {"class": type(model).__name__, **model.config()}
    return {
        "model": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16],
        "model_class": type(model).__name__,
        "model_source": _source(type(model)),
        "data": None if frames is None else frames.fingerprint(),
        **settings,
    }


def _source(model_class: type[Model]) -> str | None:
    """Digest of the text of a class, so that an edited model is not taken for the one before."""
    try:
        return hashlib.sha256(inspect.getsource(model_class).encode()).hexdigest()[:16]
    except (OSError, TypeError):  # typed at a prompt
        return None
