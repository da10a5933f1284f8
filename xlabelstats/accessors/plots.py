"""``.plot`` of the accessors: each call handed on to `xlabelstats.plot`, with the array first."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats.accessors.types import Labels, Mask

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class LabelsPlots:
    """Pictures of an image or a mask, reached as ``array.labels.plot``."""

    def __init__(self, array: Mask) -> None:
        self._array = array

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
        """Draw this image and the boundaries of a mask's objects; see `xlabelstats.plot.overlay`."""
        from xlabelstats.plot import overlay

        return overlay(
            self._array,
            mask,
            channels=channels,
            colors=colors,
            contrast=contrast,
            boundary_color=boundary_color,
            ax=ax,
            **indices,
        )

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
        """Draw the objects of this mask in the colours of their values; see `xlabelstats.plot.measurement`."""
        from xlabelstats.plot import measurement

        return measurement(self._array, values, variable=variable, name=name, cmap=cmap, ax=ax, **indices)


class TablePlots:
    """Pictures of the results that a Dataset holds, reached as ``dataset.labels.plot``."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def scatter(
        self, x: Hashable, y: Hashable, *, color: Hashable | None = None, cmap: Any = None, ax: Axes | None = None
    ) -> Axes:
        """Draw one column of the wide table against another; see `xlabelstats.plot.scatter`."""
        from xlabelstats.plot import scatter

        return scatter(self._dataset, x, y, color=color, cmap=cmap, ax=ax)


class WindowPlots:
    """Pictures of windows, reached as ``windows.instances.plot``."""

    def __init__(self, windows: xr.Dataset | xr.DataArray) -> None:
        self._windows = windows

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
        """Draw the windows side by side; see `xlabelstats.plot.gallery`."""
        from xlabelstats.plot import gallery

        return gallery(
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
