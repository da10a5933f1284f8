"""``.plot`` of the accessors: each call handed on to `xlabelstats.plot`, with the array first."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats import plot
from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.types import Labels, Mask

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ALL = ("Returns", "Raises", "Notes")


class LabelsPlots:
    """Pictures of an image or a mask, reached as ``array.labels.plot``."""

    def __init__(self, array: Mask) -> None:
        self._array = array

    @documented(plot.overlay, take=ALL)
    def overlay(
        self,
        mask: Mask,
        *,
        channels: Any = None,
        colors: Sequence[Any] | Mapping[Any, Any] | None = None,
        contrast: tuple[float, float] = (1, 99.8),
        boundary_color: Any = None,
        ax: Axes | None = None,
        **indices: int,
    ) -> Axes:
        """Draw this image, and over it the boundaries of a mask's objects.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"), coords={"x": [0.0, 0.5, 1.0]})
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"))
        >>> ax = image.labels.plot.overlay(mask)
        >>> ax.get_ylabel()
        'y [pixel]'
        >>> ax.figure.clear()
        """
        return plot.overlay(
            self._array,
            mask,
            channels=channels,
            colors=colors,
            contrast=contrast,
            boundary_color=boundary_color,
            ax=ax,
            **indices,
        )

    @documented(plot.measurement, plot.overlay, take=ALL)
    def measurement(
        self,
        values: xr.DataArray | xr.Dataset | pd.Series | Mapping[int, Any],
        *,
        variable: Hashable | None = None,
        name: str | None = None,
        cmap: Any = None,
        ax: Axes | None = None,
        **indices: int,
    ) -> Axes:
        """Draw the objects of this mask in the colours of their values, with a colour bar.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> ax = mask.labels.plot.measurement({1: 0.5, 2: 1.5}, name="ratio")
        >>> len(ax.images)
        1
        >>> ax.figure.clear()
        """
        return plot.measurement(self._array, values, variable=variable, name=name, cmap=cmap, ax=ax, **indices)


class TablePlots:
    """Pictures of the results that a Dataset holds, reached as ``dataset.labels.plot``."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @documented(plot.scatter, take=ALL)
    def scatter(
        self, x: Hashable, y: Hashable, *, color: Hashable | None = None, cmap: Any = None, ax: Axes | None = None
    ) -> Axes:
        """Draw a point per label: one column of the wide table against another.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"))
        >>> ax = image.labels.aggregate(mask).labels.plot.scatter("count", "mean")
        >>> ax.collections[0].get_offsets().tolist()
        [[2.0, 2.0], [3.0, 5.0]]
        >>> ax.figure.clear()
        """
        return plot.scatter(self._dataset, x, y, color=color, cmap=cmap, ax=ax)


class WindowPlots:
    """Pictures of windows, reached as ``windows.instances.plot``."""

    def __init__(self, windows: xr.Dataset | xr.DataArray) -> None:
        self._windows = windows

    @documented(plot.gallery, plot.overlay, take=ALL)
    def gallery(
        self,
        *,
        n: int | None = None,
        labels: Labels = None,
        columns: int | None = None,
        channels: Any = None,
        colors: Sequence[Any] | Mapping[Any, Any] | None = None,
        contrast: tuple[float, float] = (1, 99.8),
        ax: Axes | None = None,
        **indices: int,
    ) -> Axes:
        """Draw the windows side by side, each below the id of its label.

        Parameters
        ----------
        contrast : (float, float), default (1, 99.8)
            The percentiles of each channel, among all windows drawn, that are black and full colour.
        **indices : int
            Which plane to draw along every other dim, by index: ``z=12``, ``t=0``; negative ones count from the end.
            Of volumes, ``z`` counts from the first plane of the window; the default is the middle one.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
        >>> windows = mask.instances.windows(5)
        >>> ax = windows["mask"].instances.plot.gallery()
        >>> ax.figure.clear()
        """
        return plot.gallery(
            self._windows,
            n=n,
            labels=labels,
            columns=columns,
            channels=channels,
            colors=colors,
            contrast=contrast,
            ax=ax,
            **indices,
        )
