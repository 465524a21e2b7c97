"""Whether frames are at the temperature that is asked about."""

from bayescg.data.frames import Frames
from bayescg.errors import DataError

__all__ = ["check_temperature"]


def check_temperature(frames: Frames, kT: float) -> None:
    """Refuse frames that are known to be at another temperature than a system's.

    Parameters
    ----------
    frames : Frames
    kT : float
        Thermal energy of the system.

    Raises
    ------
    DataError
    """
    stated = frames.temperature is not None or frames.temperature_kT is not None
    if stated and abs(frames.kT / kT - 1) > 1e-4:
        raise DataError(
            f"the frames are at kT = {frames.kT:.6g}, the system at kT = {kT:.6g}: make the system at the frames' "
            "temperature, or bring them to its own, with weights exp(U / kT_frames - U / kT_system) and its temperature"
        )
