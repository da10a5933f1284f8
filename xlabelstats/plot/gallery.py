"""Windows of objects side by side."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.inputs import check_on_host
from xlabelstats.names import LABEL, letter_of
from xlabelstats.options import compute
from xlabelstats.plot.axes import axes_of, box_of, dots_per_point
from xlabelstats.plot.channels import blend, choose_channels
from xlabelstats.plot.resolution import channel_dim, choose_planes, drawn_dims, thinning, title_of
from xlabelstats.rows import ids_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# How many windows are drawn where it is not said.
WINDOWS = 48

# The size of ids, in points; and the width of a digit and the height of a line, in sizes.
LARGEST, SMALLEST, DIGIT, LINE = 8.0, 4.0, 0.62, 1.5

# The gap between windows, in their widths.
GAP = 0.05


@dataclass(frozen=True)
class Montage:
    """Tiles in rows, each below a line for its id; all lengths in pixels of the picture.

    Attributes
    ----------
    tile : tuple
        Height and width of a tile.
    columns : int
    gap, line : int
        Between tiles, and above them.
    fontsize : float
        Of ids, in points.
    """

    tile: tuple[int, int]
    columns: int
    gap: int
    line: int
    fontsize: float

    def corner(self, i: int) -> tuple[int, int]:
        """The first row and column of the i-th tile."""
        row, column = divmod(i, self.columns)
        height, width = self.tile
        return self.line + row * (height + self.line), column * (width + self.gap)

    def fill(self, tiles: np.ndarray) -> np.ndarray:
        """Tiles (tile, down, across, 3) in one picture (down, across, 4), transparent between them."""
        height, width = self.tile
        columns, rows = min(len(tiles), self.columns), -(-len(tiles) // self.columns)
        shape = (rows * (height + self.line), columns * (width + self.gap) - self.gap)
        picture = np.zeros((*shape, 4), np.uint8)
        for i, tile in enumerate(tiles):
            top, left = self.corner(i)
            picture[top : top + height, left : left + width] = np.dstack([tile, np.full(self.tile, 255, np.uint8)])
        return picture


def gallery(
    windows: xr.Dataset | xr.DataArray,
    *,
    n: int | None = None,
    labels: int | Sequence[int] | np.ndarray | None = None,
    columns: int | None = None,
    channels: Any = None,
    colors: Sequence[Any] | Mapping[Any, Any] | None = None,
    contrast: tuple[float, float] = (1, 99.8),
    ax: Axes | None = None,
    **indices: int,
) -> Axes:
    """Draw windows side by side, each below the id of its label.

    Parameters
    ----------
    windows : Dataset or DataArray
        What ``image.instances.windows(mask)`` gives, or its ``image``, ``(label, *other, *window)``.  Of windows
        of a mask alone, the object is drawn in white.
    n : int, optional
        Draw the first n; by default 48.
    labels : int or sequence of int, optional
        Draw these, in this order, in place of the first ones.
    columns : int, optional
        By default as many as make the windows as large as the Axes allow.
    channels, colors, contrast
        As in `overlay`; percentiles are those of all drawn windows together, so that you can compare them.
    ax, **indices
        As in `overlay`.  Of volumes, ``z`` counts from the first plane of the window; the default is the middle one.

    Returns
    -------
    matplotlib Axes
        Without ticks; with one image, transparent between the windows, and a text per label.

    Raises
    ------
    ValueError
        There is no dim ``label``; a label is not there; ``n`` is given beside ``labels``; ``n`` or ``columns`` is not a
        positive whole number; windows have fewer than two dims; or channels are wrong as in `overlay`.
    IndexError
        A plane is out of range.
    TypeError
        The windows are of another kind, or an option does not exist.
    ModuleNotFoundError
        matplotlib is not installed.

    Notes
    -----
    Of lazy windows, only the chunks that hold drawn ones are computed.  Large windows are thinned out to about one
    pixel per dot on the screen.  Which dim holds channels is as in `overlay`.

    Examples
    --------
    >>> import xarray as xr
    >>> from xlabelstats.plot import gallery
    >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
    >>> image = xr.DataArray([[9, 1, 2, 3], [4, 5, 6, 9]], dims=("y", "x"))
    >>> ax = gallery(image.instances.windows(mask, 3))
    >>> [text.get_text() for text in ax.texts]
    ['2', '7']
    >>> ax.figure.clear()
    """
    ax = axes_of(ax, "gallery")
    cells, window, beside = _cells(windows)
    check_on_host("gallery", windows=cells)
    rows = _rows(ids_of(cells), n, labels)
    dims = drawn_dims(window, indices)
    channel = channel_dim([dim for dim in beside if dim not in dims], indices)
    planes = choose_planes(cells, (LABEL, *dims, channel), indices)
    chosen = choose_channels(cells, channel, channels, colors)
    if columns is not None:
        columns = _positive(columns, "columns")

    shape = (cells.sizes[dims[0]], cells.sizes[dims[1]])
    ids = ids_of(cells)[rows]
    ax.set_axis_off()
    ax.set_title(title_of(cells, planes | chosen.alone), fontsize="medium")
    if not ids.size or not all(shape):
        return ax
    step, montage = _arrange(ax, shape, columns, [str(label) for label in ids])
    thin = {dim: _every(step, size) for dim, size in zip(dims, shape, strict=True)}
    cells = cells.isel({LABEL: rows, **planes, **thin, **chosen.index})
    cells = cells.transpose(*([] if channel is None else [channel]), LABEL, *dims)
    drawn = (compute(cells) if cells.chunks is not None else cells).to_numpy()
    tiles = blend(drawn.reshape(len(chosen.rows), *drawn.shape[-3:]), chosen.colors, contrast)
    ax.imshow(montage.fill(tiles), origin="upper", interpolation="nearest", aspect="equal")
    for i, label in enumerate(ids):
        top, left = montage.corner(i)
        middle = left + (montage.tile[1] - 1) / 2
        ax.text(middle, top - 0.5, str(label), ha="center", va="bottom", fontsize=montage.fontsize)
    if handles := chosen.handles():
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=len(handles),
            fontsize="small",
            frameon=False,
        )
    return ax


def _cells(windows: Any) -> tuple[xr.DataArray, list[Hashable], list[Hashable]]:
    """The windows to draw, the dims of a window, and the dims that may hold channels."""
    if not isinstance(windows, xr.Dataset | xr.DataArray):
        raise TypeError(
            f"windows are the Dataset that image.instances.windows(mask) gives, or its image, not "
            f"{type(windows).__name__}"
        )
    if isinstance(windows, xr.Dataset) and not {"image", "mask"} & set(windows.data_vars):
        raise ValueError(f"a Dataset of windows has an image or a mask; this one has {list(windows.data_vars)}")
    if LABEL not in windows.dims:
        raise ValueError(f"windows have the dim {LABEL!r}; these have {tuple(windows.dims)}")
    if isinstance(windows, xr.DataArray) or "mask" not in windows:
        cells = windows if isinstance(windows, xr.DataArray) else windows["image"]
        beside = [dim for dim in cells.dims if dim != LABEL]
        return cells, [dim for dim in beside if letter_of(dim) != "C"], beside
    mask = windows["mask"]
    window = [dim for dim in mask.dims if dim != LABEL]
    if "image" not in windows:
        return mask == xr.DataArray(ids_of(mask), dims=LABEL), window, []
    return windows["image"], window, [dim for dim in windows["image"].dims if dim not in mask.dims]


def _rows(ids: np.ndarray, n: Any, labels: Any) -> np.ndarray:
    """Which windows to draw, by position."""
    if labels is None:
        return np.arange(min(ids.size, WINDOWS if n is None else _positive(n, "n")))
    if n is not None:
        raise ValueError("n draws the first windows and labels those named; give one of the two")
    import pandas as pd

    wanted = np.atleast_1d(np.asarray(labels))
    rows = pd.Index(ids).get_indexer(wanted)
    if (rows < 0).any():
        raise ValueError(f"there is no window of label {wanted[rows < 0][0]}; windows['label'] lists those there are")
    return rows


def _positive(given: Any, name: str) -> int:
    if isinstance(given, bool) or not isinstance(given, numbers.Integral) or given < 1:
        raise ValueError(f"{name} is a positive whole number, not {given!r}")
    return int(given)


def _arrange(ax: Axes, shape: tuple[int, int], columns: int | None, names: list[str]) -> tuple[int, Montage]:
    """How far to thin out the windows, and how to lay them out such that they are large."""
    width, height = box_of(ax)
    point = dots_per_point(ax)
    longest = max(map(len, names))

    def font(tile: float) -> float:
        return min(LARGEST, max(SMALLEST, tile / (DIGIT * longest * point)))

    def fitting(count: int) -> float:
        """The dots across a tile in so many columns."""
        across = width / (count * (1 + GAP))
        down = height / -(-len(names) // count) - LINE * font(across) * point
        return max(1.0, min(across, down * shape[1] / shape[0]))

    columns = columns or max(range(1, len(names) + 1), key=fitting)
    dots = fitting(columns)
    step = thinning(shape[1], dots)
    tile = tuple(len(range(size)[_every(step, size)]) for size in shape)
    line = math.ceil(LINE * font(dots) * point / dots * tile[1])
    return step, Montage((tile[0], tile[1]), columns, max(1, round(GAP * tile[1])), line, font(dots))


def _every(step: int, size: int) -> slice:
    """Every n-th of some pixels, from the middle of the first n."""
    return slice(min(step, size) // 2, None, step)
