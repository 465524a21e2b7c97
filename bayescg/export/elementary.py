"""Features in the words that engines share: functions of torsion angles and of distances."""

from __future__ import annotations

from dataclasses import dataclass, field

from bayescg.errors import ModelError
from bayescg.features import Chain, Contacts, Distances, Features, Torsions

__all__ = ["Term", "elementary"]


@dataclass(frozen=True)
class Term:
    """A function of one torsion angle in radians, or of one distance in nm.

    Attributes
    ----------
    atoms : tuple of int
        Four of a torsion, two of a distance; from 0.
    function : str
        Of ``x``, in the words of Lepton, which OpenMM and PLUMED both read; it may hold `parameters` by name.
    parameters : dict of str to float
    periodic : bool
        Whether the distance is that to the nearest image.
    """

    atoms: tuple[int, ...]
    function: str
    parameters: dict[str, float] = field(default_factory=dict)
    periodic: bool = False

    @property
    def text(self) -> str:
        """The function with the numbers in it."""
        text = self.function
        for name, value in self.parameters.items():
            text = text.replace(name, f"({value!r})")
        return text


def elementary(features: Features) -> list[list[Term]]:
    """Each feature as the mean of elementary terms.

    Raises
    ------
    ModelError
        There are other features among them.

    Examples
    --------
    >>> from bayescg.features import distances
    >>> from bayescg.systems import peptide
    >>> elementary(distances(peptide("ACE-ALA-NME")[0], pairs=[(4, 8)]))
    [[Term(atoms=(4, 8), function='x', parameters={}, periodic=False)]]
    """
    if type(features) is Chain:
        return [terms for part in features.parts for terms in elementary(part)]  # type: ignore
    if type(features) is Torsions:
        rows = [tuple(row) for row in features.quadruples.tolist()]
        return [[Term(row, function)] for row in rows for function in ("sin(x)", "cos(x)")]
    if isinstance(features, Distances) and type(features) in (Distances, Contacts):
        periodic = bool(features.vectors)
        terms = [Term(tuple(row), "x", periodic=periodic) for row in features.pairs.tolist()]
        if not isinstance(features, Contacts):
            return [[term] for term in terms]
        half, step = features.steepness / 2, "0.5-0.5*tanh(half*(x-length))"  # overflows nowhere, nor does its slope
        contacts = [
            Term(term.atoms, step, {"half": half, "length": length}, periodic)
            for term, length in zip(terms, features.lengths.tolist(), strict=True)
        ]
        return [contacts] if features.mean else [[contact] for contact in contacts]
    raise ModelError(
        f"{type(features).__name__} features are no functions of torsion angles and distances, so that neither PLUMED "
        "nor a native expression of OpenMM has them; fit with bcg.features.torsions, distances, contacts, "
        "native_contacts or a chain of these (bcg.export.to_openmm can take others as a PythonForce)"
    )
