"""Steps computed once: what a key covers, what comes back, and what is told of it."""

from __future__ import annotations

import functools
import importlib.util
import os
import textwrap

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import Calls, module_of
from processes import cluster, printed

from xlabelstats.pipeline.cache import Cache

ome = pytest.mark.skipif(importlib.util.find_spec("ome_zarr") is None, reason="ome-zarr is not installed")
parquet = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")

CALLS = Calls()


@pytest.fixture(autouse=True)
def calls() -> list[str]:
    CALLS.clear()
    return CALLS


@pytest.fixture(params=["folder", "memory", "none"])
def cache(request, tmp_path) -> Cache:
    """A cache in a folder, on a file system of fsspec, and in memory."""
    urls = {"folder": tmp_path / "cache", "memory": f"memory://{tmp_path.name}-{id(request)}", "none": None}
    return Cache(urls[request.param])


def total(image, scale=1, offset=0):
    CALLS.append("total")
    return float(np.asarray(image).sum()) * scale + offset


def doubled(image):
    CALLS.append("doubled")
    return image * 2


def cubed(image):
    """Of one dim, so that it is stored without OME-Zarr."""
    CALLS.append("cubed")
    return image**3


def numbered(image):
    """Of which no key says that it is otherwise every time."""
    CALLS.append("numbered")
    return image + len(CALLS)


class TestKey:
    def test_a_step_is_computed_once(self, cache):
        image = np.arange(6)
        assert [cache.run("total", total, image, 2) for _ in range(3)] == [30.0] * 3
        assert CALLS == ["total"]

    def test_arguments_by_position_by_name_bound_and_by_default_are_the_same(self, cache):
        image = np.arange(6)
        ways = [
            lambda: cache.run("total", total, image, 2),
            lambda: cache.run("total", total, image, scale=2),
            lambda: cache.run("total", total, image=image, offset=0, scale=2),
            lambda: cache.run("total", functools.partial(total, scale=2), image),
            lambda: cache.run("total", functools.partial(total, image), 2),
        ]
        assert [way() for way in ways] == [30.0] * 5
        assert CALLS == ["total"]

    @pytest.mark.parametrize(
        "other",
        [
            np.arange(1, 7),
            np.arange(6.0),
            np.arange(6).reshape(2, 3),
            da.arange(6, chunks=2),
            xr.DataArray(np.arange(6), dims="x"),
            [0, 1, 2, 3, 4, 5],
        ],
    )
    def test_another_input_is_another_key(self, cache, other):
        cache.run("total", total, np.arange(6))
        cache.run("total", total, other)
        assert CALLS == ["total", "total"]

    def test_names_coords_and_attrs_count(self, cache):
        image = xr.DataArray(np.arange(6), dims="x", coords={"x": np.arange(6)}, attrs={"a": 1}, name="i")
        others = [
            image.rename("j"),
            image.rename(x="y"),
            image.assign_attrs(a=2),
            image.assign_coords(x=np.arange(6) + 1),
            image.assign_coords(x=image["x"].assign_attrs(units="um")),
        ]
        for each in (image, *others, *others):
            cache.run("total", total, each)
        assert len(CALLS) == 6

    def test_tables_count_with_their_index_columns_and_attrs(self, cache):
        table = pd.DataFrame({"a": [1, 2], "b": ["x-y", "z"]})
        others = [
            table.assign(a=[1, 3]),
            table.assign(b=["x", "y-z"]),
            table.rename(columns={"a": "c"}),
            table.set_index(pd.Index([5, 6])),
            table.astype({"a": "float64"}),
        ]
        with_attrs = table.copy()
        with_attrs.attrs["units"] = "um"
        for each in (table, *others, with_attrs, *others, with_attrs):
            cache.run("length", lambda t: CALLS.append("length") or len(t), each)
        assert len(CALLS) == 7

    def test_parameters_side_by_side(self, cache):
        image = np.arange(6)
        for scale in (1, 2, 1, 2):
            assert cache.run("total", total, image, scale) == 15.0 * scale
        assert len(CALLS) == 2
        assert len(cache.status()) == 2

    def test_a_change_computes_what_depends_on_it_and_nothing_else(self, cache):
        def pipeline(scale):
            CALLS.clear()
            image = cache.run("cubed", cubed, np.arange(4.0))
            other = cache.run("other", doubled, np.arange(5.0))
            first = cache.run("first", lambda a, scale: CALLS.append("first") or a * scale, image, scale)
            cache.run("last", total, first)
            cache.run("aside", total, other, 7)
            return list(CALLS)

        assert pipeline(1) == ["cubed", "doubled", "first", "total", "total"]
        assert pipeline(1) == []
        assert pipeline(2) == ["first", "total"]
        assert pipeline(1) == []

    def test_the_same_in_a_process_with_other_hashes(self, tmp_path):
        program = """
            import sys, functools
            import dask.array as da, numpy as np, pandas as pd, xarray as xr
            from xlabelstats.pipeline.cache import Cache
            def step(image, names, options, table, held=frozenset("abc")):
                print("computing")
                return image + len(names)
            cache = Cache(sys.argv[1])
            attrs = {name: name for name in "abcdefgh"}
            image = xr.DataArray(da.arange(9, chunks=4), dims="x", attrs=attrs, coords={"k": ("x", list("abcdefghi"))})
            table = pd.DataFrame({"a": ["x", "y"]})
            table.attrs = attrs
            first = cache.run("first", step, image, {"u", "v", "w"}, attrs, table)
            cache.run("second", step, first + 1, set("xyz"), {}, table)
        """
        outputs = [printed(program, str(tmp_path / "cache"), seed=seed).split() for seed in "12"]
        assert outputs == [["computing"] * 2, []]

    def test_an_argument_that_cannot_be_known_again_is_named(self, cache):
        class Model:
            def __reduce__(self):
                raise TypeError("not to be pickled")

        with pytest.raises(TypeError, match=r"the argument 'scale' is a Model.*__dask_tokenize__"):
            cache.run("total", total, np.arange(3), Model())
        Model.__dask_tokenize__ = lambda self: "v1"
        with pytest.raises(TypeError, match="unsupported operand"):
            cache.run("total", total, np.arange(3), Model())

    def test_wrong_arguments_are_told_at_once(self, cache):
        with pytest.raises(TypeError, match=r"total cannot be called like this: .*'sigma'"):
            cache.run("total", total, np.arange(3), sigma=3)
        assert CALLS == []

    def test_a_cache_is_no_part_of_the_key(self, cache):
        def outer(image, cache=None):
            CALLS.append("outer")
            return total(image) if cache is None else cache.run("inner", total, image)

        assert cache.run("outer", outer, np.arange(4), cache=cache.child("outer")) == 6
        assert cache.run("outer", outer, np.arange(4)) == 6
        assert CALLS == ["outer", "total"]
        assert cache.status()["name"].tolist() == ["outer", "outer/inner"]

    def test_a_zarr_array_written_anew_is_another_input(self, cache, tmp_path):
        def values(**kwargs):
            array = zarr.open_array(tmp_path / "raw.zarr", mode="w", shape=4, chunks=2, dtype="i4")
            array[:] = kwargs["to"]
            return array

        for read in (lambda: zarr.open_array(tmp_path / "raw.zarr"), lambda: da.from_zarr(tmp_path / "raw.zarr")):
            CALLS.clear()
            values(to=1)
            assert cache.run("total", total, read()) == 4
            assert cache.run("total", total, read()) == 4
            values(to=3)
            assert cache.run("total", total, read()) == 12
            assert len(CALLS) == 2


class TestStep:
    SOURCE = """
        def step(image, k=1):
            return float(image.sum()) + k
    """

    def runs(self, cache, path, source):
        before = len(cache.status())
        cache.run("step", module_of(path, source).step, np.arange(3))
        return len(cache.status()) > before

    def test_its_source_counts_but_not_comments_docstring_and_layout(self, tmp_path):
        cache, path = Cache(tmp_path / "cache"), tmp_path / "some_steps.py"
        assert self.runs(cache, path, self.SOURCE)
        commented = """
            # Moved down.


            def step(image,
                     k=1):
                '''Say what it does.'''
                return float(image.sum()) + k  # why
        """
        assert not self.runs(cache, path, commented)
        assert self.runs(cache, path, self.SOURCE.replace("+ k", "- k"))
        assert self.runs(cache, path, self.SOURCE.replace("k=1", "k=2"))

    def test_a_declared_version_counts_in_place_of_the_source(self, tmp_path):
        cache, path = Cache(tmp_path / "cache"), tmp_path / "versioned_steps.py"
        versioned = self.SOURCE + "\n        step.version = {}\n"
        assert self.runs(cache, path, versioned.format(1))
        assert not self.runs(cache, path, versioned.format(1).replace("+ k", "- k"))
        assert self.runs(cache, path, versioned.format(2))

    def test_a_file_edited_after_it_was_loaded_is_not_taken_for_the_source(self, tmp_path):
        cache, path = Cache(tmp_path / "cache"), tmp_path / "edited_steps.py"
        module = module_of(path, self.SOURCE)
        path.write_text(textwrap.dedent(self.SOURCE.replace("+ k", "- k")))
        assert cache.run("step", module.step, np.arange(3)) == 4
        assert cache.run("step", module_of(path, self.SOURCE.replace("+ k", "- k")).step, np.arange(3)) == 2

    def test_values_from_around_the_definition_count(self, cache):
        def made(k):
            def inner(image):
                return helper(image) * k

            def helper(image):
                return float(image.sum())

            return inner

        image = np.arange(4)
        assert [cache.run("step", made(k), image) for k in (1, 2, 1)] == [6, 12, 6]
        assert len(cache.status()) == 2

    def test_lambdas_on_one_line_are_told_apart(self, cache):
        both = [lambda a: float(a.sum()), lambda a: float(a.max())]
        assert [cache.run("step", each, np.arange(4)) for each in both] == [6, 3]

    def test_decorated_steps_count_with_what_decorates_them(self, cache):
        def plus(k):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args):
                    return function(*args) + k

                return wrapper

            return decorate

        def plain(image):
            return float(image.sum())

        plain.version = 1
        steps = [plain, plus(1)(plain), plus(2)(plain)]
        assert [cache.run("step", each, np.arange(4)) for each in steps] == [6, 7, 8]

    def test_models_count_with_their_content(self, cache):
        image = np.arange(4)
        assert [cache.run("m", Model(k), image) for k in (1, 2, 1)] == [6, 12, 6]
        assert [cache.run("m", Model(k).call, image) for k in (1, 2, 1)] == [6, 12, 6]
        assert len(CALLS) == 4

    def test_functions_of_compiled_modules_are_steps(self, cache):
        np.testing.assert_array_equal(cache.run("root", np.sqrt, np.array([4.0, 9.0])), [2, 3])
        assert cache.run("length", len, [1, 2]) == 2

    def test_what_cannot_be_called_is_no_step(self, cache):
        with pytest.raises(TypeError, match="a step is a function, which float is not"):
            cache.run("step", 3.0, np.arange(3))

    def test_a_parameter_that_run_has_too_is_bound_beforehand(self, cache):
        def step(image, chunks=3):
            return len(image) // chunks

        with pytest.raises(TypeError, match=r"parameter 'chunks'.*functools.partial\("):
            cache.run("step", step, np.arange(6))
        assert cache.run("step", functools.partial(step, chunks=2), np.arange(6)) == 3


class Model:
    def __init__(self, k):
        self.k = k

    def __call__(self, image):
        CALLS.append("model")
        return float(image.sum()) * self.k

    def call(self, image):
        return self(image)


class TestComputedAnew:
    def test_what_follows_a_cleared_step_is_computed_anew_too(self, cache):
        cache.run("cubed", cubed, cache.run("numbered", numbered, np.arange(3)))
        cache.clear("numbered")
        cache.run("numbered", numbered, np.arange(3))
        stale = cache.status().set_index("name")["stale"]
        assert stale["cubed"] == "its input 'numbered' was computed again since"
        for _ in range(2):
            found = cache.run("cubed", cubed, cache.run("numbered", numbered, np.arange(3)))
            np.testing.assert_array_equal(found, (np.arange(3) + 3) ** 3)
        assert CALLS == ["numbered", "cubed", "numbered", "cubed"]
        assert sorted(cache.status().query("name == 'cubed'")["stale"])[0] == ""

    @parquet
    def test_what_follows_a_cleared_table_of_the_same_content_is_not(self, cache):
        for _ in range(2):
            table = cache.run("table", lambda: pd.DataFrame({"a": [1, 2]}))
            assert cache.run("total", total, table) == 3
            assert cache.status()["stale"].tolist() == ["", ""]
            cache.clear("table")
        assert CALLS == ["total"]

    def test_two_results_of_one_key_are_told_apart_in_one_computation(self, cache, tmp_path):
        one, *others = (
            each.run("numbered", numbered, np.arange(3)) for each in (cache, Cache(None), Cache(tmp_path / "other"))
        )
        for number, other in enumerate(others, 1):
            np.testing.assert_array_equal(other - one, [number] * 3)
            np.testing.assert_array_equal(one - other, [-number] * 3)

    def test_a_result_in_memory_that_was_cleared_is_not_taken_for_the_new_one(self):
        cache = Cache(None)
        one = cache.run("numbered", numbered, xr.DataArray(np.arange(3), dims="x"))
        cache.clear("numbered")
        two = cache.run("numbered", numbered, xr.DataArray(np.arange(3), dims="x"))
        np.testing.assert_array_equal(two - one, [1, 1, 1])

    def test_a_result_of_another_cache_makes_nothing_stale(self, cache):
        cache.run("numbered", numbered, np.arange(3))
        cache.run("cubed", cubed, Cache(None).run("numbered", numbered, np.arange(3)))
        assert cache.status()["stale"].tolist() == ["", ""]

    def test_storing_anew_is_no_new_computation(self, tmp_path):
        for chunks in (None, 2, 3):
            found = Cache(tmp_path).run("cubed", cubed, np.arange(5), chunks=chunks)
            Cache(tmp_path).run("total", total, found)
        assert CALLS == ["cubed", "total"]
        assert Cache(tmp_path).status()["stale"].tolist() == ["", ""]


class TestResults:
    @pytest.mark.parametrize(
        "value",
        [
            1,
            2.5,
            "text",
            True,
            np.float32(3),
            1 + 2j,
            b"bytes",
            [1, "a", None],
            {"a": {"b": (1, 2)}},
            {1: "x", "1": "y"},
            {"image": np.arange(3, dtype="u1")},
            float("inf"),
            {"__tuple__": 1},
            "µm",
            np.datetime64("2020-01-01"),
        ],
    )
    def test_values_come_back_with_their_types(self, cache, value):
        for _ in range(2):
            found = cache.run("value", lambda: value)
            assert type(found) is type(value)
            np.testing.assert_equal(found, value)

    @parquet
    @pytest.mark.parametrize(
        "table",
        [
            pd.DataFrame({"id": [1, 2], "y": [0.5, np.nan], "name": ["a", "b"]}, index=[7, 9]),
            pd.DataFrame({"a": pd.Categorical(["x", "y", "x"])}).rename_axis("row"),
            pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "t": pd.to_datetime(["2020", "2021"], utc=True)}),
            pd.DataFrame({"a": [1.0]}, index=pd.MultiIndex.from_tuples([(1, "b")], names=["i", "j"])),
            pd.DataFrame({"id": np.array([], np.int64), "x": np.array([], np.float32)}),
            pd.DataFrame({"t": np.array(["2020", "NaT"], "M8[s]"), "d": np.array([1, 2], "m8[s]")}),
            pd.DataFrame({"t": pd.to_datetime(["2020"]).as_unit("s").tz_localize("Europe/Berlin")}),
        ],
    )
    def test_tables_come_back_as_they_were(self, cache, table):
        table.attrs = {"axes": ["y", "x"], "shape": (3, 4), "units": "µm"}
        for _ in range(2):
            found = cache.run("table", lambda: table)
            pd.testing.assert_frame_equal(found, table)
            assert found.attrs == table.attrs

    @parquet
    def test_tables_get_the_byte_order_of_the_machine(self, cache):
        for _ in range(2):
            found = cache.run("table", lambda: pd.DataFrame({"a": np.array([1, 2], ">i4")}))
            pd.testing.assert_frame_equal(found, pd.DataFrame({"a": np.array([1, 2], "i4")}))

    @pytest.mark.parametrize("held", [[1], (1, 2), {"a": 1}, np.arange(3)])
    def test_lists_in_a_table_are_refused_at_once(self, cache, held):
        table = pd.DataFrame({"id": [1, 2], "parts": pd.Series([None, held], dtype=object)})
        with pytest.raises(TypeError, match=r"column 'parts' .*array of object, .*\.astype"):
            cache.run("table", lambda: table)
        assert cache.status().empty

    def test_large_arrays_in_a_dict_are_refused(self, cache):
        with pytest.raises(TypeError, match=r"a value of 2\.7 MiB; return"):
            cache.run("both", lambda: {"a": [np.zeros(2**17)], "b": (np.zeros(2**17), 1)})

    def test_arrays_of_objects_are_refused(self, cache):
        with pytest.raises(TypeError, match=r"array of object, which cannot be stored; .*\.astype"):
            cache.run("objects", lambda: np.array(["a", None]))

    @pytest.mark.parametrize(
        "scalar",
        [
            np.array(3.0),
            da.from_array(np.array(2)),
            xr.DataArray(3.0, name="mean", attrs={"units": "um"}, coords={"z": 4}),
            xr.Dataset({"mean": 3.0, "of": ("x", [1, 2])}),
        ],
    )
    def test_arrays_without_dims_come_back(self, cache, scalar):
        for _ in range(2):
            found = cache.run("mean", lambda: scalar)
            if isinstance(scalar, xr.DataArray | xr.Dataset):
                xr.testing.assert_identical(found.compute(), scalar)
            else:
                assert (found.shape, found.dtype) == ((), scalar.dtype)
                assert found.compute() == np.asarray(scalar)

    @pytest.mark.parametrize("dims", [pytest.param(("y", "x"), marks=ome), ("cell", "x")])
    def test_coordinates_come_back_whatever_they_are_called_and_hold(self, cache, dims):
        array = xr.DataArray(
            np.zeros((2, 3)),
            dims=dims,
            coords={"my coord": ("x", [1, 2, 3]), "names": ("x", np.array(["a", "bb", "c"], object)), "x": [0, 1, 2]},
        )
        for given in (array, array.to_dataset(name="a b")):
            for _ in range(2):
                found = cache.run("result", lambda a: a, given)
                xr.testing.assert_identical(found.compute(), given)
                assert found["names"].dtype == object

    @pytest.mark.parametrize("dims", [pytest.param(("y", "x"), marks=ome), ("cell", "x")])
    def test_names_with_a_slash_or_a_space(self, cache, dims):
        names = ("Ki67/DAPI", "variable 0", "with space")
        array = xr.DataArray(np.zeros((2, 3)), dims=dims, coords={name: ("x", [1, 2, 3]) for name in names})
        array = array.assign_coords({f"lazy {name}": ("x", da.arange(3, chunks=2)) for name in names})
        dataset = xr.Dataset({f"{name}/array": array.reset_coords(drop=True) + i for i, name in enumerate(names)})
        along = array.reset_coords(drop=True).rename(x="in/out").assign_coords({"in/out": [1, 2, 3]})
        for given in (
            array,
            dataset,
            dataset.chunk(x=2),
            along,
            along.to_dataset(name="a/b"),
        ):
            for _ in range(2):
                xr.testing.assert_identical(cache.run("result", lambda a: a, given).compute(), given.compute())

    @pytest.mark.parametrize("dims", [pytest.param(("y", "x"), marks=ome), ("cell", "x")])
    def test_lazy_coordinates_keep_chunks_of_their_own(self, cache, dims):
        array = xr.DataArray(da.ones((4, 4), chunks=2), dims=dims)
        array = array.assign_coords(weight=(dims, da.ones((4, 4), chunks=(1, 4))))
        for _ in range(2):
            found = cache.run("result", lambda a: a, array)
            assert found.variable.chunks == array.variable.chunks
            assert found["weight"].variable.chunks == array["weight"].variable.chunks
            xr.testing.assert_identical(found.compute(), array.compute())

    @parquet
    def test_changing_what_came_back_changes_nothing(self, cache):
        table = pd.DataFrame({"a": [1, 2]})
        for make, change in (
            (lambda: table, lambda t: t.__setitem__("a", 0)),
            (lambda: {"a": [1, 2]}, lambda v: v["a"].append(3)),
        ):
            expected = make().copy()
            for _ in range(3):
                found = cache.run("result", make)
                assert str(found) == str(expected)
                change(found)
        assert table["a"].tolist() == [1, 2]

    @pytest.mark.parametrize("chunks", [2, (3, 1, 1), -1])
    def test_bare_arrays_come_back_as_lazy_bare_arrays(self, cache, chunks):
        array = da.arange(5, chunks=(chunks,) if isinstance(chunks, tuple) else chunks)
        for _ in range(2):
            found = cache.run("cubed", cubed, array)
            assert isinstance(found, da.Array)
            assert found.chunks == array.chunks
            np.testing.assert_array_equal(found, np.arange(5) ** 3)
        found = cache.run("numpy", cubed, np.arange(5))
        assert isinstance(found, da.Array)
        np.testing.assert_array_equal(found, np.arange(5) ** 3)
        assert CALLS == ["cubed", "cubed"]

    def test_xarray_objects_keep_what_they_have(self, cache):
        array = xr.DataArray(
            da.arange(6, chunks=4).reshape(2, 3) > 2,
            dims=("gene", "cell"),
            coords={
                "gene": ["long name", "b"],
                "cell": ("cell", [0.1, 0.5, 7], {"units": "days", "gain": 3}),
                "area": (("gene", "cell"), np.arange(6.0).reshape(2, 3)),
                "when": ("cell", np.array(["2020", "2021", "NaT"], "M8[ns]")),
                "scalar": 4,
            },
            attrs={"fill": 3, "bounds": (1, 2), "table": np.arange(3), "nested": {"a": [1]}},
            name="bits",
        )
        dataset = xr.Dataset({"bits": array, "n": ("cell", np.arange(3, dtype="u1"))}, attrs={"title": "all"})
        for given in (array, dataset, array.rename(None), array[:, :0]):
            for _ in range(2):
                found = cache.run("result", lambda a: a, given)
                assert type(found) is type(given)
                xr.testing.assert_identical(found.compute(), given.compute())
                assert found.chunks == given.chunks if given is array else found.chunks
                for name in given.coords:
                    assert found[name].dtype == given[name].dtype

    @pytest.mark.parametrize(
        ("result", "message"),
        [
            (None, "returned None"),
            (object(), "holds a value of type object"),
            ((da.arange(3), 1), "of type Array.*one a step"),
            (dask.delayed(3), "of type DelayedLeaf"),
        ],
    )
    def test_other_results_are_refused(self, cache, result, message):
        def step():
            return result

        step.version = 1
        with pytest.raises(TypeError, match=message):
            cache.run("step", step)
        assert cache.status().empty

    def test_inputs_are_not_changed(self, cache):
        image = xr.DataArray(np.arange(6), dims="x", attrs={"a": 1})
        before = image.copy(deep=True)
        found = cache.run("same", lambda a: a, image)
        np.asarray(found)[:] = 0
        xr.testing.assert_identical(image, before)

    def test_settings_that_mean_nothing_are_refused(self, tmp_path):
        cache = Cache(tmp_path)
        for _ in range(2):
            with pytest.raises(ValueError, match="plain value, for which there is no multiscale"):
                cache.run("total", total, np.arange(3), multiscale=2)
            with pytest.raises(ValueError, match="there is no chunks"):
                cache.run("total", total, np.arange(3), chunks=2)
            cache.run("total", total, np.arange(3))
        with pytest.raises(ValueError, match="multiscale is the number of levels"):
            cache.run("total", total, np.arange(3), multiscale=0)
        with pytest.raises(ValueError, match="ome_version is one of"):
            cache.run("total", total, np.arange(3), ome_version="0.3")


class TestNames:
    @pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "ä", "0123456789abcdef", "a b"])
    def test_that_cannot_be_folders(self, cache, name):
        with pytest.raises(ValueError, match="cannot be the name of a folder"):
            cache.run(name, total, np.arange(3))
        with pytest.raises(ValueError, match="cannot be the name of a folder"):
            cache.child(name)

    def test_come_first(self, cache):
        with pytest.raises(TypeError, match="the step comes second"):
            cache.run(total, "total", np.arange(3))

    def test_where_a_cache_is(self, tmp_path):
        with pytest.raises(TypeError, match="not in int"):
            Cache(3)
        assert str(tmp_path) in repr(Cache(tmp_path).child("cells"))
        assert repr(Cache(None)) == "<Cache in memory>"


class TestStatus:
    def test_tells_what_is_stored(self, cache):
        cache.run("total", total, np.arange(3), 2)
        cache.run("cubed", cubed, np.arange(3))
        status = cache.status()
        assert status["name"].tolist() == ["cubed", "total"]
        assert status["kind"].tolist() == ["array", "value"]
        assert status["parameters"].tolist() == ["", "scale=2, offset=0"]
        assert (status["size"] > 0).all()
        assert (status["seconds"] >= 0).all()
        assert abs((pd.Timestamp.now("UTC") - status["created"]).dt.total_seconds()).max() < 60
        assert (status["stale"] == "").all()
        assert (status["state"] == "whole").all()

    def test_of_nothing_is_an_empty_table(self, cache):
        assert list(cache.status()["name"]) == []

    def test_entries_whose_input_was_cleared_or_run_otherwise_are_stale(self, cache):
        def pipeline(scale):
            first = cache.run("first", lambda a, scale: a * scale, np.arange(4.0), scale)
            second = cache.run("second", cubed, first)
            cache.run("third", total, second + 1)

        pipeline(1)
        assert (cache.status()["stale"] == "").all()
        pipeline(2)
        stale = cache.status().set_index("name")["stale"]
        assert stale["first"].tolist() == ["", ""]
        assert sorted(stale["second"]) == ["", "its input 'first' was run since with other parameters or inputs"]
        assert sorted(stale["third"]) == ["", "its input 'second' is stale"]
        pipeline(1)
        cache.clear("second")
        stale = cache.status().set_index("name")["stale"]
        assert set(stale["third"]) == {"its input 'second' was cleared"}

    def test_entries_run_since_with_another_input_are_stale(self, cache):
        cache.run("total", total, np.arange(3), 5)
        cache.run("total", total, np.arange(4), 5)
        cache.run("total", total, np.arange(4), 6)
        assert sorted(cache.status()["stale"]) == ["", "", "run since with another 'image'"]
        cache.run("total", total, np.arange(3), 5)
        assert sorted(cache.status()["stale"]) == ["", "", "run since with another 'image'"]

    def test_entries_of_a_step_that_changed_are_stale(self, tmp_path):
        cache, path = Cache(tmp_path / "cache"), tmp_path / "changing_steps.py"
        cache.run("step", module_of(path, TestStep.SOURCE).step, np.arange(3))
        assert cache.status()["stale"].tolist() == [""]
        module_of(path, TestStep.SOURCE.replace("+ k", "- k"))
        assert cache.status()["stale"].tolist() == ["the step changing_steps:step has changed"]

    @parquet
    def test_tables_are_known_as_inputs(self, cache):
        table = cache.run("table", lambda k: pd.DataFrame({"a": [k]}), 1)
        cache.run("rows", len_of, table)
        cache.run("table", lambda k: pd.DataFrame({"a": [k]}), 1)
        cache.clear("table")
        assert cache.status()["stale"].tolist() == ["its input 'table' was cleared"]

    def test_entries_from_a_zarr_array_written_anew_are_stale(self, cache, tmp_path):
        path = tmp_path / "raw.zarr"
        zarr.open_array(path, mode="w", shape=4, chunks=2, dtype="i4")[:] = 1
        cache.run("total", total, da.from_zarr(path))
        assert cache.status()["stale"].tolist() == [""]
        zarr.open_array(path, mode="w", shape=4, chunks=2, dtype="i4")[:] = 1
        assert "'image' was written again" in cache.status()["stale"][0]

    def test_an_input_from_another_cache_is_not_taken_for_cleared(self, cache):
        other = Cache(None)
        cache.run("total", total, other.run("cubed", cubed, np.arange(3)))
        assert cache.status()["stale"].tolist() == [""]


def len_of(table):
    return len(table)


class TestClear:
    def test_removes_a_step_with_its_parts_and_nothing_else(self, cache):
        cells = cache.child("cells")
        cells.run("binary", total, np.arange(3))
        cells.run("labels", total, np.arange(4))
        cache.run("cells2", total, np.arange(3))
        cache.clear("cells/labels")
        assert cache.status()["name"].tolist() == ["cells/binary", "cells2"]
        assert cells.status()["name"].tolist() == ["binary"]
        cache.clear("cells")
        assert cache.status()["name"].tolist() == ["cells2"]
        cells.run("binary", total, np.arange(3))
        assert len(CALLS) == 4

    def test_an_unknown_name_is_told(self, cache):
        cache.run("binary", total, np.arange(3))
        with pytest.raises(ValueError, match="unknown name 'bianry', did you mean 'binary'"):
            cache.clear("bianry")


class TestSchedulers:
    def test_workers_of_a_cluster_compute_and_write(self, tmp_path):
        pytest.importorskip("distributed")
        with cluster(1, threads_per_worker=2):
            cache = Cache(tmp_path)
            array = da.arange(100, chunks=10).map_blocks(lambda b: b * 0 + os.getpid(), dtype=int)
            found = cache.run("pid", doubled, array)
            assert set(found.compute() // 2) != {os.getpid()}
            assert len(set(found.compute())) == 1
        np.testing.assert_array_equal(cache.run("pid", doubled, array), found)
        assert CALLS == ["doubled"]

    def test_progress_is_shown(self, tmp_path, capsys):
        import xlabelstats

        with xlabelstats.set_options(progress=True):
            Cache(tmp_path).run("cubed", cubed, da.arange(100, chunks=10))
        assert "xlabelstats" in capsys.readouterr().err

    def test_memory_holds_what_was_computed(self):
        def slow(block):
            CALLS.append("block")
            return block

        found = Cache(None).run(
            "slow", lambda a: a.map_blocks(slow, dtype=a.dtype, meta=a._meta), da.arange(4, chunks=2)
        )
        assert CALLS == ["block", "block"]
        found.compute()
        assert CALLS == ["block", "block"]


@ome
@parquet
@pytest.mark.parametrize("url", ["folder", None])
def test_the_whole_chain_runs_once_and_agrees_with_scipy(nuclei2d, tmp_path, url):
    from scipy import ndimage

    def binary(image, above):
        CALLS.append("binary")
        return (image > above).astype("uint8")

    def labels(binary):
        CALLS.append("labels")
        return binary.copy(data=ndimage.label(binary)[0].astype("int32"))

    def centroids(labels):
        CALLS.append("centroids")
        return labels.labels.center_of_mass().labels.to_dataframe()

    image, _ = nuclei2d
    image = image.chunk(100).assign_coords(y=np.arange(512) * 0.5)
    for _ in range(2):
        cache = Cache(tmp_path) if url else Cache(None)
        mask = cache.run("labels", labels, cache.run("binary", binary, image, above=60), multiscale=3)
        table = cache.run("centroids", centroids, mask)
    once = ["binary", "labels", "centroids"]
    assert CALLS[:3] == once
    assert len(CALLS) == (3 if url else 6)
    expected = ndimage.label(image.values > 60)[0]
    centres = ndimage.center_of_mass(expected > 0, expected, np.arange(1, expected.max() + 1)) * np.array([0.5, 1])
    np.testing.assert_allclose(table[["center_of_mass_y", "center_of_mass_x"]], centres)


class TestLog:
    def test_it_says_what_was_computed_and_what_was_there(self, tmp_path, caplog) -> None:
        cache = Cache(tmp_path)
        with caplog.at_level("INFO", "xlabelstats.pipeline"):
            for _ in range(2):
                cache.run("total", sum, [1, 2])
        first, second = caplog.messages
        assert first.startswith("total: computed in ")
        assert second == "total: found in the cache"


class TestTablesThatComeOutAlike:
    def test_what_was_made_from_either_is_not_stale(self, tmp_path) -> None:
        def first(n, _unused):
            return pd.DataFrame({"a": range(n)})

        def second(table):
            return int(table["a"].sum())

        cache = Cache(tmp_path)
        for unused in (1, 2):
            assert cache.run("second", second, cache.run("first", first, 4, unused)) == 6
        status = Cache(tmp_path).status().set_index("name")
        assert status.loc["second", "stale"] == ""
        cache.run("first", first, 5, 1)
        assert "'first' was run since" in cache.status().set_index("name").loc["second", "stale"]


class TestMistakesOfUsers:
    def test_a_keyword_that_run_has_too_is_told_though_it_is_given(self, tmp_path) -> None:
        def chunked(image, chunks):
            return image

        with pytest.raises(TypeError, match=r"has a parameter 'chunks', which run\(\) has too"):
            Cache(tmp_path).run("s", chunked, np.ones(3), chunks=3)

    def test_a_misspelt_argument_is_named(self, tmp_path) -> None:
        def smooth(image, sigma):
            return image

        with pytest.raises(TypeError, match="unknown argument 'sgima', did you mean 'sigma'"):
            Cache(tmp_path).run("s", smooth, np.ones(3), sgima=3)

    @pytest.mark.parametrize(
        ("name", "answer"),
        [
            ("preferred_chunksize", r"it is called chunks: run\(name, step, ..., chunks=...\)"),
            ("cache_url", r"Cache\(url\)"),
            ("storage_options", r"Cache\(url, storage_options=...\) reaches the URL; run\(.*chunks="),
            ("storage_option", r"run\(.*chunks=, multiscale=, compressor="),
            ("context_args", r"Cache\(url, viewer=...\).*chunks=, multiscale=, compressor="),
            ("viewer", r"Cache\(url, viewer=...\)"),
            ("viewer_args", r"run\(..., is_label=\)"),
            ("layer_args", "it is called layer"),
            ("skip_cache", "call the step itself"),
        ],
    )
    def test_options_of_cvpl_tools_are_answered_with_what_they_are_called_here(self, cache, name, answer) -> None:
        with pytest.raises(TypeError, match=rf"run\(\) has no option '{name}'; .*{answer}"):
            cache.run("s", doubled, np.ones(3), **{name: {}})

        def step(image, **options):
            return sorted(options)

        assert cache.run("s", step, np.ones(3), **{name: 1}) == [name]

    @pytest.mark.parametrize(
        "options",
        [
            {"cache_url": "folder"},
            {"preferred_chunksize": (2, 2)},
            {"context_args": {}},
            {"is_label": True},
            {"multiscale": 3},
            {"storage_options": {"preferred_chunksize": (2, 2)}},
            {"storage_options": {"multiscale": 3}},
        ],
    )
    def test_a_cache_answers_them_too(self, options) -> None:
        (name,) = next(iter(options.values())) if "storage_options" in options else options
        with pytest.raises(TypeError, match=f"has no option '{name}'; .*(run|Cache)"):
            Cache("memory://answers", **options) if name != "cache_url" else Cache(**options)
        with pytest.raises(TypeError, match="unexpected keyword argument 'veiwer'"):
            Cache(None, veiwer=True)

    def test_a_folder_that_cannot_be_written_is_told_before_the_step_runs(self, tmp_path) -> None:
        (tmp_path / "file").write_text("no folder")
        ran = []
        with pytest.raises(OSError, match="no results can be written to the cache in this folder"):
            Cache(tmp_path / "file").run("s", ran.append, 1)
        assert not ran

    def test_an_error_says_which_step_it_is_from(self, tmp_path) -> None:
        def broken(image):
            raise ZeroDivisionError("no")

        with pytest.raises(ZeroDivisionError) as error:
            Cache(tmp_path).child("cells").run("binary", broken, 1)
        assert error.value.__notes__ == ["in the step 'cells/binary'"]

    def test_what_was_called_already_is_no_step(self, tmp_path) -> None:
        with pytest.raises(TypeError, match="give the function and its arguments apart"):
            Cache(tmp_path).run("s", np.ones(3))

    def test_a_comparison_prints_without_its_pictures(self) -> None:
        def above(image, value):
            return (image > value).astype(np.uint8)

        tried = Cache(None).compare(above, {"value": [0, 1]}, on=np.eye(4))
        assert "picture" in tried
        assert "picture" not in repr(tried)
