"""Figures as PNG files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bayescg.checkpoint import write_file

if TYPE_CHECKING:
    from bayescg.questions import Drawing

__all__ = ["Figures", "save_figures"]

Figures = dict[Path, tuple[str, str]]
"""PNG files, with caption and alternative text of each, in reading order."""


def save_figures(folder: Path, drawings: Mapping[str, Drawing]) -> Figures:
    """Draw figures and write each whole or not at all.

    Parameters
    ----------
    folder : Path
    drawings : mapping of str to Drawing
        By the names of the files.

    Raises
    ------
    OutputError
        A figure cannot be written; none is left half.
    """
    saved: Figures = {}
    for name, drawing in drawings.items():
        figure, stream = drawing.draw(), io.BytesIO()
        figure.savefig(stream, format="png", dpi=150, bbox_inches="tight")
        write_file(folder / f"{name}.png", stream.getvalue())
        saved[folder / f"{name}.png"] = drawing.caption, drawing.alt or drawing.caption
    return saved
