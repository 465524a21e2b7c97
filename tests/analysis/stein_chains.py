"""Beads on springs to fixed places and to each other, whose positions and forces are drawn exactly."""

import numpy as np

import bayescg as bcg

KT, TETHER, SPRING = 2.5, 500.0, 2000.0


def chain(seed: int, frames: int, memory: float = 0.0, beads: int = 4, trajectories: int = 1) -> bcg.data.Frames:
    """A Gaussian about a zigzag; `memory` is the correlation from frame to frame."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(trajectories, frames, beads, 3))
    standard = np.empty_like(noise)
    standard[:, 0] = noise[:, 0]
    for t in range(1, frames):
        standard[:, t] = memory * standard[:, t - 1] + np.sqrt(1 - memory**2) * noise[:, t]
    joined = np.eye(beads, k=1)[:-1] - np.eye(beads)[:-1]
    stiffness = TETHER * np.eye(beads) + SPRING * joined.T @ joined
    moved = np.linalg.cholesky(KT * np.linalg.inv(stiffness)) @ standard.reshape(-1, beads, 3)
    places = np.stack([0.3 * np.arange(beads), 0.2 * (np.arange(beads) % 2), np.zeros(beads)], 1)
    return bcg.data.Frames.from_numpy(
        places + moved,
        unit="nm",
        forces=-stiffness @ moved,
        temperature=KT / 0.00831446261815324,
        dt=1.0,
        trajectory=np.repeat(np.arange(trajectories), frames),
    )
