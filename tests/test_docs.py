"""What the docs hold in files of their own, beside the package."""

import pkgutil
from pathlib import Path

import pytest

INVENTORIES = sorted((Path(__file__).parents[1] / "docs" / "_inventories").glob("*.txt"))


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.stem)
def test_names_of_other_packages_that_the_docs_link_to_exist(path):
    pytest.importorskip({"python": "sys"}.get(path.stem, path.stem))
    version, project, _, *lines = path.read_text(encoding="utf-8").splitlines()
    assert (version, project) == ("# Sphinx inventory version 1", f"# Project: {path.stem}")
    for name, kind, page in map(str.split, lines):
        assert isinstance(pkgutil.resolve_name(name), type) == (kind == "class")
        assert page.endswith(".html")
