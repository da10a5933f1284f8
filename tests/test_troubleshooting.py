"""The page of errors and warnings: each mistake in it still gets its answer."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
CELL = re.compile(r"^```\{code-cell\} python\n(:tags: \[(?P<tag>.*?)\]\n)?(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)

# What the cells below a heading are told; below others nothing.
ANSWERS = {
    "A mask is an xarray.DataArray, not ndarray": "a mask is an xarray.DataArray, not ndarray",
    "A mask holds integer labels, not float64": "a mask holds integer labels, not float64",
    "The image has no dim of the mask": "the image has no dim 'row', 'column' of the mask",
    "Image and mask differ in size": "image and mask differ in size",
    "The coordinates of image and mask differ": "the coordinates of image and mask differ along 'y'",
    "The bool mask has components that do not touch": "the bool mask has 102 components that do not touch",
    "The mask has a time dim": "the mask has the time dim 't'",
    "Unknown measure": "unknown measure 'eccentricty', did you mean 'eccentricity'",
    "An unexpected keyword argument": "keyword argument 'q'; an argument of fn goes in fn_kwargs={'q': ...}",
    "Pixels fill few grey levels": "fill 1 of 256 grey levels over the range of uint16",
    "Pixels are beyond the range": "9 % of the labelled pixels of 'intensity' are beyond range=(0, 100)",
    "Objects reach beyond their window": "objects reach beyond their window of 16 x 16 pixels",
}


def told_by(cell: re.Match[str], names: dict[str, Any]) -> list[str]:
    """The error and the warnings of a cell."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if cell["tag"] == "raises-exception":
            with pytest.raises((TypeError, ValueError)) as error:
                exec(cell["code"], names)
            return [str(error.value)]
        exec(cell["code"], names)
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


def test_mistakes_of_the_troubleshooting_page_get_the_answers_of_their_headings():
    names: dict[str, Any] = {}
    answers = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## "):
        heading, _, text = section.partition("\n")
        cells = [cell for cell in CELL.finditer(text) if cell["tag"] != "remove-cell"]
        told = [message for cell in cells for message in told_by(cell, names)]
        if told:
            (answers[heading],) = told
    assert answers.keys() == ANSWERS.keys()
    assert [heading for heading, part in ANSWERS.items() if part not in answers[heading]] == []
