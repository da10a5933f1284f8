"""Steps computed once: their results kept on disk or in memory, and found again by what they were made from."""

from __future__ import annotations

import copy
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pandas as pd

from xlabelstats.names import check_known
from xlabelstats.pipeline.cache import results
from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.code import Step
from xlabelstats.pipeline.cache.entries import KEY, NAME, Marker, Shelf
from xlabelstats.pipeline.cache.folders import folder_at
from xlabelstats.pipeline.cache.images import Layout
from xlabelstats.pipeline.cache.keys import Unkeyed, call_of, step_of, token
from xlabelstats.pipeline.cache.status import status_of
from xlabelstats.pipeline.compare import Comparison, check_grid, compare
from xlabelstats.pipeline.coroutines import awaited
from xlabelstats.pipeline.viewer import open_viewer, show

log = logging.getLogger("xlabelstats.pipeline")

# Keywords of `Cache.run` itself, which no step may have.
OWN = ("multiscale", "chunks", "compressor", "ome_version", "is_label", "layer")

# What options of cvpl_tools are called here.
HOW = "run(name, step, ..., chunks=, multiscale=, compressor=) says how a result is stored"
ANSWERS = {
    **{name: f"it is an option of run: run(name, step, ..., {name}=...)" for name in OWN},
    **dict.fromkeys(("storage_options", "storage_option"), f"Cache(url, storage_options=...) reaches the URL; {HOW}"),
    **dict.fromkeys(("viewer", "viewer_args"), "Cache(url, viewer=...) shows results; run(..., is_label=) tells masks"),
    "context_args": f"Cache(url, viewer=...) keeps results and shows them; {HOW}; or use "
    "xlabelstats.compat.cvpl_tools.cache_im, which takes context_args as it is",
    "cache_url": "the URL is the first argument of Cache: Cache(url)",
    "preferred_chunksize": "it is called chunks: run(name, step, ..., chunks=...)",
    "layer_args": "it is called layer: run(name, step, ..., layer=...)",
    "skip_cache": "call the step itself to store nothing: step(image, ...)",
}


class Cache(Unkeyed):
    """Results of steps, each computed once and kept in a folder, under a URL, or in memory.

    Parameters
    ----------
    url : str, PathLike or None
        A folder, or any URL that fsspec knows, such as ``s3://bucket/results``; None keeps results in memory.
    viewer : napari.Viewer or True, optional
        Shows results: anything with ``add_image``, ``add_labels`` and ``add_points``; True opens a window.
    storage_options : mapping, optional
        What fsspec needs to reach the URL, such as credentials.

    Notes
    -----
    A result is found again by its key: the code of the step, or the ``version`` that it declares; its parameters; and
    its inputs, by content, names, coordinates and attrs, and dask arrays by their dask name.  It is OME-Zarr, Zarr or
    Parquet in ``<url>/<name>/<key>``, and complete once its ``step.json`` is there.  Workers of a `dask.distributed`
    client write, so they must reach the URL.  The logger ``xlabelstats.pipeline`` tells what is computed.

    Examples
    --------
    >>> from xlabelstats.pipeline import Cache
    >>> cache = Cache(None)
    >>> cache.run("largest", max, [3, 5])
    5
    >>> cache.status()["name"].tolist()
    ['largest']
    """

    def __init__(self, url: Any = None, *, viewer: Any = None, storage_options: Any = None, **unknown: Any) -> None:
        _check_options({**unknown, **(storage_options or {})}, "Cache()")
        if unknown:
            raise TypeError(f"Cache() got an unexpected keyword argument {next(iter(unknown))!r}")
        root = folder_at(f"memory://{uuid.uuid4()}" if url is None else url, storage_options or {})
        self.url = None if url is None else str(root)
        self.viewer = open_viewer(viewer)
        self._shelf = Shelf(root, {} if url is None else None)
        self._path = ""
        # The entries whose tables have which tokens: they have no names that say where they are from.
        self._tables: dict[str, Source] = {}

    def __repr__(self) -> str:
        where = "in memory" if self.url is None else repr(self.url)
        return f"<Cache {where}{f', {self._path}' if self._path else ''}>"

    def child(self, name: str) -> Cache:
        """A cache within this one, for the parts of a step made of steps; it is cleared with the step of its name.

        Examples
        --------
        >>> from xlabelstats.pipeline import Cache
        >>> Cache(None).child("cells")
        <Cache in memory, cells>
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
        """Return the result of a step; it is computed only if it is not stored yet.

        Parameters
        ----------
        name : str
            The name of the result: letters, digits, ``-``, ``_`` and ``.``
        step : callable
            A function that gives an array, an xarray object, a pandas table, or numbers and text in lists, tuples and
            dicts.  A coroutine function (``async def``) is run to its end, on an event loop of its own.  An array with
            a method ``as_dask_array()`` is taken as a dask array.
        *args, **kwargs
            Arguments of the step.
        multiscale : int, optional
            Levels of an image, each half as large as the one before: means of pixels, or every second pixel of a label
            mask.
        chunks : int, sequence of int, or mapping of dim to int, optional
            The chunks in storage; by default those of the result, made equal in size.
        compressor : str, codec or None, default "auto"
            "blosc", "gzip", "zstd", a codec of numcodecs or zarr, or None; "auto" is zarr's own choice.
        ome_version : {"0.5", "0.4"}, optional
            The version of OME-Zarr for images: 0.5, on Zarr 3, by default; 0.4 is on Zarr 2.
        is_label : bool, optional
            Whether an image is a label mask, and marked as one; by default bool and integers of 32 bits or more are.
        layer : mapping or False, optional
            Options of the napari layer, such as ``{"opacity": 0.5}``; False shows none.

        Returns
        -------
        object
            The stored result, with the type and the chunks that the step gave; arrays are lazy.  Options of storage are
            not part of the key: with other options the result is stored again, but not computed again.
        """
        layout = Layout(multiscale, chunks, compressor, ome_version, is_label)
        path, known = self._at(name), step_of(step)
        _check_step(known, kwargs)
        result, marker, source = self._run(path, known, args, kwargs, layout)
        if self.viewer is not None and layer is not False:
            label = marker["about"]["layout"].get("is_label") if is_label is None else is_label
            pyramid = partial(self._shelf.pyramid, source, marker, result, layout)
            show(self.viewer, source.path, result, pyramid, label, layer if isinstance(layer, Mapping) else {})
        return result

    def compare(
        self, step: Callable[..., Any], grid: Mapping[str, Sequence[Any]], /, *, on: Any, **fixed: Any
    ) -> Comparison:
        """Try the parameters of a step on a crop of an image.

        Parameters
        ----------
        step : callable
            Called with every combination of the values in the grid.
        grid : mapping of str to sequence
            The values to try of each parameter.
        on : array or table, or a tuple of several
            The first arguments of the step.
        **fixed
            Arguments that stay the same.

        Returns
        -------
        Comparison
            A row per combination: the parameters, ``count`` of objects, ``seconds``, ``error`` and ``picture``.  A
            notebook shows the pictures; ``.figure()`` draws them side by side.  Results are kept under ``compare``.

        Examples
        --------
        >>> import numpy as np
        >>> from xlabelstats.pipeline import Cache, threshold
        >>> tried = Cache(None).compare(threshold, {"value": [4, 6]}, on=np.array([[0, 5, 0, 9]]))
        >>> tried["count"].tolist()
        [2.0, 1.0]
        """
        values = check_grid(grid)
        path = self.child("compare")._at(re.sub(r"[^\w.-]", "", getattr(step, "__name__", ""), flags=re.A) or "step")
        known = step_of(step)
        check_known([*values, *fixed], known.parameters or [*values, *fixed], "parameter")

        def run(*args: Any, **kwargs: Any) -> tuple[Any, float]:
            result, marker, _ = self._run(path, known, args, kwargs, Layout())
            return result, marker["seconds"]

        return compare(run, values, on, fixed)

    def status(self) -> pd.DataFrame:
        """List the stored results, and which of them are stale; nothing is computed for this.

        Returns
        -------
        DataFrame
            A row per entry, those of children too: ``name``, ``key``, ``kind``, ``state`` (whole, unfinished, or broken
            off), ``parameters``, ``size`` in bytes, ``created`` (UTC), ``seconds`` that it took, ``stale``, ``url``.
            ``stale`` says why a run would give another result now, as far as this is known without the inputs.
        """
        return status_of(self._shelf, self._path)

    def clear(self, name: str) -> None:
        """Remove all results under a name, such as ``"cells"``, or ``"cells/binary"`` for a part.

        Lazy arrays of these cannot be computed any more.  On a local disk, results that are being computed are not
        removed.
        """
        above = f"{self._path}/" if self._path else ""
        known = [source for source, _ in self._shelf.entries(self._path)]
        parts = [source.path.removeprefix(above).split("/") for source in known]
        check_known([name], sorted({"/".join(part[:i]) for part in parts for i in range(1, len(part) + 1)}), "name")
        self._shelf.clear([source for source in known if f"{source.path}/".startswith(f"{above}{name}/")])

    def _at(self, name: str) -> str:
        """The path of a name in this cache."""
        if not isinstance(name, str):
            raise TypeError(f"a name is text, not {type(name).__name__}; the step comes second: run('name', step, ...)")
        if not NAME.fullmatch(name) or KEY.fullmatch(name):
            allowed = "letters, digits, '-', '_' and '.' can, not beginning with '.', nor of just 16 hexadecimal digits"
            raise ValueError(f"{name!r} cannot be the name of a folder: {allowed}")
        return f"{self._path}/{name}" if self._path else name

    def _run(self, path: str, step: Step, args: Any, kwargs: Any, layout: Layout) -> tuple[Any, Marker, Source]:
        """Find a result, or compute and keep it."""
        key, call = call_of(step, args, kwargs, self._tables)
        source = Source(path, key)
        if found := self._find(source, layout):
            log.info("%s: found in the cache", path)
            self._shelf.tidy(source)
        else:
            with self._shelf.writing(source):
                # Whoever held it before may have kept it.
                compute = partial(step.call, *step.args, *args, **{**step.kwargs, **kwargs})
                found = self._find(source, layout) or self._keep(source, call, compute, layout)
        result, marker = found
        if isinstance(result, pd.DataFrame):
            self._tables[token(result, "the result")] = source
        last = self._shelf.last(path)
        if (now := {**last, "": key, call["settings"]: key}) != last:
            self._shelf.set_last(path, now)
        return result, marker, source

    def _find(self, source: Source, layout: Layout) -> tuple[Any, Marker] | None:
        """A result with its marker, if it is kept as asked for."""
        for marker in self._shelf.markers(source):
            results.check_layout(marker["about"]["kind"], layout, marker["step"])
            kept = marker["about"]["layout"]
            # In memory, levels are made when they are looked at.
            if self.url is None or all(kept.get(name, asked) == asked for name, asked in layout.given.items()):
                return self._shelf.load(source, marker), marker
        return None

    def _keep(self, source: Source, call: Marker, compute: Callable[[], Any], layout: Layout) -> tuple[Any, Marker]:
        """Compute a result, or take it in the layout that it has, and keep it as asked for."""
        if record := self._shelf.find(source):
            log.info("%s: found in the cache, and stored again", source.path)
            layout = layout.over(record["about"]["layout"])
            return self._shelf.save(source, self._shelf.load(source, record), layout, record)
        record = self._record(call)
        try:
            result = results.prepared(awaited(compute()), call["step"])
        except Exception as error:
            error.add_note(f"in the step {source.path!r}")
            raise
        if isinstance(result, pd.DataFrame):
            record["token"] = token(result, "the result")
        results.check_layout(results.kind_of(result), layout, call["step"])
        result, marker = self._shelf.save(source, result, layout, record)
        log.info("%s: computed in %.2f s", source.path, marker["seconds"])
        return result, marker

    def _record(self, call: Marker) -> Marker:
        """What a marker says of how a result came about."""
        inputs = []
        for each in call["inputs"]:
            # Of a table, whichever computation of it there was; other sources may be of another cache.
            markers = [(source, self._shelf.find(source)) for source in each["sources"]]
            sources = [[s.path, s.key, s.made] for s, marker in markers if marker and s.made in ("", marker["made"])]
            inputs.append({**each, "sources": sources})
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        return {**call, "inputs": inputs, "made": uuid.uuid4().hex[:8], "created": created}


def _check_options(names: Iterable[str], call: str) -> None:
    """Say where options of other calls, or of cvpl_tools, are to be given."""
    for name in names:
        if name in ANSWERS:
            raise TypeError(f"{call} has no option {name!r}; {ANSWERS[name]}")


def _check_step(step: Step, kwargs: Mapping[str, Any]) -> None:
    """Complain about a step with a parameter that `run` has, and about options that neither has."""
    parameters, takes = step.signature.parameters, step.parameters
    for name in OWN:
        if name in parameters and name not in step.kwargs:
            how = f"give it beforehand: functools.partial({step.name.partition(':')[2]}, {name}=...)"
            raise TypeError(f"the step {step.name} has a parameter {name!r}, which run() has too; {how}")
    _check_options(() if takes is None else [name for name in kwargs if name not in takes], "run()")
