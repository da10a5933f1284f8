"""What a key tells apart, and what it takes for the same."""

from __future__ import annotations

import datetime
import importlib
import pickle
import sys
import time
from collections import defaultdict
from functools import lru_cache, partial, update_wrapper

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import module_of
from processes import printed

from xlabelstats.pipeline import map_blocks, step
from xlabelstats.pipeline.cache import Cache, code, keys
from xlabelstats.pipeline.cache.code import package_of
from xlabelstats.pipeline.cache.keys import digest


def token(value: object) -> str:
    return keys.token(value, "the value")


def all_differ(values: list) -> bool:
    return len({token(value) for value in values}) == len(values)


def same(value):
    return value


def total(value):
    return float(np.asarray(value).sum())


class TestArrays:
    @pytest.mark.parametrize("dtype", ["u1", ">i4", "f8", "M8[s]", "U3", "?", [("a", "i2"), ("b", "u1")]])
    def test_are_known_by_their_values_however_they_lie_in_memory(self, dtype):
        array = np.array([[0, 2, 0], [0, 0, 4], [5, 6, 0]]).astype(dtype)
        for laid_out in (np.asfortranarray(array), array.copy(), array.T.copy().T, array[::-1].copy()[::-1]):
            assert token(laid_out) == token(array)
        assert all_differ([array, array.T, array[::-1], array.reshape(9), array.reshape(1, 9), array[:0]])

    def test_a_transposed_image_is_another_input(self):
        cache, image = Cache(None), np.arange(4).reshape(2, 2)
        for each in (image, image.T):
            np.testing.assert_array_equal(cache.run("same", same, each), each)

    def test_fields_and_byte_orders_count(self):
        assert all_differ(
            [np.zeros(2, [("a", "i2")]), np.zeros(2, [("b", "i2")]), np.zeros(2, "<i2"), np.zeros(2, ">i2")]
        )

    def test_masked_arrays_count_with_their_mask_and_order(self):
        values = np.arange(4.0).reshape(2, 2)
        masked = np.ma.array(values, mask=values > 2)
        assert token(masked) == token(masked.copy(order="F"))
        assert all_differ([masked, masked.T, np.ma.array(values, mask=values > 1), np.ma.array(values)])

    def test_files_mapped_to_memory_count_with_their_shape(self, tmp_path):
        shapes = [(4, 4), (2, 8)]
        (tmp_path / "raw").write_bytes(bytes(16))
        assert all_differ([np.memmap(tmp_path / "raw", "u1", "r", shape=shape) for shape in shapes])

    def test_of_a_class_of_their_own_count_with_their_order(self):
        tagged = np.arange(4).reshape(2, 2).view(type("Tagged", (np.ndarray,), {}))
        assert all_differ([tagged, tagged.T, tagged.view(np.ndarray)])

    def test_of_objects_count_with_the_types_of_the_values(self):
        assert all_differ([np.array(each, object) for each in ([1, 2], ["1", "2"], [1.0, 2.0], [[1, 2]])])


class TestFunctions:
    def test_defaults_of_one_given_as_an_argument_count(self):
        cache, image = Cache(None), np.arange(4, dtype="u1")

        def by_keyword(k):
            def times(block, *, k=k):
                return block * k

            return times

        for k in (2, 3, 2):
            found = cache.run("times", map_blocks, image, lambda block, k=k: block * np.uint8(k))
            np.testing.assert_array_equal(found, image * k)
            np.testing.assert_array_equal(cache.run("keyword", map_blocks, image, by_keyword(np.uint8(k))), image * k)
        assert len(cache.status()) == 4

    def test_defaults_of_one_held_by_a_step_count(self):
        def made(k):
            def helper(value, by=k):
                return value * by

            return lambda value: helper(value)

        cache = Cache(None)
        assert [cache.run("step", made(k), 5) for k in (2, 3, 2)] == [10, 15, 10]

    def test_a_default_that_stands_for_nothing_is_no_hindrance(self):
        missing = object()

        def by_name(block, *, k=missing):
            return block

        assert all_differ([lambda block, k=missing: block, by_name])

    def test_the_same_source_in_two_modules_is_not_the_same(self, tmp_path):
        source = "def helper(x):\n    return x + {}\ndef clean(x):\n    return helper(x)\n"
        steps = [module_of(tmp_path / f"cleaning_{k}.py", source.format(k)).clean for k in (1, 100)]
        cache = Cache(None)
        assert [cache.run("clean", step, 1) for step in steps] == [2, 101]
        assert all_differ(steps)

    def test_those_bound_or_wrapped_count_with_their_source(self, tmp_path):
        source = "def step(x, k):\n    return x {} k\n"
        tokens = []
        for operator in "+-+":
            step = module_of(tmp_path / "bound_steps.py", source.format(operator)).step
            tokens.append([token(each) for each in (partial(step, k=1), partial(step, k=2), lru_cache(step))])
        assert tokens[0] == tokens[2]
        assert len({*tokens[0], *tokens[1]}) == 6

    def test_a_keyword_named_as_a_parameter_by_position_is_not_taken_for_it(self):
        def step(x, /, **others):
            return x * 100 + others["x"]

        cache = Cache(None)
        assert [cache.run("step", step, x, x=2) for x in (1, 3)] == [102, 302]


class TestObjects:
    SOURCE = """
        class Model:
            def __init__(self, k):
                self.k = k
            def __call__(self, block):
                return block > self.k {}
    """

    def test_models_count_with_the_source_of_their_class_and_their_content(self, tmp_path):
        tokens = []
        for edit in ("", "+ 1", ""):
            model = module_of(tmp_path / "some_models.py", self.SOURCE.format(edit)).Model
            tokens.append([token(model(k)) for k in (1, 2)])
        assert tokens[0] == tokens[2]
        assert len({*tokens[0], *tokens[1]}) == 4

    def test_a_class_is_the_same_after_a_model_of_it_was_pickled(self, tmp_path):
        model = module_of(tmp_path / "pickled_models.py", self.SOURCE.format("")).Model
        before = token(model)
        # This leaves a note of its slots in the class.
        pickle.dumps(model(1))
        assert "__slotnames__" in vars(model)
        assert token(model) == before

    def test_a_declared_version_counts_in_place_of_the_source(self, tmp_path):
        tokens = []
        for version, edit in ((1, ""), (1, "+ 1"), (2, "")):
            model = module_of(tmp_path / "versioned_models.py", self.SOURCE.format(edit)).Model
            tokens.append(token(step(version)(model)(1)))
        assert tokens[0] == tokens[1] != tokens[2]

    def test_what_a_class_says_of_itself_counts_in_place_of_the_content(self, tmp_path):
        path, sources = tmp_path / "telling_models.py", [self.SOURCE.format(edit) for edit in ("", "", "+ 1")]
        first, again, other = (module_of(path, source).Model for source in sources)
        elsewhere = module_of(tmp_path / "other_models.py", sources[0]).Model
        for model in (first, again, other, elsewhere):
            model.__dask_tokenize__ = lambda self: "weights.pt of 2026-01-01"
        assert token(first(1)) == token(again(2))
        assert all_differ([first(1), other(1), elsewhere(1)])

    def test_a_version_that_a_class_has_for_something_else_is_not_that_of_its_code(self, tmp_path):
        made = [
            module_of(tmp_path / "formats.py", f"class Format:\n    version = '1'\n    k = {k}\n").Format
            for k in (1, 2)
        ]
        assert all_differ(made)
        assert all_differ([each() for each in made])
        assert token(step(1)(made[0])) == token(step(1)(made[1]))
        assert made[0].version == "1"

    @pytest.mark.parametrize("base", ["pd.DataFrame", "pd.Series", "xr.DataArray", "np.ma.MaskedArray", "set"])
    def test_methods_count_whatever_their_class_is_made_of(self, tmp_path, base):
        source = f"import numpy as np, pandas as pd, xarray as xr\nclass Own({base}):\n    __slots__ = ()\n"
        source += "    def of(self):\n        return {}\n"
        made = [module_of(tmp_path / "own_kinds.py", source.format(k)).Own([1, 2]) for k in (1, 1, 2)]
        assert token(made[0]) == token(made[1]) != token(made[2])

    def test_slots_and_what_a_class_keeps_when_pickled_count(self):
        class Slotted:
            __slots__ = ("k",)

            def __init__(self, k):
                self.k = k

        class Kept:
            def __init__(self, k):
                self.k, self.scratch = k, object()

            def __getstate__(self):
                return {"k": self.k}

        for kind in (Slotted, Kept):
            assert token(kind(1)) == token(kind(1))
            assert all_differ([kind(1), kind(2)])

    def test_one_that_holds_itself_is_known(self):
        def ring(k):
            model = Node()
            model.k, model.others = k, [model]
            return model

        assert token(ring(1)) == token(ring(1)) != token(ring(2))

    def test_they_are_the_same_in_a_process_with_other_hashes(self):
        program = """
            import dataclasses, enum
            import numpy as np, pandas as pd
            from xlabelstats.pipeline.cache import Cache
            from xlabelstats.pipeline.cache.keys import token
            @dataclasses.dataclass
            class Settings:
                channels: dict
                names: set
            class Model:
                def __init__(self):
                    self.settings = Settings({"dapi": 1, "gfp": 2}, {"a", "b", "c"})
                    self.weights = np.arange(3.0)
                def __call__(self, block):
                    return block in {"x", "y", "z"}
            class Mode(enum.Enum):
                FAST = {"a", "b", "c"}
            values = [Settings({"a": {"u", "v", "w"}}, set("xyz")), Model(), Model().__call__, Mode.FAST]
            print(*(token(value, "it") for value in values))
        """
        assert printed(program, seed="1") == printed(program, seed="2")

    def test_what_cannot_be_known_again_is_named_with_its_article(self):
        class Opaque:
            def __getstate__(self):
                raise RuntimeError("not to be pickled")

        with pytest.raises(TypeError, match=r"^the value is an Opaque, and it is not known"):
            token(Opaque())
        model = Node()
        model.inner = Node()
        model.inner.deep = Opaque()
        with pytest.raises(TypeError, match=r"^something in the value is an Opaque, and it is not known"):
            token(model)


class Node:
    pass


class TestTables:
    @pytest.mark.parametrize(
        "columns",
        [
            [[1, 2], ["1", "2"], [1.0, 2.0], [True, 2]],
            [[None, "a"], [np.nan, "a"], [pd.NA, "a"], ["None", "a"]],
            [[[1], [2]], [[1], [3]], [(1,), (2,)]],
            [[np.arange(2000)], [np.where(np.arange(2000) == 1000, 0, np.arange(2000))]],
        ],
    )
    def test_of_objects_count_with_the_types_of_the_values(self, columns):
        for made in (lambda c: pd.DataFrame({"a": c}), lambda c: c, pd.Index):
            if made is pd.Index and not all(pd.api.types.is_hashable(each) for column in columns for each in column):
                continue
            tables = [made(pd.Series(column, dtype=object)) for column in columns]
            assert all_differ(tables)
            assert [token(each) for each in tables] == [token(each.copy()) for each in tables]

    def test_an_index_of_objects_counts_with_the_types_of_its_values(self):
        indices = [pd.Index(each, dtype=object) for each in ([1, 2], ["1", "2"])]
        assert all_differ([pd.DataFrame({"a": [0, 0]}, index=index) for index in indices])
        assert all_differ([pd.Series([0, 0], index=pd.MultiIndex.from_arrays([index, [1, 2]])) for index in indices])

    def test_categories_count_with_their_order(self):
        kinds = [(["a", "b"], False), (["b", "a"], False), (["a", "b", "z"], False), (["a", "b"], True)]
        values = [pd.Categorical(["a", "b"], categories, ordered=ordered) for categories, ordered in kinds]
        for made in (lambda v: pd.DataFrame({"a": v}), pd.Series, pd.CategoricalIndex):
            assert all_differ([made(value) for value in values])

    def test_they_count_with_names_values_and_dtypes(self):
        table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
        others = [
            table.rename(columns={"a": 0}),
            table.rename(columns={"a": "0"}),
            table[["b", "a"]],
            table.rename_axis(columns="kind"),
            table.rename_axis(index="cell"),
            table.astype({"a": "Int64"}),
            table.iloc[::-1],
        ]
        assert all_differ([table, *others])
        assert token(table) == token(table.copy())


class TestFiles:
    def written(self, path, value):
        time.sleep(0.02)
        return zarr.create_array(path, data=np.full((4, 4), value), chunks=(2, 2), overwrite=True)

    def test_a_group_in_which_an_array_was_replaced_is_another_input(self, tmp_path):
        cache, path = Cache(None), tmp_path / "image.zarr"
        zarr.open_group(path, mode="w").create_group("labels")
        for value in (1, 2):
            self.written(path / "labels" / "nuclei", value)
            for _ in range(2):
                found = cache.run(
                    "total", lambda group: total(group["labels/nuclei"][:]), zarr.open_group(path, mode="r")
                )
                assert found == 16 * value
        assert len(cache.status()) == 2

    def test_entries_from_a_group_in_which_an_array_was_replaced_are_stale(self, tmp_path):
        cache, path = Cache(None), tmp_path / "image.zarr"
        zarr.open_group(path, mode="w")
        self.written(path / "0", 1)
        cache.run("names", lambda group: list(group), zarr.open_group(path, mode="r"))
        assert cache.status()["stale"].tolist() == [""]
        self.written(path / "0", 2)
        assert "'group' was written again" in cache.status()["stale"][0]

    @pytest.mark.parametrize("change", [lambda a: a, lambda a: a + 0, lambda a: a.rechunk(3)[::-1]])
    def test_an_array_written_anew_is_seen_through_an_optimised_graph(self, tmp_path, change):
        cache, path = Cache(None), tmp_path / "raw.zarr"
        for value in (1, 2):
            self.written(path, value)
            for _ in range(2):
                assert cache.run("total", total, dask.optimize(change(da.from_zarr(path)))[0]) == 16 * value
        assert len(cache.status()) == 2


def test_status_runs_no_module(tmp_path, capsys):
    module = module_of(tmp_path / "unguarded.py", "print('it runs')\ndef step(x):\n    return x\n")
    cache = Cache(None)
    cache.run("step", module.step, 1)
    del sys.modules["unguarded"]
    sys.path.insert(0, str(tmp_path))
    try:
        capsys.readouterr()
        assert cache.status()["stale"].tolist() == [""]
    finally:
        sys.path.remove(str(tmp_path))
    assert "unguarded" not in sys.modules
    assert capsys.readouterr().out == ""


class TestLoadedCode:
    STEP = "def step(x):\n    return x {} 1\n"

    def test_a_class_edited_after_import_stores_nothing_under_the_new_source(self, tmp_path):
        source = "class Model:\n    def __call__(self, x):\n        return x {} 1\n"
        cache, path = Cache(tmp_path / "cache"), tmp_path / "edited_models.py"
        loaded = module_of(path, source.format("+"))
        path.write_text(source.format("-"))
        assert cache.run("step", loaded.Model(), 5) == 6
        assert cache.run("step", module_of(path, source.format("-")).Model(), 5) == 4

    @pytest.mark.parametrize(
        "source",
        [
            "def helper(x):\n    return x {}\n",
            "def helper(x):\n    return x {}\ndef step(x):\n    return [helper(each) for each in [x]][0]\n",
            "helper = dict(by=lambda x: x {})\ndef step(x):\n    return helper['by'](x)\n",
            "import enum\nclass Mode(enum.IntEnum):\n    A = 0 {}\ndef step(x):\n    return x + Mode.A\n",
            "import enum\nclass Mode(enum.IntEnum):\n    A = 5\n    def of(self):\n        return self {}\nA = Mode.A\n"
            "def step(x):\n    return int(A.of())\n",
            "class A:\n    @property\n    def of(self):\n        return 5 {}\ndef step(x):\n    return A().of\n",
            "class B:\n    version = 1\nclass A(B):\n    @classmethod\n    def of(cls, x):\n        return x {}\n"
            "def step(x):\n    return A.of(x)\n",
            "class Helper:\n    shift = 0 {}\ndef step(x):\n    return x + Helper.shift\n",
            "shift = 0 {}\ndef step(x):\n    return x + shift\n",
            "def step(x, by=lambda x: x {}):\n    return by(x)\n",
            "import functools\n@functools.lru_cache\ndef helper(x):\n    return x {}\n",
            "import numba\n@numba.njit\ndef helper(x):\n    return x {}\n",
            "import numba\n@numba.vectorize\ndef by(x):\n    return x {}\ndef step(x):\n    return int(by(x))\n",
        ],
    )
    def test_what_the_code_refers_to_counts(self, tmp_path, source):
        cache, path = Cache(None), tmp_path / "helped_steps.py"
        source += "" if "def step" in source else "def step(x):\n    return helper(x)\n"
        results = [cache.run("step", module_of(path, source.format(edit)).step, 5) for edit in ("+ 0", "+ 1", "+ 0")]
        assert results in ([5, 6, 5], [0, 1, 0])
        assert len(cache.status()) == 2

    @pytest.mark.parametrize(
        "step",
        [
            "import helping\ndef step(x):\n    return helping.helper(x)\n",
            "def step(x):\n    import helping\n    return helping.helper(x)\n",
            "def step(x):\n    from helping import helper\n    return helper(x)\n",
        ],
    )
    def test_functions_of_modules_of_the_user_count(self, tmp_path, step):
        cache, results = Cache(None), []
        for edit in ("+ 0", "+ 1"):
            module_of(tmp_path / "helping.py", f"def helper(x):\n    return x {edit}\n")
            results.append(cache.run("step", module_of(tmp_path / "importing.py", step).step, 5))
        assert results == [5, 6]

    def test_functions_that_call_each_other_are_known(self, tmp_path):
        source = "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 {} and even(n - 1)\n"
        edits = ("", "and n > 0", "")
        steps = [module_of(tmp_path / "recursive.py", source.format(edit)) for edit in edits]
        first, second, third = ([token(step.even), token(step.odd)] for step in steps)
        assert first == third
        assert len({*first, *second}) == 4

    def test_where_and_how_it_is_written_does_not(self, tmp_path):
        plain = "def step(x):\n    class Local:\n        k = 1\n    return [x + Local.k, lambda y: (y, 'a')]\n"
        laid_out = (
            "# moved\n\n\ndef step(x):\n    'Say what it does.'\n    class Local:\n        '''Of one.'''\n"
            "        k = 1  # one\n\n    return [\n        x + Local.k,\n        lambda y: (y, 'a')]\n"
        )
        tokens = [token(module_of(tmp_path / "laid_out.py", source).step) for source in (plain, laid_out)]
        assert tokens[0] == tokens[1]

    def test_functions_of_packages_count_with_the_version_of_the_package(self, monkeypatch):
        import scipy.ndimage

        values = [np.sqrt, scipy.ndimage.gaussian_filter, scipy.ndimage, pd.DataFrame, np.vectorize(total)]
        before = [token(value) for value in values]
        monkeypatch.setattr(code, "package_of", lambda module: "99" if not module.startswith(__name__) else None)
        assert not {token(value) for value in values} & set(before)

    def test_compiled_functions_of_no_package_are_asked_for_a_version(self):
        with pytest.raises(TypeError, match=r"compiled, and of no installed package.*step\(version=1\)"):
            token(np.frompyfunc(total, 1, 1))

    def test_a_global_that_cannot_be_known_again_is_named_unless_a_version_is_declared(self, tmp_path):
        source = "log = (each for each in 'ab')\ndef step(x):\n    return log and x\n"
        step = module_of(tmp_path / "logging_steps.py", source).step
        words = r"the global 'log' of logging_steps:step is a generator.*step\(version=1\)"
        with pytest.raises(TypeError, match=words):
            Cache(None).run("step", step, 1)
        step.version = 1
        assert Cache(None).run("step", step, 1) == 1

    def test_tokens_are_the_same_in_a_process_with_other_hashes(self, tmp_path):
        (tmp_path / "hashed.py").write_text(
            "import enum, dataclasses\nNAMES = {'a', 'b', 'c'}\nclass Mode(enum.Enum):\n    A = {'u', 'v', 'w'}\n"
            "@dataclasses.dataclass\nclass Settings:\n    mode: Mode = Mode.A\n    size: int = 1\n"
            "def helper(x):\n    return {f for f in (helper, step) if x in {'x', 'y', 'z'}} or NAMES\n"
            "HELPERS = {helper, Settings}\n"
            "def step(x):\n    return helper(x), HELPERS, Settings()\n"
        )
        program = """
            import sys
            sys.path.insert(0, sys.argv[1])
            import hashed
            from xlabelstats.pipeline.cache.keys import token
            print(token(hashed.step, "it"))
        """
        assert len({printed(program, str(tmp_path), seed=seed) for seed in "12"}) == 1


class TestModules:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        (tmp_path / "ourparts").mkdir()
        (tmp_path / "ourparts" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        yield tmp_path / "ourparts"
        for name in [name for name in sys.modules if name.startswith("ourparts")]:
            del sys.modules[name]

    def test_a_submodule_that_a_step_loads_counts_before_it_is_loaded(self, package, tmp_path):
        source = "def step(x):\n    from ourparts import late\n    return late.helper(x)\n"
        tokens = []
        for edit in ("+ 1", "+ 200"):
            (package / "late.py").write_text(f"def helper(x):\n    return x {edit}\n")
            for name in ("ourparts", "ourparts.late"):
                sys.modules.pop(name, None)
            importlib.invalidate_caches()
            step = module_of(tmp_path / "loading_steps.py", source).step
            before = token(step)
            step(1)
            tokens.append([before, token(step)])
        assert tokens[0][0] == tokens[0][1]
        assert tokens[1][0] == tokens[1][1] != tokens[0][0]

    def test_one_named_as_a_module_of_python_is_the_users(self, tmp_path, monkeypatch):
        package_of.cache_clear()
        tokens = []
        for edit in ("+ 1", "+ 2"):
            monkeypatch.delitem(sys.modules, "profile", raising=False)
            module = module_of(tmp_path / "profile.py", f"def step(x):\n    return x {edit}\n")
            tokens.append(token(module.step))
        monkeypatch.delitem(sys.modules, "profile")
        package_of.cache_clear()
        assert tokens[0] != tokens[1]

    @pytest.mark.parametrize("held", [lambda m: m, lambda m: {"a": m}, lambda m: lambda x: m.f(x)])
    def test_those_held_or_given_count_with_what_is_in_them(self, tmp_path, held):
        tokens = []
        for edit in ("+ 1", "+ 2", "+ 1"):
            module = module_of(tmp_path / "held_module.py", f"def f(x):\n    return x {edit}\n")
            tokens.append(token(held(module)))
        assert tokens[0] == tokens[2] != tokens[1]

    @pytest.mark.parametrize("made", ["threading.Lock()", "threading.RLock()", "contextvars.ContextVar('held')"])
    def test_locks_are_no_hindrance(self, tmp_path, made):
        source = f"import contextvars, threading\nheld = {made}\ndef step(x):\n    return held and x {{}}\n"
        steps = [module_of(tmp_path / "locking.py", source.format(edit)).step for edit in ("+ 1", "+ 2", "+ 1")]
        tokens = [token(step) for step in steps]
        assert tokens[0] == tokens[2] != tokens[1]


class TestValues:
    def test_objects_linked_too_deep_are_asked_for_a_version(self):
        first = model = Node()
        for _ in range(2000):
            model.next = Node()
            model = model.next
        with pytest.raises(TypeError, match=r"the value .*not known whether .*step\(version=1\)"):
            token(first)

    def test_text_that_is_no_unicode_counts(self):
        assert all_differ(["\ud800", ["\ud800"], {"\ud800": 1}, {"\ud801": 1}, "?"])
        assert digest("\ud800") != digest("\ud801")
        dims = [xr.Dataset({name: 1}) for name in ("\ud800", "\ud801")]
        assert all_differ(dims)
        assert Cache(None).run("s", lambda **names: len(names), **{"\ud800": 1}) == 1

    def test_times_count(self):
        day = datetime.timedelta(1)
        made = [pd.Timestamp("2020"), pd.Timestamp("2020", tz="UTC"), pd.Timedelta("1s"), pd.NaT, day]
        made += [
            np.timedelta64(1, "s"),
            np.timedelta64(1, "m"),
            datetime.datetime(2020, 1, 1),
            datetime.date(2020, 1, 1),
        ]
        assert all_differ([*made, pd.Timestamp("2021"), pd.Timedelta("2s"), 2 * day])
        assert token(pd.Timestamp("2020")) == token(pd.Timestamp("2020"))
        assert token([made[0], made[0]]) == token([pd.Timestamp("2020"), pd.Timestamp("2020")])

    def test_the_order_of_a_dict_counts(self):
        assert all_differ([{"a": 1, "b": 2}, {"b": 2, "a": 1}])
        cache = Cache(None)
        assert [cache.run("s", list, dict.fromkeys(names)) for names in ("ab", "ba")] == [["a", "b"], ["b", "a"]]

    def test_missing_text_is_not_the_word_for_it(self):
        for dtype in ("str", "string", "category"):
            columns = [
                pd.Series(each, dtype=dtype) for each in (["a", None], ["a", "nan"], ["a", "None"], ["a", "<NA>"])
            ]
            assert all_differ(columns)
            assert [token(each) for each in columns] == [token(each.copy()) for each in columns]

    def test_what_an_object_that_wraps_a_function_holds_counts(self):
        class Repeated:
            def __init__(self, function, times):
                self.times = times
                update_wrapper(self, function)

            def __call__(self, x):
                return self.__wrapped__(x) * self.times

        cache = Cache(None)
        assert [cache.run("s", Repeated(same, times), 1) for times in (2, 3)] == [2, 3]

    def test_imports_of_packages_count_with_their_version(self, tmp_path, monkeypatch):
        step = module_of(tmp_path / "versions.py", "def step(x):\n    import scipy\n    return scipy.sum(x)\n").step
        before = token(step)
        monkeypatch.setattr(code, "package_of", lambda module: "99" if module == "scipy" else package_of(module))
        assert token(step) != before


class TestNames:
    def impure(self):
        return da.from_delayed(dask.delayed(np.ones)(3), (3,), float)

    @pytest.mark.parametrize(
        "made",
        [impure, lambda self: self.impure() + 1, lambda self: da.random.default_rng().random(3)],
        ids=["delayed", "made of delayed", "random"],
    )
    def test_an_array_whose_name_is_new_in_each_process_is_warned_of_once(self, made):
        cache = Cache(None)

        def step(image):
            return float(image.sum())

        step.__qualname__ = f"step_{made}"
        with pytest.warns(UserWarning, match=r"'image' that .* new name in each process.*seed its random") as seen:
            cache.run("step", step, made(self))
        cache.run("step", step, made(self))
        assert [each.filename for each in seen] == [__file__]

    @pytest.mark.filterwarnings("error")
    def test_arrays_of_a_name_of_their_own_are_not(self, tmp_path):
        cache, values = Cache(tmp_path / "cache"), np.arange(6.0)
        stored = cache.run("same", same, da.from_array(values, chunks=2))
        zarr.create_array(tmp_path / "raw.zarr", data=values, chunks=(2,))
        pure = da.from_delayed(dask.delayed(np.ones, pure=True)(3), (3,), float)
        seeded = da.random.default_rng(3).random(6, chunks=2)
        for image in (stored, stored.map_blocks(np.sqrt), da.from_zarr(tmp_path / "raw.zarr"), pure, seeded):
            cache.run("total", total, image)


def calling(helpers):
    def step(value):
        return helpers.plus(value)

    return step


def importing(value):
    import ourhelpers.parts

    return ourhelpers.plus(value)


class TestTraps:
    """What an earlier version took for something else, or failed on."""

    def test_zarr_arrays_in_memory_are_known_by_their_content(self):
        cache = Cache(None)
        for i in range(6):
            stored = zarr.array(np.full((4, 4), float(i)))
            assert cache.run("mean", lambda each: float(each[...].mean()), stored) == i
            del stored

    @pytest.mark.parametrize("way", ["closure", "import"])
    def test_modules_of_the_users_own_are_followed(self, way, tmp_path, monkeypatch):
        package = tmp_path / "ourhelpers"
        package.mkdir()
        (package / "parts.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        found = []
        for number in (1, 2):
            for name in ("ourhelpers", "ourhelpers.parts"):
                sys.modules.pop(name, None)
            (package / "__init__.py").write_text(f"def plus(value):\n    return value + {number}{' ' * number}\n")
            importlib.invalidate_caches()
            helpers = importlib.import_module("ourhelpers")

            step = calling(helpers) if way == "closure" else importing
            found.append(Cache(tmp_path / "cache").run("plus", step, 10))
        assert found == [11, 12]

    def test_default_dicts_and_trees_count_whole(self):
        cache = Cache(None)
        made = [cache.run("f", lambda d: d["y"], defaultdict(make)) for make in (int, list)]
        assert made == [0, []]
        trees = [xr.DataTree(xr.Dataset(attrs={"k": k})) for k in (1, 2)]
        assert [cache.run("t", lambda tree: tree.attrs["k"], tree) for tree in trees] == [1, 2]

    def test_objects_that_answer_for_every_attribute_are_parameters(self):
        class Settings(dict):
            __getattr__ = dict.__getitem__

        assert Cache(None).run("s", lambda settings: settings.a, Settings(a=5)) == 5

    def test_steps_of_many_names_may_import(self):
        names = ", ".join(f"value.real.n{i}" for i in range(300))
        scope: dict[str, object] = {"__name__": "many"}
        code = f"def step(value):\n    if value > 5:\n        return [{names}]\n    import json\n    return value"
        exec(code, scope)
        assert Cache(None).run("s", scope["step"], 3) == 3

    def test_functions_that_dispatch_by_type_are_known_whatever_they_met(self, tmp_path):
        source = (
            "from functools import singledispatch\n@singledispatch\ndef by(x):\n    return x\n"
            "@by.register\ndef _(x: int):\n    return x + {}\ndef step(x):\n    return by(x)\n"
        )
        first, other = (module_of(tmp_path / "dispatching.py", source.format(k)).step for k in (1, 2))
        before = token(first)
        assert first(1) == 2
        assert token(first) == before != token(other)

    def test_sets_of_a_class_of_the_users_own_are_the_same_in_every_process(self):
        program = "class Own(set): pass\nimport xlabelstats.pipeline.cache.keys as k\nprint(k.token(Own('abcdef'), ''))"
        assert printed(program, seed="1") == printed(program, seed="2")

    def test_zip_files_that_are_written_anew_are_another_input(self, tmp_path):
        found, cache = [], Cache(None)
        for k in (1, 2):
            with zarr.storage.ZipStore(tmp_path / "z.zip", mode="w") as store:
                zarr.create_array(store, shape=(4,), dtype="f8", chunks=(4,))[:] = k
            array = zarr.open_array(zarr.storage.ZipStore(tmp_path / "z.zip", mode="r"))
            found.append([cache.run("total", total, each) for each in (array, da.from_zarr(array))])
        assert found == [[4, 4], [8, 8]]

    def test_options_of_run_that_are_parameters_of_a_step_are_told(self):
        def step(x, chunks=1, **options):
            return x + chunks

        with pytest.raises(TypeError, match=r"has a parameter 'chunks', which run\(\) has too"):
            Cache(None).run("a", step, 1, chunks=5)
        assert Cache(None).run("a", partial(step, chunks=5), 1) == 6
        tried = Cache(None).compare(step, {"chunks": [1, 2]}, on=np.ones((2, 2)))
        assert tried["error"].tolist() == ["", ""]


def test_a_step_without_a_version_in_parentheses_is_an_error():
    with pytest.raises(TypeError, match=r"write @step\(1\) above the function"):

        @step
        def areas(mask):
            return mask
