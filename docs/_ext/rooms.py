"""Draw which folders of the package import which, read from the code: ``python docs/_ext/rooms.py rooms.png``."""

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
    rooms = {path.parent.name for path in root.glob("*/__init__.py")}
    used: dict[str, set[str]] = {room: set() for room in rooms}
    for room in rooms:
        for path in (root / room).rglob("*.py"):
            for module in _modules(ast.parse(path.read_text(encoding="utf-8"))):
                package, _, rest = module.partition(".")
                if package == root.name:
                    used[room] |= {rest.partition(".")[0]} & rooms - {room}
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


def floors(used: dict[str, set[str]]) -> dict[str, int]:
    """The floor of every room: above all that it imports, but for imports that go round in a circle."""
    floor: dict[str, int] = {}
    while len(floor) < len(used):
        waiting = sorted(used.keys() - floor.keys())
        asked = {room: sum(room in used[other] for other in waiting) for room in waiting}
        room = min(waiting, key=lambda name: (len(used[name] - floor.keys()), -asked[name]))
        floor[room] = 1 + max((floor[below] for below in used[room] if below in floor), default=-1)
    return floor


def needed(used: dict[str, set[str]], floor: dict[str, int]) -> dict[str, set[str]]:
    """Every room, and all that it imports on the floors below it, by itself or by way of others."""
    below: dict[str, set[str]] = {}
    for room in sorted(used, key=lambda name: floor[name]):
        direct = {other for other in used[room] if floor[other] < floor[room]}
        below[room] = direct.union(*(below[other] for other in direct))
    return below


def draw() -> plt.Figure:
    """The picture: every room above those that it imports.

    Arrows that follow from others are left out; one that goes up is dashed.
    """
    used = imports()
    floor = floors(used)
    below = needed(used, floor)
    height = max(floor.values())
    fig, axes = plt.subplots(figsize=(6.5, 0.7 * (height + 1)), layout="constrained")
    place = {}
    for level in range(height + 1):
        # Rooms that many others stand on are on the left.
        rooms = sorted(
            (room for room in used if floor[room] == level),
            key=lambda name: (-sum(name in others for others in below.values()), name),
        )
        place |= {room: (i, level) for i, room in enumerate(rooms)}
    axes.set(xlim=(-0.7, max(x for x, _ in place.values()) + 0.5), ylim=(-0.4, height + 0.4))
    axes.set_axis_off()
    frame = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": "0.3"}
    texts = {room: axes.text(x, y, room, ha="center", va="center", bbox=frame) for room, (x, y) in place.items()}
    fig.draw_without_rendering()  # so that the boxes, which arrows end at, are known
    boxes = {room: text.get_bbox_patch() for room, text in texts.items()}
    for room, others in used.items():
        for other in others:
            up = floor[other] >= floor[room]
            if any(other in below[between] for between in others & below[room]) and not up:
                continue
            far = abs(floor[room] - floor[other]) > 1
            how = {"color": "tab:red", "linestyle": "--"} if up else {"color": "0.5"}
            # A far one goes round the rooms between.
            bend = f"arc3,rad={-0.5 if up else -0.6}" if far and place[room][0] == place[other][0] else "arc3"
            arrow = {"arrowstyle": "-|>", "patchA": boxes[room], "patchB": boxes[other], "connectionstyle": bend, **how}
            axes.annotate("", place[other], place[room], arrowprops=arrow)
    return fig


if __name__ == "__main__":
    draw().savefig(sys.argv[1] if len(sys.argv) > 1 else "rooms.png", dpi=110)
