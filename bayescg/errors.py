"""The kinds of errors bayescg raises: each says what is wrong, where, and what to do about it."""

from typing import Any

__all__ = [
    "BayescgError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "FitError",
    "Interrupted",
    "ModelError",
    "OutputError",
    "RunError",
    "SimulationError",
    "TopologyError",
    "UnitError",
]


class BayescgError(Exception):
    """Any error that bayescg raises on purpose; catch this one to catch them all."""


class DataError(BayescgError, ValueError):
    """Frames that cannot be used: not finite, empty, too short, changing in size, weights that do not fit."""


class UnitError(DataError):
    """Coordinates whose unit is missing, unknown, or contradicted by the bond lengths."""


class TopologyError(DataError):
    """A topology that does not belong to the coordinates, or names that cannot be found in it."""


class ConfigError(BayescgError, ValueError):
    """An experiment file, a setting or an argument that is unknown, misspelt or out of range."""


class ModelError(BayescgError):
    """A model whose two programs disagree, or a capability that it does not have."""


class FitError(BayescgError):
    """A fit that cannot go on, such as a loss that is no longer finite; the last good state is kept."""


class SimulationError(BayescgError):
    """Molecular dynamics that cannot go on, such as positions that are no longer finite.

    Attributes
    ----------
    frames : Frames or None
        Those up to there, of samplers that keep them.
    """

    frames: Any = None


class CheckpointError(BayescgError):
    """A checkpoint that is damaged, of another version, or of another model or data set."""


class OutputError(BayescgError, OSError):
    """A file or directory that cannot be written, or that another run is using."""


class RunError(BayescgError):
    """Some runs of many failed, after all others were finished.

    Attributes
    ----------
    results : list
        Of all runs in their order, None for those that failed.
    failures : list of dict
        ``settings``, ``error`` and ``traceback`` of each that failed.
    """

    def __init__(self, message: str, results: list[Any], failures: list[dict[str, Any]]):
        super().__init__(message)
        self.results, self.failures = results, failures


class DeviceError(BayescgError):
    """A device that was asked for and is not there."""


class Interrupted(BayescgError):
    """A signal stopped the work; everything done so far was saved and can be resumed.

    Attributes
    ----------
    number : int
        Of the signal: 2 for SIGINT, 15 for SIGTERM.
    """

    def __init__(self, message: str, number: int = 2):
        super().__init__(message)
        self.number = number
