"""The notebooks of ``examples/notebooks`` as pages: Sphinx reads pages below ``docs`` only, so they are copied."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

NAME = "notebooks"
HOW_TO = Path(__file__).parents[1] / "how-to"


def copy(app: Any) -> None:
    """Fill ``docs/notebooks``, which git ignores; a copy that has not changed keeps its date."""
    source = Path(app.srcdir).parent / "examples" / NAME
    target = Path(app.srcdir) / NAME
    target.mkdir(exist_ok=True)
    notebooks = {path.name: path for path in source.glob("*.ipynb")}
    for old in target.glob("*.ipynb"):
        if old.name not in notebooks:
            old.unlink()
    for name, path in notebooks.items():
        shutil.copy2(path, target / name)


def downloads() -> str:
    """A list of the how-to pages as notebooks, without those that import files of this folder.

    Sphinx reads pages in the order of their names, so these are there when it comes to the page with the list.
    """
    helpers = [f"from {path.stem} import" for path in Path(__file__).parent.glob("*.py")]
    titles = {}
    for page in HOW_TO.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        if "{code-cell}" in text and not any(helper in text for helper in helpers):
            titles[text.partition("\n# ")[2].partition("\n")[0]] = page.stem
    return "\n".join(f"- {{nb-download}}`{title} <how-to/{name}.ipynb>`" for title, name in sorted(titles.items()))


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", copy)
    return {"parallel_read_safe": False}  # for the order of pages
