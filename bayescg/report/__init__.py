"""One self-contained HTML page for each run."""

from bayescg.report.figures import draw_figures
from bayescg.report.html import write_report
from bayescg.report.kinetics import draw_kinetics
from bayescg.report.told import QUICK_RUN, check_rows, quantity_table, rows, verdict

__all__ = [
    "QUICK_RUN",
    "check_rows",
    "draw_figures",
    "draw_kinetics",
    "quantity_table",
    "rows",
    "verdict",
    "write_report",
]
