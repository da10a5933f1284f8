"""Results put below the image of an OME-Zarr as feature tables, as ngio reads them."""

from __future__ import annotations

import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import blobs
from processes import exitcode_of

from xlabelstats.ngff import tables
from xlabelstats.pipeline import Cache
from xlabelstats.placement import MARKS

pytest.importorskip("ome_zarr")
pytest.importorskip("pyarrow")

MASK = xr.DataArray(da.from_array(blobs((40, 50), 20), chunks=(16, 20)), dims=("y", "x"))
IMAGE = xr.DataArray(
    da.from_array(np.random.default_rng(0).random((2, 40, 50)), chunks=(1, 16, 20)),
    dims=("c", "y", "x"),
    coords={"c": ["DAPI", "CD3"]},
)
MEASURES = ("count", "max", "mean", "centroid", "touches_border")


@pytest.fixture(params=["anndata", "parquet"])
def backend(request) -> str:
    if request.param == "anndata":
        pytest.importorskip("anndata")
    return request.param


def same(image):
    return image


def field(folder: Path, version: str = "0.5") -> str:
    """An image with the mask below it."""
    cache = Cache(folder)
    cache.run("field", same, IMAGE, ome_version=version)
    path = f"{cache.status()['url'][0]}/image.ome.zarr"
    MASK.labels.to_ome_zarr(path, "cells")
    return path


def opened(path: str, name: str = "cells"):
    """A feature table, as ngio opens it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngio = pytest.importorskip("ngio")
        table = ngio.open_ome_zarr_container(path, mode="r").get_feature_table(name)
        return table, table.dataframe


def stored(path: str, backend: str, name: str = "cells") -> pd.DataFrame:
    """A table as pandas or AnnData opens it."""
    folder = f"{path}/tables/{name}"
    if backend == "parquet":
        return pd.read_parquet(f"{folder}/table.parquet").set_index("label")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pytest.importorskip("anndata").read_zarr(folder)
    both = pd.concat([read.to_df(), read.obs], axis=1)
    return both.set_index(pd.Index(both.index.astype(int), name="label"))


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.name not in (*MARKS, ".zattrs"))


@pytest.mark.parametrize("version", ["0.5", "0.4"])
class TestNgio:
    def test_opens_and_validates_a_table_of_its_labels(self, tmp_path, version, backend):
        path = field(tmp_path, version)
        result = IMAGE.labels.measure(MASK, MEASURES)
        result.labels.to_ome_zarr(path, "cells", backend=backend)
        table, frame = opened(path)
        assert (table.table_type(), table.version(), table.backend_name) == ("feature_table", "1", backend)
        assert table.reference_label == "cells"
        assert table.meta.index_key == table.meta.instance_key == "label"
        expected = result.labels.to_dataframe()
        assert set(frame) == set(expected)
        pd.testing.assert_frame_equal(frame[list(expected)], expected, check_dtype=False, check_index_type=False)
        assert frame.index.name == "label"
        assert frame.index.dtype.kind in "iu"

    def test_lists_tables_under_their_names(self, tmp_path, version, backend):
        path = field(tmp_path, version)
        result = IMAGE.labels.measure(MASK, "mean")
        result.labels.to_ome_zarr(path, "cells", backend=backend)
        result.labels.to_ome_zarr(path, "cells", name="more", backend=backend, instance_key="cell")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            container = pytest.importorskip("ngio").open_ome_zarr_container(path, mode="r")
        assert container.list_tables() == ["cells", "more"]
        table, frame = opened(path, "more")
        assert frame.index.name == table.meta.index_key == "cell"
        assert table.reference_label == "cells"


class TestTables:
    def test_hold_what_to_dataframe_gives(self, tmp_path, backend):
        path = field(tmp_path)
        result = IMAGE.labels.measure(MASK, MEASURES)
        result.labels.to_ome_zarr(path, "cells", backend=backend)
        expected = result.labels.to_dataframe()
        found = stored(path, backend)[list(expected)]
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_index_type=False)
        assert found["count"].dtype == np.int64
        assert names(f"{path}/tables") == ["cells"]

    def test_of_one_statistic_are_named_by_it(self, tmp_path, backend):
        path = field(tmp_path)
        IMAGE.labels.mean(MASK).labels.to_ome_zarr(path, "cells", backend=backend)
        assert list(stored(path, backend)) == ["mean_DAPI", "mean_CD3"]

    def test_in_pieces_hold_the_same(self, tmp_path, backend, monkeypatch):
        path = field(tmp_path)
        result = IMAGE.labels.measure(MASK, MEASURES).compute()
        monkeypatch.setattr(tables, "ROWS", 7)
        result.labels.to_ome_zarr(path, "cells", backend=backend)
        expected = result.labels.to_dataframe()
        found = stored(path, backend)[list(expected)]
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_index_type=False)

    def test_lazy_results_are_computed_in_one_pass_for_all_pieces(self, tmp_path, backend, monkeypatch):
        path, reads = field(tmp_path), []
        pixels = IMAGE.data.map_blocks(lambda block: reads.append(1) or block, dtype=float, meta=np.empty((0, 0, 0)))
        result = IMAGE.copy(data=pixels).labels.measure(MASK, MEASURES).chunk(label=5)
        monkeypatch.setattr(tables, "ROWS", 5)
        with dask.config.set(scheduler="synchronous"):
            result.labels.to_ome_zarr(path, "cells", backend=backend)
        assert len(reads) == IMAGE.data.npartitions

    def test_of_no_labels_are_empty(self, tmp_path, backend):
        path = field(tmp_path)
        IMAGE.labels.measure(MASK * 0, ("mean", "count")).labels.to_ome_zarr(path, "cells", backend=backend)
        found = stored(path, backend)
        assert len(found) == 0
        assert set(found) == {"mean_DAPI", "mean_CD3", "count"}

    def test_of_text_and_truth_come_back(self, tmp_path, backend):
        path = field(tmp_path)
        ids = MASK.labels.ids()
        result = xr.Dataset(
            {"kind": ("label", [f"kind {i % 2}" for i in ids]), "big": ("label", ids > 9)}, {"label": ids}
        )
        result.labels.to_ome_zarr(path, "cells", backend=backend)
        found = stored(path, backend)
        assert found["kind"].tolist() == result["kind"].values.tolist()
        assert found["big"].tolist() == result["big"].values.tolist()

    def test_of_text_that_is_missing_say_so(self, tmp_path, backend):
        path = field(tmp_path)
        kinds = np.array(["b", None, "a"], object)
        result = xr.Dataset({"kind": ("label", kinds)}, {"label": [7, -2, 2**40]})
        result.labels.to_ome_zarr(path, "cells", backend=backend)
        found = stored(path, backend)["kind"]
        assert found.index.tolist() == [7, -2, 2**40]
        assert found.isna().tolist() == [False, True, False]
        assert found.dropna().tolist() == ["b", "a"]
        assert opened(path)[1]["kind"].isna().tolist() == [False, True, False]

    def test_of_labels_that_a_join_made_floating_point_are_of_integers(self, tmp_path, backend):
        path = field(tmp_path)
        result = xr.Dataset({"a": ("label", [1.0, 2])}, {"label": [5.0, 3.0]})
        result.labels.to_ome_zarr(path, "cells", backend=backend)
        assert opened(path)[1].index.tolist() == [5, 3]

    def test_are_replaced_if_asked_for_alone(self, tmp_path, backend):
        path = field(tmp_path)
        IMAGE.labels.measure(MASK, "mean").labels.to_ome_zarr(path, "cells", backend=backend)
        other = IMAGE.labels.measure(MASK, "max")
        with pytest.raises(FileExistsError, match="overwrite=True would replace"):
            other.labels.to_ome_zarr(path, "cells", backend=backend)
        assert list(stored(path, backend)) == ["mean_DAPI", "mean_CD3"]
        other.labels.to_ome_zarr(path, "cells", backend=backend, overwrite=True)
        assert list(stored(path, backend)) == ["max_DAPI", "max_CD3"]
        assert zarr.open_group(f"{path}/tables", mode="r").attrs["tables"] == ["cells"]


class TestCutShortTables:
    def test_by_an_error_leaves_nothing(self, tmp_path, backend):
        path = field(tmp_path)

        def fails(block):
            raise RuntimeError("no more")

        pixels = IMAGE.data.map_blocks(fails, dtype=float, meta=np.empty((0, 0, 0)))
        with pytest.raises(RuntimeError, match="no more"):
            IMAGE.copy(data=pixels).labels.measure(MASK, "mean").labels.to_ome_zarr(path, "cells", backend=backend)
        assert names(path) == ["0", "labels"]

    def test_by_a_kill_leaves_no_table(self, tmp_path):
        path = field(tmp_path)
        program = f"""
            import os, signal, numpy as np, xarray as xr, xlabelstats
            from pyarrow import parquet
            close = parquet.ParquetWriter.close
            parquet.ParquetWriter.close = lambda writer: os.kill(os.getpid(), signal.SIGKILL)
            result = xr.Dataset({{"a": ("label", np.arange(9.0))}}, {{"label": np.arange(9)}})
            result.labels.to_ome_zarr({path!r}, "cells", backend="parquet")
        """
        assert exitcode_of(program) == -9
        assert [name for name in names(f"{path}/tables") if not name.startswith(".")] == []
        IMAGE.labels.measure(MASK, "mean").labels.to_ome_zarr(path, "cells", backend="parquet")
        assert names(f"{path}/tables") == ["cells"]


class TestTableErrors:
    def test_a_label_image_that_is_not_there_is_told(self, tmp_path):
        path = field(tmp_path)
        with pytest.raises(
            ValueError,
            match=r"no label image 'nuclei'.*there are: 'cells'; .* mask\.labels\.to_ome_zarr\(path, 'nuclei'\)",
        ):
            IMAGE.labels.measure(MASK, "mean").labels.to_ome_zarr(path, "nuclei", backend="parquet")
        assert names(path) == ["0", "labels"]

    def test_an_unknown_backend_is_told(self, tmp_path):
        with pytest.raises(ValueError, match="unknown backend 'csv'; there are: anndata, parquet"):
            IMAGE.labels.mean(MASK).labels.to_ome_zarr(tmp_path, "cells", backend="csv")

    def test_rows_of_labels_and_times_are_told(self, tmp_path):
        mask = MASK.expand_dims(t=2)
        with pytest.raises(ValueError, match="one row per label, and this result has one per label and position"):
            mask.labels.count(per="t").labels.to_ome_zarr(tmp_path, "cells", backend="parquet")

    def test_the_advice_for_rows_of_labels_and_times_holds(self, tmp_path):
        path = field(tmp_path)
        movie = IMAGE.expand_dims(t=[0, 5])
        result = movie.labels.measure(MASK.expand_dims(t=[0, 5]), ("mean", "count"), per="t").compute()
        with pytest.raises(ValueError, match="Choose a position") as told:
            result.labels.to_ome_zarr(path, "cells", backend="parquet")
        one = eval(str(told.value).split("Choose a position: ")[1].split(". Or write")[0], {"result": result})
        one.labels.to_ome_zarr(path, "cells", backend="parquet")
        np.testing.assert_allclose(stored(path, "parquet")["mean_DAPI"], IMAGE.labels.mean(MASK).sel(c="DAPI"))

    def test_a_label_with_two_rows_is_told(self, tmp_path):
        result = xr.Dataset({"a": ("label", [1.0, 2])}, {"label": [4, 4]})
        with pytest.raises(ValueError, match="one row per label, and label 4 has several"):
            result.labels.to_ome_zarr(tmp_path, "cells", backend="parquet")

    def test_rows_of_no_labels_are_told(self, tmp_path):
        with pytest.raises(ValueError, match="does not say whose rows it has"):
            xr.Dataset({"a": ("label", [1.0, 2])}).labels.to_ome_zarr(tmp_path, "cells", backend="parquet")

    def test_labels_that_are_text_are_told(self, tmp_path):
        result = xr.Dataset({"a": ("label", [1.0, 2])}, {"label": ["p", "q"]})
        with pytest.raises(TypeError, match="labels are whole numbers"):
            result.labels.to_ome_zarr(tmp_path, "cells", backend="parquet")

    def test_a_result_without_rows_is_told(self, tmp_path):
        with pytest.raises(ValueError, match="has no dim 'label'"):
            xr.Dataset({"a": ("x", [1.0])}).labels.to_ome_zarr(tmp_path, "cells", backend="parquet")

    def test_a_key_that_is_a_column_is_told(self, tmp_path):
        path = field(tmp_path)
        with pytest.raises(ValueError, match="'count' is the name of a column; choose another instance_key"):
            MASK.labels.count().labels.to_ome_zarr(path, "cells", backend="parquet", instance_key="count")
