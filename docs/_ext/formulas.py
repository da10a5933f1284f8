"""Formulas as pictures within the page: no script, no fonts and no network is needed to see them."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOG = logging.getLogger(__name__)

ziamath.config.precision = 2
# Letters that occur twice are drawn once; the formulas of a page share them, all being of one font.
ziamath.config.svg2 = True


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    formula = ziamath.Latex(node.astext(), size=16, color="currentColor", inline=True)
    # The picture stands on the line of the text, not on its lower edge.
    translator.body.append(_svg(formula, node, f"vertical-align: {formula.getyofst():.2f}px"))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    latex = node.astext()
    if r"\\" in latex and not latex.lstrip().startswith(r"\begin"):
        latex = rf"\begin{{split}}{latex}\end{{split}}"  # lines that are aligned at their &
    formula = ziamath.Latex(latex, size=17, color="currentColor")
    translator.body.append(f'<div class="formula">{_svg(formula, node)}</div>\n')
    raise nodes.SkipNode


def _svg(formula: ziamath.Latex, node: nodes.Node, style: str = "") -> str:
    # It draws the letters of a command that it does not know.
    for unknown in re.findall(r"\\[A-Za-z]+", formula.mathmlstr()):
        LOG.warning("the formula has %s, which ziamath does not know", unknown, location=node)
    svg = formula.svgxml()
    svg.attrib |= {"role": "img", "aria-label": " ".join(node.astext().split()), "style": style}
    return ElementTree.tostring(svg, encoding="unicode")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("formulas", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
