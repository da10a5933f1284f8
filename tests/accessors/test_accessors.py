"""The accessors as a user meets them: help, attributes that are not there, and names that other tools use."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from calls import SHORTCUTS
from skimage.measure import regionprops_table
from skimage.measure._regionprops import PROPS

import xlabelstats
from xlabelstats.catalogue import CATALOGUE, FURTHER_PROPERTIES, OBJECT_PROPERTIES, STATISTICS
from xlabelstats.catalogue.vocabulary import SYNONYMS, meaning_of
from xlabelstats.labels.closest import ABOUT
from xlabelstats.labels.regionprops import PROPERTIES, WHOLE_OBJECT

MASK = xr.DataArray([[0, 7, 7, 7], [2, 2, 7, 7]], dims=("y", "x"))
IMAGE = xr.DataArray([[9.0, 1, 3, 4], [4, 5, 6, 2]], dims=("y", "x"), name="DAPI")
FIELD = xr.Dataset({"cells": MASK, "DAPI": IMAGE})
TREE = xr.DataTree.from_dict({"scale0": IMAGE.to_dataset(), "scale1": IMAGE[::2, ::2].to_dataset()})

ACCESSORS = {
    "image.labels": IMAGE.labels,
    "image.instances": IMAGE.instances,
    "dataset.labels": FIELD.labels,
    "dataset.instances": FIELD.instances,
    "tree.labels": TREE.labels,
    "tree.instances": TREE.instances,
    "image.labels.plot": IMAGE.labels.plot,
    "image.instances.plot": IMAGE.instances.plot,
    "dataset.labels.plot": FIELD.labels.plot,
    "dataset.instances.plot": FIELD.instances.plot,
    "tree.labels.plot": TREE.labels.plot,
}

METHODS = {
    f"{name}.{method}": getattr(accessor, method)
    for name, accessor in ACCESSORS.items()
    for method in dir(accessor)
    if not method.startswith("_") and callable(getattr(accessor, method))
}


def sections(docstring: str) -> dict[str, list[str]]:
    """The lines of every section of a numpydoc docstring."""
    lines = docstring.splitlines()
    starts = [i - 1 for i, line in enumerate(lines) if line and not line.strip("-") and len(line) > 3]
    ends = [*starts[1:], len(lines)]
    return {lines[a]: lines[a + 2 : b] for a, b in zip(starts, ends, strict=True)}


class TestHelp:
    @pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
    def test_every_method_describes_its_parameters_and_results_with_an_example(self, method):
        text = inspect.getdoc(method) or ""
        found = sections(text)
        assert list(found) == [
            title
            for title in ("Parameters", "Returns", "Warns", "Raises", "Notes", "References", "Examples")
            if title in found
        ]
        assert {"Returns", "Examples"} <= set(found)
        named = [name for line in found.get("Parameters", []) if line[:1].strip() for name in line.split(" : ")[:1]]
        stars = {inspect.Parameter.VAR_KEYWORD: "**"}
        parameters = inspect.signature(method).parameters.values()
        assert named == [stars.get(parameter.kind, "") + parameter.name for parameter in parameters]
        assert not any(line.strip().startswith("As in `") for line in found.get("Parameters", []))
        assert any(line.startswith(">>> ") and f".{method.__name__}(" in line for line in found["Examples"])

    @pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
    def test_what_can_go_wrong_is_described(self, method):
        assert "Raises" in sections(inspect.getdoc(method) or "")

    def test_help_of_a_picture_is_that_of_its_function(self):
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            help(IMAGE.labels.plot.overlay)
        assert "boundary_color : colour, optional" in shown.getvalue()
        assert "image.labels.plot.overlay(mask)" in shown.getvalue()

    def test_help_of_the_package_lists_its_names(self):
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            help(xlabelstats)
        description = shown.getvalue().partition("PACKAGE CONTENTS")[0]
        assert all(f"`{name}`" in description for name in xlabelstats.__all__)

    def test_importing_the_package_does_not_import_the_pictures(self):
        program = "import sys, xlabelstats; print('xlabelstats.plot' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


class TestArguments:
    @pytest.mark.parametrize(
        ("call", "says"),
        [
            (lambda **kw: IMAGE.labels.measure(MASK, "texture_contrast", **kw), "'texture_contrast'"),
            (lambda **kw: IMAGE.labels.measure(MASK, measures=("mean", "entropy"), **kw), "'entropy'"),
            (lambda **kw: MASK.labels.measure(["mean", ("texture_entropy", {"scale": 1})], **kw), "'texture_entropy'"),
            (lambda **kw: MASK.labels.measure("area", **kw), "'histogram'"),
            (lambda **kw: FIELD.labels.measure("cells", ["mean", "texture_contrast"], **kw), "'texture_contrast'"),
            (lambda **kw: TREE.labels.measure(MASK, "texture_contrast", **kw), "'texture_contrast'"),
        ],
    )
    def test_parameters_of_a_measure_are_told_to_go_with_its_name(self, call, says):
        for value, written in (((0, 1000), "(0, 1000)"), (np.arange(2), "..."), ([*range(99)], "...")):
            with pytest.raises(TypeError) as error:
                call(range=value)
            start, _, end = str(error.value).partition("; ")
            assert start == "measure() got an unexpected keyword argument 'range'"
            assert end == f"a parameter of a measure goes with its name: ({says}, {{'range': {written}}})"
        with pytest.raises(TypeError, match=r"'label', did you mean 'labels'[?]$"):
            call(label=[1])
        with pytest.raises(TypeError, match=r"argument 'extent'$"):
            call(extent=1)

    @pytest.mark.parametrize("given", [(["mean"],), ("cells",)])
    def test_of_a_dataset_the_mask_comes_first(self, given):
        with pytest.raises(
            TypeError, match=r'which measures\? The mask, .*: dataset\.labels\.measure\("cells", \("mean"'
        ):
            FIELD.labels.measure(*given)


class TestAttributes:
    @pytest.mark.parametrize(
        ("accessor", "name", "says"),
        [
            *((IMAGE.instances, name, f"image.labels.{name}(mask)") for name in SHORTCUTS),
            (IMAGE.instances, "count", "mask.labels.count()"),
            (IMAGE.instances, "aggregate", "image.labels.aggregate(mask)"),
            (IMAGE.instances, "scan", "mask.labels.scan()"),
            (IMAGE.instances, "ids", "mask.labels.ids()"),
            (IMAGE.instances, "center_of_mass", "mask.labels.center_of_mass()"),
            (IMAGE.instances, "paint", "mask.labels.paint(...)"),
            (IMAGE.instances, "to_dataframe", "result.labels.to_dataframe()"),
            (IMAGE.instances, "nanmean", "image.labels.mean(mask)"),
            (IMAGE.instances, "quantile", "image.labels.quantile(mask, ...)"),
            (IMAGE.labels, "windows", "image.instances.windows(mask)"),
            (IMAGE.labels, "radii_and_axes", "mask.instances.radii_and_axes()"),
            (IMAGE.labels, "average", "image.labels.mean(mask)"),
            (IMAGE.labels, "area", 'mask.labels.regionprops("area")'),
            (IMAGE.labels, "solidity", 'mask.instances.regionprops("solidity")'),
            (FIELD.instances, "mean", "dataset.labels.mean(mask)"),
            (FIELD.instances, "scan", "dataset.labels.scan(mask)"),
            (FIELD.labels, "windows", "dataset.instances.windows(mask)"),
            (TREE.instances, "mean", "image.labels.mean(mask)"),
            (TREE.labels, "windows", "image.instances.windows(mask)"),
        ],
    )
    def test_what_is_elsewhere_is_named(self, accessor, name, says):
        assert not hasattr(accessor, name)
        assert name not in dir(accessor)
        with pytest.raises(AttributeError) as error:
            getattr(accessor, name)
        message = str(error.value)
        assert message == f"{type(accessor).__name__!r} object has no attribute {name!r}; it is {says}"
        assert (error.value.name, error.value.obj) == (name, accessor)

    @pytest.mark.parametrize(
        ("accessor", "name", "meant"),
        [
            (IMAGE.labels, "meen", "image.labels.mean(mask)"),
            (IMAGE.instances, "meen", "image.labels.mean(mask)"),
            (FIELD.labels, "meen", "dataset.labels.mean(mask)"),
            (TREE.labels, "meen", "image.labels.mean(mask)"),
            (IMAGE.labels, "eccentricty", 'mask.labels.regionprops("eccentricity")'),
            (IMAGE.labels, "texture_contrst", 'image.labels.measure(mask, "texture_contrast")'),
        ],
    )
    def test_what_is_misspelt_is_asked_about(self, accessor, name, meant):
        with pytest.raises(
            AttributeError, match=f"has no attribute {name!r}; did you mean {re.escape(meant)}\\?$"
        ) as error:
            getattr(accessor, name)
        # Python adds a suggestion if it knows the object.
        assert error.value.obj is None

    @pytest.mark.parametrize("accessor", ACCESSORS.values(), ids=ACCESSORS)
    def test_every_name_in_dir_is_there_and_no_other(self, accessor):
        assert all(hasattr(accessor, name) for name in dir(accessor))
        for name in ("nothing_like_it", "_repr_html_", "__array__", "_ipython_canary_method_should_not_exist_"):
            assert not hasattr(accessor, name)
            with pytest.raises(AttributeError, match=f"has no attribute '{name}'$"):
                getattr(accessor, name)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_medians_and_quantiles_are_those_of_instances(self, lazy):
        image, mask = (IMAGE.chunk(x=2), MASK.chunk(x=2)) if lazy else (IMAGE, MASK)
        labels, instances = image.labels, image.instances
        options = {"labels": [7, 2], "skipna": False}
        xr.testing.assert_identical(labels.median(mask, **options), instances.median(mask, **options))
        xr.testing.assert_identical(labels.quantiles(mask, **options), instances.quantiles(mask, **options))
        for q in (0.3, [0.3, 0.6]):
            expected = instances.quantiles(mask, q, method="lower", background=True)
            xr.testing.assert_identical(labels.quantile(mask, q, method="lower", background=True), expected)
        assert (labels.median(mask).chunks is not None) == lazy
        np.testing.assert_array_equal(labels.median(mask), [np.median([4.0, 5]), np.median([1.0, 3, 4, 6, 2])])
        xr.testing.assert_identical(TREE.labels.median(MASK), instances.median(mask).compute())


class TestRegionprops:
    @pytest.mark.parametrize("names", ["area", ("area", "bbox"), ["area"], {"area"}, np.array(["area", "bbox"])])
    def test_names_may_come_first(self, names):
        expected = MASK.labels.regionprops(properties=names)
        xr.testing.assert_identical(MASK.labels.regionprops(names), expected)
        xr.testing.assert_identical(
            MASK.labels.regionprops(iter(names) if isinstance(names, list) else names), expected
        )
        xr.testing.assert_identical(MASK.labels.regionprops(None, names), expected)
        xr.testing.assert_identical(IMAGE.labels.regionprops(MASK, names), expected)
        xr.testing.assert_identical(IMAGE.labels.regionprops(MASK, properties=names), expected)
        xr.testing.assert_identical(IMAGE.labels.regionprops(mask=MASK, properties=names), expected)
        np.testing.assert_array_equal(expected["area"], regionprops_table(MASK.values, properties=["area"])["area"])

    def test_without_names_there_are_three_properties(self):
        for result in (MASK.labels.regionprops(), IMAGE.labels.regionprops(MASK)):
            assert list(result) == ["area", "bbox", "centroid"]

    @pytest.mark.parametrize("lazy", [False, True])
    def test_properties_of_whole_objects_and_those_that_merge_come_together(self, lazy):
        image, mask = (IMAGE.chunk(x=2), MASK.chunk(x=2)) if lazy else (IMAGE, MASK)
        names = ("intensity_mean", "solidity", "area", "area_filled")
        result = image.instances.regionprops(mask, names)
        assert list(result) == list(names)
        assert all((variable.chunks is not None) == lazy for variable in result.values())
        expected = regionprops_table(MASK.values, IMAGE.values, properties=names)
        for name in names:
            np.testing.assert_allclose(result[name], expected[name])
        xr.testing.assert_identical(mask.instances.regionprops("area"), mask.labels.regionprops("area"))
        xr.testing.assert_identical(
            mask.instances.regionprops(names[1:]), image.instances.regionprops(mask, properties=names[1:])
        )

    def test_lengths_of_whole_objects_have_the_units_of_the_images_coordinates(self):
        image = IMAGE.assign_coords(y=[0.0, 2.0], x=[0.0, 2.0, 4.0, 6.0])
        result = image.instances.regionprops(MASK, ("area", "area_filled"))
        assert result["area"].values.tolist() == result["area_filled"].values.tolist() == [8.0, 20.0]

    @pytest.mark.parametrize("accessor", ["labels", "instances"])
    def test_what_is_neither_mask_nor_names_is_named(self, accessor):
        regionprops = getattr(IMAGE, accessor).regionprops
        with pytest.raises(TypeError, match=r"the mask comes before the names of properties: image.*\(mask, propert"):
            regionprops("area", MASK)
        with pytest.raises(TypeError, match=r"names of properties are given twice, 'area' and 'bbox'; several are one"):
            regionprops("area", "bbox")
        with pytest.raises(
            TypeError, match=r"a mask, a DataArray, or names of properties, not list; if it is the mask"
        ):
            regionprops([[0, 1], [1, 0]])
        with pytest.raises(TypeError, match=r"a mask is an xarray.DataArray, not ndarray; name its dims"):
            regionprops(MASK.values, "area")
        with pytest.raises(TypeError, match=r"a mask is an xarray.DataArray, not Dataset; choose one of its variables"):
            regionprops(FIELD, "area")
        with pytest.raises(TypeError, match=r"a mask, a DataArray, or names of properties, not int"):
            regionprops(3)


class TestNamesOfOtherTools:
    @pytest.mark.parametrize("name", [name for name in PROPS if name not in PROPS.values()])
    def test_every_older_name_of_scikit_image_is_answered_with_ours(self, name):
        ours = PROPS[name]
        if ours in PROPERTIES or ours in OBJECT_PROPERTIES:
            expected = f"unknown property {name!r}, which is called {ours!r} here. There are: "
        else:
            where = WHOLE_OBJECT.get(ours, "the coordinate 'label' of every result")
            expected = f"unknown property {name!r}, which is {where}. There are: "
        with pytest.raises(ValueError, match="unknown property") as error:
            MASK.instances.regionprops(name)
        assert str(error.value).startswith(expected)
        with pytest.raises(ValueError, match="unknown property") as error:
            MASK.labels.regionprops(("area", name))
        if ours in OBJECT_PROPERTIES and ours not in PROPERTIES:
            expected = f'unknown property {name!r}, which is mask.instances.regionprops("{ours}"). There are: '
        assert str(error.value).startswith(expected)

    @pytest.mark.parametrize(
        ("name", "answer"),
        {
            "average": "called 'mean' here.",
            "avg": "called 'mean' here.",
            "nanmean": "called 'mean' here with skipna=True, the default for floats.",
            "nanstd": "called 'std' here with skipna=True, the default for floats.",
            "amax": "called 'max' here.",
            "amin": "called 'min' here.",
            "mean_intensity": "called 'mean' here.",
            "MeanIntensity": "called 'mean' here.",
            "Intensity_IntegratedIntensity_DNA": "called 'sum' here.",
            "intensity_max": "called 'max' here.",
            "num_pixels": "called 'count' here.",
            "variance": "called 'var' here.",
            "skewness": "called 'skew' here.",
            "ptp": "the difference of max and min.",
            "nanmedian": "called 'median' here with skipna=True, the default for floats.",
            "MedianIntensity": "called 'median' here.",
            "area": 'mask.labels.regionprops("area").',
            "AreaShape_Area": 'mask.labels.regionprops("area").',
            "centroid_weighted": 'image.labels.regionprops(mask, "centroid_weighted").',
            "solidity": 'mask.instances.regionprops("solidity").',
            "coords": "image.instances.windows(mask).",
        }.items(),
    )
    def test_names_that_are_no_statistics_here_are_answered(self, name, answer):
        for call in (IMAGE.labels, FIELD.labels):
            with pytest.raises(ValueError, match="unknown statistic") as error:
                call.aggregate("cells" if call is FIELD.labels else MASK, name)
            assert str(error.value).startswith(f"unknown statistic {name!r}, which is {answer} There are: count, sum, ")

    @pytest.mark.parametrize(
        ("name", "answer"),
        {
            "mean": "called 'intensity_mean' here",
            "average": "called 'intensity_mean' here",
            "std": "called 'intensity_std' here",
            "count": "called 'num_pixels' here",
            "sum": 'image.labels.aggregate(mask, "sum")',
            "skew": 'image.labels.aggregate(mask, "skew")',
            "median": "image.instances.median(mask)",
            "quantiles": "image.instances.quantiles(mask, q)",
            "AreaShape_MajorAxisLength": "called 'axis_major_length' here",
            "AreaShape_Center_X": "called 'centroid' here",
            "FormFactor": "called 'circularity' here",
        }.items(),
    )
    def test_names_of_statistics_are_answered_among_properties(self, name, answer):
        for regionprops in (MASK.labels.regionprops, MASK.instances.regionprops):
            with pytest.raises(ValueError, match="unknown property") as error:
                regionprops(name)
            assert str(error.value).startswith(f"unknown property {name!r}, which is {answer}. There are: ")

    def test_each_of_several_unknown_names_is_answered(self):
        with pytest.raises(ValueError, match="unknown statistic") as error:
            IMAGE.labels.aggregate(MASK, ("average", "mean", "blub", "amin"))
        assert str(error.value).startswith(
            "unknown statistic 'average', which is called 'mean' here; 'blub'; 'amin', which is called 'min' here. "
        )

    def test_the_table_of_names_is_about_what_exists_and_shadows_nothing(self):
        properties = {*PROPERTIES, *OBJECT_PROPERTIES, *FURTHER_PROPERTIES, *WHOLE_OBJECT}
        ours = {*properties, *CATALOGUE, *ABOUT, "texture"}
        assert set(SYNONYMS.values()) <= ours
        assert all(meaning_of(name) for name in SYNONYMS)
        other_concepts = {name for name in SYNONYMS if name in ours and SYNONYMS[name] != name}
        assert not other_concepts

    def test_columns_of_cellprofiler_are_answered_with_the_measure(self):
        for name, entry in CATALOGUE.items():
            if entry.cellprofiler and name != "k2":
                assert meaning_of(f"{entry.cellprofiler}_DNA_3_00") == meaning_of(name), name

    def test_measures_of_ours_are_found_whatever_their_capitals(self):
        for name in (*STATISTICS, *PROPERTIES, *OBJECT_PROPERTIES, *FURTHER_PROPERTIES):
            assert meaning_of(name.title().replace("_", "")) == meaning_of(name)
