"""Sphinx settings.  Build with ``sphinx-build -W -b html docs docs/_build/html``."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS

# For Sphinx, and for the code of pages.
HELPERS = str(Path(__file__).parent / "_ext")
sys.path.append(HELPERS)
os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), HELPERS])

project = "xlabelstats"
author = "The xlabelstats developers"
copyright = author
release = version = installed("xlabelstats")

extensions = [
    "calls",
    "formulas",
    "myst_nb",
    "notebooks",
    "numpydoc",
    "page_pictures",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
]
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
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the directive "calls" lists them

# Pages of other packages that docstrings link to.  Their names lie here in text files, so that a build needs no network
# and gives the same everywhere.
intersphinx_mapping = {
    name: (page, f"_inventories/{name}.txt")
    for name, page in {
        "anndata": "https://anndata.readthedocs.io/en/stable",
        "dask": "https://docs.dask.org/en/stable",
        "geopandas": "https://geopandas.org/en/stable",
        "matplotlib": "https://matplotlib.org/stable",
        "numpy": "https://numpy.org/doc/stable",
        "pandas": "https://pandas.pydata.org/docs",
        "python": "https://docs.python.org/3",
        "skimage": "https://scikit-image.org/docs/stable",
        "xarray": "https://docs.xarray.dev/en/stable",
    }.items()
}
# Types of parameters and results that become links; other words there stay words, such as int.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {word: word for word in DEFAULT_LINKS} | {
    name.rpartition(".")[2]: name
    for name in (
        "anndata.AnnData",
        "geopandas.GeoDataFrame",
        "matplotlib.axes.Axes",
        "pandas.DataFrame",
        "pandas.Series",
        "pathlib.Path",
        "xarray.DataArray",
        "xarray.Dataset",
        "xarray.DataTree",
    )
}
# Full names get a role; numpydoc takes them for words otherwise.
full_names = ("dask.array.Array", "numpy.ndarray", "pandas.DataFrame")
numpydoc_xref_aliases |= {name: f":class:`{name}`" for name in full_names}

# Which of the pictures that a page draws stands for it, counted from 0.
page_pictures = {
    "how-to/cached-pipeline": 0,
    "how-to/clean-up-a-mask": 1,
    "how-to/colocalisation": 0,
    "how-to/cut-out-cells": 1,
    "how-to/different-grids": 0,
    "how-to/embeddings": 0,
    "how-to/from-spatialdata": 0,
    "how-to/measure-intensities": 0,
    "how-to/measure-shapes": 0,
    "how-to/neighbours": 0,
    "how-to/one-table": 0,
    "how-to/perimeters-and-surfaces": 1,
    "how-to/pictures": 2,
    "how-to/polygons": 0,
    "how-to/profile": 0,
    "how-to/quantiles-and-functions": 0,
    "how-to/rings": 0,
    "how-to/roll-up": 0,
    "how-to/scanpy": 0,
    "how-to/see-embeddings": 0,
    "how-to/serve-patches": 0,
    "how-to/texture": 0,
    "how-to/time-series": 0,
    "how-to/transcripts-per-cell": 0,
    "how-to/two-masks": 0,
    "start": 0,
}

html_theme = "pydata_sphinx_theme"
html_title = project
html_theme_options = {
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "show_nav_level": 2,  # the how-tos of every group are in sight
    "show_toc_level": 2,  # and the methods of a class
}
# These pages have no others below them, or wide tables.
alone = ("index", "start", "gallery", "how-it-works", "how-it-scales", "benchmarks", "api/measures")
html_sidebars = {page: [] for page in (*alone, "troubleshooting", "glossary", "changes")}
html_static_path = ["_static"]
html_css_files = ["layout.css", "tables.css", "messages.css", "dark.css", "formulas.css", "cards.css"]
html_show_sourcelink = False


def _without_constructor(app, what, name, obj, options, signature, return_annotation):
    # xarray makes the accessors; nobody calls their constructors.
    if what == "class" and name.endswith("Accessor"):
        return "", None
    return None


def setup(app):
    app.connect("autodoc-process-signature", _without_constructor)
