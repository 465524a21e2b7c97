"""What a check of a card comes to, line by line: a value within its limit, a fault, or why it was not tried."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Line", "tables"]


@dataclass
class Line:
    """One cell of the tables.

    `status` is passed, failed, refused (the package says in words that it cannot be had) or skipped; `limit` is what
    the value must not exceed, where there is a limit.
    """

    section: str
    row: str
    column: str
    status: str = "skipped"
    value: float | None = None
    limit: float | None = None
    words: str = ""
    seconds: float = 0.0

    @property
    def cell(self) -> str:
        """As the table shows it."""
        if self.status == "passed" and self.value is not None:
            return f"{self.value:.2g}" if abs(self.value) < 1000 else f"{self.value:,.0f}"
        return {"failed": "**FAILED**", "refused": "-"}.get(self.status, self.status)


def tables(lines: Iterable[Line]) -> str:
    """Markdown: a table for each section, and below them what failed and what is refused or skipped, with reasons."""
    sections: dict[str, dict[str, dict[str, Line]]] = {}
    for line in lines:
        sections.setdefault(line.section, {}).setdefault(line.row, {})[line.column] = line
    text, reasons = [], dict[str, list[str]]()
    for section, rows in sections.items():
        columns = list(dict.fromkeys(c for row in rows.values() for c in row))
        text += [f"## {section}", "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name, row in rows.items():
            text.append(f"| {name} | " + " | ".join(row[c].cell if c in row else "" for c in columns) + " |")
            for line in row.values():
                if line.status != "passed":
                    reasons.setdefault(f"{line.status}: {line.words}", []).append(f"{name}, {line.column}")
        text.append("")
    return "\n".join([*text, *(f"- {why} ({len(where)}: {'; '.join(where[:6])})" for why, where in reasons.items())])
