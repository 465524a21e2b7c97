"""What a run found, as lines and tables of text: for the page and for the terminal."""

import math
from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["QUICK_RUN", "cost_rows", "diagnostic_rows", "quantity_table", "rows"]

QUICK_RUN = "A quick run: it shows that everything works; the numbers mean little."

_SHOWN_APART = ("warnings", "quick")
_NOTHING = 1e-6  # standard deviations: what is exactly 0, by quadrature
_MOST_ZEROS = 4
_SHARE_OF_SINGLE = 1e-3  # a number without an error has as many digits as with one of a thousandth


def rows(quantities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Name, mean, standard deviation, 90 % interval and unit of each quantity, to the digits that its error allows.

    What could not be estimated, such as the population of a region that was never entered, is ``unknown``. A single
    draw has no standard deviation, which is not one of 0.

    Examples
    --------
    >>> rows({"rg": {"unit": "nm", "mean": 0.28123, "sd": 0.00213, "ci90": [0.278, 0.2849]}})
    [('rg', '0.2812', '0.0021', '0.2780 to 0.2849', 'nm')]
    >>> rows({"rate": {"unit": "", "mean": 6.396e-7, "sd": 3.2e-8, "ci90": [5.9e-7, 7.06e-7]}})
    [('rate', '6.40e-7', '3.2e-8', '5.90e-7 to 7.06e-7', '')]
    >>> rows({"population": {"unit": "", "mean": 0.9999989, "sd": 1.1e-7, "ci90": [0.9999987, 0.9999991]}})
    [('population', '0.99999890', '1.1e-7', '0.99999870 to 0.99999910', '')]
    """
    table = []
    for name, q in quantities.items():
        ci90, sd = q["ci90"], q["sd"]
        single = ci90 is None and sd == 0
        digits = _decimals(_SHARE_OF_SINGLE * abs(q["mean"]) if single else sd)
        interval = "none" if ci90 is None else " to ".join(text(end, digits) for end in ci90)
        mean = "unknown" if q["mean"] is None else text(q["mean"], digits)
        table.append((name, mean, "" if single else text(sd, digits), interval, q["unit"]))
    return table


def quantity_table(
    quantities: Mapping[str, Mapping[str, Any]], truth_is: str = "truth"
) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the quantities, with what is known of them where anything is.

    Parameters
    ----------
    quantities : mapping
        Those of ``summary.json``.
    truth_is : str
        What is known, by the name of its column.

    Examples
    --------
    >>> f = {"unit": "kT", "mean": 4.81, "sd": 0.03, "ci90": [4.76, 4.86], "truth": 4.77755}
    >>> quantity_table({"f": f})
    (['quantity', 'mean', 'sd', '90 % interval', 'truth', 'unit'],
     [['f', '4.810', '0.030', '4.760 to 4.860', '4.778', 'kT']])
    """
    truths = {name: q.get("truth") for name, q in quantities.items()}
    titles = ["quantity", "mean", "sd", "90 % interval", "unit"]
    table = [list(row) for row in rows(quantities)]
    if any(value is not None for value in truths.values()):
        titles.insert(-1, truth_is)
        for row in table:
            row.insert(-1, _known(truths[row[0]], quantities[row[0]]["sd"]))
    return titles, table


def diagnostic_rows(diagnostics: Mapping[str, Any], in_words: Collection[str] = ()) -> list[tuple[str, str]]:
    """Names and values of all diagnostics that are not told of in words, those within others after a colon.

    Examples
    --------
    >>> diagnostic_rows({"pareto_k": 0.3, "eigenfunction_r2": [0.99, 0.5], "nested": {"a_b": 1}, "warnings": []})
    [('pareto k', '0.3'), ('eigenfunction r2', '0.99, 0.5'), ('nested: a b', '1')]
    """
    table: list[tuple[str, str]] = []
    for name, value in diagnostics.items():
        words = name.replace("_", " ")
        if name in _SHOWN_APART or name in in_words:
            continue
        if isinstance(value, Mapping):
            table += [(f"{words}: {inner}", shown) for inner, shown in diagnostic_rows(value)]
        elif isinstance(value, list | tuple):
            table.append((words, ", ".join(map(text, value))))
        else:
            table.append((words, text(value)))
    return table


def cost_rows(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of what a run took; whole numbers in full.

    Examples
    --------
    >>> cost_rows({"energy_evaluations": 4500000, "wall_seconds": 41.0, "device": "cpu"})
    [('energy evaluations', '4,500,000'), ('wall seconds', '41'), ('device', 'cpu')]
    """
    return [(name.replace("_", " "), text(value)) for name, value in cost.items()]


def text(value: Any, decimals: int | None = None) -> str:
    """A value as a reader wants it: three digits, or so many decimals; whole numbers in full."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) and decimals is None:
        return f"{value:,}"
    return f"{value:.3g}" if decimals is None else _rounded(value, decimals)


def _rounded(value: float, decimals: int) -> str:
    """To so many decimals; a small number with a power of ten in place of many zeros."""
    power = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    if not -decimals <= power < -_MOST_ZEROS:
        return f"{value:.{decimals}f}"
    mantissa, _, exponent = f"{value:.{decimals + power}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _known(value: float | None, sd: float | None) -> str:
    if value is None:
        return ""
    value = 0.0 if sd and abs(value) < _NOTHING * sd else value
    decimals = _decimals(sd)
    hidden = decimals is not None and 0.0 < abs(value) < 0.5 * 10.0**-decimals
    return f"{value:.4g}" if decimals is None or hidden else _rounded(value, decimals)


def _decimals(sd: float | None) -> int | None:
    """Decimal places that show two digits of a standard deviation."""
    if sd is None or not math.isfinite(sd) or sd <= 0:
        return None
    return max(0, 1 - int(f"{sd:.1e}".split("e")[1]))
