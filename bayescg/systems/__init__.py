"""Physics one can query: analytic potentials, molecules and force fields.

Names are imported when they are first used: `peptide` needs OpenMM but not PyTorch.
"""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

if TYPE_CHECKING:
    from bayescg.systems.clusters import LennardJonesCluster as LennardJonesCluster
    from bayescg.systems.clusters import MorseCluster as MorseCluster
    from bayescg.systems.core import System as System
    from bayescg.systems.core import from_function as from_function
    from bayescg.systems.curvilinear import CurvilinearSystem as CurvilinearSystem
    from bayescg.systems.embedded import MuellerBrown5D as MuellerBrown5D
    from bayescg.systems.embedded import ThreeWell5D as ThreeWell5D
    from bayescg.systems.molecules import MolecularSystem as MolecularSystem
    from bayescg.systems.molecules import alanine_dipeptide as alanine_dipeptide
    from bayescg.systems.molecules import capped_peptide as capped_peptide
    from bayescg.systems.molecules import from_openmm as from_openmm
    from bayescg.systems.oscillators import FermiPastaUlam as FermiPastaUlam
    from bayescg.systems.oscillators import HenonHeiles as HenonHeiles
    from bayescg.systems.peptides import peptide as peptide
    from bayescg.systems.targets import GaussianMixture as GaussianMixture
    from bayescg.systems.targets import ManyWell32 as ManyWell32
    from bayescg.systems.wells import CurvedWell as CurvedWell
    from bayescg.systems.wells import DoubleWell as DoubleWell
    from bayescg.systems.wells import Harmonic as Harmonic
    from bayescg.systems.wells import Prinz as Prinz
    from bayescg.systems.wells import QuadrupleWell as QuadrupleWell
    from bayescg.systems.wells import QuarticDoubleWell as QuarticDoubleWell
    from bayescg.systems.wells import RippledWell as RippledWell
    from bayescg.systems.wells import ThreeWellRing as ThreeWellRing

__getattr__, __dir__ = lazily(__name__, __file__)
