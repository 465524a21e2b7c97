"""Equations as MathML, which browsers draw themselves: no script, no font and no picture is fetched."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator


def rendered(node: nodes.Element, display: str) -> str:
    """The formula of a node; one that cannot be read ends the build."""
    try:
        return convert(node.astext(), display=display)
    except Exception as error:
        raise ExtensionError(f"{node.source}:{node.line}: no MathML of {node.astext()!r}: {error!r}") from error


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    """A formula in a line."""
    writer.body.append(rendered(node, "inline"))
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own."""
    writer.body.append(f'<div class="math">{rendered(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
