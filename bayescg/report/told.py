"""What a run found, as lines and tables of text: for the page and for the terminal."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["QUICK_RUN", "check_rows", "cost_rows", "diagnostic_rows", "quantity_table", "rows", "verdict"]

QUICK_RUN = "A quick run: it shows that everything works; the numbers mean little."

_SHOWN_APART = ("warnings", "quick", "conclusion", "predictive_check", "modes", "ramachandran", "missing_mass_ci90")
_AUDIT = "missing_mass"
_NOTHING = 1e-9  # what is exactly 0, by quadrature


def rows(quantities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Name, mean, standard deviation, 90 % interval and unit of each quantity, to the digits that its error allows.

    What could not be estimated, such as the population of a region that was never entered, is ``unknown``.

    Examples
    --------
    >>> rows({"rg": {"unit": "nm", "mean": 0.28123, "sd": 0.00213, "ci90": [0.278, 0.2849]}})
    [('rg', '0.2812', '0.0021', '0.2780 to 0.2849', 'nm')]
    """
    table = []
    for name, q in quantities.items():
        digits = _decimals(q["sd"])
        ci90 = q["ci90"]
        interval = "none" if ci90 is None else " to ".join(text(end, digits) for end in ci90)
        mean = "unknown" if q["mean"] is None else text(q["mean"], digits)
        table.append((name, mean, text(q["sd"], digits), interval, q["unit"]))
    return table


def quantity_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the quantities, with what is known of them where anything is.

    Parameters
    ----------
    results : mapping
        What ``summary.json`` holds.

    Examples
    --------
    >>> f = {"unit": "kT", "mean": 4.81, "sd": 0.03, "ci90": [4.76, 4.86], "truth": 4.77755}
    >>> quantity_table({"quantities": {"f": f}, "diagnostics": {}})
    (['quantity', 'mean', 'sd', '90 % interval', 'truth', 'unit'],
     [['f', '4.810', '0.030', '4.760 to 4.860', '4.778', 'kT']])
    """
    known = {name: q.get("truth") for name, q in results["quantities"].items()}
    titles = ["quantity", "mean", "sd", "90 % interval", "unit"]
    table = [list(row) for row in rows(results["quantities"])]
    if any(value is not None for value in known.values()):
        titles.insert(-1, "reference" if "ramachandran" in results["diagnostics"] else "truth")
        for row in table:
            row.insert(-1, _known(known[row[0]], results["quantities"][row[0]]["sd"]))
    return titles, table


def check_rows(diagnostics: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Name, p-values of average and spread, bins in their bands, and intrinsic sd of each observable checked.

    Examples
    --------
    >>> found = {"p_mean": 0.42, "p_sd": 0.995, "bins_in_band": 0.9, "intrinsic_sd": 0.0123, "unit": "nm"}
    >>> check_rows({"predictive_check": {"rg": found}})
    [('rg', '0.42', '0.995', '90 %', '0.012 nm')]
    """
    table = []
    for name, o in diagnostics.get("predictive_check", {}).items():
        average, spread = (text(p, 3 if min(p, 1 - p) < 0.01 else 2) for p in (o["p_mean"], o["p_sd"]))
        bins = "" if o["bins_in_band"] is None else f"{100 * o['bins_in_band']:.0f} %"
        table.append((name, average, spread, bins, f"{o['intrinsic_sd']:.2g} {o['unit']}".rstrip()))
    return table


def verdict(results: Mapping[str, Any]) -> list[str]:
    """How far a run without frames can be trusted, in sentences; none for a run that learned from frames.

    Examples
    --------
    >>> found = {"weighted_draws": 20000, "ess_fraction": 0.9, "pareto_k": 0.31}
    >>> for line in verdict({"diagnostics": found, "cost": {"energy_evaluations": 3020000}}):
    ...     print(line)
    Of 20,000 weighted draws 18,000 count (effective fraction 90 %, Pareto k 0.31): blind to what the generator never
    visits.
    No audit was made (analysis.audit = false): what was left out, nothing here can tell.
    Energies: 3,020,000, those of the weighted draws among them.
    """
    d = results["diagnostics"]
    if "weighted_draws" not in d:
        return []
    count, share = d["weighted_draws"], d["ess_fraction"]
    told = [
        f"Of {count:,} weighted draws {count * share:,.0f} count (effective fraction {_percent(share)}, Pareto k "
        f"{d['pareto_k']:.2f}): blind to what the generator never visits."
    ]
    audited = ""
    if _AUDIT in d:
        low, high = d["missing_mass_ci90"]
        told.append(
            f"Audit, by {d['reference']}: {_percent(d[_AUDIT])} of the probability is left out (90 % interval "
            f"{_percent(low)} to {_percent(high)}); forward effective fraction {_percent(d['forward_ess_fraction'])}."
        )
        audited = f"; the audit took another {d['audit_energy_evaluations']:,}"
    else:
        told.append("No audit was made (analysis.audit = false): what was left out, nothing here can tell.")
    if "modes" in d:
        m = d["modes"]
        told.append(
            f"Modes found: {m['found']} of {m['modes']} (ten draws or more, and a tenth of its probability or more); "
            f"{m['within_20_percent']} have their probability within 20 %, the least {m['smallest']:.2f} and the most "
            f"{m['largest']:.2f} times what it should be."
        )
    if "ramachandran" in d:
        told.append(_ramachandran(d["ramachandran"]))
    told.append(
        f"Energies: {results['cost']['energy_evaluations']:,}, those of the weighted draws among them{audited}."
    )
    return told


def diagnostic_rows(diagnostics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of all other diagnostics, those within others after a colon.

    Examples
    --------
    >>> diagnostic_rows({"pareto_k": 0.3, "eigenfunction_r2": [0.99, 0.5], "nested": {"a_b": 1}, "warnings": []})
    [('pareto k', '0.3'), ('eigenfunction r2', '0.99, 0.5'), ('nested: a b', '1')]
    """
    table: list[tuple[str, str]] = []
    for name, value in diagnostics.items():
        words = name.replace("_", " ")
        if name in _SHOWN_APART:
            continue
        if isinstance(value, Mapping):
            table += [(f"{words}: {inner}", told) for inner, told in diagnostic_rows(value)]
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
    return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"


def _ramachandran(d: Mapping[str, Any]) -> str:
    alone, count = f"{d['kl_exact_draws_generated']:.2g}", f"{d['kl_exact_draws_reweighted']:.2g}"
    return (
        f"Ramachandran plot, Kullback-Leibler divergence from {d['reference']} ({d['bins']} x {d['bins']} bins): "
        f"{d['kl_generated']:.2g} of {d['generated']:,} draws as generated, where as many exact draws have {alone}; "
        f"{d['kl_reweighted']:.2g} of {d['reweighted']:,} reweighted, where as many as count have {count}. The "
        f"reference's own error is {d['kl_floor_of_reference']:.1g}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= 1e-4 else f"{100 * share:.1g} %"


def _known(value: float | None, sd: float | None) -> str:
    if value is None:
        return ""
    value = 0.0 if abs(value) < _NOTHING else value
    decimals = _decimals(sd)
    hidden = decimals is not None and 0.0 < abs(value) < 0.5 * 10.0**-decimals
    return f"{value:.4g}" if decimals is None or hidden else f"{value:.{decimals}f}"


def _decimals(sd: float | None) -> int | None:
    """Decimal places that show two digits of a standard deviation."""
    if sd is None or not math.isfinite(sd) or sd <= 0:
        return None
    return max(0, 1 - int(f"{sd:.1e}".split("e")[1]))
