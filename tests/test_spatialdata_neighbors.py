"""Neighbors of the labels of SpatialData objects, in the tables that annotate them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import xlabelstats.spatialdata as xs

with warnings.catch_warnings():
    # What its dependencies say on import is theirs.
    warnings.simplefilter("ignore")
    pytest.importorskip("spatialdata")
    from spatialdata import SpatialData
    from spatialdata.models import Labels2DModel
    from spatialdata.transformations import Affine, Scale, set_transformation


@pytest.fixture
def sdata(nuclei2d) -> SpatialData:
    mask = nuclei2d[1]
    sdata = SpatialData(labels={"nuclei": Labels2DModel.parse(mask.chunk(200))})
    xs.measure(sdata, None, "nuclei", "cells", ("area",))
    return sdata


def matrices(table: Any) -> tuple[np.ndarray, np.ndarray]:
    return table.obsp["spatial_connectivities"].toarray(), table.obsp["spatial_distances"].toarray()


def test_the_graph_is_that_of_the_mask(sdata, nuclei2d):
    table = xs.neighbors(sdata, "nuclei", "cells", 12)
    assert table is sdata["cells"]
    expected = nuclei2d[1].labels.count().labels.to_anndata(neighbors=nuclei2d[1].labels.neighbors(12))
    assert expected.obsp["spatial_distances"].nnz > 50
    np.testing.assert_array_equal(matrices(table), matrices(expected))
    assert table.uns["spatial_neighbors"] == expected.uns["spatial_neighbors"]


def test_distances_are_in_the_coordinate_system(sdata, nuclei2d):
    mask = nuclei2d[1]
    set_transformation(sdata["nuclei"], Scale([0.5, 2.0], ("x", "y")), "scaled")
    turn = 0.5 * np.array([[np.cos(0.4), -np.sin(0.4), 60.0], [np.sin(0.4), np.cos(0.4), -8.0], [0, 0, 2]])
    set_transformation(sdata["nuclei"], Affine(turn, ("x", "y"), ("x", "y")), "turned")
    for system, x, y in (("scaled", 0.5, 2.0), ("turned", 0.5, 0.5)):
        table = xs.neighbors(sdata, "nuclei", "cells", 6, to_coordinate_system=system, overwrite=True)
        placed = mask.assign_coords(x=x * np.arange(mask.sizes["x"]), y=y * np.arange(mask.sizes["y"]))
        expected = mask.labels.count().labels.to_anndata(neighbors=placed.labels.neighbors(6))
        np.testing.assert_allclose(matrices(table), matrices(expected), rtol=1e-9)


def test_labels_that_the_table_lacks_are_left_out_with_a_warning(sdata):
    full = xs.neighbors(sdata, "nuclei", "cells", 12).copy()
    kept = np.arange(full.n_obs) % 3 > 0
    del sdata.tables["cells"].obsp["spatial_distances"]
    sdata.tables["some"] = full[kept].copy()
    del sdata.tables["cells"]
    with pytest.warns(UserWarning, match="labels that the table lacks"):
        table = xs.neighbors(sdata, "nuclei", "some", 12, overwrite=True)
    np.testing.assert_array_equal(matrices(table)[1], matrices(full)[1][np.ix_(kept, kept)])


def test_what_cannot_be_says_why(sdata):
    with pytest.raises(ValueError, match="there is no table 'other' to add neighbors to; make one first"):
        xs.neighbors(sdata, "nuclei", "other", 3)
    with pytest.raises(ValueError, match="unknown labels element 'nucleii'"):
        xs.neighbors(sdata, "nucleii", "cells", 3)
    xs.neighbors(sdata, "nuclei", "cells", 3)
    with pytest.raises(ValueError, match=r"has obsp\['spatial_connectivities'\] already; overwrite=True replaces it"):
        xs.neighbors(sdata, "nuclei", "cells", 3)
    shear = Affine(np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1.0]]), ("x", "y"), ("x", "y"))
    set_transformation(sdata["nuclei"], shear, "sheared")
    with pytest.raises(ValueError, match=r"shears them.*spatialdata.rasterize"):
        xs.neighbors(sdata, "nuclei", "cells", 3, to_coordinate_system="sheared", overwrite=True)
