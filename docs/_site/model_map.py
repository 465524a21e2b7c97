"""The directive `model-map`: what one has, what one wants, and the model for it, beside an experiment to try.

Its content is lines ``# what one has`` and, under each, ``what one wants | Model, Model | experiment``. A registered
model that is nowhere on the map ends the build, and so do one that is not registered and an experiment of other models.
"""

from collections.abc import Sequence

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from bayescg.experiments import catalogue

HEADS = ("You have", "You want", "Model", "Try")


class ModelMap(SphinxDirective):
    """A grid of four columns, which phones stack."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The grid, from the lines of the content."""
        grid = nodes.container("", self.row("head", HEADS), classes=["model-map"])
        models = set()
        for line in filter(None, map(str.strip, self.content)):
            if line.startswith("#"):
                wants = nodes.container()
                grid += nodes.container("", self.cell(line.removeprefix("#").strip(), "have"), wants, classes=["group"])
                continue
            want, names, experiment = map(str.strip, line.split("|"))
            models |= set(names.split(", "))
            file = catalogue.find_experiment(experiment).read_text("utf-8")
            if not any(f'"{name}"' in file for name in names.split(", ")):
                raise ExtensionError(f"the experiment {experiment} is of none of {names}")
            links = ", ".join(f"{{py:class}}`{name} <bayescg.models.{name}>`" for name in names.split(", "))
            wants += self.row("row", (want, links, f"[{experiment}](experiments.md#{experiment})"))
        if models != set(catalogue.models()):
            raise ExtensionError(f"the map of models and the registry differ by {models ^ set(catalogue.models())}")
        return [grid]

    def row(self, kind: str, texts: Sequence[str]) -> nodes.container:
        """Cells side by side."""
        return nodes.container("", *map(self.cell, texts), classes=[kind])

    def cell(self, text: str, kind: str = "cell") -> nodes.container:
        """One cell, its text in Markdown."""
        content, messages = self.parse_inline(text, lineno=self.lineno)
        return nodes.container("", nodes.paragraph("", "", *content, *messages), classes=[kind])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("model-map", ModelMap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
