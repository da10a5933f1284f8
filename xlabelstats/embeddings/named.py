"""Principal components along a dim, and colours of them, of arrays with names."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import xarray as xr

from xlabelstats.embeddings.components import Components, check_components, project_each
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.dask_internals import is_opened_lazily
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.inputs import check_chunks, is_dask


def pca(data: xr.DataArray, dim: Hashable, n_components: int = 3, as_rgb: bool = True) -> xr.DataArray:
    """Project numbers along one dim on their principal components, or to colours.

    Parameters
    ----------
    data : DataArray
        Numbers; along ``dim`` lie those of one sample.  Examples are the embedding of every pixel ``(c, y, x)``, or the
        features of every object ``(label, feature)``, with any further dims.  Float16 and integers are computed as
        float64.
    dim : hashable
        The dim of the features, such as ``"c"`` or ``"feature"``.  Every position along the other dims is a sample, and
        they are all projected together.
    n_components : int, default 3
        How many components to keep, at most as many as ``dim`` is long.
    as_rgb : bool, default True
        Scale all components jointly to colours, ``255 * (x - min) / (max - min)``, cut to uint8.

    Returns
    -------
    DataArray
        With ``as_rgb`` it is uint8, and has the dim ``rgb`` of length 3 in place of ``dim``, as the last dim:
        ``.plot.imshow()`` shows it.  Otherwise it is float64, with the dim ``component`` where ``dim`` was; the
        component of the largest variance is the first.  Other dims, coords, name and attrs are kept.  Attrs are added:
        ``explained_variance`` of each component (``ddof=1``), and ``explained_variance_ratio``, its part of the
        variance of all numbers.

    Raises
    ------
    TypeError
        ``data`` is not a DataArray of real numbers.
    ValueError
        There is no such dim; ``n_components`` does not fit it, or is not 3 with ``as_rgb``; another dim or
        coord has the name that the result needs; or the numbers are so large that their variance overflows.

    Notes
    -----
    For dask input, and data that was opened lazily without dask, the result is lazy.  But this call computes the
    components, in one pass over the data, and with ``as_rgb`` their range in a second one.  So any part of the result
    can be computed alone, in the same colours.  One block is held at a time, and a covariance of ``dim`` by ``dim``.
    It is best if all of ``dim`` is in one chunk; otherwise it is rechunked.  numpy's matrix products use their own
    threads, which slow down those of dask: the environment variable ``OPENBLAS_NUM_THREADS=1`` can make this several
    times faster.

    Deviations are taken from the mean of each block, and merged pairwise (Chan, Golub & LeVeque 1979), so a large mean
    costs no precision.  The sign of a component is arbitrary: the entry of largest magnitude of its axis is made
    positive.

    A sample with a NaN or an infinite number is left out, and is NaN in the result, black as a colour.  If
    nothing varies, components are 0, and colours black; components beyond the number of samples are 0 too.

    Examples
    --------
    Colours of objects by their features, painted back:

    >>> import xarray as xr
    >>> import xlabelstats
    >>> from xlabelstats.embeddings import pca
    >>> features = xr.DataArray(
    ...     [[5.0, 0, 1, 2], [4, 9, 1, 0], [0, 3, 3, 8]], dims=("label", "feature"), coords={"label": [2, 5, 7]}
    ... )
    >>> colours = pca(features, "feature")
    >>> dict(colours.sizes), [round(part, 2) for part in colours.attrs["explained_variance_ratio"]]
    ({'label': 3, 'rgb': 3}, [0.65, 0.35, 0.0])
    >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 5]], dims=("y", "x"))
    >>> dict(mask.labels.paint(colours).sizes)
    {'rgb': 3, 'y': 2, 'x': 3}
    """
    if not isinstance(data, xr.DataArray):
        raise TypeError(f"data is an xarray.DataArray, not {type(data).__name__}; name its dims")
    if data.dtype.kind not in "biuf":
        raise TypeError(f"data holds numbers (integer, floating point or bool), not {data.dtype}")
    check_chunks(data, "data")
    if dim not in data.dims:
        raise ValueError(f"data has no dim {dim!r}; it has {tuple(data.dims)}")
    n_components = check_components(n_components, data.sizes[dim], as_rgb)
    new = result_dim(as_rgb)
    coords = data.drop_vars([name for name, coord in data.coords.items() if dim in coord.dims]).coords
    if new in coords or (new in data.dims and new != dim):
        raise ValueError(f"{new!r}, a dim or coord of the data, is a name of the result; rename it with .rename")
    (projected,), (components,) = project_each([unread(data).data], data.get_axis_num(dim), n_components, as_rgb)
    result = xr.DataArray(
        uniform(projected) if is_dask(projected) else projected,
        dims=[new if own == dim else own for own in data.dims],
        coords=coords,
        attrs=data.attrs | explained(components),
    ).rename(data.name)
    result = without_encoding(result)
    return result.transpose(..., new) if as_rgb else result


def unread(data: xr.DataArray) -> xr.DataArray:
    """Data that was opened lazily as dask, in the chunks that are stored, since ``.data`` would read it all."""
    if not is_opened_lazily(data):
        return data
    stored = data.encoding.get("preferred_chunks", {})
    return data.chunk({dim: stored.get(dim, "auto") for dim in data.dims})


def result_dim(as_rgb: bool) -> str:
    """The dim of components, or of colours."""
    return "rgb" if as_rgb else "component"


def explained(components: Components) -> dict[str, Any]:
    """What the components tell of the variance, as attributes that any store takes."""
    return {
        "explained_variance": components.variance.tolist(),
        "explained_variance_ratio": components.ratio.tolist(),
    }
