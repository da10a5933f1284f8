"""Every kind of value that a step may give: read by another process it is the same, or it was refused."""

from __future__ import annotations

import datetime
import errno
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from processes import printed

from xlabelstats.pipeline import Cache
from xlabelstats.pipeline.cache import entries

pytest.importorskip("ome_zarr")
pytest.importorskip("pyarrow")

STRUCTURED = np.dtype([("a", "i4"), ("b", "f8"), ("c", "U3")])

# An array of two rows of each dtype.
ARRAYS: dict[str, np.ndarray] = {
    **{name: np.array([[0, 1], [1, 0]], name) for name in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")},
    **{name: np.array([[0.5, np.nan], [np.inf, -1]], name) for name in ("f2", "f4", "f8", "c8", "c16")},
    "largest": np.array([[2**64 - 1, 2**53 + 1], [0, 1]], "u8"),
    "datetime": np.array([["2020-01-01", "NaT"], ["1066-10-14", "2020"]], "M8[s]"),
    "days": np.array([["2020-01-01", "NaT"], ["2021-01-01", "2020"]], "M8[D]"),
    "nanoseconds": np.array([["2020-01-01", "NaT"], ["2021-01-01", "2020"]], "M8[ns]"),
    "timedelta": np.array([[1, "NaT"], [3, 4]], "m8[ms]"),
    "text": np.array([["a", "µm"], ["", "long text"]]),
    "bytes": np.array([[b"a", b"bb"], [b"", b"\xff"]]),
    "structured": np.array([[(1, 2.5, "a"), (2, -1.0, "µ")]] * 2, STRUCTURED),
    "raw": np.array([[b"ab", b"c"]] * 2).astype("V2"),
}

PANDAS_2 = pd.__version__.startswith("2.")

OBJECTS = {"objects": np.array([["a", "b\0"], ["\0c", ""]], object)}

# Objects of which some are no text.
OTHERS = {
    "objects with None": np.array([["a", None], ["", "None"]], object),
    "objects of kinds": np.array([["a", 1], [2.5, None]], object),
    "objects with tuples": np.array([["a", "b"], [(1, "x"), float("inf")]], object),
}

INDEX = {
    "range": pd.RangeIndex(5, 11, 3),
    "ints": pd.Index([3, 1], name="label"),
    "small ints": pd.Index(np.array([3, 1], "u2")),
    "floats": pd.Index([0.5, 1.5]),
    "bools": pd.Index([True, False]),
    "text": pd.Index(["a", "b"], name="gene"),
    "times": pd.DatetimeIndex(["2020", "2021"], name="t"),
    "zoned": pd.DatetimeIndex(["2020", "2021"], tz="Europe/Berlin"),
    "durations": pd.to_timedelta([1, 2], unit="s"),
    "periods": pd.period_range("2020-01", periods=2, freq="M"),
    "intervals": pd.interval_range(0, 2),
    "categories": pd.CategoricalIndex(["b", "a"], categories=["b", "a", "c"], ordered=True),
    "multi": pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["i", None]),
    "multi of times": pd.MultiIndex.from_arrays([pd.to_datetime(["2020", "2021"]), ["x", None]]),
    "named as a column": pd.Index([3, 1], name="a"),
    "not unique": pd.Index([3, 3]),
}

COLUMNS: dict[str, Any] = {
    **{name: array[0] for name, array in ARRAYS.items() if array.dtype.kind in "biufmM" and name not in ("days",)},
    **{name: pd.array([1, None], name) for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt64", "Float64")},
    "boolean": pd.array([True, None], "boolean"),
    "string": pd.array(["a", None], "string"),
    "str": pd.array(["a", None], "str"),
    "objects": pd.array(["a", None], object),
    "objects and NaN": pd.array(["a", np.nan], object),
    "objects that are text": pd.Series(["a", "b"], dtype=object),
    "category": pd.Categorical(["a", None], categories=["c", "a"]),
    "ordered": pd.Categorical(["a", "b"], categories=["b", "a"], ordered=True),
    "category of numbers": pd.Categorical([3, 1]),
    "zoned": pd.DatetimeIndex(["2020", None], tz="Europe/Berlin").array,
    "zoned seconds": pd.DatetimeIndex(["2020", None], tz="UTC").as_unit("s").array,
    "period": pd.PeriodIndex(["2020-01", None], freq="M").array,
    "interval": pd.interval_range(0.5, 2.5, closed="left").array,
}

# Columns of which some values are lost, or a table has no key by them.
OTHER_COLUMNS: dict[str, Any] = {
    "text and None": ["a", None],
    "text and NaN": ["a", np.nan],
    "mixed": [1, "a"],
    "numbers and None": [1, None],
    "bytes": [b"a", None],
    "dates": [datetime.date(2020, 1, 1), None],
    "decimals": [Decimal("1.50"), None],
    "lists": [[1], None],
    "timestamps": [pd.Timestamp("2020"), "a"],
}

NAMES = {
    "numbers": [5, 7],
    "range": pd.RangeIndex(2),
    "floats": [0.5, 1.5],
    "multi": pd.MultiIndex.from_product([["mean"], [1, 2]], names=["statistic", None]),
    "with a name": pd.Index(["a", "b"], name="channel"),
}

OTHER_NAMES = {
    "mixed": ["a", 1],
    "not unique": ["a", "a"],
    "None": pd.Index(["a", None], dtype=object),
    "tuples": pd.Index([("a", 1), ("b", 2)], tupleize_cols=False),
    "bools": [True, False],
    "1 and '1'": pd.Index([1, "1"], dtype=object),
}

VALUES: dict[str, Any] = {
    "int": 2**70,
    "floats": [0.1, float("inf"), float("nan"), -0.0],
    "text": "µm\0\n",
    "complex": 1 + 2j,
    "bytes": b"\xff",
    "bool": True,
    "nested": [{"a": (1, [None, "x"], {"b": {}})}, (), [None]],
    "keys": {1: "x", "1": "y", (1, 2): None, None: 3},
    "tags": {"__kind__": "tuple", "content": 1},
    "date": [datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC)],
    "small array": {"image": np.arange(6, dtype="u1").reshape(2, 3)},
    "structured array": [np.zeros(2, STRUCTURED)],
    **{f"scalar {name}": array.ravel()[0] for name, array in ARRAYS.items() if name != "raw"},
}


def lazy_objects() -> xr.DataArray:
    return xr.DataArray(da.from_array(OTHERS["objects with None"], chunks=1), dims=("cell", "gene"))


def dataset(array: np.ndarray) -> xr.Dataset:
    """An array as a variable and as coordinates, in dims that make an image of it if OME-Zarr can hold it."""
    return xr.Dataset(
        {"of numbers": (("y", "x"), array, {"units": "um", "bounds": (1, None)}), "lone": ((), array[0, 0])},
        coords={"along": ("x", array[0], {"a": [1]}), "flat": (("y", "x"), array)},
        attrs={"title": None},
    )


def array_of(array: np.ndarray, *dims: str) -> xr.DataArray:
    coords = {"along": (dims[1], array[0], {"units": ""}), "result": (dims[0], array[:, 0])}
    return xr.DataArray(array, dims=dims, coords=coords, attrs={"gain": np.float32(2)}, name="signal")


def with_attrs(table: pd.DataFrame) -> pd.DataFrame:
    table.attrs = {"shape": (1, 2), "units": None, 3: "three", "gain": np.float32(2), "z": [1j, np.arange(2)]}
    return table


KEPT: dict[str, Callable[[], Any]] = {
    **{f"array {n}": lambda a=a: a for n, a in ARRAYS.items()},
    **{f"line {n}": lambda a=a: da.from_array(a[0], chunks=1) for n, a in ARRAYS.items()},
    **{f"empty {n}": lambda a=a: a[:0] for n, a in ARRAYS.items()},
    **{f"DataArray {n}": lambda a=a: array_of(a, "gene", "cell") for n, a in (ARRAYS | OBJECTS).items()},
    **{f"image {n}": lambda a=a: array_of(a, "y", "x") for n, a in (ARRAYS | OBJECTS).items()},
    **{f"Dataset {n}": lambda a=a: dataset(a) for n, a in (ARRAYS | OBJECTS).items()},
    **{f"chunked {n}": lambda a=a: dataset(a).chunk(x=1) for n, a in ARRAYS.items()},
    "lazy objects": lambda: array_of(OBJECTS["objects"], "cell", "gene").chunk(1),
    **{f"column {n}": lambda c=c: pd.DataFrame({"a": c, "b": [1, 2]}) for n, c in COLUMNS.items()},
    **{f"no row of {n}": lambda c=c: pd.DataFrame({"a": c})[:0] for n, c in COLUMNS.items()},
    **{f"index {n}": lambda i=i: pd.DataFrame({"a": [1, 2]}, index=i) for n, i in INDEX.items()},
    **{f"names {n}": lambda n=n: pd.DataFrame([[1, "a"], [2, "b"]], columns=NAMES[n]) for n in NAMES},
    **{
        f"slashes along {dim}": lambda d=dim: array_of(np.eye(2), "y", d).rename({"along": "Ki67/a"})
        for dim in ("x", "i/j")
    },
    "slashes in a Dataset": lambda: xr.Dataset({"Ki67/DAPI": ("a/b", [1, 2]), "Ki67/a": ("a/b", da.ones(2, chunks=1))}),
    "attrs": lambda: with_attrs(pd.DataFrame({"a": [1, 2]})),
    "strings of any length": lambda: np.array([["a", "b"], ["", "a long text"]], np.dtypes.StringDType()),
    "no columns": lambda: pd.DataFrame(index=[3, 1]),
    "nothing": lambda: pd.DataFrame(),
    **{f"value {n}": lambda v=v: v for n, v in VALUES.items()},
}

MASKED = np.ma.masked_array([[1, 2], [3, 4]], [[True, False], [False, False]])

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "masked": (lambda: MASKED, r"masked array of int64, .* mask would be lost; fill it with \.filled"),
    "lazy masked": (lambda: da.from_array(MASKED, chunks=1), r"masked array .* da\.ma\.filled"),
    "masked within": (lambda: {"a": [MASKED]}, r"type MaskedArray, .* \.filled"),
    **{
        f"DataArray {n}": (lambda a=a: array_of(a, "gene", "cell"), r"array of object, .*\.astype")
        for n, a in OTHERS.items()
    },
    **{
        f"Dataset {n}": (lambda a=a: dataset(a), r"'of numbers' .* array of object, .*\.astype")
        for n, a in OTHERS.items()
    },
    "lazy objects": (lazy_objects, r"the result is an array of object, .*\.astype"),
    "long double": (lambda: np.zeros(2, np.longdouble), r"array of float128, .*\.astype"),
    "aligned": (lambda: np.zeros(2, np.dtype("i1,f8", align=True)), r"an array of .*\.astype"),
    "objects of unknown kind": (
        lambda: xr.DataArray(np.array([object()]), dims="x"),
        r"the result of the step .* is an array of object, .*\.astype",
    ),
    "coordinates of unknown kind": (
        lambda: xr.DataArray([1], dims="x", coords={"c": ("x", np.array([object()]))}),
        r"'c' in the result of the step .* is an array of object, .*\.astype",
    ),
    "categories": (lambda: xr.Dataset({"c": ("x", pd.Categorical(["a"]))}), r"'c' .* of category, .*\.astype"),
    "names that are times": (
        lambda: pd.DataFrame([[1]], columns=pd.to_datetime(["2020"])),
        r"names? of columns .*\.rename\(columns=str\)",
    ),
    "categories of intervals": (
        lambda: pd.DataFrame({"a": pd.cut(np.array([1.0, 3.0]), [0, 2, 4])}),
        r"Parquet cannot keep .* type Interval.*\.astype",
    ),
    "complex columns": (lambda: pd.DataFrame({"z": [1j]}), "Parquet.*complex"),
    **{
        f"column {n}": (
            lambda c=c: pd.DataFrame({"t": pd.Series(c, dtype=object)}),
            r"column 't' .* object, .*\.astype",
        )
        for n, c in OTHER_COLUMNS.items()
    },
    "sparse": (lambda: pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), r"Parquet cannot keep .*Sparse.*\.astype"),
    "index with None": (
        lambda: pd.DataFrame({"a": [1, 2]}, index=pd.Index(["a", None], dtype=object)),
        r"(?s)Parquet cannot keep .*index.*\.astype",
    ),
    "mixed index": (
        lambda: pd.DataFrame({"a": [1, 2]}, index=pd.Index(["a", 1], dtype=object)),
        r"Parquet cannot keep .*index.*\.astype",
    ),
    **{
        f"names {n}": (
            lambda c=names: pd.DataFrame([[1, "a"]], columns=c),
            r"(?s)Parquet cannot keep .*columns.*\.rename",
        )
        for n, names in OTHER_NAMES.items()
    },
    "decimal": (lambda: Decimal("1.50"), "holds a value of type Decimal"),
    "sets": (lambda: [{1, 2}], "holds a value of type set"),
    "zone with a name": (lambda: datetime.datetime(2020, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")), "type datetime"),
    "second of two times": (lambda: [datetime.datetime(2024, 10, 27, 2, 30, fold=1)], "type datetime"),
    "endless number": (lambda: 10**5000, "type int, .*to 4300 digits"),
    "half a character": (lambda: {"a\udc80": 1}, "type str, .*Unicode text"),
    "half a character in attrs": (lambda: xr.DataArray([1], attrs={"a": "a\udc80"}), "type str, .*Unicode text"),
}


class Giving:
    """A step that is known by the name of its result alone."""

    def __init__(self, name: str, give: Callable[[], Any]) -> None:
        self.name, self.give = name, give

    def __dask_tokenize__(self) -> str:
        return self.name

    def __call__(self) -> Any:
        return self.give()


def stored(folder: str | Path, name: str, give: Callable[[], Any]) -> Any:
    return Cache(folder).run(f"step{list(KEPT).index(name)}", Giving(name, give))


def check_same(found: Any, given: Any) -> None:
    """Complain about any difference."""
    if isinstance(given, xr.DataArray | xr.Dataset):
        assert type(found) is type(given)
        xr.testing.assert_identical(found.compute(), given.compute())
        both = [
            {None: each.variable, **each.coords} if isinstance(each, xr.DataArray) else each.variables
            for each in (found, given)
        ]
        for name, variable in both[1].items():
            check_same(np.asarray(both[0][name].values), np.asarray(variable.values))
            for key, each in variable.attrs.items():
                check_same(both[0][name].attrs[key], each)
    elif isinstance(given, pd.DataFrame):
        pd.testing.assert_frame_equal(found, given, check_exact=True)
        for place in range(given.shape[1]):
            check_same(list(found.iloc[:, place]), list(given.iloc[:, place]))
        check_same(list(found.columns), list(given.columns))
        check_same(list(found.index), list(given.index))
        check_same(found.attrs, given.attrs)
    elif isinstance(given, np.ndarray | da.Array):
        assert found.dtype == given.dtype
        assert found.shape == given.shape
        check_same(np.asarray(found).tolist(), np.asarray(given).tolist())
    elif isinstance(given, dict):
        check_same(list(found), list(given))
        check_same(list(found.values()), list(given.values()))
    else:
        assert type(found) is type(given), (type(found), type(given))
        if isinstance(given, list | tuple):
            assert len(found) == len(given)
            for pair in zip(found, given, strict=True):
                check_same(*pair)
        else:
            assert repr(found) == repr(given)


def read_all(folder: str) -> dict[str, str]:
    """What is wrong with each of the results that another process stored."""

    def fail() -> None:
        raise AssertionError("computed again")

    wrong = {}
    for name, give in KEPT.items():
        try:
            check_same(stored(folder, name, fail), give())
            wrong[name] = ""
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"
    return wrong


@pytest.fixture(scope="module")
def wrong(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("cache")
    told = {}
    for name, give in KEPT.items():
        try:
            stored(folder, name, give)
        except Exception as error:
            told[name] = f"not stored: {type(error).__name__}: {error}"
    program = "import sys, json, test_cache_values as t; print(json.dumps(t.read_all(sys.argv[1])))"
    return json.loads(printed(program, str(folder), seed="1").splitlines()[-1]) | told


@pytest.mark.parametrize("name", KEPT)
def test_another_process_reads_what_was_stored(wrong, name):
    if PANDAS_2 and name in ("column objects", "column objects and NaN"):
        # There these are objects, of which one is no text; from 3 on they are text.
        assert wrong[name].startswith("not stored: TypeError: the column 'a'")
    else:
        assert wrong[name] == ""


@pytest.mark.filterwarnings("ignore:The structured dtype is converted")
@pytest.mark.filterwarnings("ignore:The DataFrame has column names of mixed type")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path, name):
    give, message = REFUSED[name]
    if PANDAS_2 and name in ("index with None", "names None"):
        pytest.skip("pandas 2 gives these back equal")
    with pytest.raises(TypeError, match=message):
        Cache(tmp_path).run("step", Giving(name, give))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", [5, "/", "..", "", "zarr.json", "a" * 300, ("a", 1)])
def test_names_that_zarr_cannot_hold_are_told(tmp_path, name):
    for made in (xr.Dataset({name: ("i", [1, 2])}), xr.DataArray([1, 2], dims="i", coords={name: ("i", [1, 2])})):
        with pytest.raises(ValueError, match=r"has the name .*, which Zarr cannot hold; \.rename\(\) it"):
            Cache(tmp_path).run("made", Giving("made", lambda made=made: made))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_variables_are_not_taken_for_attributes_nor_for_each_other(tmp_path):
    made = xr.Dataset(
        {"name": ("i", ["a", "b"]), "0": ("i", [0.0, 0.0]), "dims": ("i", [5.0, 5.0])}, attrs={"attrs": 1}
    )
    for cache in (Cache(None), Cache(tmp_path)):
        xr.testing.assert_identical(cache.run("made", lambda: made).compute(), made)


def test_what_is_made_lazy_has_the_chunks_of_what_was(tmp_path):
    made = xr.Dataset({"a": ("i", np.arange(4)), "b": ("i", da.ones(4, chunks=2))})
    for cache in (Cache(None), Cache(tmp_path)):
        assert cache.run("made", lambda: made).chunks == {"i": (2, 2)}


def in_place(block):
    block += 1
    return block


@pytest.mark.parametrize(
    "make", [lambda: np.ones((2, 2)), lambda: da.ones((2, 2), chunks=1), lambda: xr.DataArray([1.0])]
)
def test_what_works_in_place_changes_nothing_in_memory(make):
    cache = Cache(None)
    found = cache.run("ones", make)
    found = found.data if isinstance(found, xr.DataArray) else found
    found.map_blocks(in_place, dtype=float).compute()
    np.asarray(found)[:] = 5
    np.testing.assert_array_equal(cache.run("ones", make), np.asarray(make()))


def test_variables_of_a_dataset_keep_chunks_of_their_own(tmp_path):
    made = xr.Dataset({"a": ("i", da.ones(10, chunks=5)), "b": ("i", da.ones(10, chunks=3))})
    for cache in (Cache(None), Cache(tmp_path)):
        for _ in range(2):
            found = cache.run("made", lambda: made)
            assert [found[name].chunks for name in "ab"] == [((5, 5),), ((3, 3, 3, 1),)]


def test_names_of_which_one_is_a_folder_in_the_other_are_told(tmp_path):
    for names in (("a", "a/b"), ("a/b/c", "a")):
        for cache in (Cache(None), Cache(tmp_path)):
            with pytest.raises(ValueError, match=r"has the names 'a' and 'a/b.*', and Zarr holds one; \.rename\(\)"):
                cache.run("made", lambda names=names: xr.Dataset({name: ("i", [1, 2]) for name in names}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("dims", ["0", ("y", "x")])
def test_dims_and_coordinates_may_have_numbers_for_names(tmp_path, dims):
    made = xr.DataArray(np.ones((2, 2)[: len(dims)]), dims=dims, coords={"0": (dims[0], [3, 4])})
    for cache in (Cache(None), Cache(tmp_path)):
        for _ in range(2):
            xr.testing.assert_identical(cache.run("made", lambda: made).compute(), made)


def test_long_names_of_parts_need_no_long_files(tmp_path):
    assert Cache(tmp_path).child("a" * 120).child("b" * 120).run("c" * 100, max, [1, 2]) == 2


def test_a_block_of_another_dtype_than_dask_was_told_is_refused(tmp_path):
    def lying():
        return da.ones((4, 4), chunks=2).map_blocks(lambda b: b * 1.5, dtype="i4", meta=np.empty((0, 0), "i4"))

    for cache in (Cache(None), Cache(tmp_path)):
        with pytest.raises(TypeError, match="a block of float64, but dask was told int32"):
            cache.run("lying", lying)


@pytest.mark.parametrize("name", ["step.json", ".last.json"])
def test_what_is_no_marker_is_not_taken_for_one(tmp_path, name):
    assert Cache(tmp_path).run("a", max, [1, 2]) == 2
    next(tmp_path.rglob(name)).write_text("[1]")
    assert Cache(tmp_path).run("a", max, [1, 2]) == 2


def test_a_table_that_was_lost_is_told(tmp_path):
    for _ in range(2):
        Cache(tmp_path).run("a", pd.DataFrame, {"a": [1]})
        next(tmp_path.rglob("table.parquet")).unlink()
        with pytest.raises(FileNotFoundError, match=r"table\.parquet was removed; clear the step in the cache"):
            Cache(tmp_path).run("a", pd.DataFrame, {"a": [1]})
        Cache(tmp_path).clear("a")


def test_a_kept_result_is_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    for k in (1, 2):
        Cache(tmp_path).run("a", abs, k)

    def refuse(path, content):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(entries, "write_durably", refuse)
    assert [Cache(tmp_path).run("a", abs, k) for k in (1, 2)] == [1, 2]
