"""One self-contained HTML page for each run."""

from bayescg.report.figures import draw_figures
from bayescg.report.html import check_rows, rows, write_report
from bayescg.report.kinetics import draw_kinetics

__all__ = ["check_rows", "draw_figures", "draw_kinetics", "rows", "write_report"]
