"""How the site is built: `sphinx-build -W --keep-going docs site`, with the extra `docs`.

Nothing is fetched and nothing is trained: equations become MathML, notebooks are shown as they were committed.
"""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_site"))
os.environ.setdefault("MPLBACKEND", "Agg")

project = "bayescg"
author = "The bayescg developers"
copyright = "The bayescg developers, MIT licence"
release = version = installed("bayescg")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "gallery",
    "mathml",
    "model_map",
    "plain_types",
]
templates_path = ["_templates"]
exclude_patterns = ["_site", "tutorials/*.py"]
default_role = "code"  # of single backquotes in docstrings: names of parameters

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types and shapes
autodoc_inherit_docstrings = False
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False  # types are words here: "array (n, k)" is no class
toc_object_entries_show_parents = "hide"

nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!bayescg\.).*")]  # of other packages

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"bayescg {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
