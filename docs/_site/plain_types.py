"""Words of types are no links: "DataArray, (draw, bin)" does not mean an attribute that is called `draw`."""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def unlink(app: Sphinx, doctree: nodes.document) -> None:
    """Leave the words of lower-case targets without a dot, which Sphinx takes for names of objects."""
    for reference in list(doctree.findall(addnodes.pending_xref)):
        target = reference.get("reftarget") or ""
        if reference.get("refdomain") == "py" and target.islower() and "." not in target:
            reference.replace_self(reference.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", unlink)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
