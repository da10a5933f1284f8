"""What all pictures share: the Axes they are drawn on, names with units, colours of classes, and colour bars."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xlabelstats.extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

    from xlabelstats.classes import Classes

# Names of classes that fit along a colour bar.
TICKS = 24

# What of the Axes goes to a colour bar at first and at most, to the space before it, and its width.
ROOM, MOST, PAD, WIDTH = 0.06, 0.5, 0.03, 0.045


def axes_of(ax: Axes | None, what: str) -> Axes:
    """The Axes to draw on: those given, or else the current ones."""
    matplotlib_axes = need("matplotlib.axes", "plot", what)
    if ax is None:
        return need("matplotlib.pyplot", "plot", what).gca()
    if not isinstance(ax, matplotlib_axes.Axes):
        raise TypeError(f"ax is one Axes, as plt.subplots() gives, not {type(ax).__name__}")
    return ax


def box_of(ax: Axes) -> tuple[float, float]:
    """The dots across and down the room of the Axes, in the figure as it is shown or saved."""
    # The box before an aspect made it smaller, which that of an earlier picture may have.
    box = ax.get_position(original=True).transformed(ax.figure.transSubfigure)
    return max(box.width * _finer(ax), 1.0), max(box.height * _finer(ax), 1.0)


def dots_per_point(ax: Axes) -> float:
    """The dots of a typographic point, as `box_of` counts them."""
    return ax.figure.dpi * _finer(ax) / 72


def _finer(ax: Axes) -> float:
    """How much finer than on the screen a figure is saved."""
    import matplotlib as mpl

    saved = mpl.rcParams["savefig.dpi"]
    return 1.0 if saved == "figure" else max(1.0, saved / ax.figure.dpi)


def with_units(name: Any, attrs: Mapping[Any, Any]) -> str:
    """A name with its units, as ``area [micrometer²]``."""
    units = re.sub(r"\*\*(-?\d+)", r"$^{\1}$", str(attrs.get("units", "")))
    return f"{name} [{units}]" if units else str(name)


def colours_of(classes: Classes, cmap: Any) -> dict[str, Any]:
    """The colour map and norm of classes: colours from a colour map, or such as are easily told apart."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap, Normalize

    n = max(len(classes.names), 1)
    known = mpl.colormaps.get_cmap(cmap or ("tab10" if n <= 10 else "tab20" if n <= 20 else "turbo"))
    # Of maps made for classes the first colours, of continuous ones all along.
    qualitative = n <= known.N <= 20
    colours = ListedColormap(known(np.arange(n)) if qualitative else known(np.linspace(0, 1, n)))
    return {"cmap": colours, "norm": Normalize(-0.5, n - 0.5)}


def add_colorbar(ax: Axes, drawn: Any, label: str, classes: Classes | None = None) -> Colorbar:
    """A colour bar beside the Axes, as high as the picture in them, with the names of classes if there are any."""
    ratio = ax.get_aspect()
    across, down = (abs(b - a) for a, b in (ax.get_xlim(), ax.get_ylim()))
    shape = None if ratio == "auto" else down * float(ratio) / across
    if ax.figure.get_layout_engine() is None:
        bar = _colorbar_in_room(ax, drawn, shape, label, classes)
    else:
        # A part of the Axes, of which layouts know how much room it needs, and which keeps their height.
        unit = max(1.0, shape or 1.0)
        bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1 + PAD * unit, 0, WIDTH * unit, 1)))
        _name(bar, label, classes)
    return bar


def _colorbar_in_room(ax: Axes, drawn: Any, shape: float | None, label: str, classes: Classes | None) -> Colorbar:
    """A colour bar in room taken from the Axes, as much as long names need."""
    width, tall = box_of(ax)

    def attempt(room: float) -> Colorbar:
        height = 1.0 if shape is None else min(1.0, shape * width * (1 - room - PAD) / tall)
        bar = ax.figure.colorbar(drawn, ax=ax, fraction=room, pad=PAD, shrink=height, aspect=max(4.0, 22 * height))
        _name(bar, label, classes)
        return bar

    bar = attempt(ROOM)
    covered = bar.ax.get_tightbbox()
    beyond = covered.x1 - ax.figure.bbox.x1 if covered else 0.0
    if beyond <= 0:
        return bar
    bar.remove()
    return attempt(min(ROOM + beyond * _finer(ax) / width, MOST))


def _name(bar: Colorbar, label: str, classes: Classes | None) -> None:
    bar.set_label(label)
    # The colours are those of the points or pixels, not how they show through each other.
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)
    if classes is not None:
        step = -(-len(classes.names) // TICKS)
        bar.set_ticks(range(0, len(classes.names), step), labels=classes.names[::step])
        bar.ax.tick_params(length=0)
        bar.minorticks_off()
