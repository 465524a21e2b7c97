"""Small sets of frames of which everything is known: what models are tried on."""

from collections.abc import Sequence

import numpy as np
import torch

from bayescg.data.frames import Frames

__all__ = ["toy_curve", "toy_jumps", "toy_relaxations", "toy_shots", "toy_spring", "toy_telegraph"]


def toy_curve() -> Frames:
    """One variable behind 64 independent frames in four dimensions, a bent line with noise.

    Examples
    --------
    >>> toy_curve().positions.shape
    (64, 4)
    """
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(64, 1, generator=generator)
    x = torch.cat([z, z**2, -z, 0 * z], 1) + 0.1 * torch.randn(64, 4, generator=generator)
    return Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0)


def toy_relaxations(memory: Sequence[float], mixing: Sequence[Sequence[float]]) -> Frames:
    """A trajectory of 100 frames: independent autoregressive variables of unit variance, mixed.

    Parameters
    ----------
    memory : sequence of float
        What of each variable is left after a frame.
    mixing : nested sequence, shape (variables, dim)

    Examples
    --------
    >>> toy_relaxations([0.9, 0.1], [[1.0, 0.5], [-0.5, 1.0]]).dt
    1.0
    """
    keep, generator = torch.tensor(memory), torch.Generator().manual_seed(0)
    noise = torch.randn(100, len(keep), generator=generator)
    x = [noise[0]]
    for e in noise[1:]:
        x.append(keep * x[-1] + (1 - keep**2).sqrt() * e)
    mixed = torch.stack(x) @ torch.tensor(mixing)
    return Frames.from_numpy(mixed.numpy(), unit="reduced", dt=1.0, temperature_kT=1.0)


def toy_shots() -> Frames:
    """Sixty independent frames in three dimensions with ten shots each, energies and labels, some of them unknown.

    The committor is the logistic function of 3 x, the energy y^2 - x^2, the label whether x > 0.

    Examples
    --------
    >>> toy_shots().commitments.sum(1)[:4], int(np.isnan(toy_shots().energy).sum())
    (array([10, 0, 10, 10]), 15)
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    shots, row = np.where(np.arange(60) % 6 == 1, 0, 10), np.arange(60)
    hits = rng.binomial(shots, 1 / (1 + np.exp(-3 * x[:, 0])))
    energy = np.where(row % 4 == 2, np.nan, x[:, 1] ** 2 - x[:, 0] ** 2)
    labels = np.where(row % 5 == 3, -1, x[:, 0] > 0)
    return Frames.from_numpy(
        x.astype(np.float32), unit="reduced", temperature_kT=1.0, energy=energy, labels=labels,
        commitments=np.c_[shots - hits, hits],
    )  # fmt: skip


def toy_telegraph() -> Frames:
    """A trajectory of 800 frames of a variable that is 1 or -1, jumps now and then, and is seen wrongly now and then.

    Examples
    --------
    >>> sorted(set(toy_telegraph().positions[:, 0].tolist()))
    [-1.0, 1.0]
    """
    generator = torch.Generator().manual_seed(0)
    jumps, mistaken = (_signs(torch.rand(800, 1, generator=generator), share) for share in (0.2, 0.05))
    return Frames.from_numpy((jumps.cumprod(0) * mistaken).numpy(), unit="reduced", dt=1.0, temperature_kT=1.0)


def toy_jumps() -> Frames:
    """A trajectory of 200 frames in two dimensions, around (1, 1) or (-1, -1), with a jump in one of ten.

    Examples
    --------
    >>> toy_jumps().positions.shape
    (200, 2)
    """
    generator = torch.Generator().manual_seed(0)
    jumps = _signs(torch.rand(200, 1, generator=generator), 0.1)
    x = jumps.cumprod(0) + 0.5 * torch.randn(200, 2, generator=generator)
    return Frames.from_numpy(x.numpy(), unit="reduced", dt=1.0, temperature_kT=1.0)


def toy_spring() -> Frames:
    """A trajectory of 300 frames of an overdamped spring of unit variance, a fifth of which is forgotten in a frame.

    Examples
    --------
    >>> toy_spring().dt
    0.2
    """
    x, generator = torch.zeros(300, 1), torch.Generator().manual_seed(0)
    for k in range(1, 300):
        x[k] = 0.8 * x[k - 1] + 0.6 * torch.randn(1, generator=generator)
    return Frames.from_numpy(x.numpy(), unit="reduced", dt=0.2, temperature_kT=1.0)


def _signs(even: torch.Tensor, share: float) -> torch.Tensor:
    return torch.where(even < share, -1.0, 1.0)
