"""Tables of measures for the pages, made of the entries of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from IPython.display import Markdown

from xlabelstats.catalogue.measure import Measure

# What stands in a column, by its heading.
CELLS = {
    "definition": lambda each: each.definition.replace("``", "`"),
    "units": lambda each: _code(each.units.replace("volume", "length**n")),
    "from": lambda each: _unbroken("mask, image") if each.reads_image else "mask",
    "objects": lambda each: "whole" if each.whole else "added up",
    "masks": lambda each: _unbroken(
        "2-D" if each.only_2d else "3-D" if each.only_3d else "2-D, 3-D" if each.skimage or each.spatial else "any"
    ),
    "dims": lambda each: _code(*each.dims),
    "parameters": lambda each: _code(*each.parameters),
    "source": lambda each: each.source,
    "scikit-image": lambda each: _code(each.skimage),
    "CellProfiler": lambda each: _code(each.cellprofiler),
}


def table(measures: Mapping[str, Measure], *columns: str) -> Markdown:
    """A table with a row per measure, its columns named as in `CELLS`.

    What is the same for all measures stands in a line above it, not in a column.
    """
    cells = {column: [CELLS[column](each) for each in measures.values()] for column in columns}
    same = {column: texts[0] for column, texts in cells.items() if len(set(texts)) == 1}
    cells = {column: texts for column, texts in cells.items() if column not in same}
    rows = [("name", *cells), ["---"] * (1 + len(cells))]
    rows += [(f"`{name}`", *(_plain(texts[i]) for texts in cells.values())) for i, name in enumerate(measures)]
    said = "; ".join(f"{column} {_plain(text)}" for column, text in same.items() if text)
    return Markdown(
        (f"**All of these:** {said}.\n\n" if said else "") + "\n".join(f"| {' | '.join(row)} |" for row in rows)
    )


def _unbroken(text: str) -> str:
    """Text that stays in one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}").replace("-", "\N{NON-BREAKING HYPHEN}")


def _code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names if name)


def _plain(text: str) -> str:
    """Text without marks of Markdown outside of code."""
    parts = text.split("`")
    return "`".join(
        part.replace("*", r"\*").replace("_", r"\_") if i % 2 == 0 else part for i, part in enumerate(parts)
    )
