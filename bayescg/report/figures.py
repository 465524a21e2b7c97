"""Figures as PNG files, and molecules in them as PDB files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bayescg.checkpoint import write_file
from bayescg.inference.fitted import warned_if_failing
from bayescg.stopping import unbroken

if TYPE_CHECKING:
    from bayescg.questions import Drawing

__all__ = ["Figures", "save_figures"]

Figures = dict[Path, tuple[str, str]]
"""PNG files, with caption and alternative text of each, in reading order."""


def save_figures(folder: Path, drawings: Mapping[str, Drawing]) -> Figures:
    """Draw figures and write each whole or not at all, molecules of one beside it; those of before go.

    Parameters
    ----------
    folder : Path
    drawings : mapping of str to Drawing
        By the names of the files.

    Raises
    ------
    OutputError
        A figure cannot be written; none is left half. One that cannot be drawn is a warning.
    """
    saved: Figures = {}
    molecules: set[Path] = set()
    for name, drawing in drawings.items():
        stream, failures = io.BytesIO(), []
        with unbroken(), warned_if_failing(f"the figure {name}", failures):  # matplotlib's renderer would crash
            drawing.draw().savefig(stream, format="png", dpi=150, bbox_inches="tight")
        if failures:
            warnings.warn(failures[0], stacklevel=2)
            continue
        file = folder / f"{name.replace(' ', '_')}.png"
        write_file(file, stream.getvalue())
        saved[file] = drawing.caption, drawing.alt or drawing.caption
        if drawing.molecules is not None:
            write_file(file.with_suffix(".pdb"), drawing.molecules())
            molecules.add(file.with_suffix(".pdb"))
    for file in {*folder.glob("*.png"), *folder.glob("*.pdb")} - saved.keys() - molecules:
        file.unlink()
    return saved
