"""Columns under CellProfiler's names: as its modules MeasureObject..., MeasureTexture, ... of version 4.2 make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xlabelstats  # noqa: F401
from xlabelstats.catalogue.cellprofiler import FORMS, NAMINGS


def field(ndim: int = 2) -> tuple[xr.DataArray, xr.DataArray]:
    """An image of two channels, and a mask of objects 2 and 7."""
    shape, dims = (4, 20, 24)[-ndim:], ("z", "y", "x")[-ndim:]
    ids = np.zeros(shape, np.int32)
    ids[..., 2:9, 3:12], ids[..., 10:18, 8:21] = 2, 7
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    return xr.DataArray(pixels, {"c": ["DNA", "ER"]}, ("c", *dims)), xr.DataArray(ids, dims=dims)


def table_of(result: xr.Dataset, **options: Any) -> pd.DataFrame:
    return result.labels.to_dataframe(names="cellprofiler", **options)


@pytest.fixture(scope="module")
def profile() -> xr.Dataset:
    image, mask = field()
    return image.instances.profile(mask)


@pytest.fixture(scope="module")
def columns(profile) -> set[str]:
    return {*table_of(profile)}


def words(text: str) -> list[str]:
    return text.split()


HARALICK = words(
    """
    AngularSecondMoment Contrast Correlation Variance InverseDifferenceMoment SumAverage SumVariance SumEntropy
    Entropy DifferenceVariance DifferenceEntropy InfoMeas1 InfoMeas2
    """
)
INTENSITY = words(
    """
    IntegratedIntensity MeanIntensity StdIntensity MinIntensity MaxIntensity IntegratedIntensityEdge
    MeanIntensityEdge StdIntensityEdge MinIntensityEdge MaxIntensityEdge MassDisplacement LowerQuartileIntensity
    MedianIntensity MADIntensity UpperQuartileIntensity
    """
)
SHAPE = words(
    """
    Area Perimeter MaximumRadius MeanRadius MedianRadius MinFeretDiameter MaxFeretDiameter Orientation
    Eccentricity FormFactor Solidity ConvexArea BoundingBoxArea Extent EulerNumber EquivalentDiameter
    MajorAxisLength MinorAxisLength Center_X Center_Y BoundingBoxMinimum_X BoundingBoxMinimum_Y
    BoundingBoxMaximum_X BoundingBoxMaximum_Y InertiaTensor_0_0 InertiaTensor_0_1 InertiaTensor_1_0
    InertiaTensor_1_1 InertiaTensorEigenvalues_0 InertiaTensorEigenvalues_1
    """
)
MOMENTS = [
    *(f"{kind}Moment_{i}_{j}" for kind in ("Spatial", "Central") for i in range(3) for j in range(4)),
    *(f"NormalizedMoment_{i}_{j}" for i in range(4) for j in range(4)),
    *(f"HuMoment_{i}" for i in range(7)),
]
ORDERS = [(n, m) for n in range(10) for m in range(n % 2, n + 1, 2)]
IMAGES = ("DNA", "ER")
EXPECTED = {
    "intensity": [
        *(f"Intensity_{each}_{image}" for each in INTENSITY for image in IMAGES),
        *(
            f"Location_{where}_{axis}_{image}"
            for where in ("CenterMassIntensity", "MaxIntensity")
            for axis in "XY"
            for image in IMAGES
        ),
    ],
    "shape": [f"AreaShape_{each}" for each in (*SHAPE, *MOMENTS)],
    "texture": [f"Texture_{each}_{image}_3_0{i}_256" for each in HARALICK for image in IMAGES for i in range(4)],
    "granularity": [f"Granularity_{i}_{image}" for image in IMAGES for i in range(1, 17)],
    "radial_distribution": [
        f"RadialDistribution_{each}_{image}_{ring}of4"
        for each in ("FracAtD", "MeanFrac", "RadialCV")
        for image in IMAGES
        for ring in range(1, 5)
    ],
    "zernike": [f"AreaShape_Zernike_{n}_{m}" for n, m in ORDERS],
    "radial_zernike": [
        f"RadialDistribution_Zernike{each}_{image}_{n}_{m}"
        for each in ("Magnitude", "Phase")
        for image in IMAGES
        for n, m in ORDERS
    ],
    "correlation": [
        *(f"Correlation_{each}_DNA_ER" for each in ("Correlation", "Slope", "Overlap", "K", "Manders", "RWC")),
        *(f"Correlation_{each}_ER_DNA" for each in ("K", "Manders", "RWC")),
    ],
}
NEIGHBORS = {
    "neighbor_count": "Neighbors_NumberOfNeighbors_Adjacent",
    "percent_touching": "Neighbors_PercentTouching_Adjacent",
    "first_closest_label": "Neighbors_FirstClosestObjectNumber_Adjacent",
    "first_closest_distance": "Neighbors_FirstClosestDistance_Adjacent",
    "second_closest_label": "Neighbors_SecondClosestObjectNumber_Adjacent",
    "second_closest_distance": "Neighbors_SecondClosestDistance_Adjacent",
    "neighbor_angle": "Neighbors_AngleBetweenNeighbors_Adjacent",
}


@pytest.mark.parametrize("family", EXPECTED)
def test_a_profile_has_the_columns_that_cellprofiler_makes(columns, family):
    assert {*EXPECTED[family]} <= columns


def test_a_profile_has_few_columns_beside_these(columns):
    known = {name for names in EXPECTED.values() for name in names} | {*NEIGHBORS.values()}
    # CellProfiler leaves out moments of order 3 along y, and has the compactness since 4.0.
    third = {f"AreaShape_{kind}Moment_3_{i}" for kind in ("Spatial", "Central") for i in range(4)}
    assert columns - known - {"AreaShape_Compactness"} == third | {"Metadata_ObjectNumber"}


def test_what_all_objects_of_a_mask_tell():
    result = xr.Dataset({name: ("label", [1.0, 2.0]) for name in NEIGHBORS}, {"label": [4, 9]})
    assert [*table_of(result)] == ["Metadata_ObjectNumber", *NEIGHBORS.values()]


def test_pycytominer_takes_every_column_for_a_feature_or_metadata(profile):
    infer = pytest.importorskip("pycytominer.cyto_utils").infer_cp_features
    table = table_of(profile, compartment="Nuclei")
    metadata = ["Metadata_ObjectNumber"]
    assert infer(table, ["Nuclei"]) == [name for name in table if name not in metadata]
    assert infer(table, ["Nuclei"], metadata=True) == metadata
    assert [name.removeprefix("Nuclei_") for name in table] == [*table_of(profile)]


def test_the_label_is_the_first_column_and_the_index(profile):
    table = table_of(profile, instance_key="cell")
    assert table.index.name == "cell"
    assert table.columns[0] == "Metadata_ObjectNumber"
    assert table.index.tolist() == table["Metadata_ObjectNumber"].tolist() == [2, 7]


def test_numbers_are_those_of_the_result(profile):
    table = table_of(profile)
    at = {"c": "ER"}
    for column, values in {
        "AreaShape_Area": profile["area"],
        "AreaShape_BoundingBoxMaximum_X": profile["bbox"].sel(bound="max", axis="x"),
        "AreaShape_SpatialMoment_0_2": profile["moments"].isel(order_y=0, order_x=2),
        "AreaShape_InertiaTensor_0_0": profile["inertia_tensor"].sel(axis="y", axis_="y"),
        "AreaShape_Zernike_9_1": profile["zernike"].sel(order="9_1"),
        "Intensity_UpperQuartileIntensity_ER": profile["p75"].sel(at),
        "Location_CenterMassIntensity_X_ER": profile["intensity_center"].sel(at).sel(axis="x"),
        "Texture_Contrast_ER_3_01_256": profile["texture_contrast"].sel(at).sel(scale=3, angle=135),
        "Granularity_5_ER": profile["granularity"].sel(at).sel(step=5),
        "RadialDistribution_FracAtD_ER_2of4": profile["radial_fraction"].sel(at).sel(ring=2),
        "RadialDistribution_ZernikePhase_ER_3_1": profile["radial_zernike_phase"].sel(at).sel(order="3_1"),
        "Correlation_Slope_DNA_ER": profile["slope"].sel(c="DNA", c_="ER"),
        "Correlation_Manders_ER_DNA": profile["manders"].sel(c="ER", c_="DNA"),
    }.items():
        np.testing.assert_array_equal(table[column], values, err_msg=column)


def test_orientation_is_in_degrees(profile):
    np.testing.assert_array_equal(table_of(profile)["AreaShape_Orientation"], np.rad2deg(profile["orientation"]))


def test_k_of_two_channels_is_over_the_squares_of_the_first():
    image, mask = field()
    result = image.labels.measure(mask, ("k1", "k2"))
    x, y = (image.sel(c=c).values[mask.values == 7].astype(float) for c in IMAGES)
    expected = {
        "Correlation_K_DNA_ER": (x * y).sum() / (x**2).sum(),
        "Correlation_K_ER_DNA": (x * y).sum() / (y**2).sum(),
    }
    for asked in (result, result[["k1"]], result[["k2"]], result[["k2", "k1"]]):
        table = table_of(asked).loc[7]
        assert {*table.index} == {"Metadata_ObjectNumber", *expected}
        np.testing.assert_allclose([table[name] for name in expected], [*expected.values()], rtol=1e-12)


def test_pairs_of_three_channels_are_named_in_the_order_of_channels():
    image, mask = field()
    three = xr.concat([image, image[:1].assign_coords(c=["AGP"])], "c")
    table = table_of(three.labels.measure(mask, "pearson"))
    assert [*table][1:] == [f"Correlation_Correlation_{pair}" for pair in ("DNA_ER", "DNA_AGP", "ER_AGP")]


def test_channels_along_another_dim_are_pairs_too():
    image, mask = field()
    renamed = image.rename(c="stain")
    table = table_of(renamed.labels.measure(mask, ("mean", ("rwc", {"dim": "stain"}))))
    assert [*table][3:] == ["Correlation_RWC_DNA_ER", "Correlation_RWC_ER_DNA"]


class TestVolumes:
    def test_have_a_volume_a_surface_and_three_axes(self):
        image, mask = field(3)
        columns = {*table_of(image.instances.profile(mask, ("shape", "intensity", "texture")))}
        assert {
            "AreaShape_Volume",
            "AreaShape_SurfaceArea",
            "AreaShape_BoundingBoxVolume",
            "AreaShape_Center_Z",
            "AreaShape_BoundingBoxMinimum_Z",
            "AreaShape_InertiaTensor_2_2",
            "AreaShape_CentralMoment_0_1_2",
            "Location_MaxIntensity_Z_ER",
            "Texture_InfoMeas2_DNA_3_12_256",
        } <= columns
        assert not {"AreaShape_Area", "AreaShape_BoundingBoxArea"} & columns

    @pytest.mark.parametrize("measures", [("area", "centroid"), ("area", "moments"), ("area", "surface_area")])
    def test_are_told_by_any_measure_of_three_axes(self, measures):
        mask = field(3)[1]
        assert "AreaShape_Volume" in table_of(mask.labels.measure(measures))

    def test_are_told_by_units(self):
        mask = field(3)[1]
        micrometers = mask.assign_coords({dim: (dim, np.arange(n), {"units": "um"}) for dim, n in mask.sizes.items()})
        assert [*table_of(micrometers.labels.measure("area"))][1:] == ["AreaShape_Volume"]


class TestAxes:
    def test_are_numbered_from_z_to_x_in_any_order_of_dims(self):
        mask = field()[1]
        names = ("moments_central", "inertia_tensor", "centroid", "bbox")
        one, other = (table_of(each.labels.measure(names)) for each in (mask, mask.T))
        assert {*one} == {*other}
        pd.testing.assert_frame_equal(one, other[[*one]], rtol=1e-9, atol=1e-6)

    @pytest.mark.parametrize("dims", [("row", "col"), ("lat", "lon"), ("a", "b")])
    def test_of_other_names_are_x_and_y_too(self, dims):
        mask = field()[1].rename(dict(zip("yx", dims, strict=True)))
        table = table_of(mask.labels.measure(("centroid", "bbox")))
        assert [*table][1:3] == ["AreaShape_Center_Y", "AreaShape_Center_X"]
        assert table.loc[2, "AreaShape_BoundingBoxMinimum_X"] == 3


class TestTheImageInANameIs:
    def test_the_channel_that_was_chosen(self):
        image, mask = field()
        result = image.rename("plate").sel(c="ER").labels.measure(mask, "mean")
        assert [*table_of(result)][1:] == ["Intensity_MeanIntensity_ER"]

    def test_the_name_of_an_image_without_channels(self):
        image, mask = field()
        result = image.sel(c="ER", drop=True).rename("Hoechst").labels.measure(mask, ("mean", "texture_contrast"))
        assert [*table_of(result)][1:3] == ["Intensity_MeanIntensity_Hoechst", "Texture_Contrast_Hoechst_3_00_256"]

    def test_image_if_nothing_else_is_known(self):
        image, mask = field()
        result = image.sel(c="ER", drop=True).labels.measure(mask, "p25")
        assert [*table_of(result)][1:] == ["Intensity_LowerQuartileIntensity_Image"]

    def test_the_number_of_a_channel_without_a_name(self):
        image, mask = field()
        result = image.drop_vars("c").labels.measure(mask, ("mean", "manders"))
        assert [*table_of(result)][1:] == [
            "Intensity_MeanIntensity_0",
            "Intensity_MeanIntensity_1",
            "Correlation_Manders_0_1",
            "Correlation_Manders_1_0",
        ]

    def test_the_round_and_the_channel(self):
        image, mask = field()
        rounds = xr.concat([image, image], pd.Index(["r1", "r2"], name="round"))
        assert [*table_of(rounds.labels.measure(mask, "max"))][1:3] == [
            "Intensity_MaxIntensity_r1_DNA",
            "Intensity_MaxIntensity_r1_ER",
        ]

    def test_the_variable_of_a_dataset_and_its_channels(self):
        image, mask = field()
        images = xr.Dataset({"DAPI": image.sel(c="DNA", drop=True), "stack": image, "cells": mask})
        names = [*table_of(images.labels.measure("cells", ("mean", "texture_contrast", "area")))]
        assert names[1:5] == [
            *(f"Intensity_MeanIntensity_{each}" for each in ("DAPI", "stack_DNA", "stack_ER")),
            "Texture_Contrast_DAPI_3_00_256",
        ]
        assert names[-1] == "AreaShape_Area"
        result = images.drop_vars("DAPI").labels.measure("cells", ("k1", "k2"))
        pair = "stack_DNA", "stack_ER"
        assert [*table_of(result)][1:] == ["Correlation_K_{}_{}".format(*each) for each in (pair, pair[::-1])]


def test_results_of_aggregate_have_these_names_and_what_is_unknown_keeps_its_own():
    image, mask = field()
    result = image.labels.aggregate(mask, ("count", "mean", "kurtosis"))
    assert [*table_of(result, compartment="Cells")] == [
        "Metadata_ObjectNumber",
        "Cells_count",
        "Cells_Intensity_MeanIntensity_DNA",
        "Cells_Intensity_MeanIntensity_ER",
        "Cells_kurtosis_DNA",
        "Cells_kurtosis_ER",
    ]
    one = image.labels.mean(mask).labels.to_dataframe(names="cellprofiler", compartment="Cells")
    assert [*one][1:] == ["Cells_Intensity_MeanIntensity_DNA", "Cells_Intensity_MeanIntensity_ER"]


def test_a_scan_has_these_names():
    table = table_of(field()[1].labels.scan())
    assert {"AreaShape_BoundingBoxMinimum_X", "AreaShape_BoundingBoxMaximum_Y", "AreaShape_Center_X"} <= {*table}


def test_variables_of_users_keep_their_names():
    result = xr.Dataset(
        {
            "min_distance": ("label", [1.0]),
            "area_ratio": ("label", [1.0]),
            "radius": ("label", [1.0]),
            "area": (("label", "round"), [[1.0, 2.0]]),
        },
        {"label": [3]},
    )
    assert [*table_of(result)][1:] == ["min_distance", "area_ratio", "radius", "area_0", "area_1"]


def test_a_name_that_needs_what_was_dropped_stays():
    image, mask = field()
    result = image.labels.measure(mask, "texture_contrast")
    assert [*table_of(result.drop_vars("levels"))][1:] == [*result.labels.to_dataframe()]
    assert [*table_of(result.isel(angle=[2, 1]))][1:3] == [
        "Texture_Contrast_DNA_3_02_256",
        "Texture_Contrast_DNA_3_01_256",
    ]


def test_with_positions_metadata_say_them():
    image, mask = field()
    times = pd.Index([5, 8], name="t")
    result = xr.concat([image, image], times).labels.measure(xr.concat([mask, mask], times), "mean", per="t")
    table = table_of(result, compartment="Cells")
    assert [*table][:2] == ["Metadata_ObjectNumber", "Metadata_t"]
    assert table["Metadata_t"].tolist() == [5, 5, 8, 8]
    assert table.index.names == ["t", "label"]


def test_lazy_results_are_computed_together():
    image, mask = field()
    lazy = image.chunk(9).labels.measure(mask.chunk(9), ("mean", "median", "orientation"))
    pd.testing.assert_frame_equal(table_of(lazy), table_of(lazy.compute()))


def test_two_columns_of_one_name_are_an_error():
    image, mask = field()
    with pytest.raises(ValueError, match="two columns would be named 'Intensity_MedianIntensity_DNA'"):
        table_of(xr.concat([image.labels.measure(mask, "median")] * 2, "c"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"names": "skimage"}, ValueError, "names is 'cellprofiler' or None, .* not 'skimage'"),
        ({"names": True}, ValueError, "not True"),
        ({"names": "cellprofiler", "units": True}, ValueError, "names have no units; leave out units=True"),
        ({"compartment": "Nuclei"}, ValueError, "compartment='Nuclei' is for CellProfiler's names; give names="),
        ({"compartment": 3, "names": "cellprofiler"}, TypeError, "compartment is a text such as 'Nuclei', not int"),
        ({"compartment": "", "names": "cellprofiler"}, ValueError, "not an empty one"),
    ],
)
def test_options_that_do_not_go_together_are_an_error(profile, options, error, message):
    with pytest.raises(error, match=message):
        profile.labels.to_dataframe(**options)


def test_every_measure_with_a_name_has_a_form():
    assert [name for name, each in NAMINGS.items() if not each.pairs and each.dims not in FORMS] == []


def test_no_two_measures_have_one_name():
    bases = [naming.base for name, naming in NAMINGS.items() if name != "k2"]
    assert len({*bases}) == len(bases)
