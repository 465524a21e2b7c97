"""A trained CV or potential inside a real engine of molecular dynamics, OpenMM or PLUMED; long time steps in ASE."""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

if TYPE_CHECKING:
    from bayescg.export.ase_dynamics import to_ase as to_ase
    from bayescg.export.openmm_force import to_openmm as to_openmm
    from bayescg.export.plumed_folder import to_plumed as to_plumed

__getattr__, __dir__ = lazily(__name__, __file__)
