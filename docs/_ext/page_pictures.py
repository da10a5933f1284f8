"""Pictures that pages draw, shown where readers decide what to read.

`page_pictures` in conf.py says which picture of a page stands for it, counted from 0.  That picture appears below the
first sentences of the page too, and on its card in every ``cards`` directive.  Nothing is drawn twice or stored.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOG = logging.getLogger(__name__)


class Cards(SphinxDirective):
    """A card per line: ``how-to/rings: What the card says below the title``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        cards = nodes.container(classes=["cards"])
        for line in self.content:
            page, _, text = line.partition(": ")
            if page not in self.env.found_docs:
                raise self.error(f"There is no page {page!r}.")
            cards += nodes.container(classes=["card-of-page"], page=page, text=text)
        return [cards]


def drawn(doctree: nodes.document) -> list[nodes.image]:
    """The pictures that code of a page drew, without the one that `repeat` put in; none where code does not run."""
    images = doctree.findall(nodes.image)
    return [image for image in images if "jupyter_execute" in image["uri"] and "first-picture" not in image["classes"]]


def repeat(app: Sphinx, doctree: nodes.document) -> None:
    """The picture of a page below its first sentences too, if it has sentences above its first section."""
    images, number = drawn(doctree), app.config.page_pictures.get(app.env.docname)
    if number is None or (not images and app.config.nb_execution_mode == "off"):
        return
    if number >= len(images):
        text = "page_pictures in conf.py has picture %d of this page, and its code draws %d"
        LOG.warning(text, number, len(images), location=app.env.docname)
        return
    page = next(doctree.findall(nodes.section))
    for sentences in page.children:
        if isinstance(sentences, nodes.paragraph):
            image = images[number].deepcopy()
            image["classes"].append("first-picture")
            image["alt"] = f"From this page: {page.next_node(nodes.title).astext()}"
            page.insert(page.index(sentences) + 1, image)
            return


def check(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Complain about pictures of pages that are not there."""
    for page in app.config.page_pictures.keys() - env.found_docs:
        LOG.warning("page_pictures in conf.py has a picture of %r, and there is no such page", page)


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Cards of pages: picture, title and text, in a link."""
    for card in list(doctree.findall(lambda node: isinstance(node, nodes.container) and "page" in node)):
        page, title = card["page"], app.env.titles[card["page"]].astext()
        link = nodes.reference("", "", internal=True, refuri=app.builder.get_relative_uri(docname, page))
        images = drawn(app.env.get_doctree(page))
        if images:
            image = images[min(app.config.page_pictures.get(page, 0), len(images) - 1)].deepcopy()
            image["alt"] = ""  # the title follows
            link += image
        link += nodes.strong("", title)
        card += nodes.paragraph("", "", link)
        card += nodes.paragraph("", card["text"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("page_pictures", {}, "env")
    app.add_directive("cards", Cards)
    app.connect("env-before-read-docs", check)
    app.connect("doctree-read", repeat, priority=400)  # before Sphinx collects the pictures of a page
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
