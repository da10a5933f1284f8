"""The notebooks of ``examples/notebooks`` as pages: Sphinx reads pages below ``docs`` alone, so they are copied there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

NAME = "notebooks"


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


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", copy)
    return {"parallel_read_safe": True}
