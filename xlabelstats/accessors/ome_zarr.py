"""``.labels`` of masks and results: what goes below the image of an OME-Zarr."""

from __future__ import annotations

import os

import xarray as xr

from xlabelstats.accessors.base import Accessor
from xlabelstats.names import LABEL, OBJECT


class OmeZarrTableCalls(Accessor):
    """The call of `LabelsDatasetAccessor` that writes a table below an image."""

    _of = xr.Dataset

    _dataset: xr.Dataset

    def to_ome_zarr(
        self,
        path: str | os.PathLike[str],
        label: str,
        *,
        name: str | None = None,
        backend: str = "anndata",
        instance_key: str = LABEL,
        overwrite: bool = False,
    ) -> None:
        """Write a result as a feature table below the image of an OME-Zarr, as `ngio` reads it.

        Parameters
        ----------
        path : str or PathLike
            The folder of the image, on a local or mounted disk.
        label : str
            The label image whose objects the rows describe.  It must be there: ``mask.labels.to_ome_zarr(path, label)``
            writes it.
        name : str, optional
            The table is written to ``tables/<name>``; by default it has the name of the label image.
        backend : {"anndata", "parquet"}, default "anndata"
            The format of the table: AnnData in Zarr, or a Parquet file.
        instance_key : str, default "label"
            The name of the column with the labels.
        overwrite : bool, default False
            Whether to replace a table of this name.  It stays as it is until the new one is complete.

        Returns
        -------
        None
            The columns are those of `to_dataframe`.  With ``"anndata"``, floating-point columns are ``X``, and all
            others are in ``obs``.

        Raises
        ------
        FileExistsError
            There is a table of this name, and ``overwrite`` is False.
        FileNotFoundError
            There is nothing at ``path``.
        TypeError
            The result is on the GPU, or lazy and sparse; its labels are not whole numbers.
        ValueError
            ``path`` is a URL or no image; the image has no such label image; the result has no rows of labels, several
            for one label, or a row per label and position (``per=``); there is no such backend.
        ModuleNotFoundError
            anndata or pyarrow is not installed.

        Notes
        -----
        What is lazy is computed in one pass and written as it comes, to a folder beside the table.  Then the table is
        written in pieces of some labels.  It gets its name when it is complete.  With ``"anndata"``, the columns of
        ``obs`` have to fit into memory.

        The format is version 1 of the feature table [1]_.

        References
        ----------
        .. [1] ngio, Feature tables.
           https://fractal-analytics-platform.github.io/ngio/stable/table_specs/table_types/feature_table

        Examples
        --------
        >>> import tempfile
        >>> import pandas as pd
        >>> import xlabelstats
        >>> from xlabelstats.pipeline import Cache, gaussian
        >>> image, mask = xlabelstats.datasets.nuclei2d()
        >>> folder = tempfile.TemporaryDirectory()
        >>> cache = Cache(folder.name)
        >>> smooth = cache.run("smooth", gaussian, image, sigma=1)
        >>> path = cache.status()["url"][0] + "/image.ome.zarr"
        >>> mask.labels.to_ome_zarr(path, "nuclei")
        >>> result = smooth.labels.measure(mask, ("mean", "area"))
        >>> result.labels.to_ome_zarr(path, "nuclei", backend="parquet")
        >>> table = pd.read_parquet(path + "/tables/nuclei/table.parquet")
        >>> table.columns.to_list(), len(table)
        (['label', 'mean', 'area'], 125)
        >>> folder.cleanup()
        """
        from xlabelstats.ngff.tables import write_table

        write_table(
            self._dataset, path, label, name=name, backend=backend, instance_key=instance_key, overwrite=overwrite
        )


class OmeZarrCalls:
    """The call of `LabelsAccessor` that writes a mask, or a table of one statistic, below an image."""

    _array: xr.DataArray

    def to_ome_zarr(
        self,
        path: str | os.PathLike[str],
        label: str,
        *,
        name: str | None = None,
        backend: str | None = None,
        instance_key: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a mask as a label image below the image of an OME-Zarr, or a result as a table.

        Other tools, such as napari and ngio, then open the mask together with the image, and as labels.

        Parameters
        ----------
        path : str or PathLike
            The folder of the image, of version 0.4 or 0.5, on a local or mounted disk.
        label : str
            The mask is written to ``labels/<label>``.  For a result it is the label image whose objects the rows
            describe, as in `LabelsDatasetAccessor.to_ome_zarr`.
        name : str, optional
            For a result only: the table is written to ``tables/<name>``; by default it has the name of the label image.
        backend : {"anndata", "parquet"}, optional
            For a result only: the format of the table, by default AnnData.
        instance_key : str, optional
            For a result only: the name of the column with the labels, by default "label".
        overwrite : bool, default False
            Whether to replace a label image, or table, of this name.  It stays as it is until the new one is complete.

        Returns
        -------
        None
            `xlabelstats.open_ome_zarr` opens the image with its label images.  The mask gets as many levels as the
            image has.  A coarser level keeps some pixels of the finer one: those that the image's level has, if mask
            and image have one size, else every second one.  The mask keeps its chunks.

        Warns
        -----
        UserWarning
            The mask has as many pixels as the image, but its coordinates place them elsewhere.

        Raises
        ------
        FileExistsError
            There is a label image, or table, of this name, and ``overwrite`` is False.
        FileNotFoundError
            There is nothing at ``path``.
        TypeError
            The mask does not hold integers, or is on the GPU; or an option of a result is given with a mask.
        ValueError
            ``path`` is a URL or no image.  The mask has dims other than (t, z) y and x, or one that the image lacks.
            Along a dim without coordinate its size is not that of the image.  Its coordinates are not evenly spaced, or
            fall, or have other units than those of the image.
        ModuleNotFoundError
            ome-zarr is not installed: ``pip install 'xlabelstats[pipeline]'``.

        Notes
        -----
        A dim of the mask that has no coordinate takes that of the image.  Coordinates become scale and translation.

        Examples
        --------
        >>> import tempfile
        >>> import xlabelstats
        >>> from xlabelstats.pipeline import Cache, gaussian
        >>> image, mask = xlabelstats.datasets.nuclei2d()
        >>> folder = tempfile.TemporaryDirectory()
        >>> cache = Cache(folder.name)
        >>> smooth = cache.run("smooth", gaussian, image, sigma=1)
        >>> path = cache.status()["url"][0] + "/image.ome.zarr"
        >>> mask.labels.to_ome_zarr(path, "nuclei")
        >>> list(xlabelstats.open_ome_zarr(path))
        ['image', 'nuclei']
        >>> folder.cleanup()
        """
        options = {"name": name, "backend": backend, "instance_key": instance_key}
        given = {option: value for option, value in options.items() if value is not None}
        if {LABEL, OBJECT} & {*self._array.dims}:
            from xlabelstats.align import given_name
            from xlabelstats.ngff.tables import write_table

            variable = given_name(self._array)
            dataset = self._array.to_dataset(name="value" if variable is None else variable)
            write_table(dataset, path, label, overwrite=overwrite, **given)
            return
        if given:
            raise TypeError(f"{next(iter(given))} is an option of tables of results, and this is a mask; leave it out")
        from xlabelstats.ngff.masks import write_mask

        write_mask(self._array, path, label, overwrite=overwrite)
