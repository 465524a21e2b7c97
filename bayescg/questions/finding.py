"""What a question finds: numbers with their errors, and what people are to see and know of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from bayescg.analysis import Quantity

__all__ = ["Drawing", "Finding", "Table", "finite"]


@dataclass(frozen=True)
class Drawing:
    """A figure, drawn when it is wanted.

    Attributes
    ----------
    draw : callable
        Returns the figure.
    caption : str
    alt : str
        What is in it, for who cannot see it; the caption where it is empty.
    molecules : callable or None
        Returns what is drawn as models of a PDB file, one after the other, for a page to turn.
    """

    draw: Callable[[], Figure]
    caption: str
    alt: str = ""
    molecules: Callable[[], str] | None = None


@dataclass(frozen=True)
class Table:
    """Rows of text under a title.

    Attributes
    ----------
    columns : tuple of str
        The first one holds names, the others numbers.
    rows : list of tuple of str
    note : str
        How to read it.
    brief : int or None
        So many columns are enough in a terminal; None: all.
    hint : str
        How to read it, in one line of a terminal.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    brief: int | None = None
    hint: str = ""


@dataclass
class Finding:
    """What was found.

    Attributes
    ----------
    quantities : dict of str to Quantity
        With their intervals and sources of uncertainty.
    truth : dict of str to float
        What is known of quantities, by their names.
    truth_is : str
        What that is called: truth, or what it was taken from.
    diagnostics : dict
        JSON.
    in_words : set of str
        Diagnostics that tables or remarks tell of.
    warnings : list of str
        What a careful reader has to know.
    remarks : dict of str to list of str
        Sentences, by the heading they stand under.
    tables : dict of str to Table
        By their titles.
    datasets : dict of str to Dataset
        Groups of ``posterior.nc``.
    figures : dict of str to Drawing
        By the names of their files, in reading order.
    sources : str
        What the standard deviations by source are about.
    """

    quantities: dict[str, Quantity] = field(default_factory=dict)
    truth: dict[str, float] = field(default_factory=dict)
    truth_is: str = "truth"
    diagnostics: dict[str, Any] = field(default_factory=dict)
    in_words: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    datasets: dict[str, xr.Dataset] = field(default_factory=dict)
    figures: dict[str, Drawing] = field(default_factory=dict)
    sources: str = ""

    def add(self, name: str, quantity: Quantity, truth: float | None = None) -> None:
        """Note a quantity, and what is known of it."""
        self.quantities[name] = quantity
        if truth is not None and math.isfinite(truth):
            self.truth[name] = float(truth)

    def remark(self, heading: str, *sentences: str) -> None:
        """Add sentences under a heading."""
        self.remarks.setdefault(heading, []).extend(sentences)

    def withhold(self, why: str) -> None:
        """Take the intervals of all quantities away that still have one."""
        for name, quantity in self.quantities.items():
            self.quantities[name] = replace(quantity, ci90=None, warning=quantity.warning or why)

    def distrust(self, why: str) -> None:
        """Take the intervals of all quantities away, and warn."""
        for name, quantity in self.quantities.items():
            self.quantities[name] = replace(quantity, sd=math.nan, ci90=None, warning=why, sd_by_source={})
        self.warnings.append(why)

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Finding:
        """All of them in one, each warning once."""
        whole = cls()
        for part in findings:
            for name in ("quantities", "truth", "diagnostics", "in_words", "tables", "datasets", "figures"):
                setattr(whole, name, getattr(whole, name) | getattr(part, name))
            whole.sources = part.sources or whole.sources
            whole.truth_is = part.truth_is if part.truth_is != "truth" else whole.truth_is
            for heading, sentences in part.remarks.items():
                whole.remark(heading, *sentences)
            whole.warnings = list(dict.fromkeys([*whole.warnings, *part.warnings]))
        return whole

    def summary(self) -> dict[str, Any]:
        """The quantities as JSON: unit, mean, sd, ci90, truth and sd_by_source of each."""
        quantities = {}
        for name, quantity in self.quantities.items():
            numbers = quantity.to_dict()
            sources = numbers.pop("sd_by_source")
            quantities[name] = finite({**numbers, "truth": self.truth.get(name), "sd_by_source": sources})
        return quantities

    def words(self) -> dict[str, Any]:
        """What people read, as JSON: remarks, tables, and how to read the quantities."""
        return {
            "truth_is": self.truth_is,
            "sources": self.sources,
            "in_words": sorted(self.in_words),
            "remarks": self.remarks,
            "tables": {title: asdict(table) for title, table in self.tables.items()},
        }

    def __repr__(self) -> str:
        lines = [f"Finding of {len(self.quantities)} quantities"]
        for name, quantity in self.quantities.items():
            truth = f", known to be {self.truth[name]:.5g}" if name in self.truth else ""
            lines.append(f"{name} = {quantity!r}{truth}")
        return "\n  ".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def finite(value: Any) -> Any:
    """Numbers, and tables and lists of them, as JSON knows them: None where one is not finite, and for its interval.

    Examples
    --------
    >>> finite({"mean": math.nan, "ci90": [1.0, math.inf], "modes": [1.0, math.nan]})
    {'mean': None, 'ci90': None, 'modes': [1.0, None]}
    """
    if isinstance(value, dict):
        plain = {key: finite(inner) for key, inner in value.items()}
        return plain | ({"ci90": None} if None in (plain.get("ci90") or ()) else {})
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
