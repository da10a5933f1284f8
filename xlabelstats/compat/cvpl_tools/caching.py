"""Images computed once and kept in a folder each, as `cvpl_tools.tools.fs` has it."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import xarray as xr

from xlabelstats.compat.cvpl_tools.awaitables import awaitable
from xlabelstats.compat.cvpl_tools.calls import WAS_NUMPY, Call
from xlabelstats.compat.cvpl_tools.options import Options, options_of
from xlabelstats.compat.cvpl_tools.query import Query
from xlabelstats.pipeline.cache import Cache
from xlabelstats.pipeline.cache.entries import KEY, Shelf
from xlabelstats.pipeline.cache.folders import folder_at
from xlabelstats.pipeline.cache.images import Layout, pyramid_of
from xlabelstats.pipeline.cache.results import named
from xlabelstats.pipeline.viewer import MARK, open_viewer, show

if TYPE_CHECKING:
    from upath import UPath


def cache_im(fn: Any, context_args: Any = None) -> Any:
    """Return an image; it is computed only if it is not stored yet.

    Parameters
    ----------
    fn : callable or coroutine
        A function without arguments that gives a numpy, dask or xarray array, or an array in blocks that has a method
        ``as_dask_array()``.  It may be a coroutine function, or a coroutine.
    context_args : mapping, optional
        Where and how the image is kept and shown:

        - ``cache_url``: the folder: a path, a URL, or a `fsspec.implementations.dirfs.DirFileSystem`.  Without it the
          image is computed by `dask.persist` and kept nowhere else.
        - ``storage_option`` or ``storage_options``: a dict of ``preferred_chunksize``, the chunks in storage (the
          result has its own chunks); ``multiscale``, the number of smaller levels; and ``compressor``, of numcodecs or
          zarr.
        - ``viewer_args``: a dict of ``viewer``, a napari viewer that shows the image; ``is_label``, False by default;
          and ``layer_args``, options of the napari layer.
        - ``layer_args``: the same options of the layer.
        - ``skip_cache``: True keeps the image nowhere, as without ``cache_url``.

        The keys of ``storage_options`` and ``viewer_args`` may be in ``context_args`` itself too.  Other keys are left
        to your functions.

    Returns
    -------
    array
        As the function gave it, in the same chunks; dask arrays are read from the folder lazily.  It can be used
        directly, or awaited: ``await cache_im(...)``.

    Raises
    ------
    TypeError
        The function does not give an array, or uses an object whose content cannot be compared with that of the next
        run.
    ValueError
        A key of ``context_args`` is misspelt, or an option does not fit the image.

    See Also
    --------
    xlabelstats.pipeline.Cache.run : the same for results of any kind, under a name.

    Examples
    --------
    >>> import dask.array as da
    >>> from xlabelstats.compat.cvpl_tools import cache_im
    >>> image = da.ones((4, 4), chunks=2)
    >>> double = cache_im(lambda: image * 2, {"cache_url": "memory://results/double"})
    >>> int(double.sum())
    32
    """
    call = Call(fn)
    try:
        options = options_of(context_args)
        image = _persisted(call, options) if options.cache_url is None else _kept(call, options)
    finally:
        call.close()
    return awaitable(image)


def cdir_commit(cache_url: Any) -> Query:
    """Tell whether a folder holds a result already.

    Parameters
    ----------
    cache_url : str, PathLike or DirFileSystem
        The folder, as in `cache_im`.  It is made if it is not there.

    Returns
    -------
    Query
        ``commit`` is the time when the last result was stored, or None; ``url`` is the folder.  It can be used
        directly, or awaited.

    Notes
    -----
    An image of `cache_im` counts once it is complete, whatever it was computed from.  A file that you write to the
    folder yourself counts immediately: a run that is killed while it writes may leave an incomplete file.

    Examples
    --------
    >>> from xlabelstats.compat.cvpl_tools import cache_im, cdir_commit
    >>> import numpy as np
    >>> cdir_commit("memory://results/ones").commit is None
    True
    >>> ones = cache_im(lambda: np.ones((2, 2)), {"cache_url": "memory://results/ones"})
    >>> cdir_commit("memory://results/ones").commit is None
    False
    """
    folder = folder_at(cache_url, {})
    folder.mkdir(parents=True, exist_ok=True)
    folder.fs.invalidate_cache()
    name = _name_of(folder)
    kept = [marker for source, marker in Shelf(folder, None).entries(name) if source.path == name and "about" in marker]
    files = [each["name"] for each in folder.fs.ls(folder.path, detail=True) if each["type"] == "file"]
    times = [datetime.fromisoformat(marker["created"]) for marker in kept]
    times += [_aware(folder.fs.modified(file)) for file in files]
    return Query(max(times, default=None), str(folder))


def _kept(call: Call, options: Options) -> Any:
    """The image in the folder, computed and stored if it is not there."""
    folder = folder_at(options.cache_url, {})
    cache = Cache(folder, viewer=options.viewer)
    layer = _layer(str(folder), str(folder), options)
    image = cache.run(_name_of(folder), call, is_label=options.is_label, layer=layer, **options.storage)
    if isinstance(image, xr.DataArray) and WAS_NUMPY in image.attrs:
        return image.to_numpy()
    return image


def _persisted(call: Call, options: Options) -> Any:
    """The image computed and held by dask."""
    (image,) = dask.persist(call.image())
    if viewer := open_viewer(options.viewer):
        layout = Layout(is_label=options.is_label, **options.storage)
        blocks = named(image).copy(data=da.asarray(named(image).data))
        pyramid = partial(pyramid_of, blocks, layout)
        # Each is one of its own: without a folder none stands for another.
        show(viewer, call.__qualname__, image, pyramid, options.is_label, _layer("image", uuid.uuid4().hex, options))
    return image


def _layer(name: str, mark: str, options: Options) -> dict[str, Any]:
    """Options of the layer, which is that of a folder and takes the place of its former one."""
    metadata = {**options.layer.get("metadata", {}), MARK: mark}
    return {"name": name, **options.layer, "metadata": metadata}


def _name_of(folder: UPath) -> str:
    """The name that the log has for the result of a folder."""
    name = re.sub(r"[^\w.-]+", "-", folder.name, flags=re.A).lstrip(".")
    return "image" if not name or KEY.fullmatch(name) else name


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
