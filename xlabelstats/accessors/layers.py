"""Results in napari: the calls of ``.labels`` that show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.tables import TableCalls

if TYPE_CHECKING:
    import geopandas


class LayerDatasetCalls(TableCalls):
    """The calls of `LabelsDatasetAccessor` that show a result in napari."""

    def to_napari(
        self,
        objects: xr.DataArray | xr.DataTree | geopandas.GeoDataFrame,
        viewer: Any = None,
        color: str | None = "mean",
        *,
        colormap: str | None = None,
        layer: Mapping[str, Any] | None = None,
    ) -> Any:
        """Show objects in napari, in the colours of what was measured of them.

        Parameters
        ----------
        objects : DataArray, DataTree or GeoDataFrame
            What is shown of the objects.  It decides the kind of the layer:

            - a mask of integers, or a DataTree of one at several scales: a ``Labels`` layer;
            - their centres, as `LabelsAccessor.center_of_mass` gives them, in coordinate units: a ``Points`` layer;
            - their outlines, as `InstancesAccessor.polygons` gives them, in coordinate units: a ``Shapes`` layer.
        viewer : napari.Viewer, optional
            The viewer that gets the layer.  By default a new window.
        color : str or None, default "mean"
            The column that gives the colours, one of ``result.labels.to_dataframe()``, such as ``"mean_DAPI"`` or
            ``"area"``.  None keeps the colours that napari gives.
        colormap : str, optional
            A colormap of napari.  By default ``"viridis"`` for quantities, and distinct colours for classes.
        layer : mapping, optional
            Further options of the layer, those of napari's ``add_labels``, ``add_points`` or ``add_shapes``:
            ``{"name": "nuclei", "opacity": 0.5}``.

        Returns
        -------
        napari.Viewer
            The viewer, with the new layer as ``viewer.layers[-1]``.  Its name is that of the mask, or ``labels``,
            ``centers`` or ``outlines``, and the column: ``"nuclei mean"``.

        Raises
        ------
        TypeError
            ``objects`` is none of these, a mask does not hold integers, an array is on the GPU, or ``viewer`` is not a
            viewer.
        ValueError
            There is no such column or colormap; the mask has one dim; the result has no labels, several rows for a
            label, or rows at several positions (``per=``); no label of the centres or outlines is a label of the
            result.
        ModuleNotFoundError
            napari is not installed: ``pip install 'xlabelstats[viewer]'``.
        ImportError
            A window is to be opened, and there is no Qt: ``pip install 'napari[all]'``.

        Notes
        -----
        - The whole table goes along as the ``features`` of the layer, whose values napari shows under the mouse.  Of
          Labels the column ``index`` has the labels, as napari wants it; of Points and Shapes it is ``label``.
        - Labels that the result lacks are transparent, and so are the background and labels whose value is NaN or not
          finite.  With ``color=None`` napari gives every label a colour.  Centres and outlines of labels that the
          result lacks are left out.
        - The colours run from the smallest to the largest finite value.  Text, categories, bool, and whole numbers that
          span less than ten are classes.
        - Layers lie where the coordinates say, by ``scale``, ``translate`` and ``units``; in pixels along dims without
          coordinates, or whose coordinates are no evenly spaced numbers.  Axes are in the order t, z, y, x if the dims
          have these names, else as in the mask.
        - The result is computed now.  A dask mask stays lazy: napari reads what it shows, which is a whole plane unless
          the mask has several scales.
        - Labels of any integer dtype and any value are shown as they are, negative ones too.
        - Every part of an outline, and every hole, is a closed line of its own.
        - napari needs some seconds for 100 000 labels or points, and as long for a few thousand outlines.
        - In a script, end with ``napari.run()``, so that the window stays open.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"), name="cells")
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"))
        >>> result = image.labels.aggregate(mask, ("count", "mean"))
        >>> viewer = result.labels.to_napari(mask)  # doctest: +SKIP
        >>> viewer = result.labels.to_napari(mask.labels.center_of_mass(), viewer, "count")  # doctest: +SKIP
        >>> viewer.layers[0].features  # doctest: +SKIP
           index  count  mean
        0      2      3   5.0
        1      7      2   2.0
        >>> [layer.name for layer in viewer.layers]  # doctest: +SKIP
        ['cells mean', 'centers count']
        """
        from xlabelstats.layers import to_napari

        return to_napari(self._dataset, objects, viewer, color, colormap, layer)


class LayerCalls:
    """The calls of `LabelsAccessor` that show a result in napari."""

    _array: xr.DataArray

    @documented(LayerDatasetCalls.to_napari, take=("Raises", "Notes"))
    def to_napari(
        self,
        objects: xr.DataArray | xr.DataTree | geopandas.GeoDataFrame,
        viewer: Any = None,
        color: str | None = None,
        *,
        colormap: str | None = None,
        layer: Mapping[str, Any] | None = None,
    ) -> Any:
        """Show objects in napari, in the colours of one statistic.

        Parameters
        ----------
        color : str, optional
            The column that gives the colours, one of ``result.labels.to_dataframe()``.  By default the only one; if
            there are several, as of several channels, the colours are those that napari gives.

        Returns
        -------
        napari.Viewer
            The viewer, with the new layer as ``viewer.layers[-1]``, as of `LabelsDatasetAccessor.to_napari`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"))
        >>> viewer = image.labels.max(mask).labels.to_napari(mask)  # doctest: +SKIP
        >>> viewer.layers[-1].name  # doctest: +SKIP
        'labels max'
        """
        from xlabelstats.align import display_name
        from xlabelstats.layers import to_napari

        name = display_name(self._array, "value")
        if color is None and self._array.ndim == 1:
            color = name
        return to_napari(self._array.to_dataset(name=name), objects, viewer, color, colormap, layer)
