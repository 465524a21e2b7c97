"""Parameters of a molecular force field as plain arrays: what the energy needs, and nothing of OpenMM."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Angles", "Bonds", "Born", "Cmap", "Impropers", "Neck", "Pairs", "Range", "Tables", "Torsions"]


@dataclass(frozen=True)
class Bonds:
    """Harmonic springs between two atoms: E = k (r - length)^2 / 2."""

    atoms: np.ndarray
    """(bonds, 2)"""
    length: np.ndarray
    """nm"""
    k: np.ndarray
    """kJ/mol/nm^2"""


@dataclass(frozen=True)
class Angles:
    """Harmonic angles: E = k (theta - angle)^2 / 2, the vertex in the middle."""

    atoms: np.ndarray
    """(angles, 3)"""
    angle: np.ndarray
    """rad"""
    k: np.ndarray
    """kJ/mol/rad^2"""


@dataclass(frozen=True)
class Torsions:
    """All torsions over the same four atoms as one Fourier series: E = sum_n cos_n cos(n phi) + sin_n sin(n phi)."""

    atoms: np.ndarray
    """(torsions, 4), every quadruple of atoms once; impropers and maps refer to rows of it"""
    cos: np.ndarray
    """(torsions, orders), kJ/mol; order 0 is the constant"""
    sin: np.ndarray
    """(torsions, orders), kJ/mol"""


@dataclass(frozen=True)
class Impropers:
    """Harmonic impropers of CHARMM: E = k d^2, where d is the shorter way round from `angle` to phi."""

    torsion: np.ndarray
    """(impropers,) rows of the torsions"""
    angle: np.ndarray
    """rad"""
    k: np.ndarray
    """kJ/mol/rad^2"""


@dataclass(frozen=True)
class Cmap:
    """Correction maps: bicubic patches over two torsions, each in [0, 2 pi)."""

    phi: np.ndarray
    """(terms,) rows of the torsions"""
    psi: np.ndarray
    """(terms,)"""
    first: np.ndarray
    """(terms,) where the patches of the term's map begin in `patches`"""
    size: np.ndarray
    """(terms,) patches along one side of the term's map"""
    patches: np.ndarray
    """(patches, 16): E = sum_mn patches[first + size i + j, 4 m + n] u^m v^n in cell (i, j) of (phi, psi)"""


@dataclass(frozen=True)
class Range:
    """How far the pairs of a table see each other."""

    cutoff: float = np.inf
    """nm"""
    switch: float = np.inf
    """nm: from here to the cutoff S falls smoothly from one to zero"""
    k_rf: float = 0.0
    c_rf: float = 0.0


@dataclass(frozen=True)
class Pairs:
    """Pairs of atoms with E = qq (1/r + k_rf r^2 - c_rf) + S(r) (a / r^12 - b / r^6), zero from the cutoff on."""

    atoms: np.ndarray
    """(pairs, 2), the smaller index first"""
    qq: np.ndarray
    """kJ/mol nm: product of the charges times Coulomb's constant"""
    a: np.ndarray
    """kJ/mol nm^12"""
    b: np.ndarray
    """kJ/mol nm^6"""
    reach: Range = Range()


@dataclass(frozen=True)
class Neck:
    """The correction of GBn: E = scale * depth / (1 + 100 d^2 + 3e5 d^6) with d = r - position, up to `reach`."""

    scale: float
    depth: np.ndarray
    """(atoms, atoms) 1/nm: seen by the first atom, made by the second"""
    position: np.ndarray
    """(atoms, atoms) nm"""
    reach: np.ndarray
    """(atoms, atoms) nm"""


@dataclass(frozen=True)
class Born:
    """Generalised-Born solvent of all atoms, in the pairwise-descreening form of Hawkins, Cramer and Truhlar.

    With the descreening integral I and psi = I * offset_radius, the Born radius is
    B = 1 / (1 / offset_radius - tanh(alpha psi - beta psi^2 + gamma psi^3) / radius), and without `rescaled`
    (HCT) B = 1 / (1 / offset_radius - I).
    """

    charge: np.ndarray
    """e"""
    radius: np.ndarray
    """nm"""
    offset_radius: np.ndarray
    """nm"""
    scaled_radius: np.ndarray
    """nm"""
    alpha: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    rescaled: bool
    swallowed: bool
    """Whether an atom wholly inside another one is descreened as OpenMM's GBSAOBCForce has it."""
    coulomb: float
    """kJ/mol nm/e^2"""
    solute_dielectric: float
    solvent_dielectric: float
    kappa: float
    """1/nm"""
    surface: float
    """kJ/mol/nm^2, times (radius + probe)^2 (radius / B)^6"""
    probe: float
    """nm"""
    cutoff: float
    """nm"""
    neck: Neck | None


@dataclass(frozen=True)
class Tables:
    """Everything a force field adds up; None where it has no such term.

    Parameters
    ----------
    atoms : int
        Number of atoms.
    bonds, angles, torsions, impropers, cmap, born
        One table each.
    pairs : tuple of Pairs
        Tables that differ in their cutoff.

    Examples
    --------
    >>> spring = Bonds(np.array([[0, 1]]), np.array([0.1]), np.array([1000.0]))
    >>> Tables(2, bonds=spring).pairs
    ()
    """

    atoms: int
    bonds: Bonds | None = None
    angles: Angles | None = None
    torsions: Torsions | None = None
    impropers: Impropers | None = None
    cmap: Cmap | None = None
    pairs: tuple[Pairs, ...] = ()
    born: Born | None = None
