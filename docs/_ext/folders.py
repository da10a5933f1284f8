"""Draw which folders of the package import which, read from the code: ``python docs/_ext/folders.py folders.png``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt

import xlabelstats

PACKAGE = Path(xlabelstats.__file__).parent


def imports(root: Path = PACKAGE) -> dict[str, set[str]]:
    """The folders that the files of every folder import, without what only type checkers read."""
    folders = {path.parent.name for path in root.glob("*/__init__.py")}
    used: dict[str, set[str]] = {folder: set() for folder in folders}
    for folder in folders:
        for path in (root / folder).rglob("*.py"):
            for module in _modules(ast.parse(path.read_text(encoding="utf-8"))):
                package, _, rest = module.partition(".")
                if package == root.name:
                    used[folder] |= {rest.partition(".")[0]} & folders - {folder}
    return used


def _modules(node: ast.AST) -> Iterator[str]:
    """The modules that code imports, at its top or in functions."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _modules(child)


def rows(used: dict[str, set[str]]) -> dict[str, int]:
    """The row of every folder: above all that it imports, but for imports that go round in a circle."""
    row: dict[str, int] = {}
    while len(row) < len(used):
        waiting = sorted(used.keys() - row.keys())
        asked = {folder: sum(folder in used[other] for other in waiting) for folder in waiting}
        folder = min(waiting, key=lambda name: (len(used[name] - row.keys()), -asked[name]))
        row[folder] = 1 + max((row[below] for below in used[folder] if below in row), default=-1)
    return row


def needed(used: dict[str, set[str]], row: dict[str, int]) -> dict[str, set[str]]:
    """Every folder, and all that it imports in the rows below it, by itself or by way of others."""
    below: dict[str, set[str]] = {}
    for folder in sorted(used, key=lambda name: row[name]):
        direct = {other for other in used[folder] if row[other] < row[folder]}
        below[folder] = direct.union(*(below[other] for other in direct))
    return below


def draw() -> plt.Figure:
    """The picture: every folder above those that it imports.

    Arrows that follow from others are left out; one that goes up is dashed and red: it closes a
    circle of imports.
    """
    used = imports()
    row = rows(used)
    below = needed(used, row)
    height = max(row.values())
    fig, axes = plt.subplots(figsize=(6.5, 0.7 * (height + 1)), layout="constrained")
    place = {}
    for level in range(height + 1):
        # Folders that many others import are on the left.
        folders = sorted(
            (folder for folder in used if row[folder] == level),
            key=lambda name: (-sum(name in others for others in below.values()), name),
        )
        place |= {folder: (i, level) for i, folder in enumerate(folders)}
    axes.set(xlim=(-0.7, max(x for x, _ in place.values()) + 0.5), ylim=(-0.4, height + 0.4))
    axes.set_axis_off()
    frame = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": "0.3"}
    texts = {folder: axes.text(x, y, folder, ha="center", va="center", bbox=frame) for folder, (x, y) in place.items()}
    fig.draw_without_rendering()  # so that the boxes, which arrows end at, are known
    boxes = {folder: text.get_bbox_patch() for folder, text in texts.items()}
    for folder, others in used.items():
        for other in others:
            up = row[other] >= row[folder]
            if any(other in below[between] for between in others & below[folder]) and not up:
                continue
            far = abs(row[folder] - row[other]) > 1
            how = {"color": "tab:red", "linestyle": "--"} if up else {"color": "0.5"}
            # A far one goes round the folders between.
            bend = f"arc3,rad={-0.5 if up else -0.6}" if far and place[folder][0] == place[other][0] else "arc3"
            arrow = {
                "arrowstyle": "-|>",
                "patchA": boxes[folder],
                "patchB": boxes[other],
                "connectionstyle": bend,
                **how,
            }
            axes.annotate("", place[other], place[folder], arrowprops=arrow)
    return fig


if __name__ == "__main__":
    draw().savefig(sys.argv[1] if len(sys.argv) > 1 else "folders.png", dpi=110)
