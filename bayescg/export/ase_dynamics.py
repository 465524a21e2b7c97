"""Steps of a learned map inside ASE, in place of its integrators."""

from __future__ import annotations

from typing import Any

import torch

from bayescg.errors import ConfigError, DataError, ModelError, SimulationError

try:
    from ase import units
    from ase.md.md import MolecularDynamics
except ImportError as error:
    raise ConfigError("ASE is not installed: pip install 'bayescg[ase]'") from error

__all__ = ["LongSteps", "to_ase"]

_PICOSECOND = 1000 * units.fs
_NANOMETRE = 10.0


class LongSteps(MolecularDynamics):
    """Molecular dynamics of ASE that takes the long steps of a fit. Made by `to_ase`.

    No forces are needed: atoms may be without a calculator.
    """

    def __init__(self, atoms: Any, step_map: Any, tolerance: float, **rest: Any):
        molecule = step_map.model.topology is not None
        length, time = (_NANOMETRE, _PICOSECOND) if molecule else (1.0, 1.0)
        super().__init__(atoms, step_map.lag * time, **rest)
        self.step_map, self.tolerance = step_map, tolerance
        self.length, self.speed = length, length / time

    def step(self, forces: Any = None) -> None:
        """One step.

        Raises
        ------
        SimulationError
            Its equations have no solution within the tolerance.
        """
        q = torch.from_numpy(self.atoms.get_positions() / self.length).reshape(1, -1)
        p = torch.from_numpy(self.atoms.get_momenta() / self.speed).reshape(1, -1)
        with torch.no_grad():
            moved = self.step_map.step(q, p, self.tolerance)
        if not float(moved.residual) <= self.tolerance or not bool(moved.q.isfinite().all()):
            raise SimulationError(
                f"step {self.nsteps + 1} is not solved to {self.tolerance:g} but to {float(moved.residual):.2g}; the "
                "atoms are as they were before it"
            )
        self.atoms.set_positions(moved.q.reshape(-1, 3).numpy() * self.length)
        self.atoms.set_momenta(moved.p.reshape(-1, 3).numpy() * self.speed)

    def _refresh_properties(self) -> None:
        if self.atoms.calc is not None:
            super()._refresh_properties()


def to_ase(
    fit: Any,
    atoms: Any,
    *,
    draw: int | None = None,
    lag: float | None = None,
    tolerance: float = 1e-10,
    seed: int = 0,
    **rest: Any,
) -> LongSteps:
    """Dynamics of ASE by a learned map of a long time step; needs the extra ``bayescg[ase]``.

    Parameters
    ----------
    fit : Fit
        Of a map, such as :class:`bayescg.models.ActionMap`, of a molecule, or of coordinates in reduced units, which
        are then taken for ASE's: angstrom, dalton, eV and the time that follows from these.
    atoms : ase.Atoms
        With momenta; those that the map was learned of, in the same order and of the same masses.
    draw : int, optional
        Number of one draw of the posterior; None: the trained map.
    lag : float, optional
        Time step, in ps of molecules, of a fit that has learned several.
    tolerance : float
        Of implicit steps, in units of the spread of positions and momenta.
    seed : int
        Of the draws.
    **rest
        Further arguments of `ase.md.md.MolecularDynamics`: `trajectory`, `logfile`, `loginterval`.

    Raises
    ------
    ConfigError
        ASE is not installed.
    ModelError
        The fit is of no map.
    DataError
        There are other atoms, or their masses are others.

    Examples
    --------
    >>> from ase import Atoms
    >>> import bayescg as bcg
    >>> trap = bcg.systems.from_function(lambda x: 0.5 * x.square().sum(-1), dim=3)
    >>> fit = bcg.fit(bcg.models.ActionMap(trap, waves=20), bcg.sampling.short_trajectories(trap, 20, lag=0.1))
    >>> atom = Atoms("H", positions=[[1.0, 0.0, 0.0]], masses=[1.0])
    >>> to_ase(fit, atom).run(10)
    True
    """
    model: Any = getattr(fit, "model", None)
    if not hasattr(model, "displacement"):
        raise ModelError(f"this {type(model or fit).__name__} is no fitted map of a time step")
    masses = model.masses.cpu().numpy()
    if 3 * len(atoms) != len(masses):
        raise DataError(f"the map is of {len(masses)} coordinates, and {len(atoms)} atoms have {3 * len(atoms)}")
    off = abs(atoms.get_masses() / masses[::3] - 1)
    if (off > 1e-3).any():
        k = int(off.argmax())
        raise DataError(
            f"atom {k} has mass {atoms.get_masses()[k]:g}, and {masses[3 * k]:g} in the frames that the map was "
            "learned from: give atoms.set_masses these"
        )
    return LongSteps(atoms, fit.map(draw=draw, lag=lag, seed=seed), tolerance, **rest)
