"""How many frames uneven weights leave."""

from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import DataError

if TYPE_CHECKING:
    from bayescg.data.frames import Frames

__all__ = ["check_effective", "effective_frames"]


def effective_frames(weights: np.ndarray | None, n: int) -> float:
    r"""Effective sample size of weighted frames, :math:`(\sum w)^2 / \sum w^2`; n without weights.

    Examples
    --------
    >>> effective_frames(np.array([1.0, 1.0, 0.0, 0.0]), 4)
    2.0
    """
    if weights is None:
        return float(n)
    w = np.asarray(weights, dtype=np.float64) / np.max(weights)
    return float(w.sum() ** 2 / (w**2).sum())


def check_effective(frames: "Frames", least: float = 0.01) -> None:
    """Refuse frames whose weights leave almost none of them: averages then hang on a few, and no error bar can tell.

    Parameters
    ----------
    frames : Frames
    least : float
        Smallest fraction of the frames. Below a hundredth the largest weights of all are as a rule still to come, and
        the effective sample size itself is overestimated.

    Raises
    ------
    DataError
        Names the effective sample size.

    References
    ----------
    Kish, "Survey Sampling" (1965), section 11.7; Chatterjee, Diaconis, "The sample size required in importance
    sampling", Ann. Appl. Probab. 28, 1099 (2018), for how such estimates fail.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> check_effective(Frames.from_numpy(np.zeros((4, 1)), unit="reduced", weights=[1.0, 2.0, 1.0, 1.0]))
    """
    found = effective_frames(frames.weights, len(frames))
    if found < least * len(frames):
        raise DataError(
            f"the weights leave an effective sample size of {found:.3g} of {len(frames)} frames, a fraction of "
            f"{found / len(frames):.1e}: averages hang on a few frames. Sample nearer to the distribution that "
            "is asked for (a smaller bias, a temperature nearer to the target's, several steps between them)"
        )
