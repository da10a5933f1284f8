"""Sphinx settings.  Build with ``sphinx-build -W -b html docs docs/_build/html``."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

# For Sphinx, and for the code of pages.
HELPERS = str(Path(__file__).parent / "_ext")
sys.path.append(HELPERS)
os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), HELPERS])

project = "xlabelstats"
author = "The xlabelstats developers"
copyright = author
release = version = installed("xlabelstats")

extensions = ["myst_nb", "notebooks", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
default_role = "py:obj"

# Code cells run at every build, and one that fails, fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True  # a page runs anywhere, as a notebook that a reader has downloaded
nb_execution_excludepatterns = ["notebooks/*"]  # these show the outputs that they hold; `make notebooks` runs them
nb_render_markdown_format = "myst"  # has tables
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = project
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
# These pages have no others below them, or wide tables.
alone = ("index", "start", "how-it-works", "how-it-scales", "benchmarks", "api/measures")
html_sidebars = {page: [] for page in (*alone, "troubleshooting", "glossary", "changes")}
html_static_path = ["_static"]
html_css_files = ["tables.css", "messages.css"]
html_show_sourcelink = False


def _without_constructor(app, what, name, obj, options, signature, return_annotation):
    # xarray makes the accessors; nobody calls their constructors.
    if what == "class" and name.endswith("Accessor"):
        return "", None
    return None


def setup(app):
    app.connect("autodoc-process-signature", _without_constructor)
