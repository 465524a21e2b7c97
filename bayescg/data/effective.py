r"""How many equal weights uneven ones are worth, :math:`(\sum w)^2 / \sum w^2`."""

from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from bayescg.data.frames import Frames

__all__ = ["check_effective", "effective", "effective_frames"]


def effective(log_w: "Tensor") -> "Tensor":
    """Effective number of the weights of these logarithms, along the last axis; NaN where all are zero.

    Examples
    --------
    >>> import torch
    >>> effective(torch.tensor([[0.0, 0.0, 0.0], [0.0, -50.0, -50.0]]))
    tensor([3., 1.])
    """
    return (2 * log_w.logsumexp(-1) - (2 * log_w).logsumexp(-1)).exp()


def effective_frames(weights: np.ndarray | None, n: int = 0) -> float:
    """Effective number of weighted frames, 0 where all weights are; n without weights.

    Examples
    --------
    >>> effective_frames(np.array([1.0, 1.0, 0.0, 0.0])), effective_frames(None, 4)
    (2.0, 4.0)
    """
    if weights is None:
        return float(n)
    largest = np.max(weights)
    if largest == 0:
        return 0.0
    w = np.asarray(weights, dtype=np.float64) / largest
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
    count = effective_frames(frames.weights, len(frames))
    if count < least * len(frames):
        raise DataError(
            f"the weights leave an effective sample size of {count:.3g} of {len(frames)} frames, a fraction of "
            f"{count / len(frames):.1e}: averages hang on a few frames. Sample nearer to the distribution that "
            "is asked for (a smaller bias, a temperature nearer to the target's, several steps between them)"
        )
