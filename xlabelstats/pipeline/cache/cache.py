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
from xlabelstats.pipeline.cache.code import step_of
from xlabelstats.pipeline.cache.entries import NAME, FolderShelf, Marker, MemoryShelf, Shelf
from xlabelstats.pipeline.cache.folders import folder_at
from xlabelstats.pipeline.cache.images import Layout
from xlabelstats.pipeline.cache.keys import Call, Tokens, call_of
from xlabelstats.pipeline.cache.options import answering, check_name, check_step
from xlabelstats.pipeline.cache.results import check_layout, kind_of, prepared
from xlabelstats.pipeline.cache.status import status_of
from xlabelstats.pipeline.compare import Comparison, check_grid, compare
from xlabelstats.pipeline.viewer import open_viewer, show

log = logging.getLogger("xlabelstats.pipeline")


class Cache:
    """A place where the results of steps are kept, so that each is computed once.

    Parameters
    ----------
    url : str, PathLike or None
        A folder, or any URL that fsspec knows, such as ``s3://bucket/results``.  None keeps results in memory.
    viewer : napari.Viewer or True, optional
        Where results are shown: any object with ``add_image``, ``add_labels`` and ``add_points``; True opens a window.
    storage_options : mapping, optional
        What fsspec needs to reach the URL, such as an endpoint and credentials.

    Raises
    ------
    TypeError, ImportError
        The URL is no path, the viewer cannot show layers, an option does not exist, or napari or Qt is not installed.

    Notes
    -----
    A result is found again by its key.  It covers the step: its name, and the ``version`` that it declares or else its
    code and what the code refers to, of packages their version; its inputs: content, names, coordinates and attrs, of
    dask arrays the dask name; and its parameters.  When one of these changes, the step is computed again, and so are
    the steps that use its result.

    Results are OME-Zarr, Zarr or Parquet in ``<url>/<name>/<key>/<attempt>``.  ``step.json`` is written last, so a
    result is complete or absent.  Workers of a `dask.distributed` client write, so they must reach the URL.  The logger
    ``xlabelstats.pipeline`` tells at level INFO what is computed and what was there.

    Examples
    --------
    >>> from xlabelstats.pipeline import Cache
    >>> def doubled(value):
    ...     print("computing")
    ...     return 2 * value
    >>> cache = Cache(None)
    >>> cache.run("doubled", doubled, 4)
    computing
    8
    >>> cache.run("doubled", doubled, 4)
    8
    """

    @answering
    def __init__(
        self,
        url: str | os.PathLike[str] | None,
        *,
        viewer: Any = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        root = None if url is None else folder_at(url, storage_options or {})
        self.url = None if root is None else str(root)
        self._shelf: Shelf = MemoryShelf() if root is None else FolderShelf(root)
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
            It stores under this name, and is cleared with it.

        Returns
        -------
        Cache

        Examples
        --------
        >>> from xlabelstats.pipeline import Cache
        >>> cache = Cache(None)
        >>> cache.child("cells").run("smooth", abs, -1)
        1
        >>> cache.status()["name"].tolist()
        ['cells/smooth']
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
            A function that gives an array, a Dataset, a pandas table, or numbers and text in lists, tuples and dicts.
        *args, **kwargs
            Arguments of the step.
        multiscale : int, optional
            Levels of an image, 1 by default, each half as large along z, y and x as the one below, down to 1 pixel: the
            mean of two pixels along each, or every second pixel of a label mask.
        chunks : int, sequence of int, or mapping of dim to int, optional
            The chunks in storage; by default those of the result, made uniform.
        compressor : str, codec or None, default "auto"
            "blosc", "gzip", "zstd", or what zarr takes; None is none, "auto" is zarr's own choice.
        ome_version : {"0.5", "0.4"}, optional
            The version of OME-Zarr for images: 0.5, on Zarr 3, by default; 0.4 is on Zarr 2.
        is_label : bool, optional
            Whether an image is a label mask; by default bool and integers of 32 bits or more are.
        layer : mapping or False, optional
            Options of the napari layer, such as ``{"opacity": 0.5}``; False shows none.

        Returns
        -------
        object
            The stored result, of the type and in the chunks that the step gave.  Arrays are lazy; an in-memory cache
            has computed them.  Coordinates and attributes are as they were, but for those of an input's storage.

        Raises
        ------
        TypeError
            Arguments do not fit the step or cannot be known again, or the result is of no kind that can be stored.
        ValueError
            The name cannot be one of a folder, or a setting does not fit the result.
        OSError
            The result could not be written, as on a full disk, or was cleared meanwhile.  Nothing of it is kept.

        Notes
        -----
        Settings of storage are no part of the key.  Others than before store the result anew, without computing it; the
        old copy stays until `clear`.  In memory, only ``multiscale`` and ``is_label`` matter, to a viewer.

        Examples
        --------
        >>> from xlabelstats.pipeline import Cache
        >>> Cache(None).run("largest", max, [3, 5])
        5
        """
        layout = Layout(multiscale, chunks, compressor, ome_version, is_label)
        result, marker, source = self._run(self._at(name), step, args, kwargs, layout)
        if self.viewer is not None and layer is not False:
            about = marker["about"]
            label = about.get("image", about).get("labels") if is_label is None else is_label
            pyramid = partial(self._shelf.pyramid, marker, source, result)
            show(self.viewer, source.path, result, pyramid, label, {} if layer is None or layer is True else layer)
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
            A table with a row per combination: the parameters; ``count``: rows, the sum of a column ``cells``, labels
            of a mask, or connected parts of a binary image; ``seconds``; ``error``, "" if there was none; ``picture``
            (y, x, RGB): these objects over the first channel and brightest pixels along z of the crop, or the image
            that the step gave.  A notebook shows the pictures, and ``.figure()`` draws them side by side.  Results are
            stored under ``compare``.

        Raises
        ------
        TypeError, ValueError
            The grid is no mapping to values, or has a name that is no parameter of the step or a column of the table.

        Examples
        --------
        >>> import numpy as np
        >>> from xlabelstats.pipeline import Cache, threshold
        >>> tried = Cache(None).compare(threshold, {"value": [4, 6]}, on=np.array([[0, 5, 0, 9]]))
        >>> tried["count"].tolist()
        [2.0, 1.0]
        """
        values = check_grid(grid)
        name = "".join(c if NAME.fullmatch(f"_{c}") else "-" for c in getattr(step, "__name__", "step")).strip("-")
        path = self.child("compare")._at(name or "step")
        takes = step_of(step, Tokens(Cache)).parameters
        if takes is not None:
            check_known([*values, *fixed], takes, "parameter")

        def run(*args: Any, **kwargs: Any) -> tuple[Any, float]:
            result, marker, _ = self._run(path, step, args, kwargs, Layout())
            return result, marker["seconds"]

        return compare(run, values, on, fixed)

    def status(self) -> pd.DataFrame:
        """What is stored, and what of it is stale; nothing is computed to find out.

        Returns
        -------
        DataFrame
            A row per entry, those of children too: ``name``, ``key``; ``kind``: image, array, dataset, table or value;
            ``state``: whole, unfinished, or broken off; ``parameters``; ``size`` in bytes; ``created`` (UTC);
            ``seconds`` that computing and storing took; ``stale``, "" if it is not; ``url``, where it is.

            An entry is stale if its step changed; if an input was cleared, is stale, was computed anew, or was run
            since with other parameters; if its step was run since with other inputs; or if a local Zarr array that it
            was made from was written anew.  Other arrays are only looked at by `run`.
        """
        return status_of(self._shelf, self._path, Tokens(Cache))

    def clear(self, name: str) -> None:
        """Remove all results under a name, and those of its children; lazy arrays of these cannot be computed any more.

        Parameters
        ----------
        name : str
            Such as ``"cells"``, or ``"cells/binary"`` for a part.

        Raises
        ------
        ValueError
            Nothing is stored under the name.
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
        check_step(known, kwargs)
        call = call_of(known, args, kwargs, Cache, self._tables)
        source = Source(path, call.key)
        self._shelf.tidy(source)
        marker = self._shelf.find(source)
        if marker is None:
            with self._shelf.writing(source):
                # Whoever held it before may have computed it.
                marker = self._shelf.find(source)
                if marker is None:
                    marker = self._compute(source, step, args, kwargs, call, layout)
                    log.info("%s: computed in %.2f s", path, marker["seconds"])
        else:
            log.info("%s: was there already", path)
        result = self._shelf.load(source, marker)
        check_layout(marker["about"]["kind"], layout, call.step.name)
        if self._shelf.differs(marker, layout, result):
            with self._shelf.writing(source):
                marker = self._shelf.find(source) or marker
                result = self._shelf.load(source, marker)
                if self._shelf.differs(marker, layout, result):
                    marker = self._shelf.save(source, result, layout, marker, former=marker)
                    result = self._shelf.load(source, marker)
        self._remember(source, call, result)
        return result, marker, source

    def _compute(
        self,
        source: Source,
        step: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        call: Call,
        layout: Layout,
    ) -> Marker:
        """Compute a step and keep its result."""
        record = {**self._record(call), "started": time.perf_counter()}
        try:
            result = step(*args, **kwargs)
        except Exception as error:
            error.add_note(f"in the step {source.path!r}")
            raise
        result = prepared(result, call.step.name)
        if isinstance(result, pd.DataFrame):
            record["token"] = Tokens(Cache)(result, "the result")
        check_layout(kind_of(result), layout, call.step.name)
        return self._shelf.save(source, result, layout, record)

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
                {"argument": i.argument, "token": i.token, "sources": self._known(i.sources), "files": dict(i.files)}
                for i in call.inputs
            ],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "package": version("xlabelstats"),
        }

    def _known(self, sources: Sequence[Source]) -> list[list[str]]:
        """The entries of this cache among those that an input is made from; others may be of another cache."""
        markers = [(each, self._shelf.find(each)) for each in sources]
        # A table is of its entry, whichever computation of it there was.
        return [[s.path, s.key, s.made] for s, marker in markers if marker and s.made in ("", marker["made"])]

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
        check_name(name)
        return f"{self._path}/{name}" if self._path else name
