"""An image with the boundaries of its objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.align import check_match, share_coords
from xlabelstats.inputs import check_mask, check_on_host
from xlabelstats.labels.swapped import ask_if_swapped
from xlabelstats.multiscale import as_array
from xlabelstats.plot.axes import axes_of
from xlabelstats.plot.channels import blend, choose_channels
from xlabelstats.plot.resolution import Canvas, Extent, channel_dim, choose_planes, drawn_dims, lay_out, read, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The dots that a boundary is wide, where the mask has a pixel for every dot or less.
LINE = 1.5

# Objects of fewer pixels, about three across, are boundary all over.  Where most are, those of a few times as many
# have none either: boundaries of some among equals would look like a choice.
SMALL, FEW = 9, 36


def overlay(
    image: xr.DataArray | xr.DataTree,
    mask: xr.DataArray | xr.DataTree,
    *,
    channels: Any = None,
    colors: Sequence[Any] | Mapping[Any, Any] | None = None,
    contrast: tuple[float, float] = (1, 99.8),
    boundary_color: Any = None,
    ax: Axes | None = None,
    **indices: int,
) -> Axes:
    """Draw an image, and over it the boundaries of its objects.

    Parameters
    ----------
    image : DataArray or DataTree
        Numbers, with the dims of the mask and others in any order.
    mask : DataArray or DataTree of integers
        The label of every pixel, 0 for the background, with two dims or more.
    channels : name, or sequence of names, optional
        Which channels to draw: by coordinate, or by index where there is none.  By default all.
    colors : sequence or mapping from channel to colour, optional
        The colours of the channels, which add up.  By default one is grey, two are magenta and green, and up
        to six are cyan, magenta, yellow, red, green, blue.
    contrast : (float, float), default (1, 99.8)
        The percentiles of each channel, among the pixels drawn, that are black and full colour.
    boundary_color : colour, optional
        By default yellow over one channel and white over several.
    ax : matplotlib Axes, optional
        Where to draw; by default the current Axes, ``plt.gca()``.
    **indices : int
        Which plane to draw along every other dim, by index: ``z=12``, ``t=0``; negative ones count from the end.  By
        default the middle, ``size // 2``.  The title says which.

    Returns
    -------
    matplotlib Axes
        With two images, the channels and the boundaries.  The first row is on top; ticks are in coordinate units, or in
        pixels where there are no coordinates.

    Raises
    ------
    ValueError
        Image and mask do not match; the mask has fewer than two dims; coordinates are not evenly spaced; a channel that
        is named does not exist or is one of several of that name; or there are more channels than colours.
    IndexError
        A plane is out of range.
    TypeError
        The mask holds no integers, an option does not exist, or is of another kind.
    ModuleNotFoundError
        matplotlib is not installed.

    Notes
    -----
    y and x are drawn if the mask has both, otherwise the last two of its dims without an index: ``y=20`` draws z and x.
    Of the dims that the mask lacks, the one called c, channel or band holds the channels.  If there is none, it is the
    only other one; dims called t, time, timepoint or frame, z, depth or plane, s, sample, scene, series, position or
    field do not count.  Upper or lower case, singular or plural.

    Pixels have the shape that the coordinates give them.  They are square if the two dims cannot be compared: only one
    has coordinates, the units differ, or one of them is time.

    About one pixel is drawn per dot of the Axes on the screen: every n-th along each of the two dims.  dask arrays are
    read block by block, and trees at the coarsest scale that has enough pixels.  So boundaries are those of the drawn
    pixels.  If pixels are skipped, and the median object has fewer than 9 drawn pixels, about 3 across, boundaries
    would hide the objects; then objects of fewer than 36 drawn pixels have none.  For more detail crop both first, or
    draw on a larger figure.

    A boundary lies within its object, as ``find_boundaries(mask, mode="inner")`` of scikit-image has it; where a
    pixel of the mask covers several dots, it is thinner than the pixel.

    Examples
    --------
    >>> import xarray as xr
    >>> from xlabelstats.plot import overlay
    >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"), coords={"x": [0.0, 0.5, 1.0]})
    >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"))
    >>> ax = overlay(image, mask)
    >>> ax.get_xlim(), ax.get_ylabel()
    ((np.float64(-0.25), np.float64(1.25)), 'y [pixel]')
    >>> ax.figure.clear()
    """
    ax = axes_of(ax, "overlay")
    whole, labels = as_array(image), as_array(mask)
    check_match(whole, labels)
    check_on_host("overlay", image=whole, mask=labels)
    dims = drawn_dims(labels.dims, indices)
    own = channel_dim([dim for dim in whole.dims if dim not in labels.dims], indices)
    planes = choose_planes(whole, (*dims, own), indices)
    chosen = choose_channels(whole, own, channels, colors)
    canvas = lay_out(share_coords(labels, whole), dims, planes, ax)

    pixels, extent = read(image, canvas, planes, chosen.index)
    values = pixels.to_numpy().reshape(len(chosen.rows), *(pixels.sizes[dim] for dim in dims))
    canvas.draw(ax, blend(values, chosen.colors, contrast), extent)
    if boundary_color is None:
        boundary_color = "yellow" if len(chosen.rows) == 1 else "white"
    drawn, extent = read(mask, canvas, planes)
    drawn = check_mask(drawn)
    if set(whole.dims) == set(labels.dims):
        ask_if_swapped(drawn, pixels, call="image.labels.plot.overlay(mask)")
    _draw_boundaries(ax, drawn, extent, canvas, boundary_color)

    ax.set_title(title_of(share_coords(whole, labels), planes | chosen.alone), fontsize="medium")
    if handles := chosen.handles():
        ax.legend(
            handles=handles,
            loc="upper right",
            facecolor="black",
            edgecolor="none",
            labelcolor="white",
            fontsize="small",
        )
    return ax


def _draw_boundaries(ax: Axes, drawn: xr.DataArray, extent: Extent, canvas: Canvas, color: Any) -> None:
    from matplotlib.colors import to_rgba

    labels = drawn.to_numpy()
    if labels.shape != canvas.mask.shape:
        labels = _without_small(labels)
    for axis, (size, dots) in enumerate(zip(labels.shape, canvas.dots, strict=True)):
        labels = np.repeat(labels, max(1, round(dots / size / LINE)), axis)
    red, green, blue, alpha = (np.array(to_rgba(color)) * 255).round().astype(np.uint8)
    # Pixels without a boundary have its colour too, so that none of another bleeds in where the picture is scaled.
    rgba = np.full((*labels.shape, 4), (red, green, blue, 0), np.uint8)
    rgba[boundaries(labels), 3] = alpha
    canvas.draw(ax, rgba, extent)


def _without_small(labels: np.ndarray) -> np.ndarray:
    """Labels without small objects, if boundaries would hide most objects."""
    ids, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    objects = counts[ids != 0]
    if not objects.size or np.median(objects) >= SMALL:
        return labels
    return np.where(counts[codes].reshape(labels.shape) < FEW, 0, labels)


def boundaries(mask: np.ndarray) -> np.ndarray:
    """The pixels of objects that touch a pixel of another label, by an edge."""
    found = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        pixels, edge = np.moveaxis(mask, axis, 0), np.moveaxis(found, axis, 0)
        differs = pixels[1:] != pixels[:-1]
        edge[1:] |= differs
        edge[:-1] |= differs
    return found & (mask != 0)
