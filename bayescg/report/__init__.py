"""One self-contained HTML page for each run."""

from bayescg.report.figures import draw_figures
from bayescg.report.html import check_rows, rows, write_report

__all__ = ["check_rows", "draw_figures", "rows", "write_report"]
