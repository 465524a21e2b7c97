"""The directive `experiment`: what one is, its figure, the command, how long it takes, and its file.

Its argument is the name, its content what to look at in the figure, `docs/figures/NAME.png` unless `figure` says
otherwise. A shipped experiment that no page shows ends the build.
"""

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from bayescg.experiments import catalogue

SHOWN: set[str] = set()


class Experiment(SphinxDirective):
    """What stands below the heading of an experiment."""

    required_arguments = 1
    has_content = True
    option_spec = dict.fromkeys(("time", "alt", "figure"), directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        """Description, command, figure, and the file folded away."""
        name = self.arguments[0]
        SHOWN.add(name)
        file = catalogue.find_experiment(name).read_text("utf-8")
        parts = [
            nodes.paragraph("", f"{catalogue.experiments()[name]}. {self.options['time']}."),
            nodes.literal_block("", f"bayescg run {name}", language="bash"),
        ]
        text = self.parse_content_to_nodes()
        if "alt" in self.options:
            place = self.options.get("figure", f"figures/{name}.png")
            image = nodes.image(uri=place, alt=self.options["alt"])
            parts.append(nodes.figure("", image, nodes.caption("", "", *text[0].children)))
        else:
            parts += text
        folded = nodes.raw("", f"<details><summary>{name}.toml</summary>", format="html")
        parts += [folded, nodes.literal_block(file, file, language="toml"), nodes.raw("", "</details>", format="html")]
        return parts


def complete(app: Sphinx, environment: BuildEnvironment) -> None:
    """Every shipped experiment is shown, whichever pages were read anew."""
    if missing := SHOWN and set(catalogue.names()) - SHOWN:
        raise ExtensionError(f"the gallery lacks {', '.join(sorted(missing))}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("experiment", Experiment)
    app.connect("env-check-consistency", complete)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
