"""Elements of SpatialData objects in, tables that annotate them out."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xlabelstats.spatialdata as xs

with warnings.catch_warnings():
    # What its dependencies say on import is theirs.
    warnings.simplefilter("ignore")
    spatialdata = pytest.importorskip("spatialdata")
    from spatialdata import SpatialData, get_centroids, read_zarr
    from spatialdata.models import Image2DModel, Image3DModel, Labels2DModel, Labels3DModel, TableModel
    from spatialdata.transformations import Affine, Scale, Sequence, Translation, set_transformation

ROTATED = Affine(
    0.5 * np.array([[np.cos(0.4), -np.sin(0.4), 30.0], [np.sin(0.4), np.cos(0.4), -8.0], [0, 0, 2]]),
    ("x", "y"),
    ("x", "y"),
)


def in_blocks(array: xr.DataArray) -> xr.DataArray:
    """Every pixel as a block of pixels, so that the coarser scale of a pyramid holds the array itself."""
    return array.isel({dim: np.arange(2 * array.sizes[dim]) // 2 for dim in array.dims if dim != "c"})


@pytest.fixture
def arrays(nuclei2d) -> tuple[xr.DataArray, xr.DataArray]:
    image, mask = nuclei2d
    return xr.concat([image, 255 - image], dim="c").assign_coords(c=["DAPI", "CD3"]), mask


@pytest.fixture
def sdata(arrays) -> SpatialData:
    image, mask = arrays
    names, chunks = ["DAPI", "CD3"], {"y": 200, "x": 200}
    fine = {"scale_factors": [2], "chunks": 200}
    return SpatialData(
        images={
            "image": Image2DModel.parse(image.chunk(chunks), c_coords=names),
            "pyramid": Image2DModel.parse(in_blocks(image), c_coords=names, **fine),
        },
        labels={
            "nuclei": Labels2DModel.parse(mask.chunk(chunks)),
            "others": Labels2DModel.parse((mask * 2).astype(mask.dtype)),
            "nuclei_pyramid": Labels2DModel.parse(in_blocks(mask), **fine),
        },
    )


def expected_centroids(sdata: Any, labels: str, table: Any, system: str = "global", axes: str = "xy") -> np.ndarray:
    found = get_centroids(sdata[labels], coordinate_system=system).compute()
    return found.loc[table.obs["instance_id"], list(axes)].to_numpy()


def assert_annotates(sdata: Any, name: str, labels: str) -> None:
    table = sdata[name]
    TableModel().validate(table)
    assert table.uns["spatialdata_attrs"] == {
        "region": labels,
        "region_key": "region",
        "instance_key": "instance_id",
    }
    annotated, _ = spatialdata.join_spatialelement_table(
        sdata=sdata, spatial_element_names=labels, table_name=name, how="left"
    )
    assert list(annotated) == [labels]


def assert_same_table(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(a.X, b.X)
    for which in ("layers", "obsm"):
        ours, theirs = getattr(a, which), getattr(b, which)
        assert set(ours) == set(theirs)
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(a.var, b.var)
    assert a.uns["spatialdata_attrs"] == b.uns["spatialdata_attrs"]


class TestAggregate:
    def test_statistics_are_those_of_the_accessor(self, sdata, arrays):
        image, mask = arrays
        table = xs.aggregate(sdata, "image", "nuclei", "intensities")
        assert table is sdata["intensities"]
        assert_annotates(sdata, "intensities", "nuclei")
        expected = image.labels.aggregate(mask)
        np.testing.assert_allclose(table.X, expected["mean"])
        # From 0.13 on anndata lists X too, as None.
        for name in set(table.layers) - {None}:
            np.testing.assert_allclose(table.layers[name], expected[name])
        assert set(table.layers) - {None} == {"sum", "var", "skew", "kurtosis", "min", "max"}
        assert list(table.var_names) == ["DAPI", "CD3"]
        np.testing.assert_array_equal(table.obs["count"], expected["count"])
        np.testing.assert_array_equal(table.obs["instance_id"], mask.labels.ids())

    @pytest.mark.parametrize(
        ("stats", "X", "first"),
        [
            (("max", "count", "mean"), None, "mean"),
            (("count", "max", "min"), None, "max"),
            (("min", "max"), "max", "max"),
        ],
    )
    def test_the_statistic_in_x(self, sdata, arrays, stats, X, first):
        image, mask = arrays
        table = xs.aggregate(sdata, "image", "nuclei", "t", stats, X=X)
        np.testing.assert_allclose(table.X, image.labels.aggregate(mask, first)[first])

    def test_options_are_those_of_the_accessor(self, sdata):
        table = xs.aggregate(sdata, "image", "nuclei", "t", "mean", labels=[9, 3])
        assert table.obs["instance_id"].tolist() == [9, 3]
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "nuclei", table))
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            xs.aggregate(sdata, "image", "nuclei", "u", "mean", colour=1)

    def test_columns_are_named_as_asked(self, sdata):
        table = xs.aggregate(sdata, "image", "nuclei", "t", "mean", instance_key="cell", region_key="where")
        assert {"cell", "where"} <= set(table.obs)
        TableModel().validate(table)
        with pytest.raises(ValueError, match="'count' is a column of the result; choose another region_key"):
            xs.aggregate(sdata, "image", "nuclei", "u", ("mean", "count"), region_key="count")

    @pytest.mark.parametrize(
        "transformation",
        [Scale([0.5, 2], ("y", "x")), Sequence([Translation([5, -70.5], ("x", "y")), Scale([3], ("x",))]), ROTATED],
    )
    def test_centroids_are_in_the_coordinate_system(self, sdata, transformation):
        for name in ("image", "nuclei"):
            set_transformation(sdata[name], transformation, "um")
        table = xs.aggregate(sdata, "image", "nuclei", "t", "mean", to_coordinate_system="um")
        assert table.obsm["spatial"].shape == (table.n_obs, 2)
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "nuclei", table, "um"))
        plain = xs.aggregate(sdata, "image", "nuclei", "u", "mean")
        np.testing.assert_allclose(plain.obsm["spatial"], expected_centroids(sdata, "nuclei", plain))

    @pytest.mark.parametrize("scale", [None, "scale0", "scale1"])
    def test_any_scale_gives_its_pixels_and_the_same_places(self, sdata, arrays, scale):
        for name in ("pyramid", "nuclei_pyramid"):
            set_transformation(sdata[name], ROTATED, "um")
        image, mask = arrays
        table = xs.aggregate(
            sdata, "pyramid", "nuclei_pyramid", "t", ("count", "mean"), scale=scale, to_coordinate_system="um"
        )
        assert_annotates(sdata, "t", "nuclei_pyramid")
        expected = image.labels.aggregate(mask)
        np.testing.assert_array_equal(table.obs["count"], expected["count"] * (1 if scale == "scale1" else 4))
        # The pyramid's coarser pixels are rounded means of equal ones.
        np.testing.assert_allclose(table.X, expected["mean"], atol=1e-9)
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "nuclei_pyramid", table, "um"))

    def test_one_scale_and_several_go_together_on_one_grid(self, sdata, arrays):
        image, mask = arrays
        sdata["single"] = Labels2DModel.parse(in_blocks(mask))
        table = xs.aggregate(sdata, "pyramid", "single", "t", "mean")
        np.testing.assert_allclose(table.X, image.labels.mean(mask))
        # The coarser scale of the image has the grid of the single-scale labels, if these have its transformation.
        set_transformation(sdata["nuclei"], Scale([2, 2], ("x", "y")))
        table = xs.aggregate(sdata, "pyramid", "nuclei", "u", "mean", scale="scale1")
        np.testing.assert_allclose(table.X, image.labels.mean(mask))
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "nuclei", table))

    def test_volumes(self, nuclei3d):
        image, mask = nuclei3d
        turned = Affine(
            np.array([[0, 0.5, 0, 3], [-0.5, 0, 0, 9], [0, 0, 2.0, -1], [0, 0, 0, 1]]), ("x", "y", "z"), ("x", "y", "z")
        )
        volume = SpatialData(
            images={"image": Image3DModel.parse(image.expand_dims("c"), transformations={"um": turned})},
            labels={"nuclei": Labels3DModel.parse(mask, transformations={"um": turned})},
        )
        table = xs.aggregate(volume, "image", "nuclei", "t", to_coordinate_system="um")
        assert_annotates(volume, "t", "nuclei")
        np.testing.assert_allclose(table.X[:, 0], image.labels.mean(mask))
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(volume, "nuclei", table, "um", "xyz"))

    def test_scanpy_can_scale_it(self, sdata):
        scanpy = pytest.importorskip("scanpy")
        table = xs.aggregate(sdata, "image", "nuclei", "t")
        scanpy.pp.scale(table)
        np.testing.assert_allclose(table.X.std(axis=0, ddof=1), 1)
        assert table.obsm["spatial"].shape == (table.n_obs, 2)


class TestStores:
    pytestmark = pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    )

    def test_what_is_written_is_read_back(self, sdata, tmp_path):
        xs.aggregate(sdata, "image", "nuclei", "intensities")
        xs.quantiles(sdata, "image", "nuclei", "intensities", [0.1, 0.9])
        xs.regionprops(sdata, "image", "nuclei", "shapes", ("area", "solidity", "intensity_mean"))
        sdata.write(tmp_path / "s.zarr")
        read = read_zarr(tmp_path / "s.zarr")
        for name in ("intensities", "shapes"):
            assert_same_table(read[name], sdata[name])
            assert_annotates(read, name, "nuclei")

    @pytest.mark.parametrize("scale", [None, "scale1"])
    def test_a_table_of_elements_on_disk_joins_them(self, sdata, arrays, tmp_path, scale):
        image, mask = arrays
        sdata.write(tmp_path / "s.zarr")
        stored = read_zarr(tmp_path / "s.zarr")
        table = xs.aggregate(stored, "pyramid", "nuclei_pyramid", "intensities", scale=scale)
        np.testing.assert_allclose(table.X, image.labels.mean(mask))
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(stored, "nuclei_pyramid", table))
        stored.write_element("intensities")
        xs.quantiles(stored, "pyramid", "nuclei_pyramid", "intensities", scale=scale)
        assert_same_table(
            read_zarr(tmp_path / "s.zarr")["intensities"],
            xs.aggregate(stored, "pyramid", "nuclei_pyramid", "intensities", scale=scale, overwrite=True),
        )


class TestTablesThatAreThere:
    def test_aggregate_replaces_one_only_if_told(self, sdata):
        first = xs.aggregate(sdata, "image", "nuclei", "t", "mean")
        with pytest.raises(ValueError, match="there is a table 't' already; overwrite=True replaces it"):
            xs.aggregate(sdata, "image", "others", "t", "max")
        assert sdata["t"] is first
        xs.aggregate(sdata, "image", "others", "t", "max", overwrite=True)
        assert_annotates(sdata, "t", "others")

    def test_any_measures_in_one_table(self, sdata):
        table = xs.measure(sdata, "image", "nuclei", "t", ("mean", "p95", "area", "solidity"))
        image, mask = sdata["image"], sdata["nuclei"]
        expected = image.labels.measure(mask.drop_vars(mask.coords), ("mean", "p95", "area", "solidity"), spacing=1)
        for name, column in expected.labels.to_dataframe().items():
            np.testing.assert_allclose(table.obs[name.replace(" ", "_")], column, rtol=1e-12)
        shapes = xs.measure(sdata, None, "nuclei", "shapes", "eccentricity")
        assert "eccentricity" in shapes.obs
        with pytest.raises(ValueError, match="unknown measure 'nonsense'"):
            xs.measure(sdata, "image", "nuclei", "u", "nonsense")

    def test_columns_join_a_table_of_the_same_labels(self, sdata, arrays):
        image, mask = arrays
        table = xs.aggregate(sdata, "image", "nuclei", "t", "mean")
        assert xs.quantiles(sdata, "image", "nuclei", "t", [0.1, 0.9]) is table
        assert xs.regionprops(sdata, None, "nuclei", "t", ("area", "solidity", "bbox")) is table
        xs.featurize(sdata, "image", "nuclei", "t", lambda b: b.max((2, 3)), size=60, n_features=2, key="brightest")
        assert_annotates(sdata, "t", "nuclei")
        np.testing.assert_allclose(table.X, image.labels.mean(mask))
        quantiles = image.instances.quantiles(mask, 0.9)
        np.testing.assert_allclose(table.obsm["quantiles"]["CD3_0.9"], quantiles.sel(c="CD3"))
        np.testing.assert_array_equal(table.obsm["brightest"], image.labels.max(mask))
        np.testing.assert_array_equal(table.obs["area"], mask.labels.count())
        assert table.obs["bbox_min_y"].dtype == np.int64

    def test_rows_are_matched_by_instance(self, sdata, arrays):
        image, mask = arrays
        ids = mask.labels.ids()
        xs.aggregate(sdata, "image", "nuclei", "t", "mean", labels=[*ids[5::-2], 4])
        xs.regionprops(sdata, None, "nuclei", "t", ("area", "solidity"))
        xs.featurize(sdata, "image", "nuclei", "t", lambda b: b.max((2, 3)), size=60, n_features=2)
        xs.quantiles(sdata, "image", "nuclei", "t", 1.0)
        table = sdata["t"]
        assert 4 not in ids
        assert np.isnan(table.obs["area"].iloc[-1])
        assert np.isnan(table.obsm["features"][-1]).all()
        assert table.obsm["quantiles"].iloc[-1].isna().all()
        shown = table.obs["instance_id"].to_numpy()[:-1]
        np.testing.assert_array_equal(table.obs["area"].iloc[:-1], mask.labels.count().sel(label=shown))
        brightest = image.labels.max(mask).sel(label=shown)
        np.testing.assert_array_equal(table.obsm["features"][:-1], brightest)
        np.testing.assert_array_equal(table.obsm["quantiles"].iloc[:-1], brightest)

    def test_only_the_windows_that_the_table_needs_are_cut(self, sdata):
        xs.aggregate(sdata, "image", "nuclei", "t", "mean", labels=[3, 9])
        seen = []

        def model(batch):
            seen.append(len(batch))
            return batch.max((2, 3))

        xs.featurize(sdata, "image", "nuclei", "t", model, size=60, n_features=2)
        assert sum(seen) == 2

    def test_columns_are_replaced_only_if_told(self, sdata):
        kept = xs.regionprops(sdata, None, "nuclei", "t", "area")
        calls = {
            r"obs\['area'\]": lambda **o: xs.regionprops(sdata, None, "nuclei", "t", "area", spacing=2, **o),
            r"obsm\['q'\]": lambda **o: xs.quantiles(sdata, "image", "nuclei", "t", 0.5, key="q", **o),
        }
        calls[r"obsm\['q'\]"]()
        for what, call in calls.items():
            with pytest.raises(ValueError, match=f"the table 't' has {what} already; overwrite=True replaces it"):
                call()
        before = kept.obs["area"].copy()
        calls[r"obs\['area'\]"](overwrite=True)
        np.testing.assert_allclose(kept.obs["area"], 4 * before)

    def test_a_table_of_other_labels_is_left_alone(self, sdata):
        xs.aggregate(sdata, "image", "others", "t", "mean")
        for overwrite in (False, True):
            with pytest.raises(ValueError, match="the table 't' annotates 'others', not 'nuclei' alone"):
                xs.regionprops(sdata, None, "nuclei", "t", overwrite=overwrite)
        sdata["plain"] = TableModel.parse(sdata["t"][:, :0].copy(), overwrite_metadata=True)
        del sdata["plain"].uns["spatialdata_attrs"]
        with pytest.raises(ValueError, match="the table 'plain' annotates nothing, not 'nuclei' alone"):
            xs.regionprops(sdata, None, "nuclei", "plain")


class TestNewTables:
    def test_of_features(self, sdata, arrays):
        image, mask = arrays
        table = xs.featurize(sdata, "image", "nuclei", "t", lambda b: b.max((2, 3)), size=60, n_features=2)
        assert_annotates(sdata, "t", "nuclei")
        assert table.n_vars == 0
        np.testing.assert_array_equal(table.obs["instance_id"], mask.labels.ids())
        np.testing.assert_array_equal(table.obsm["features"], image.labels.max(mask))
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "nuclei", table))

    def test_of_features_of_the_labels_alone(self, sdata, arrays):
        _, mask = arrays
        table = xs.featurize(sdata, None, "nuclei", "t", lambda b: (b > 0).sum((2, 3)), size=60, n_features=1)
        np.testing.assert_array_equal(table.obsm["features"][:, 0], mask.labels.count())

    def test_of_region_properties_of_both_kinds(self, sdata, arrays):
        image, mask = arrays
        names = ("solidity", "area", "intensity_max", "perimeter")
        table = xs.regionprops(sdata, "image", "nuclei", "t", names)
        assert_annotates(sdata, "t", "nuclei")
        assert list(table.obs)[1:-1] == ["solidity", "area", "intensity_max_DAPI", "intensity_max_CD3", "perimeter"]
        np.testing.assert_array_equal(table.obs["intensity_max_CD3"], image.labels.max(mask).sel(c="CD3"))
        np.testing.assert_allclose(table.obs["solidity"], mask.instances.regionprops("solidity")["solidity"])

    def test_channels_whose_names_columns_cannot_have(self, sdata, arrays):
        image, _ = arrays
        sdata["plus"] = Image2DModel.parse(image, c_coords=["CD3+", "a/b"])
        table = xs.regionprops(sdata, "plus", "nuclei", "t", "intensity_max")
        xs.quantiles(sdata, "plus", "nuclei", "t", 0.5)
        assert {"intensity_max_CD3_", "intensity_max_a_b"} <= set(table.obs)
        assert list(table.obsm["quantiles"]) == ["CD3_", "a_b"]
        TableModel().validate(table)
        assert list(xs.aggregate(sdata, "plus", "nuclei", "u", "mean").var_names) == ["CD3+", "a/b"]
        sdata["alike"] = Image2DModel.parse(image, c_coords=["CD3+", "CD3-"])
        xs.quantiles(sdata, "alike", "nuclei", "v", 0.5)
        sdata["too"] = Image2DModel.parse(image, c_coords=["CD3+", "CD3*"])
        with pytest.raises(ValueError, match=r"'CD3\+' and 'CD3\*' differ only in characters"):
            xs.quantiles(sdata, "too", "nuclei", "w", 0.5)


class TestComplaints:
    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            (("imge", "nuclei", "t"), {}, "unknown image element 'imge', did you mean 'image'? There are: "),
            (("image", "nucleus", "t"), {}, "unknown labels element 'nucleus', did you mean 'nuclei'"),
            (("image", "nuclei", "pyramid"), {}, "'pyramid' is an element that is not a table"),
            (
                ("image", "nuclei", "my table"),
                {},
                "'my table' cannot be the name of a table in SpatialData; 'my_table'",
            ),
            (("image", "nuclei", "t", "avg"), {}, "unknown statistic 'avg'"),
            (("image", "nuclei", "t"), {"X": "std"}, "there is no variable 'std' to be X"),
            (("image", "nuclei", "t"), {"scale": "scale1"}, "scale='scale1' chooses from several scales"),
            (("pyramid", "nuclei_pyramid", "t"), {"scale": "s"}, "no scale 's'; there are: scale0, scale1"),
            (
                ("image", "nuclei", "t"),
                {"to_coordinate_system": "um"},
                "'nuclei' has no transformation to the coordinate system 'um'; it has: global",
            ),
            (
                ("pyramid", "nuclei", "t"),
                {},
                "the image 'pyramid' and the labels 'nuclei' are not on one grid: 'y' is 1024 in the image and 512 in "
                "the labels; 'x' is 1024 in the image and 512 in the labels. Bring both to one by "
                "spatialdata.rasterize, with the same",
            ),
        ],
    )
    def test_before_anything_is_added(self, sdata, arguments, options, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            xs.aggregate(sdata, *arguments, **options)
        assert not sdata.tables

    def test_of_another_transformation(self, sdata):
        set_transformation(sdata["nuclei"], Translation([0.25, 3], ("x", "y")))
        with pytest.raises(ValueError, match="their transformations place pixels up to 3 pixels apart"):
            xs.aggregate(sdata, "image", "nuclei", "t")
        set_transformation(sdata["nuclei"], Translation([1e-9, 0], ("x", "y")))
        xs.aggregate(sdata, "image", "nuclei", "t")

    def test_of_another_grid_whose_advice_helps(self, sdata):
        for name in ("pyramid", "nuclei"):
            sdata[name + "_"] = spatialdata.rasterize(
                sdata[name],
                axes=("x", "y"),
                min_coordinate=[0, 0],
                max_coordinate=[512, 512],
                target_coordinate_system="global",
                target_width=256,
                return_regions_as_labels=True,
            )
        table = xs.aggregate(sdata, "pyramid_", "nuclei_", "t")
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "nuclei_", table))

    def test_of_labels_that_are_not_there(self, sdata, arrays):
        sdata["none"] = Labels2DModel.parse(xr.zeros_like(arrays[1]))
        with pytest.raises(ValueError, match="the labels element 'none' has no labels"):
            xs.aggregate(sdata, "image", "none", "t")

    def test_of_unknown_region_properties(self, sdata):
        with pytest.raises(ValueError, match="unknown region property 'soliditi', did you mean 'solidity'"):
            xs.regionprops(sdata, None, "nuclei", "t", "soliditi")

    def test_of_keys_that_cannot_be_written(self, sdata):
        with pytest.raises(ValueError, match="SpatialData allows no key 'my quantiles' in obsm; 'my_quantiles' can"):
            xs.quantiles(sdata, "image", "nuclei", "t", key="my quantiles")


def test_accessors_take_elements_as_they_are(sdata, arrays):
    image, mask = arrays
    expected = image.labels.mean(mask)
    for labels in ("nuclei_pyramid", sdata["nuclei_pyramid"]["scale0"]):
        labels = sdata[labels] if isinstance(labels, str) else labels
        np.testing.assert_allclose(sdata["pyramid"].labels.mean(labels), expected)
    np.testing.assert_allclose(sdata["image"].labels.aggregate(sdata["nuclei"])["mean"], expected)
    coarse = sdata["pyramid"]["scale1"].labels.mean(sdata["nuclei_pyramid"]["scale1"])
    np.testing.assert_allclose(coarse, expected)
    assert sdata["image"].instances.median(sdata["nuclei"]).dims == ("label", "c")


class TestGridsThatDiffer:
    """Image and labels whose transformations differ by scale and translation, with ``align="nearest"``."""

    @pytest.fixture
    def coarse(self, sdata, arrays) -> tuple[SpatialData, xr.DataArray]:
        """A labels element of every third pixel from (y, x) = (6, 9) on, and the labels of the image's own pixels."""
        mask = arrays[1]
        few = mask.isel(y=slice(7, 490, 3), x=slice(10, 400, 3))
        place = Sequence([Scale([3, 3], ("x", "y")), Translation([9, 6], ("x", "y"))])
        sdata["coarse"] = Labels2DModel.parse(few.chunk(y=50, x=60), transformations={"global": place})
        onto = few.isel(y=np.arange(3 * few.sizes["y"]) // 3, x=np.arange(3 * few.sizes["x"]) // 3)
        before, size = {"y": 6, "x": 9}, onto.sizes
        onto = onto.pad({dim: (n, 512 - n - size[dim]) for dim, n in before.items()}, constant_values=0)
        return sdata, onto.astype(mask.dtype)

    def test_pixels_get_the_nearest_label_and_centroids_are_in_the_coordinate_system(self, coarse, arrays):
        sdata, onto = coarse
        table = xs.aggregate(sdata, "image", "coarse", "t", ("count", "mean", "max"), align="nearest")
        expected = arrays[0].labels.aggregate(onto, ("count", "mean", "max"))
        assert table.obs["instance_id"].tolist() == expected.label.values.tolist()
        np.testing.assert_array_equal(table.obs["count"], expected["count"])
        np.testing.assert_allclose(table.X, expected["mean"])
        np.testing.assert_array_equal(table.layers["max"], expected["max"])
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "coarse", table))
        assert_annotates(sdata, "t", "coarse")

    def test_so_do_all_calls(self, coarse, arrays):
        sdata, onto = coarse
        image, options = arrays[0], {"align": "nearest"}
        xs.quantiles(sdata, "image", "coarse", "t", [0.5], **options)
        xs.measure(sdata, "image", "coarse", "t", ("mean", "area", "solidity"), **options)
        xs.regionprops(sdata, "image", "coarse", "t", "eccentricity", **options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*are cropped")
            xs.featurize(sdata, "image", "coarse", "t", lambda b: b.sum(axis=(2, 3)), size=16, n_features=2, **options)
            features = image.instances.featurize(onto, lambda b: b.sum(axis=(2, 3)), size=16, n_features=2)
        table = sdata["t"]
        np.testing.assert_array_equal(table.obsm["features"], features)
        np.testing.assert_array_equal(table.obsm["quantiles"], image.instances.quantiles(onto, [0.5])[..., 0])
        measured = image.labels.measure(onto, ("mean", "area", "solidity", "eccentricity"))
        np.testing.assert_allclose(table.obs["mean_CD3"], measured["mean"].sel(c="CD3"))
        for name in ("area", "solidity", "eccentricity"):
            np.testing.assert_allclose(table.obs[name], measured[name])

    def test_a_turn_of_both_alike_is_none(self, coarse, arrays):
        sdata, onto = coarse
        place = sdata["coarse"].attrs["transform"]["global"]
        set_transformation(sdata["coarse"], Sequence([place, ROTATED]))
        set_transformation(sdata["image"], ROTATED)
        table = xs.aggregate(sdata, "image", "coarse", "t", ("mean",), align="nearest")
        np.testing.assert_allclose(table.X, arrays[0].labels.mean(onto))
        np.testing.assert_allclose(table.obsm["spatial"], expected_centroids(sdata, "coarse", table), atol=1e-6)

    def test_the_same_grid_is_as_without(self, sdata):
        assert_same_table(
            xs.aggregate(sdata, "image", "nuclei", "a", align="nearest"), xs.aggregate(sdata, "image", "nuclei", "b")
        )

    def test_of_several_scales_that_differ(self, sdata, arrays):
        """The finer image over the labels of every second pixel: the same means as on the labels' grid."""
        half = Scale([0.5, 0.5], ("x", "y"))
        set_transformation(sdata["pyramid"], half)
        table = xs.aggregate(sdata, "pyramid", "nuclei", "t", ("count", "mean"), align="nearest")
        expected = arrays[0].labels.aggregate(arrays[1], ("count", "mean"))
        np.testing.assert_array_equal(table.obs["count"], 4 * expected["count"])
        np.testing.assert_allclose(table.X, expected["mean"])

    def test_rotations_are_an_error_that_says_so(self, sdata):
        set_transformation(sdata["nuclei"], ROTATED)
        with pytest.raises(ValueError, match="differ by a rotation or shear: it displaces pixels by up to"):
            xs.aggregate(sdata, "image", "nuclei", "t", align="nearest")
        assert not sdata.tables

    def test_without_it_the_error_names_it(self, coarse):
        with pytest.raises(ValueError, match="differ by scale and translation, give align='nearest'"):
            xs.aggregate(coarse[0], "image", "coarse", "t")
        with pytest.raises(ValueError, match="align is 'nearest', for a mask on another grid"):
            xs.aggregate(coarse[0], "image", "nuclei", "t", align="linear")
        with pytest.raises(ValueError, match="and there is none"):
            xs.measure(coarse[0], None, "nuclei", "t", "area", align="nearest")
