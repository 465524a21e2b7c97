"""Reading generalised-Born solvents: GBSAOBCForce, and the CustomGBForce that OpenMM's implicit solvents make."""

from typing import Any

import numpy as np

from bayescg.systems.forcefield.reading.expressions import discrete_2d, matches, numbers, parse, polynomial
from bayescg.systems.forcefield.reading.pair_terms import COULOMB, cutoff_of
from bayescg.systems.forcefield.tables import Born, Neck

__all__ = ["custom_gb", "gbsa_obc"]

_OFFSET = 0.009
_PROBE = 0.14

_DESCREENING = "select(step(r+sr2-or1),0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/(U^2)-1/(L^2))+0.5*log(L/U)/r),0)"
_LENGTHS = {"U": "r+sr2", "L": "max(or1,D)", "D": "abs(r-sr2)"}
_NECK = (
    "step(radius1+radius2+neckCut-r)*getm0(radindex1,radindex2)/"
    "(1+100*(r-getd0(radindex1,radindex2))^2+0.3*1000000*(r-getd0(radindex1,radindex2))^6)"
)
_RADII = {"radius1": "or1+offset", "radius2": "or2+offset"}

_SURFACE = "{surface}*(radius+{probe})^2*(radius/B)^6"
_F = {"f": "sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))"}


def gbsa_obc(force: Any) -> Born:
    """Onufriev-Bashford-Case solvent, set 2, as OpenMM's GBSAOBCForce.

    Source
    ------
    Onufriev, Bashford, Case, Proteins 55, 383 (2004).
    """
    charge, radius, scale = numbers([force.getParticleParameters(i) for i in range(force.getNumParticles())], 3)
    ones = np.ones(len(radius))
    return Born(
        charge=charge,
        radius=radius,
        offset_radius=radius - _OFFSET,
        scaled_radius=scale * (radius - _OFFSET),
        alpha=ones,
        beta=0.8 * ones,
        gamma=4.85 * ones,
        rescaled=True,
        swallowed=True,
        coulomb=COULOMB,
        solute_dielectric=force.getSoluteDielectric(),
        solvent_dielectric=force.getSolventDielectric(),
        kappa=0.0,
        surface=4.0 * np.pi * force.getSurfaceAreaEnergy()._value,
        probe=_PROBE,
        cutoff=cutoff_of(force),
        neck=None,
    )


def custom_gb(force: Any) -> Born:
    """The CustomGBForce that OpenMM's implicit-solvent files and AMBER readers make, recognised by its expressions.

    Raises
    ------
    ValueError
        An expression that none of HCT, OBC1, OBC2, GBn and GBn2 has, said in full.
    """
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    rows = np.array([force.getParticleParameters(i) for i in range(force.getNumParticles())])
    columns = dict(zip(names, rows.T, strict=True))
    if not {"charge", "or", "sr"} <= columns.keys() or force.getNumGlobalParameters() or force.getNumExclusions():
        raise ValueError("its parameters are not those of OpenMM's implicit solvents")
    neck = _integral(force, columns)
    shape = _born_radius(force, columns)
    offset = shape.pop("offset")
    return Born(
        charge=columns["charge"],
        radius=columns["or"] + offset,
        offset_radius=columns["or"],
        scaled_radius=columns["sr"],
        swallowed=False,
        neck=neck,
        **shape,
        **_energies(force, offset),
    )


def _computed(force: Any, index: int, name: str, per_pair: bool) -> str:
    import openmm

    kind = openmm.CustomGBForce.ParticlePairNoExclusions if per_pair else openmm.CustomGBForce.SingleParticle
    values = [force.getComputedValueParameters(i) for i in range(force.getNumComputedValues())]
    if len(values) != 2 or values[index][0] != name or values[index][2] != kind:
        raise ValueError("its computed values are not the I and B of OpenMM's implicit solvents")
    return values[index][1]


def _integral(force: Any, columns: dict[str, np.ndarray]) -> Neck | None:
    """Check the descreening integral; its neck, if it has one."""
    expression = _computed(force, 0, "I", per_pair=True)
    formula, names, constants = parse(expression)
    if formula == _DESCREENING and names == _LENGTHS and not constants:
        return None
    with_neck = {"Ivdw": _DESCREENING, "Ineck": _NECK, **_LENGTHS, **_RADII}
    if (
        formula != "Ivdw+neckScale*Ineck"
        or names != with_neck
        or constants.keys() != {"neckScale", "neckCut", "offset"}
    ):
        raise ValueError(f"the computed value I = {expression!r} is not that of a known solvent")
    tables = {
        force.getTabulatedFunctionName(i): discrete_2d(force.getTabulatedFunction(i))
        for i in range(force.getNumTabulatedFunctions())
    }
    if "radindex" not in columns or tables.keys() != {"getd0", "getm0"}:
        raise ValueError("its tables are not those of OpenMM's implicit solvents")
    index = columns["radindex"].astype(int)
    radius = columns["or"] + constants["offset"]
    return Neck(
        scale=constants["neckScale"],
        depth=tables["getm0"][index[:, None], index],
        position=tables["getd0"][index[:, None], index],
        reach=radius[:, None] + radius + constants["neckCut"],
    )


def _born_radius(force: Any, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    expression = _computed(force, 1, "B", per_pair=False)
    formula, names, constants = parse(expression)
    atoms = len(columns["or"])
    if formula == "1/(1/or-I)" and not names:
        # the radius without offset is only told by the surface term; every HCT of OpenMM's has this offset
        zero = np.zeros(atoms)
        return {"alpha": zero, "beta": zero, "gamma": zero, "rescaled": False, "offset": _OFFSET}
    opening, closing = "1/(1/or-tanh(", ")/radius)"
    if (
        not (formula.startswith(opening) and formula.endswith(closing))
        or names != {"psi": "I*or", "radius": "or+offset"}
        or constants.keys() != {"offset"}
    ):
        raise ValueError(f"the computed value B = {expression!r} is not that of a known solvent")
    terms = polynomial(formula[len(opening) : -len(closing)], "psi")
    if not terms.keys() <= {1, 2, 3}:
        raise ValueError(f"the computed value B = {expression!r} is not that of a known solvent")
    values = {power: number * (columns[name] if name else np.ones(atoms)) for power, (number, name) in terms.items()}
    zero = np.zeros(atoms)
    return {
        "alpha": values.get(1, zero),
        "beta": -values.get(2, zero),
        "gamma": values.get(3, zero),
        "rescaled": True,
        "offset": constants["offset"],
    }


def _energies(force: Any, offset: float) -> dict[str, Any]:
    """The constants of the energy terms: one of single atoms, perhaps a surface term, and one of pairs."""
    import openmm

    cutoff = cutoff_of(force)
    settings: dict[str, Any] = {"surface": 0.0, "probe": _PROBE, "cutoff": cutoff}
    terms = set()
    for i in range(force.getNumEnergyTerms()):
        expression, kind = force.getEnergyTermParameters(i)
        formula, names, parameters = parse(expression)
        if kind == openmm.CustomGBForce.SingleParticle and names == {"radius": "or+offset"}:
            term, constants = "surface", matches(_SURFACE, formula)
        elif kind == openmm.CustomGBForce.SingleParticle and not names:
            term, constants = "self", _screened("-0.5*{coulomb}*", "B", "*charge^2/B", formula)
        elif kind == openmm.CustomGBForce.ParticlePairNoExclusions and names == _F:
            end = "*charge1*charge2" + ("/f" if np.isinf(cutoff) else "*(1/f-{shift})")
            term, constants = "pair", _screened("-{coulomb}*", "f", end, formula)
            if constants and not np.isclose(constants.get("shift", 0.0), 1.0 / cutoff, rtol=1e-12):
                constants = None
        else:
            term, constants = "", None
        if constants is None or term in terms or parameters.get("offset") != offset:
            raise ValueError(f"the energy term {expression!r} is not that of a known solvent")
        terms.add(term)
        if term != "surface":
            constants = {
                "coulomb": constants["coulomb"],
                "solute_dielectric": parameters["soluteDielectric"],
                "solvent_dielectric": parameters["solventDielectric"],
                "kappa": parameters["kappa"] if constants["salt"] else 0.0,
            }
            if "coulomb" in settings and constants.items() - settings.items():
                raise ValueError(f"the energy term {expression!r} has other constants than the one before")
        settings |= constants
    if not {"self", "pair"} <= terms:
        raise ValueError("it lacks the energy of single atoms or that of pairs")
    return settings


def _screened(start: str, distance: str, end: str, formula: str) -> "dict[str, Any] | None":
    """Numbers in a formula with the dielectric factor between `start` and `end`, and whether there is salt in it."""
    for salt, factor in ((False, "1"), (True, f"exp(-kappa*{distance})")):
        constants = matches(f"{start}(1/soluteDielectric-{factor}/solventDielectric){end}", formula)
        if constants:
            return constants | {"salt": salt}
    return None
