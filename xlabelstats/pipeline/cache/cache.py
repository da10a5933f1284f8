"""Steps computed once: their results kept on disk or in memory, and found again by what they were made from."""

from __future__ import annotations

import copy
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from types import FunctionType
from typing import Any

import pandas as pd

from xlabelstats.names import check_known
from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.code import Step, step_of
from xlabelstats.pipeline.cache.compare import Comparison, check_grid, compare
from xlabelstats.pipeline.cache.entries import KEY, NAME, FolderShelf, Marker, Shelf
from xlabelstats.pipeline.cache.folders import folder_at
from xlabelstats.pipeline.cache.images import Layout
from xlabelstats.pipeline.cache.keys import Call, Tokens, call_of
from xlabelstats.pipeline.cache.memory import MemoryShelf
from xlabelstats.pipeline.cache.results import check_layout, kind_of, prepared
from xlabelstats.pipeline.cache.status import status_of
from xlabelstats.pipeline.cache.viewer import open_viewer, show

# Keywords of `Cache.run` itself, which no step may have.
OWN = ("multiscale", "chunks", "compressor", "ome_version", "is_label", "layer")

COMPARED = "compare"

log = logging.getLogger("xlabelstats.pipeline")


class Cache:
    """A place where the results of steps are kept, so that each is computed once.

    Parameters
    ----------
    url : str, PathLike or None
        A folder, or any URL that fsspec knows, such as ``s3://bucket/results``.  None keeps the results in memory,
        computed by dask, for as long as the cache lives.
    viewer : napari.Viewer or True, optional
        Where results are shown: any object with ``add_image``, ``add_labels`` and ``add_points``; True opens a window.
    storage_options : mapping, optional
        What fsspec needs to reach the URL, such as an endpoint and credentials.

    Raises
    ------
    TypeError
        The URL is no path, or the viewer cannot show layers.

    Notes
    -----
    **The key** of a result covers the step, its parameters and its inputs; ``f(x, 2)`` and ``f(x, sigma=2)`` have one
    key.  When one of these changes, the step is computed again, and so are those that get its result, and nothing
    else.  Results under other keys stay until `clear`.

    - A *step* is known by its module, its name and the attribute ``version`` that it declares.  Without one it is
      known by its source, of which comments, docstrings and layout do not matter, and by the values of variables
      that it holds from around its definition.  What else it calls is not looked at: after a change there, declare a
      ``version`` or `clear` the step.  A callable object, such as a model, is known by the source of its class and
      its content; a function of a compiled module by the version of its package.
    - *Arrays* are known by their content, dask arrays by their dask name, local Zarr arrays behind them also by when
      their metadata was written, results of a cache by the computation that made them, so that what follows a step
      that was cleared is computed anew too; tables by their content.  Names, coordinates and attrs count.
    - A `Cache` given to a step is no part of its key.

    **On disk** a result is in ``<url>/<name>/<key>/<attempt>``: images over the dims t, c, z, y and x as OME-Zarr;
    other arrays and datasets as plain Zarr; tables as Parquet.  The marker ``step.json`` beside the attempt is written
    last, so that a result is complete or absent.  What a killed run left is removed by the next run of that step on
    the same machine.  Of two processes that compute the same result the first to end keeps it.

    **What is done** is logged, at the level INFO, by the logger ``xlabelstats.pipeline``: which steps are computed, and
    which were there already.

    Under a `dask.distributed` client results are computed and written by its workers, which must reach the URL: a
    folder that all share, or object storage.  ``memory://`` belongs to one process, so it works with threads alone.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import xlabelstats
    >>> from xlabelstats.pipeline import Cache
    >>> def bright(image, above):
    ...     print("computing")
    ...     return int((image > above).sum())
    >>> image = np.arange(12).reshape(3, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = Cache(folder)
    ...     print(cache.run("bright", bright, image, above=4))
    ...     print(cache.run("bright", bright, image, above=4))
    ...     cache.status()[["name", "parameters", "stale"]]
    computing
    7
    7
         name parameters stale
    0  bright    above=4
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None,
        *,
        viewer: Any = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.url = None if url is None else folder_at(url, storage_options or {}).url
        self._shelf: Shelf = MemoryShelf() if url is None else FolderShelf(folder_at(url, storage_options or {}))
        self._path = ""
        # The entries whose tables have which tokens: they have no names that say where they are from.
        self._tables: dict[str, Source] = {}
        self.viewer = open_viewer(viewer)

    def __repr__(self) -> str:
        where = "in memory" if self.url is None else repr(self.url)
        return f"<Cache {where}{f', {self._path}' if self._path else ''}>"

    def child(self, name: str) -> Cache:
        """A cache within this one, for the parts of a step made of steps.

        Parameters
        ----------
        name : str
            Letters, digits, ``-``, ``_`` and ``.``; the name of the step, by custom.

        Returns
        -------
        Cache
            It stores under the name, shows in the same viewer, and is cleared with it.

        Examples
        --------
        >>> from xlabelstats.pipeline import Cache
        >>> def plus_one(image):
        ...     return image + 1
        >>> def plus_two(image, cache):
        ...     return cache.run("second", plus_one, cache.run("first", plus_one, image))
        >>> cache = Cache(None)
        >>> cache.run("two", plus_two, 5, cache=cache.child("two"))
        7
        >>> cache.status()["name"].tolist()
        ['two', 'two/first', 'two/second']
        """
        child = copy.copy(self)
        child._path = self._at(name)
        return child

    def run(
        self,
        name: str,
        step: Callable[..., Any],
        /,
        *args: Any,
        multiscale: int | None = None,
        chunks: Any = None,
        compressor: Any = "auto",
        ome_version: str | None = None,
        is_label: bool | None = None,
        layer: Mapping[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Give the result of a step, computed only if it is not stored yet.

        Parameters
        ----------
        name : str
            What to store it under: letters, digits, ``-``, ``_`` and ``.``
        step : callable
            Called with the arguments below.  It gives an array, with or without names, a Dataset, a pandas table, or
            numbers and text in lists, tuples and dicts.
        *args, **kwargs
            Arguments of the step.
        multiscale : int, optional
            Number of levels of an image, 1 by default.  Each has half the pixels of the one below along z, y and x,
            where there is more than one: the mean of two along each of these dims, or every second of a label mask.
            There are fewer levels if no dim is left to halve.
        chunks : int, sequence of int, or mapping of dim to int, optional
            The chunks in storage; by default those of the result, made uniform.
        compressor : str, codec or None, default "auto"
            "blosc", "gzip", "zstd", or what zarr takes; None is none, "auto" is zarr's own choice.
        ome_version : {"0.5", "0.4"}, optional
            The version of OME-Zarr for images: 0.5, on Zarr 3, unless told otherwise; 0.4 is on Zarr 2.
        is_label : bool, optional
            Whether an image is a label mask; by default integers of 32 bits or more, and True and
            False, are.
        layer : mapping or False, optional
            Options of the napari layer, such as ``{"opacity": 0.5}``; False shows none.

        Returns
        -------
        object
            The stored result, of the type that the step gave, in the chunks it had.  Arrays are lazy dask arrays; in
            an in-memory cache they are computed.  Tables and values are in memory, and yours to change.  The byte
            order becomes that of the machine.

        Raises
        ------
        TypeError
            The arguments do not fit the step, or one of them cannot be known again; the step has a parameter with a
            name of those above, or its result is of no kind that can be stored.
        ValueError
            The name cannot be one of a folder, or a setting does not fit the result.
        OSError
            The result could not be written, as on a full disk, or was cleared meanwhile.  Nothing of it is kept.

        Notes
        -----
        The settings of storage are no part of the key.  When one is given that differs from how the result is stored,
        it is stored anew without computing the step.  The old copy stays until `clear`, since someone may be reading
        it.  In memory, only ``multiscale`` and ``is_label`` matter, to a viewer.

        OME-Zarr says scale, translation and units from evenly spaced coordinates and their attribute ``units``.
        All coordinates and attributes are kept beside it, and come back as they were, except for attributes that say
        how an input was stored, such as ``_FillValue`` and ``scale_factor``.

        Examples
        --------
        >>> import numpy as np
        >>> import xarray as xr
        >>> from xlabelstats.pipeline import Cache
        >>> def invert(image):
        ...     return image.max() - image
        >>> cache = Cache(None)
        >>> image = xr.DataArray(np.eye(2), dims=("y", "x"))
        >>> cache.run("inverted", invert, image).values
        array([[0., 1.],
               [1., 0.]])
        """
        layout = Layout(multiscale, chunks, compressor, ome_version, is_label)
        result, marker, source = self._run(self._at(name), step, args, kwargs, layout)
        if self.viewer is not None and layer is not False:
            about = marker["about"]
            options = {} if layer is None or layer is True else dict(layer)
            label = about.get("image", about).get("labels") if is_label is None else is_label
            pyramid = partial(self._shelf.pyramid, marker, source, result)
            show(self.viewer, source.path, result, pyramid, label, options)
        return result

    def compare(
        self, step: Callable[..., Any], grid: Mapping[str, Sequence[Any]], /, *, on: Any, **fixed: Any
    ) -> Comparison:
        """Try the parameters of a step on a crop.

        Parameters
        ----------
        step : callable
            Called with the crop, and with every combination of the values in the grid.
        grid : mapping of str to sequence
            The values to try of each parameter.
        on : array or table, or a tuple of several
            The first arguments of the step: a piece that is small enough to look at.
        **fixed
            Arguments that stay the same.

        Returns
        -------
        Comparison
            A pandas table with a row per combination: the parameters; ``count``, the objects found; ``seconds`` that
            the step took; ``error``, what it said if it failed, else ""; ``picture`` (y, x, RGB).  In a notebook it
            shows the pictures, and ``.figure()`` draws them side by side.

        Raises
        ------
        TypeError
            The grid is no mapping to values.
        ValueError
            The step has no parameter of a name in the grid, or the name is that of a column of the table.

        Notes
        -----
        Objects are the rows of a table, or the sum of its column ``cells``; the labels of a mask; the connected parts
        of a binary image.  For other images there is no count.  The picture is of the crop, brightest pixel along z,
        first channel, with outlines or points; for other images it is of the result.

        A combination that fails does not stop the others.  Results are stored under ``compare``, so that asking again
        costs nothing.

        Examples
        --------
        >>> import numpy as np
        >>> import scipy.ndimage
        >>> from xlabelstats.pipeline import Cache
        >>> def spots(image, above):
        ...     return (image > above).astype("uint8")
        >>> crop = np.array([[0, 5, 0, 9], [0, 5, 0, 9]])
        >>> Cache(None).compare(spots, {"above": [4, 6]}, on=crop)[["above", "count"]]
           above  count
        0      4    2.0
        1      6    1.0
        """
        values = check_grid(grid)
        name = "".join(each if NAME.fullmatch(f"_{each}") else "-" for each in getattr(step, "__name__", "step")).strip(
            "-"
        )
        path = self.child(COMPARED)._at(name or "step")
        takes = step_of(step, Tokens(Cache)).parameters
        if takes is not None:
            check_known([*values, *fixed], takes, "parameter")

        def run(*args: Any, **kwargs: Any) -> tuple[Any, float]:
            result, marker, _ = self._run(path, step, args, kwargs, Layout())
            return result, marker["seconds"]

        return compare(run, values, on, fixed)

    def status(self) -> pd.DataFrame:
        """What is stored, and what of it is stale.

        Returns
        -------
        DataFrame
            A row per entry, those of children too: ``name``, ``key``; ``kind``: image, array, dataset, table or value;
            ``state``: whole, unfinished, or broken off; ``parameters``; ``size`` in bytes; ``created`` (UTC);
            ``seconds`` that computing and storing took; ``stale``: why it is not what a run would give now, else "";
            ``url``, where it is.

        Notes
        -----
        An entry is stale if its step has another version or source now, as far as its module is loaded; if an input was
        cleared, is stale itself, was computed anew, or was run since with other parameters; if the same step with the
        same parameters was run since with other inputs; or if a local Zarr array that it was made from was written
        anew.  Nothing is computed to find out, so that a change of an array in memory is only seen by `run`.
        """
        return status_of(self._shelf, self._path, Tokens(Cache))

    def clear(self, name: str) -> None:
        """Remove all results under a name, and those of its children.

        Parameters
        ----------
        name : str
            Such as ``"cells"``, or ``"cells/binary"`` for a part.

        Raises
        ------
        ValueError
            Nothing is stored under the name.

        Notes
        -----
        Lazy results that were read from there can no longer be computed.
        """
        path = f"{self._path}/{name}" if self._path else name
        skipped = len(self._path) + 1 if self._path else 0
        parts = [entry.source.path[skipped:].split("/") for entry in self._shelf.entries(self._path)]
        known = {"/".join(part[:i]) for part in parts for i in range(1, len(part) + 1)}
        check_known([name], sorted(known), "name")
        self._shelf.clear(path)

    def _run(
        self, path: str, step: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], layout: Layout
    ) -> tuple[Any, Marker, Source]:
        known = step_of(step, Tokens(Cache))
        _check_own(known)
        call = call_of(known, args, kwargs, Cache, self._tables)
        source = Source(path, call.key)
        self._shelf.tidy(source)
        marker = self._shelf.find(source)
        if marker is None:
            self._shelf.check_room(source)
            record = {**self._record(call), "started": time.perf_counter()}
            try:
                result = step(*args, **kwargs)
            except Exception as error:
                error.add_note(f"in the step {path!r}")
                raise
            result = prepared(result, call.step.name)
            if isinstance(result, pd.DataFrame):
                record["token"] = Tokens(Cache)(result, "the result")
            check_layout(kind_of(result), layout, call.step.name)
            marker = self._shelf.save(source, result, layout, record)
            result = self._shelf.load(source, marker)
            log.info("%s: computed in %.2f s", path, marker["seconds"])
        else:
            log.info("%s: was there already", path)
            result = self._shelf.load(source, marker)
            check_layout(marker["about"]["kind"], layout, call.step.name)
            if self._shelf.differs(marker, layout, result):
                marker = self._shelf.save(source, result, layout, marker, former=marker)
                result = self._shelf.load(source, marker)
        self._remember(source, call, result)
        return result, marker, source

    def _record(self, call: Call) -> Marker:
        """What a marker says of how a result came about."""
        return {
            "step": call.step.name,
            "plain": isinstance(call.step.call, FunctionType),
            "version": call.step.version,
            "identity": call.step.identity,
            "parameters": dict(call.parameters),
            "settings": call.settings,
            "made": uuid.uuid4().hex[:8],
            "inputs": [
                {
                    "argument": each.argument,
                    "token": each.token,
                    # Arrays may come from another cache, of which this one knows nothing.
                    "sources": [[s.path, s.key, s.made] for s in each.sources if self._holds(s)],
                    "files": dict(each.files),
                }
                for each in call.inputs
            ],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "package": version("xlabelstats"),
        }

    def _holds(self, source: Source) -> bool:
        """Whether an entry is of this cache; a table is, whichever computation of it there was."""
        marker = self._shelf.find(source)
        return marker is not None and source.made in ("", marker["made"])

    def _remember(self, source: Source, call: Call, result: Any) -> None:
        """Take note of what was asked for last under the name, and of a table that may become an input."""
        if isinstance(result, pd.DataFrame):
            self._tables[Tokens(Cache)(result, "the result")] = source
        last = self._shelf.last(source.path)
        now = {**last, "": source.key, call.settings: source.key}
        if now != last:
            self._shelf.set_last(source.path, now)

    def _at(self, name: str) -> str:
        """The path of a name in this cache."""
        if not isinstance(name, str):
            raise TypeError(f"a name is text, not {type(name).__name__}; the step comes second: run('name', step, ...)")
        if not NAME.fullmatch(name) or KEY.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be the name of a folder: letters, digits, '-', '_' and '.' can, not beginning with "
                "'.', nor of just 16 hexadecimal digits"
            )
        return f"{self._path}/{name}" if self._path else name


def _check_own(step: Step) -> None:
    clash = [name for name in OWN if name in (step.parameters or ()) and name not in step.kwargs]
    if clash:
        raise TypeError(
            f"the step {step.name} has a parameter {clash[0]!r}, which run() has too; give it beforehand: "
            f"functools.partial({step.name.partition(':')[2]}, {clash[0]}=...)"
        )
