"""``.instances`` of a mask: the outlines of objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.object_quantiles import ObjectQuantileCalls
from xlabelstats.accessors.profiles import ProfileCalls
from xlabelstats.accessors.types import Labels, Per

if TYPE_CHECKING:
    import geopandas
    import pandas as pd


class PolygonCalls(ProfileCalls):
    """The calls of `InstancesAccessor` that draw the outlines of objects."""

    @documented(ObjectQuantileCalls.quantiles, take=())
    def polygons(
        self,
        tolerance: float = 0,
        *,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
    ) -> geopandas.GeoDataFrame:
        """Outline every object of a 2-D mask by a polygon, in a GeoDataFrame with a row per label.

        Parameters
        ----------
        tolerance : float, default 0
            About how far an outline may be moved to have fewer points, in the units of the polygons.  0 gives the
            exact outline, which follows the edges of pixels.
        units : {"coords", "pixel"}, default "coords"
            Positions in the units of the coordinates, which must be evenly spaced, where there are any; or in pixels.
        labels : int or sequence of int, optional
            Only these objects, in this order.  A label that does not occur has no geometry (None).
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: outline every label by itself at each position along them.  The index has
            the levels ``t`` and ``label``.  A label has a row where it occurs, or at all positions if ``labels`` are
            given.

        Returns
        -------
        GeoDataFrame
            The column ``geometry``, with the labels as index.  Points are (x, y).  An object in one part is a
            ``Polygon``, one in several parts a ``MultiPolygon``; holes are kept.  The units are in ``.attrs["units"]``.
            A dask mask is read immediately, block by block: the outlines have to fit into memory, the mask does not.

        Raises
        ------
        ValueError
            The mask is not 2-D, ``units`` is neither of the two, the coordinates are not evenly spaced, or the
            tolerance is negative.
        ModuleNotFoundError
            geopandas or rasterio is not installed: ``pip install 'xlabelstats[polygons]'``.

        Notes
        -----
        x is the dim of this name, else the last dim of the mask.  A pixel is a rectangle around its position: with
        ``units="pixel"`` pixel ``i`` reaches from ``i - 0.5`` to ``i + 0.5``.  Pixels that only touch at a corner
        belong to two parts.  So all exact outlines are valid geometries, and their area is the number of pixels times
        the area of a pixel.

        With a tolerance every object is simplified by itself, by the algorithm of Douglas and Peucker as GEOS has it,
        which keeps the number of parts and holes.  No point of the outline moves by more than twice the tolerance, and
        most by no more than the tolerance.  Neighbours that touched may then overlap, or have a gap between them.

        Outlines are found by GDAL (``rasterio.features.shapes``).  They are the same for all chunks.

        References
        ----------
        D. Douglas and T. Peucker, Cartographica 10 (1973) 112-122.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[7, 7, 7], [7, 0, 7], [7, 7, 7]], dims=("y", "x"))
        >>> outlines = mask.instances.polygons()
        >>> outlines.area.loc[7].item(), len(outlines.geometry.loc[7].interiors)
        (8.0, 1)
        """
        from xlabelstats.instances.polygons import polygons

        return polygons(self._array, tolerance, units=units, labels=labels, background=background, per=per)

    @documented(ObjectQuantileCalls.quantiles, take=())
    def to_qupath(
        self,
        path: str | os.PathLike[str],
        table: pd.DataFrame | None = None,
        *,
        classification: str | None = None,
        object_type: str = "detection",
        downsample: float = 1,
        tolerance: float = 0,
        labels: Labels = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the outline of every object of a 2-D mask to a GeoJSON file that QuPath imports, with measurements.

        Parameters
        ----------
        path : str or PathLike
            The file, such as ``"nuclei.geojson"``.
        table : DataFrame, optional
            A row per label, the labels as index, as ``result.labels.to_dataframe()`` makes it.  Its columns of numbers
            become measurements in QuPath; NaN is left out.  Labels without a row have no measurements, and rows whose
            label is not in the mask are left out.
        classification : str, optional
            The column of the table that holds the class of every object.
        object_type : {"detection", "annotation", "cell", "tile"}, default "detection"
            What the objects are in QuPath.
        downsample : float, default 1
            How many pixels of the image in QuPath one pixel of the mask is wide: 4 for a mask of an image at a quarter
            of its full resolution.
        tolerance : float, default 0
            About how far outlines may be moved to have fewer points, in pixels of the mask; see `polygons`.
        labels : int or sequence of int, optional
            Only these objects, in this order.  A label that does not occur is left out.
        overwrite : bool, default False
            Whether to replace a file that is there already.

        Returns
        -------
        Path
            The file.  A dask mask is computed now, block by block.

        Raises
        ------
        FileExistsError
            There is such a file already, and ``overwrite`` is False.
        ValueError
            The mask is not 2-D, the table has no row for any label or several for one, or ``classification`` is no
            column of it.
        ModuleNotFoundError
            geopandas or rasterio is not installed: ``pip install 'xlabelstats[polygons]'``.

        Notes
        -----
        QuPath counts pixels of the full image from its top left corner, so coordinates of the mask are not used.  The
        mask has to cover the whole image.  In QuPath drag the file onto the image, or choose "Import objects" in the
        menu "File".

        The file is a ``FeatureCollection``.  Every feature has the ``properties`` ``objectType``, ``name`` (the label),
        ``measurements`` (names and numbers, ``label`` among them), and with ``classification`` the class by its
        ``name``, as QuPath 0.4 and later write them.  The file is complete or absent.

        Examples
        --------
        >>> import tempfile
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [0, 7, 7]], dims=("y", "x"))
        >>> table = mask.labels.measure("num_pixels").labels.to_dataframe()
        >>> folder = tempfile.TemporaryDirectory()
        >>> mask.instances.to_qupath(f"{folder.name}/cells.geojson", table).name
        'cells.geojson'
        >>> folder.cleanup()
        """
        from xlabelstats.instances.qupath import to_qupath

        return to_qupath(
            self._array,
            path,
            table,
            classification=classification,
            object_type=object_type,
            downsample=downsample,
            tolerance=tolerance,
            labels=labels,
            overwrite=overwrite,
        )
