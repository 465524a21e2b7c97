"""One self-contained HTML page for each run."""

from bayescg.report.figures import Figures, save_figures
from bayescg.report.html import write_page, write_report
from bayescg.report.told import QUICK_RUN, quantity_table, rows

__all__ = ["QUICK_RUN", "Figures", "quantity_table", "rows", "save_figures", "write_page", "write_report"]
