"""What is asked of a fit, as tables of an experiment's file: types are taken literally and nothing unknown passes."""

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["Names", "Range", "Section", "Shared"]

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Section(BaseModel):
    """A table of the file, or a part of one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Shared(Section):
    """``[analysis]``: what several questions read; each question adds settings of its own.

    `observables` (None: radius of gyration, RMSD and end-to-end distance of a molecule, the first coordinates of a toy
    system) and `torsions` are names of :mod:`bayescg.features.observables`, or coordinates x1, x2, ... A torsion is
    called by its residue, ``"psi ALA-3"``; ``"psi"`` is every one. A region is an interval of one of them, angles in
    degrees (an upper end below the lower one wraps around): ``[analysis.regions] alpha = { psi = [-120, 60] }``. A
    difference is a pair of regions of the same one. `bins` are those of predictive checks, `draws` those of free
    energies and spectra, `level` that of bands. `samples` are configurations that the model generates; of a model
    without frames, they are what its averages are made of. `truth` gives known values of quantities, which stand
    beside what was found.
    """

    observables: Names | None = None
    torsions: Names = []
    regions: dict[str, Annotated[dict[str, Range], Field(min_length=1, max_length=1)]] = {}
    differences: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []
    bins: int = Field(default=30, ge=2)
    draws: int = Field(default=200, ge=10)
    samples: int = Field(default=2000, ge=100)
    level: float = Field(default=0.9, gt=0, lt=1)
    truth: dict[str, float] = {}

    @model_validator(mode="after")
    def _regions_exist(self) -> Self:
        for pair in self.differences:
            for name in pair:
                if name not in self.regions:
                    defined = ", ".join(self.regions) or "none"
                    raise ValueError(f"analysis.differences names the region {name!r}; defined are {defined}")
            if self.regions[pair[0]].keys() != self.regions[pair[1]].keys():
                raise ValueError(
                    f"analysis.differences: {pair[0]!r} and {pair[1]!r} are regions of different observables"
                )
        return self
