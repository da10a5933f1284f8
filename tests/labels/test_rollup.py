"""Results merged to groups of labels: against measuring a mask of the groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

import xlabelstats

ALL = ("count", "valid", "sum", "mean", "var", "std", "skew", "kurtosis", "min", "max")


def field(
    seed: int = 0, *, nan: bool = False, dtype: Any = float, large: float = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """An image of two channels and a mask of some twenty labels."""
    rng = np.random.default_rng(seed)
    values = (rng.gamma(2, 30, (2, 40, 50)) + large).astype(dtype)
    if nan:
        values[rng.random(values.shape) < 0.3] = np.nan
    image = xr.DataArray(values, dims=("c", "y", "x"), coords={"c": ["DAPI", "CD3"]}, attrs={"units": "counts"})
    return image, xr.DataArray(blobs((40, 50), 25, seed), dims=("y", "x"))


def parents_of(mask: xr.DataArray, n: int = 5) -> xr.DataArray:
    """A group from 0 to n - 1 for every label."""
    ids = np.unique(mask)[1:]
    return xr.DataArray(np.random.default_rng(9).integers(0, n, ids.size), dims="label", coords={"label": ids})


def assert_same(merged: xr.Dataset, whole: xr.Dataset, rtol: float = 1e-12) -> None:
    """The same variables, dims, dtypes, attributes and labels, and numbers but for rounding."""
    assert list(merged) == list(whole)
    np.testing.assert_array_equal(merged["label"], whole["label"])
    for name in whole:
        assert merged[name].dims == whole[name].dims
        assert merged[name].dtype == whole[name].dtype
        assert merged[name].attrs == whole[name].attrs
        np.testing.assert_allclose(merged[name], whole[name], rtol=rtol, atol=1e-12, err_msg=str(name))


class TestIsThatOfAMaskOfTheGroups:
    @pytest.mark.parametrize("nan", [False, True])
    @pytest.mark.parametrize("ddof", [0, 1, 0.5])
    @pytest.mark.parametrize("chunks", [None, {"c": 1, "y": 7, "x": 50}])
    def test_every_statistic(self, nan: bool, ddof: float, chunks: Any) -> None:
        image, mask = field(nan=nan)
        groups = parents_of(mask)
        whole = mask.labels.paint(groups)
        if chunks:
            image, mask = image.chunk(chunks), mask.chunk(y=9)
        result = image.labels.aggregate(mask, ALL, ddof=ddof)
        merged = result.labels.rollup(groups)
        assert all((array.chunks is None) == (chunks is None) for array in merged.values())
        assert_same(merged.compute(), image.labels.aggregate(whole, ALL, ddof=ddof).compute())
        assert merged["c"].values.tolist() == ["DAPI", "CD3"]

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_any_labels_groups_and_pixels(self, data: st.DataObject) -> None:
        dtype = np.dtype(data.draw(st.sampled_from(["u1", "i8", "u8", "i2"])))
        top = int(np.iinfo(dtype).max)
        ids = np.array([0, 1, 5, top - 1, top] + ([-3] if dtype.kind == "i" else []), dtype)
        seed = data.draw(st.integers(0, 999))
        rng = np.random.default_rng(seed)
        mask = xr.DataArray(ids[rng.integers(0, ids.size, 40)], dims="x")
        values = rng.choice([0.0, 1.0, 2.5, np.nan, -7.0, 1e3], 40)
        if data.draw(st.booleans()):
            values = np.nan_to_num(values).astype(np.int16)
        image = xr.DataArray(values, dims="x")
        if data.draw(st.booleans()):
            image, mask = image.chunk(x=data.draw(st.integers(1, 40))), mask.chunk(x=data.draw(st.integers(1, 40)))
        groups = {int(one): int(data.draw(st.sampled_from([0, 1, 2, 2**40]))) for one in ids[1:]}
        skipna = data.draw(st.booleans())
        labels = data.draw(st.sampled_from([None, [*ids[:0:-1].tolist(), 77]]))
        result = image.labels.aggregate(mask, ALL, labels=labels, skipna=skipna)
        if labels is not None:
            groups |= {77: groups[5]}
        merged = result.labels.rollup(groups).compute()
        present = {label for label in np.unique(mask.values).tolist() if label}
        whole = image.labels.aggregate(
            mask.labels.paint({label: groups[label] for label in present}), ALL, skipna=skipna
        ).compute()
        merged = merged.sel(label=merged["count"] > 0)
        for name in ALL:
            np.testing.assert_allclose(merged[name], whole[name], rtol=1e-11, atol=1e-11, err_msg=name)
        np.testing.assert_array_equal(merged["label"], whole["label"])

    def test_pixels_far_from_zero_lose_no_precision(self) -> None:
        image, mask = field(large=1e6)
        groups = parents_of(mask)
        result = image.labels.aggregate(mask, ("valid", "mean", "var"))
        whole = image.labels.aggregate(mask.labels.paint(groups), ("valid", "mean", "var"))
        assert_same(result.labels.rollup(groups), whole, 1e-10)

    def test_real_nuclei_by_quarter(self, nuclei2d: Any) -> None:
        image, mask = nuclei2d
        scan = mask.labels.scan()
        quarter = 1 + (scan["centroid"] > 256).astype(int).dot(xr.DataArray([2, 1], dims="axis"))
        result = image.labels.aggregate(mask, ALL)
        assert_same(result.labels.rollup(quarter), image.labels.aggregate(mask.labels.paint(quarter), ALL))

    def test_boxes_centroids_and_areas(self) -> None:
        _, mask = field()
        mask = mask.assign_coords(y=np.arange(40) * 0.5, x=np.arange(50) * 2.0)
        groups = parents_of(mask)
        whole = mask.labels.paint(groups)
        scan = mask.labels.scan().drop_vars(["covariance", "axis_"])
        assert_same(scan.labels.rollup(groups), whole.labels.scan().drop_vars(["covariance", "axis_"]))
        names = ("area", "num_pixels", "centroid")
        shapes = mask.labels.regionprops(names)
        assert_same(shapes.labels.rollup(groups), whole.labels.regionprops(names))

    @pytest.mark.parametrize("chunks", [None, {"x": 2}])
    def test_weighted_statistics_of_labels_of_nan_pixels_alone(self, chunks: Any) -> None:
        mask = xr.DataArray([1, 1, 2, 2, 3, 3, 4, 4], dims="x")
        image = xr.DataArray([np.nan, np.nan, 1, 2, 3, 5, 2, 2], dims="x")
        weights = xr.DataArray([1.0, 1, 1, 1, 1, 3, 0, 0], dims="x")
        groups = {1: 10, 2: 10, 3: 20, 4: 20, 9: 20}
        whole = mask.labels.paint(groups)
        if chunks:
            image, mask = image.chunk(chunks), mask.chunk(chunks)
        for skipna in (False, True):
            result = image.labels.aggregate(mask, weights=weights, skipna=skipna, labels=[1, 2, 3, 4, 9])
            assert ("skipna" in result.coords) is not skipna
            assert_same(result.labels.rollup(groups), image.labels.aggregate(whole, weights=weights, skipna=skipna))
        result = image.labels.aggregate(mask, ("mean", "weight"), weights=weights, skipna=False)
        with pytest.raises(ValueError, match="mean needs sum, which tells a label whose pixels weigh nothing"):
            result.labels.rollup(groups)

    @pytest.mark.parametrize("chunks", [None, 11])
    def test_weighted_statistics(self, chunks: Any) -> None:
        image, mask = field(nan=True)
        groups = parents_of(mask)
        whole = mask.labels.paint(groups)
        weights = xr.DataArray(np.random.default_rng(3).integers(0, 3, mask.shape) / 2, dims=mask.dims)
        pixels, labels = (image, mask) if chunks is None else (image.chunk(chunks), mask.chunk(chunks))
        result = pixels.labels.aggregate(labels, weights=weights)
        assert_same(result.labels.rollup(groups), image.labels.aggregate(whole, weights=weights))
        with pytest.raises(ValueError, match="mean needs valid"):
            result.drop_vars("weight")[["mean", "count"]].labels.rollup(groups)

    def test_every_image_of_a_dataset(self) -> None:
        image, mask = field()
        cells = xr.Dataset({"a": image.isel(c=0, drop=True), "b": (image.isel(c=1, drop=True)).astype(int)})
        groups = parents_of(mask)
        merged = cells.labels.aggregate(mask, ALL).labels.rollup(groups)
        assert_same(merged, cells.labels.aggregate(mask.labels.paint(groups), ALL))

    def test_every_time_by_itself(self) -> None:
        rng = np.random.default_rng(1)
        mask = xr.DataArray(rng.integers(0, 6, (3, 50)), dims=("t", "x"), coords={"t": [0.5, 2.0, 7.0]})
        mask[1] = mask[1].where(mask[1] < 3, 0)
        image = xr.DataArray(rng.random((3, 50)), dims=("t", "x"))
        groups = {1: 20, 2: 10, 3: 20, 4: 0, 5: 10}
        result = image.labels.aggregate(mask, ALL, per="t")
        whole = image.labels.aggregate(mask.labels.paint(groups), ALL, per="t")
        for each in (groups, xr.DataArray([groups[i] for i in result["label"].values], result["label"].coords)):
            merged = result.labels.rollup(each)
            assert_same(merged, whole)
            np.testing.assert_array_equal(merged["t"], whole["t"])


class TestCount:
    def test_stands_in_for_valid_where_no_pixel_was_left_out(self) -> None:
        names = ("count", "mean", "var", "std", "skew", "kurtosis", "min", "max")
        for image, skipna in ((field(dtype=np.int16)[0], None), (field(nan=True)[0], False)):
            mask = field()[1]
            groups = parents_of(mask)
            merged = image.labels.aggregate(mask, names, skipna=skipna).labels.rollup(groups)
            assert not merged["skipna"]
            assert_same(merged, image.labels.aggregate(mask.labels.paint(groups), names, skipna=skipna), 1e-11)

    def test_does_not_where_pixels_may_have_been(self) -> None:
        image, mask = field()
        result = image.labels.aggregate(mask, ("count", "mean", "var"))
        assert result["skipna"]
        with pytest.raises(ValueError, match=r"mean, var need valid, .*image of integers, or skipna=False"):
            result.labels.rollup(parents_of(mask))
        with pytest.raises(ValueError, match="need valid"):
            result.drop_vars("skipna").labels.rollup(parents_of(mask))

    def test_of_a_dataset_not_if_one_image_may_lack_pixels(self) -> None:
        image, mask = field()
        for order in ("ab", "ba"):
            arrays = {"a": image.isel(c=0, drop=True).astype(int), "b": image.isel(c=1, drop=True)}
            cells = xr.Dataset({name: arrays[name] for name in order})
            result = cells.labels.aggregate(mask, ("count", "mean"))
            assert result["skipna"]
            with pytest.raises(ValueError, match="mean_a needs valid_a"):
                result[["count", "mean_a"]].labels.rollup(parents_of(mask))

    def test_of_another_image_not_where_it_was_put_beside(self) -> None:
        image, mask = field(nan=True)
        image, groups = image.isel(c=0, drop=True), parents_of(mask)
        result = image.fillna(0).astype(int).labels.aggregate(mask, ("count", "mean"))
        result["mean_red"] = image.labels.mean(mask)
        with pytest.raises(ValueError, match="mean_red needs valid_red"):
            result.labels.rollup(groups)
        result["valid_red"] = image.labels.aggregate(mask, "valid")["valid"]
        result["valid"] = result["count"]
        np.testing.assert_allclose(
            result.labels.rollup(groups)["mean_red"], image.labels.mean(mask.labels.paint(groups)), rtol=1e-12
        )


class TestWhatIsRecorded:
    def test_only_where_it_says_something(self) -> None:
        image, mask = field()
        for stats, coords in (
            (("count", "sum", "valid"), set()),
            ("mean", {"skipna"}),
            ("min", {"skipna"}),
            ("var", {"skipna", "ddof"}),
        ):
            result = image.labels.aggregate(mask, stats, ddof=1)
            assert set(result.coords) - {"label", "c"} == coords
            assert set(image.labels.measure(mask, stats, ddof=1).coords) - {"label", "c"} == coords
        assert result["ddof"].item() == 1
        for array in (image.labels.median(mask), image.labels.mean(mask), image.labels.var(mask)):
            assert not {"skipna", "ddof"} & set(array.coords)

    def test_of_an_image_made_with_numbers_of_another_result(self) -> None:
        image, mask = field(nan=True)
        other = image.fillna(0).astype(int).labels.aggregate(mask, ("mean", "std"), ddof=2)
        assert not other["skipna"]
        scaled = image / other["std"].max()
        groups = parents_of(mask)
        names = ("count", "valid", "mean", "std")
        result = scaled.labels.aggregate(mask, names, ddof=1)
        assert result["ddof"].item() == 1
        assert result["skipna"]
        assert_same(
            result.labels.rollup(groups), scaled.labels.aggregate(mask.labels.paint(groups), names, ddof=1), 1e-11
        )

    @pytest.mark.parametrize("name", ["ddof", "skipna"])
    def test_not_where_a_dim_has_the_name(self, name: str) -> None:
        image, mask = field()
        result = image.rename(c=name).drop_vars(name).labels.aggregate(mask, ("mean", "std"))
        assert result["mean"].dims == ("label", name)
        assert name not in result.coords

    def test_results_with_other_ddof_go_together_where_that_does_not_matter(self) -> None:
        image, mask = field()
        one = image.labels.aggregate(mask, ("count", "valid", "mean"))
        other = image.labels.aggregate(mask, ("var", "count"), ddof=1)
        merged = xr.merge([one, other], compat="no_conflicts", join="outer")
        assert merged["ddof"] == 1
        merged.labels.rollup(parents_of(mask))
        variances = [image.labels.aggregate(mask, "var", ddof=ddof)["var"] for ddof in (0, 1)]
        ratio = variances[1] / variances[0]
        assert (ratio > 1).all()
        assert "ddof" not in ratio.coords
        stacked = xr.concat(variances, "run", coords="different", compat="equals")
        assert stacked["ddof"].values.tolist() == [0, 1]

    def test_a_variance_that_ddof_hides_makes_that_of_its_group_nan(self) -> None:
        mask = xr.DataArray([1, 1, 2, 2, 2, 2, 3, 4, 4, 4], dims="x")
        image = xr.DataArray(np.arange(10) ** 2, dims="x")
        result = image.labels.aggregate(mask, ("count", "mean", "var"), ddof=2)
        merged = result.labels.rollup({1: 10, 2: 10, 3: 20, 4: 20})
        whole = image.labels.aggregate(mask.labels.paint({1: 10, 2: 10, 3: 20, 4: 20}), "var", ddof=2)
        assert np.isnan(merged["var"].sel(label=10))
        np.testing.assert_allclose(merged["var"].sel(label=20), whole["var"].sel(label=20), rtol=1e-12)

    def test_ddof_that_is_not_known_or_not_one_number_is_asked_for(self) -> None:
        image, mask = field(dtype=int)
        result = image.labels.aggregate(mask, ("count", "mean", "var"))
        groups = parents_of(mask)
        with pytest.raises(ValueError, match="var needs the coordinate 'ddof', one number"):
            result.drop_vars("ddof").labels.rollup(groups)
        several = result.assign_coords(ddof=("label", np.zeros(result.sizes["label"])))
        with pytest.raises(ValueError, match="'ddof', one number"):
            several.labels.rollup(groups)
        again = result.drop_vars("ddof").assign_coords(ddof=0).labels.rollup(groups)
        xr.testing.assert_allclose(again, result.labels.rollup(groups))

    def test_a_painted_image_does_not_say_it(self) -> None:
        image, mask = field()
        assert set(mask.labels.paint(image.labels.aggregate(mask, "var")["var"]).coords) == {"c"}

    def test_a_result_may_be_merged_again(self) -> None:
        image, mask = field()
        groups = parents_of(mask)
        once = image.labels.aggregate(mask, ALL, ddof=1).labels.rollup(groups)
        twice = once.labels.rollup({1: 7, 2: 7, 3: 8, 4: 8})
        direct = mask.labels.paint(mask.labels.paint(groups).labels.paint({1: 7, 2: 7, 3: 8, 4: 8}).labels.max(mask))
        assert_same(twice, image.labels.aggregate(direct.fillna(0).astype(int), ALL, ddof=1))


class TestGroups:
    @pytest.fixture
    def result(self) -> xr.Dataset:
        mask = xr.DataArray([0, 1, 1, 2, 3, 3, 3], dims="x")
        return xr.DataArray(np.arange(7), dims="x").labels.aggregate(mask, ("count", "sum"))

    @pytest.mark.parametrize(
        "groups",
        [
            {1: 20, 2: 10, 3: 20},
            {1: 20.0, 2: np.float32(10), 3: np.uint8(20), 99: 5},
            pd.Series([10, 20, 20], index=[2, 1, 3]),
            pd.Series([10, 20, 20], index=pd.Index([2, 1, 3], dtype="uint64")),
            pd.Series([10, None, 20, 20], index=[2, 7, 1, 3], dtype="Int64"),
            xr.DataArray([20, 10, 20], dims="label", coords={"label": [1, 2, 3]}),
            xr.DataArray([20, 10, 20], dims="label", coords={"label": [1, 2, 3]}).chunk(label=2),
        ],
    )
    def test_may_be_given_in_several_ways(self, result: xr.Dataset, groups: Any) -> None:
        merged = result.labels.rollup(groups)
        assert merged["label"].values.tolist() == [10, 20]
        assert merged["count"].values.tolist() == [1, 5]
        assert merged["sum"].values.tolist() == [3, 18]

    @pytest.mark.parametrize(
        "groups", [{1: 0, 2: 10}, {1: np.nan, 2: 10}, {1: None, 2: 10}, pd.Series([0.0, 10, np.nan], index=[1, 2, 3])]
    )
    def test_labels_without_one_are_left_out(self, result: xr.Dataset, groups: Any) -> None:
        assert result.labels.rollup(groups)["count"].to_series().to_dict() == {10: 1}

    def test_of_no_label_give_an_empty_result(self, result: xr.Dataset) -> None:
        for each in (result, result.chunk(label=2)):
            merged = each.labels.rollup({1: 0}).compute()
            assert merged.sizes == {"label": 0}
            assert merged["count"].dtype == np.int64

    @pytest.mark.parametrize(
        "groups", [{1: "b", 2: "a", 3: "b"}, pd.Series(["b", "a", "b"], index=[1, 2, 3], dtype="category")]
    )
    def test_may_be_text(self, result: xr.Dataset, groups: Any) -> None:
        merged = result.labels.rollup(groups)
        assert merged["count"].to_series().to_dict() == {"a": 1, "b": 5}
        assert merged.labels.rollup({"a": 4, "b": 4})["count"].to_series().to_dict() == {4: 6}

    @pytest.mark.parametrize("groups", [{1: 7, 3: 7}, {2: 7, 3: 7}, {1: 7}])
    def test_of_a_series_made_of_a_mapping_may_be_of_some_labels(self, result: xr.Dataset, groups: Any) -> None:
        # pandas keeps evenly spaced keys as a range.
        xr.testing.assert_identical(result.labels.rollup(pd.Series(groups)), result.labels.rollup(groups))

    def test_of_labels_in_another_byte_order(self, result: xr.Dataset) -> None:
        groups = xr.DataArray([7, 8, 7], dims="label", coords={"label": np.array([1, 2, 3], ">i4")})
        merged = result.labels.rollup(groups)
        xr.testing.assert_identical(merged, result.labels.rollup({1: 7, 2: 8, 3: 7}))
        swapped = result.assign_coords(label=result["label"].astype(">i4"))
        xr.testing.assert_identical(swapped.labels.rollup(groups), merged)
        assert swapped.labels.to_dataframe().loc[2, "count"] == result["count"].sel(label=2)

    def test_ids_near_2_to_the_63_are_told_apart(self) -> None:
        top = 2**63
        mask = xr.DataArray(np.array([top - 1, top, top + 1, top + 1], np.uint64), dims="x")
        merged = mask.labels.count().labels.rollup({top - 1: 1, top: 2, top + 1: top + 5})
        assert merged.to_series().to_dict() == {1: 1, 2: 1, top + 5: 2}

    @pytest.mark.parametrize(
        ("groups", "error", "says"),
        [
            ([1, 2, 3], TypeError, "a mapping from label to group"),
            (pd.Series([1, 1, 2]), ValueError, "the default index of pandas, 0 to 2"),
            (pd.Series([1, 2], index=[1, 1]), ValueError, "1 has two groups"),
            ({1: 1.5}, TypeError, "whole number or text, not 1.5"),
            ({1: True}, TypeError, "whole number or text"),
            ({1: np.inf}, TypeError, "whole number or text, not inf"),
            (pd.Series([np.inf, 1], index=[1, 2]), TypeError, "whole number or text, not inf"),
            (pd.Series([1e30, 1], index=[1, 2]), TypeError, r"whole number or text, not 1e\+30"),
            ({1: 1, 2: "a"}, TypeError, "'a' is text"),
            ({"1": 1}, TypeError, "labels of the result are of another type than those of the groups: 1"),
            (xr.DataArray([1, 2, 3], dims="label"), ValueError, "with the labels as coordinate"),
            (xr.DataArray([1, 2, 3], dims="x"), ValueError, "lie along the dim 'label'"),
            (None, TypeError, "needs groups"),
        ],
    )
    def test_others_are_refused(self, result: xr.Dataset, groups: Any, error: Any, says: str) -> None:
        with pytest.raises(error, match=says):
            result.labels.rollup(groups)

    def test_what_cannot_be_merged_is_named(self) -> None:
        image, mask = field()
        result = image.labels.measure(mask, ("median", "count", "perimeter", "intensity_mean"))
        with pytest.raises(ValueError, match=r"median, perimeter, intensity_mean of a group .*result\[\['count'\]\]"):
            result.labels.rollup(parents_of(mask))
        with pytest.raises(ValueError, match=r"skew needs valid.*skew needs mean.*skew needs var"):
            result.assign(skew=result["count"])[["skew"]].labels.rollup(parents_of(mask))
        with pytest.raises(ValueError, match="no dim 'label'"):
            image.to_dataset(name="a").labels.rollup({1: 1})
        with pytest.raises(ValueError, match="'other' has no dim 'label'"):
            result[["count"]].assign(other=3).labels.rollup({1: 1})

    def test_of_an_array_its_name_says_what_it_holds(self) -> None:
        image, mask = field()
        groups = parents_of(mask)
        image = image.where(image > 5)
        for name in ("sum", "min", "max"):
            for skipna in (False, True):
                merged = getattr(image.labels, name)(mask, skipna=skipna).labels.rollup(groups)
                expected = getattr(image.labels, name)(mask.labels.paint(groups), skipna=skipna)
                xr.testing.assert_allclose(merged, expected)
        with pytest.raises(ValueError, match="mean needs valid"):
            image.labels.mean(mask).labels.rollup(groups)
        with pytest.raises(ValueError, match="has no name"):
            image.labels.sum(mask).rename(None).labels.rollup(groups)

    def test_nothing_given_is_changed(self, result: xr.Dataset) -> None:
        before = result.copy(deep=True)
        groups = {1: 10, 2: 10}
        merged = result.labels.rollup(groups)
        merged["sum"][:] = -1
        xr.testing.assert_identical(result, before)
        assert groups == {1: 10, 2: 10}


TREE = {8: 997, 567: 8, 623: 567, 343: 8, 512: 997}
PATHS = pd.DataFrame(
    {
        "id": [997, 8, 567, 623, 343, 512],
        "structure_id_path": ["/997/", "/997/8/", "/997/8/567/", "/997/8/567/623/", "/997/8/343/", "/997/512/"],
        "name": ["root", "grey matter", "Cerebrum", "nuclei", "Brain stem", None],
        "acronym": ["root", "grey", "CH", "CNU", "BS", "CB"],
    }
)


class TestHierarchy:
    @pytest.fixture
    def pair(self) -> tuple[xr.DataArray, xr.DataArray]:
        rng = np.random.default_rng(5)
        atlas = xr.DataArray(rng.choice([0, 623, 567, 343, 512], (20, 30)), dims=("y", "x"))
        return xr.DataArray(rng.random((20, 30)), dims=("y", "x")), atlas

    @pytest.mark.parametrize("chunks", [None, 7])
    @pytest.mark.parametrize(
        "hierarchy",
        [
            TREE,
            {**TREE, 997: 0},
            pd.Series({**TREE, 997: np.nan}),
            PATHS,
            PATHS.set_index("id"),
            PATHS.assign(
                structure_id_path=[[int(i) for i in path.split("/")[1:-1]] for path in PATHS.structure_id_path]
            ),
        ],
    )
    def test_a_structure_has_all_that_is_in_it_or_below(self, pair: Any, hierarchy: Any, chunks: Any) -> None:
        image, atlas = pair
        below = {997: [623, 567, 343, 512], 8: [623, 567, 343], 567: [567, 623], 623: [623], 343: [343], 512: [512]}
        pixels, labels = pair if chunks is None else (image.chunk(chunks), atlas.chunk(chunks))
        merged = pixels.labels.aggregate(labels, ALL).labels.rollup(hierarchy=hierarchy).compute()
        assert merged["label"].values.tolist() == sorted(below)
        wholes = [image.labels.aggregate(atlas.isin(below[i]).astype(int), ALL) for i in sorted(below)]
        for name in ALL:
            np.testing.assert_allclose(merged[name], np.concatenate([whole[name] for whole in wholes]), rtol=1e-12)
        assert merged["depth"].to_series().to_dict() == {997: 0, 8: 1, 512: 1, 343: 2, 567: 2, 623: 3}

    def test_names_come_along(self, pair: Any) -> None:
        merged = pair[1].labels.count().to_dataset().labels.rollup(hierarchy=PATHS)
        assert merged["acronym"].sel(label=623).item() == "CNU"
        assert merged["name"].sel(label=512).item() == ""

    def test_a_structure_that_it_does_not_name_stays(self, pair: Any) -> None:
        merged = pair[1].labels.count().labels.rollup(hierarchy={623: 567})
        assert set(merged["label"].values.tolist()) == {623, 567, 343, 512}
        assert merged.sum() > (pair[1] > 0).sum()

    def test_goes_on_top_of_groups(self) -> None:
        mask = xr.DataArray([1, 2, 2, 3, 4], dims="x")
        merged = mask.labels.count().labels.rollup({1: 623, 2: 343, 3: 512, 4: 0}, hierarchy=TREE)
        assert merged.to_series().to_dict() == {8: 3, 343: 2, 512: 1, 567: 1, 623: 1, 997: 4}

    def test_may_be_text(self) -> None:
        mask = xr.DataArray([1, 2, 2], dims="x")
        merged = mask.labels.count().labels.rollup({1: "CA1", 2: "CA3"}, hierarchy={"CA1": "CA", "CA3": "CA"})
        assert merged.to_series().to_dict() == {"CA": 3, "CA1": 1, "CA3": 2}

    def test_of_another_kind_than_the_structures_is_not_taken_for_one_that_names_none(self) -> None:
        counts = xr.DataArray([1, 2], dims="x").labels.count()
        with pytest.raises(TypeError, match="hierarchy are like '1', and those that are merged like 1; name both"):
            counts.labels.rollup(hierarchy={"1": "7", "2": "7"})
        with pytest.raises(TypeError, match="hierarchy are like 1, and those that are merged like 'a'"):
            counts.labels.rollup({1: "a", 2: "b"}, hierarchy={1: 7})
        assert counts[:0].labels.rollup(hierarchy={"1": "7"}).sizes == {"label": 0}

    def test_may_be_a_table_that_was_read_as_text(self) -> None:
        counts = xr.DataArray([1, 2, 2], dims="x").labels.count()
        table = pd.DataFrame({"id": [7, 1, 2], "structure_id_path": ["/7/", "/7/1/", "/7/2/"]})
        merged = counts.labels.rollup(hierarchy=table.astype(str))
        xr.testing.assert_identical(merged, counts.labels.rollup(hierarchy=table))
        assert merged.to_series().to_dict() == {1: 1, 2: 2, 7: 3}

    @pytest.mark.parametrize(
        ("hierarchy", "error", "says"),
        [
            ({1: 2, 2: 3, 3: 1}, ValueError, "circle: 1 -> 2 -> 3 -> 1"),
            ({9: 9}, ValueError, "circle: 9 -> 9"),
            ([1, 2], TypeError, "a hierarchy is a mapping"),
            (PATHS.drop(columns="structure_id_path"), ValueError, "no column 'structure_id_path'"),
            (PATHS.assign(id=[997, 8, 567, 623, 343, 5]), ValueError, "path of structure 5 ends with"),
            (PATHS.assign(structure_id_path="a/b"), ValueError, "a path holds ids"),
            (PATHS.assign(structure_id_path=3.5), ValueError, "a path is text"),
            (
                pd.DataFrame({"id": [3, 4], "structure_id_path": ["/1/2/3/", "/2/1/4/"]}),
                ValueError,
                "structure 2 lies in None by the path '/2/1/4/', and in 1 by another",
            ),
            ({1.5: 2}, TypeError, "whole number or text"),
        ],
    )
    def test_what_is_none_is_said(self, hierarchy: Any, error: Any, says: str) -> None:
        with pytest.raises(error, match=says):
            xr.DataArray([1, 2], dims="x").labels.count().labels.rollup(hierarchy=hierarchy)


def test_a_graph_holds_the_groups_once() -> None:
    import pickle

    ids = np.arange(1, 5001)
    result = xr.Dataset({"sum": (("label", "c"), np.ones((5000, 40)))}, coords={"label": ids}).chunk(label=500, c=1)
    graph = dict(result.labels.rollup(pd.Series(ids // 2, index=ids))["sum"].data.__dask_graph__())
    own = [value for key, value in graph.items() if "merged" in str(key) or not isinstance(value, np.ndarray)]
    assert max(len(pickle.dumps(value)) for value in own) < 2 * 500 * 8 + 5000 * 8 * 4


def test_the_call_is_named_where_it_is_not() -> None:
    with pytest.raises(AttributeError, match=r"it is result.labels.rollup\(\)"):
        xr.DataArray([1], dims="x").instances.rollup  # noqa: B018
    assert "rollup" in dir(xlabelstats.LabelsDatasetAccessor)


class TestPoints:
    @pytest.fixture
    def counts(self, nuclei2d):
        pytest.importorskip("sparse")
        rng = np.random.default_rng(0)
        points = pd.DataFrame(rng.uniform(0, 511, (20000, 2)), columns=["y", "x"])
        points["gene"] = rng.choice(["a", "b", "c"], 20000)
        return nuclei2d[1].labels.count_points(points, by="gene")

    def test_of_a_category_add_up_and_stay_sparse(self, counts):
        groups = pd.Series(counts["label"].values % 4, counts["label"].values).rename_axis("label")
        found = counts.labels.rollup(groups)
        expected = pd.DataFrame(counts.data.todense(), counts["label"].values).groupby(groups.values).sum().loc[1:]
        assert found.dims == ("label", "gene")
        assert found.dtype == np.int64
        assert found["label"].values.tolist() == [1, 2, 3]
        np.testing.assert_array_equal(found.data.todense(), expected)

    def test_add_up_along_a_hierarchy(self, counts):
        groups = pd.Series(counts["label"].values % 4 + 1, counts["label"].values).rename_axis("label")
        found = counts.labels.rollup(groups, hierarchy={1: 10, 2: 10, 3: 11, 4: 11, 10: 99, 11: 99})
        plain = counts.copy(data=counts.data.todense()).labels.rollup(
            groups, hierarchy={1: 10, 2: 10, 3: 11, 4: 11, 10: 99, 11: 99}
        )
        np.testing.assert_array_equal(found.data.todense(), plain)
        assert plain.sel(label=99).values.tolist() == counts.data.todense().sum(axis=0).tolist()

    def test_of_no_group_are_an_empty_result(self, counts):
        assert counts.labels.rollup({}).shape == (0, 3)
