"""A trained CV inside a real engine of molecular dynamics: OpenMM and PLUMED."""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

if TYPE_CHECKING:
    from bayescg.export.openmm_force import to_openmm as to_openmm
    from bayescg.export.plumed_folder import to_plumed as to_plumed

__getattr__, __dir__ = lazily(__name__, __file__)
