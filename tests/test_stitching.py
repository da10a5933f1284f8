"""Masks made tile by tile and joined: a mask cut into overlapping tiles comes back, and brute force finds the pairs."""

from __future__ import annotations

import itertools
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS
from skimage.measure import label

import xlabelstats

Tiles = tuple[list[np.ndarray], list[tuple[int, ...]]]


def cut(mask: np.ndarray, size: int, overlap: int, seed: int = 0, dtype: Any = np.int64) -> Tiles:
    """Overlapping tiles of a mask, each with numbers of its own, in any order."""
    rng = np.random.default_rng(seed)
    starts = [range(0, max(n - overlap, 1), size - overlap) for n in mask.shape]
    tiles = []
    offsets = list(itertools.product(*starts))
    for offset in offsets:
        tile = mask[tuple(slice(a, a + size) for a in offset)]
        ids, codes = np.unique(tile, return_inverse=True)
        numbers = rng.permutation(np.arange(1, 3 * ids.size + 1))[: ids.size]
        tiles.append(np.where(tile == 0, 0, numbers[codes].reshape(tile.shape)).astype(dtype))
    return tiles, offsets


def assert_same_objects(result: Any, mask: np.ndarray) -> None:
    """The same objects, with ids from 1 to n."""
    result = np.asarray(result)
    pairs = np.unique(np.stack([result.ravel(), mask.ravel()]), axis=1)
    assert ((pairs[0] == 0) == (pairs[1] == 0)).all()
    assert pairs.shape[1] == np.unique(result).size == np.unique(mask).size
    ids = np.unique(result[result != 0])
    assert ids.tolist() == list(range(1, ids.size + 1))


class TestAMaskThatWasCut:
    @pytest.mark.parametrize("size", [90, 333])
    @pytest.mark.parametrize("overlap", [1, 5, 30])
    def test_comes_back(self, nuclei2d: Any, size: int, overlap: int) -> None:
        mask = label(nuclei2d[1].values)
        tiles, offsets = cut(mask, size, overlap)
        result = xlabelstats.stitch(tiles, offsets)
        assert isinstance(result, da.Array)
        assert result.dtype == np.int32
        assert_same_objects(result, mask)

    def test_comes_back_in_3d(self, nuclei3d: Any) -> None:
        mask = label(nuclei3d[1].values)
        tiles, offsets = cut(mask, 24, 9)
        result = xlabelstats.stitch(tiles, offsets)
        assert_same_objects(result, mask)
        lazy = [da.from_array(tile, chunks=(5, 24, 11)) for tile in tiles]
        np.testing.assert_array_equal(xlabelstats.stitch(lazy, offsets), result)

    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_whatever_its_dims_dtype_layout_and_chunks(self, data: st.DataObject) -> None:
        shape = tuple(data.draw(st.lists(st.integers(1, 14), min_size=1, max_size=3)))
        overlap = data.draw(st.integers(1, 4))
        size = overlap + data.draw(st.integers(1, 9))
        mask = label(blobs(shape, 9, data.draw(st.integers(0, 99))), connectivity=1)
        dtype = data.draw(st.sampled_from(["u1", "i2", "i8", "u8"]))
        tiles, offsets = cut(mask, size, overlap, dtype=dtype)
        shift = np.array(2**63 if dtype == "u8" else 0, dtype)
        tiles = [np.where(tile != 0, tile + shift, 0).astype(dtype) for tile in tiles]
        if dtype == "i2":
            tiles = [-tile for tile in tiles]
        tiles = [LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))](tile) for tile in tiles]
        result = np.asarray(xlabelstats.stitch(tiles, offsets))
        assert_same_objects(result, mask)
        lazy = []
        for tile in tiles:
            chunks = []
            for n in tile.shape:
                cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
                chunks.append(tuple(b - a for a, b in itertools.pairwise((0, *cuts, n))))
            lazy.append(da.from_array(tile, chunks=tuple(chunks)))
        again = xlabelstats.stitch(lazy, offsets)
        np.testing.assert_array_equal(again, result)
        for sizes in again.chunks:
            assert len({*sizes[:-1]}) < 2
            assert sizes[-1] <= sizes[0]

    def test_an_object_that_runs_through_many_tiles_is_one(self) -> None:
        mask = np.zeros((40, 40), int)
        mask[18:22] = 1
        mask[:, 30:33] = 1
        assert_same_objects(xlabelstats.stitch(*cut(mask, 9, 2)), mask)

    def test_tiles_that_only_touch_are_not_joined(self) -> None:
        mask = np.ones((4, 8), int)
        result = xlabelstats.stitch([mask[:, :4], mask[:, 4:]], [(0, 0), (0, 4)]).compute()
        np.testing.assert_array_equal(result, np.repeat([[1] * 4 + [2] * 4], 4, axis=0))


def by_brute_force(tiles: list[np.ndarray], offsets: list[tuple[int, ...]], iou: float) -> np.ndarray:
    """The mask, pixel by pixel."""
    shape = tuple(np.max([np.add(o, t.shape) for o, t in zip(offsets, tiles, strict=True)], axis=0))
    whole = []
    for tile, offset in zip(tiles, offsets, strict=True):
        place = tuple(slice(a, a + n) for a, n in zip(offset, tile.shape, strict=True))
        labels, covered, depth = np.zeros(shape, int), np.zeros(shape, bool), np.zeros(shape)
        labels[place], covered[place] = tile, True
        for pixel in np.argwhere(covered):
            far = [np.inf]
            for axis, at in enumerate(pixel):
                if offset[axis] > 0:
                    far.append(at - offset[axis])
                if offset[axis] + tile.shape[axis] < shape[axis]:
                    far.append(offset[axis] + tile.shape[axis] - 1 - at)
            depth[tuple(pixel)] = min(far)
        whole.append((labels, covered, depth))
    nodes = [(t, int(i)) for t, tile in enumerate(tiles) for i in np.unique(tile) if i]
    group = {node: node for node in nodes}
    for (t, i), (u, j) in itertools.combinations(nodes, 2):
        both = whole[t][1] & whole[u][1]
        one, other = (whole[t][0] == i) & both, (whole[u][0] == j) & both
        cut_one = (one & (whole[t][2] == 0) & (whole[u][2] > 0)).any()
        cut_other = (other & (whole[u][2] == 0) & (whole[t][2] > 0)).any()
        of = (one if not cut_other else one | other) if cut_one else (other if cut_other else one | other)
        if t != u and (one & other).any() and (one & other).sum() / of.sum() >= iou:
            old, new = max(group[t, i], group[u, j]), min(group[t, i], group[u, j])
            group = {node: new if at == old else at for node, at in group.items()}
    winner = np.full(shape, -1)
    best = np.full(shape, -1.0)
    for t, (labels, _, depth) in enumerate(whole):
        wins = (labels != 0) & (depth > best)
        winner[wins], best[wins] = t, depth[wins]
    result = np.zeros(shape, object)
    for pixel in np.argwhere(winner >= 0):
        t = winner[tuple(pixel)]
        result[tuple(pixel)] = group[t, int(whole[t][0][tuple(pixel)])]
    shown = sorted({value for value in result.ravel() if value != 0})
    numbers = {value: i + 1 for i, value in enumerate(shown)}
    return np.vectorize(lambda value: numbers.get(value, 0), otypes=[int])(result)


class TestTilesThatDoNotAgree:
    @pytest.mark.filterwarnings("ignore:[0-9]+ objects of the tiles have no pixel")
    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_are_joined_as_by_brute_force(self, data: st.DataObject) -> None:
        ndim = data.draw(st.integers(1, 2))
        tiles, offsets = [], []
        rng = np.random.default_rng(data.draw(st.integers(0, 999)))
        for _ in range(data.draw(st.integers(1, 4))):
            tiles.append(np.kron(rng.integers(0, 4, (3,) * ndim), np.ones((2,) * ndim, int)))
            offsets.append(tuple(rng.integers(0, 7, ndim).tolist()))
        iou = data.draw(st.sampled_from([0.1, 0.5, 2 / 3, 1]))
        expected = by_brute_force(tiles, offsets, iou)
        np.testing.assert_array_equal(xlabelstats.stitch(tiles, offsets, iou=iou), expected)
        lazy = [da.from_array(tile, chunks=int(rng.integers(1, 7))) for tile in tiles]
        np.testing.assert_array_equal(xlabelstats.stitch(lazy, offsets, iou=iou), expected)

    @pytest.mark.parametrize("percent", [7, 14, 28, 55, 56, 100])
    def test_labels_that_agree_in_just_that_part_are_joined(self, percent: int) -> None:
        whole, part = np.zeros((2, 102), int)
        whole[1:101], part[1 : percent + 1] = 1, 1
        assert xlabelstats.stitch([whole, part], [(0,), (0,)], iou=percent / 100).compute().max() == 1

    def test_iou_is_that_within_the_overlap(self) -> None:
        left, right = np.array([[1, 1, 1, 1, 0, 1, 0, 0, 0]]), np.array([[0, 0, 5, 5, 0, 0, 0, 5]])
        for iou, n in ((0.16, 1), (0.17, 2)):
            assert xlabelstats.stitch([left, right], [(0, 0), (0, 1)], iou=iou).compute().max() == n

    def test_what_an_edge_cuts_is_a_part_of_the_whole_object_that_it_lies_in(self) -> None:
        left = np.array([[0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0]])
        right = np.array([[0, 5, 5, 5, 5, 5, 0, 0], [0, 5, 5, 5, 5, 5, 0, 0]])
        result = xlabelstats.stitch([left, right], [(0, 0), (0, 4)])
        assert result.compute()[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0]
        # One that is not cut is an object by itself.
        with pytest.warns(UserWarning, match="1 objects"):
            xlabelstats.stitch([np.roll(left, -1, axis=1), right], [(0, 0), (0, 4)])

    def test_pieces_of_an_object_that_an_edge_cuts_apart_are_one(self) -> None:
        mask = np.zeros((12, 12), int)
        mask[3:8, 2:8] = 1
        mask[3:6, 4:7] = 0
        tiles = [label(mask[:6]), label(mask[2:])]
        assert tiles[0].max() == 2
        assert_same_objects(xlabelstats.stitch(tiles, [(0, 0), (2, 0)]), mask)

    def test_an_object_that_one_tile_has_stays_on_both_sides(self) -> None:
        left, right = np.array([[0, 0, 3, 3, 3, 3]]), np.zeros((1, 6), int)
        result = xlabelstats.stitch([left, right], [(0, 0), (0, 2)])
        assert result.compute().tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]]

    def test_an_object_that_is_lost_is_said(self) -> None:
        left, right = np.array([[1, 1, 0, 0, 0, 2]]), np.array([[3, 3, 3, 3, 3, 3]])
        with pytest.warns(UserWarning, match="1 objects of the tiles have no pixel in the mask") as shown:
            result = xlabelstats.stitch([left, right], [(0, 0), (0, 2)])
        assert shown[0].filename == __file__
        assert result.compute().tolist() == [[1, 1, 2, 2, 2, 2, 2, 2]]


class TestNames:
    @pytest.fixture
    def parts(self) -> tuple[list[xr.DataArray], list[tuple[int, int]], xr.DataArray]:
        mask = xr.DataArray(
            label(blobs((30, 40), 20)),
            dims=("y", "x"),
            coords={"y": ("y", 5 + 0.1 * np.arange(30), {"units": "um"}), "x": np.arange(40)[::-1]},
            name="cells",
            attrs={"made by": "a model"},
        )
        offsets = [(a, b) for a in (0, 13) for b in (0, 18)]
        tiles = [mask.isel(y=slice(a, a + 17), x=slice(b, b + 22)) for a, b in offsets]
        return tiles, offsets, mask

    def test_coordinates_name_and_attributes_are_kept(self, parts: Any) -> None:
        tiles, offsets, mask = parts
        result = xlabelstats.stitch(tiles, offsets)
        assert result.chunks is not None
        assert_same_objects(result, mask.values)
        xr.testing.assert_identical(result.copy(data=mask.values), mask)
        chunked = xlabelstats.stitch([tile.chunk(y=5, x=7) for tile in tiles], offsets)
        xr.testing.assert_identical(chunked.compute(), result.compute())

    def test_coordinates_of_some_tiles_are_enough(self, parts: Any) -> None:
        tiles, offsets, mask = parts
        bare = [tiles[0].drop_vars("y"), *tiles[1:]]
        np.testing.assert_allclose(xlabelstats.stitch(bare, offsets)["y"], mask["y"])

    def test_uneven_coordinates_are_left_out(self, parts: Any) -> None:
        tiles, offsets, _ = parts
        uneven = [tile.assign_coords(y=np.arange(17.0) ** 2) for tile in tiles]
        assert set(xlabelstats.stitch(uneven, offsets).coords) == {"x"}

    @pytest.mark.parametrize("z", [[0.0, 1.0, 5.0], ["a", "b", "c"], np.array([0, 2, 3], "M8[ns]")])
    def test_coordinates_along_a_dim_that_all_tiles_span_are_kept(self, parts: Any, z: Any) -> None:
        tiles, offsets, mask = parts
        deep = [tile.expand_dims(z=3).assign_coords(z=("z", z, {"long_name": "plane"})) for tile in tiles]
        result = xlabelstats.stitch(deep, [(0, *offset) for offset in offsets])
        xr.testing.assert_identical(result["z"], deep[0]["z"])
        np.testing.assert_array_equal(result["y"], mask["y"])

    def test_float32_coordinates_far_from_0_are_even(self, parts: Any) -> None:
        tiles, offsets, _ = parts
        x = (20000 + 0.65 * np.arange(40)).astype(np.float32)
        placed = [tile.assign_coords(x=x[b : b + 22]) for tile, (_, b) in zip(tiles, offsets, strict=True)]
        np.testing.assert_array_equal(xlabelstats.stitch(placed, offsets)["x"], x)

    def test_coordinates_that_contradict_the_offsets_are_an_error(self, parts: Any) -> None:
        tiles, offsets, _ = parts
        offsets[3] = (12, 18)
        with pytest.raises(ValueError, match=r"coordinates along 'y' do not agree with the offsets: .* offset of"):
            xlabelstats.stitch(tiles, offsets)

    def test_what_is_said_of_them_names_the_tile_and_both_places(self) -> None:
        tile = xr.DataArray([0, 1, 1, 0], dims="x", coords={"x": [0.0, 0.5, 1.0, 1.5]})
        # As tiles that were all cut before they got coordinates.
        with pytest.raises(ValueError, match="counted from tile 0, tile 1 begins at 1 by its offset of 2, and at 0 by"):
            xlabelstats.stitch([tile, tile], [(0,), (2,)])
        with pytest.raises(ValueError, match=r"along 'x' are 0\.5 apart in tile 0 and -0\.5 in tile 1; bring"):
            xlabelstats.stitch([tile, tile.assign_coords(x=[1.0, 0.5, 0.0, -0.5])], [(0,), (2,)])

    def test_a_mask_begins_at_0_wherever_the_first_tile_does(self) -> None:
        tile = xr.DataArray([[1, 2]], dims=("y", "x"), coords={"x": [7.0, 8.0]})
        result = xlabelstats.stitch([tile], [(1, 2)])
        assert result.values.tolist() == [[0, 0, 0, 0], [0, 0, 1, 2]]
        assert result["x"].values.tolist() == [5, 6, 7, 8]

    def test_tiles_may_be_at_several_scales(self) -> None:
        tile = xr.DataArray([[4, 4], [0, 2]], dims=("y", "x"), name="cells")
        tree = xr.DataTree.from_dict({"scale0": tile.to_dataset(), "scale1": tile[::2, ::2].to_dataset()})
        assert xlabelstats.stitch([tree], [(0, 0)]).values.tolist() == [[2, 2], [0, 1]]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (3, 4)])
def test_tiles_without_labels_give_a_mask_without(shape: tuple[int, int]) -> None:
    tiles = [np.zeros(shape, np.uint16)] * 2
    result = xlabelstats.stitch(tiles, [(0, 0), (0, 2)])
    assert result.shape == (shape[0], shape[1] + 2)
    assert (result.dtype, result.compute().any()) == (np.int32, False)


def test_the_pixels_are_read_when_they_are_computed_and_must_be_the_same() -> None:
    reads = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return np.full_like(block, 1 if len(reads) < 2 else 2)

    tile = da.zeros((4, 4), chunks=4, dtype=np.int32).map_blocks(read, meta=np.empty((0, 0), np.int32))
    result = xlabelstats.stitch([tile], [(0, 0)])
    assert len(reads) == 1
    with pytest.raises(RuntimeError, match="label 2 is new"):
        result.compute()


TILE = np.array([[1, 0], [2, 2]])


@pytest.mark.parametrize(
    ("tiles", "offsets", "iou", "error", "says"),
    [
        ([], [], 0.5, ValueError, "no tiles"),
        ([TILE], [(0, 0), (0, 1)], 0.5, ValueError, "1 tiles and 2 offsets"),
        ([TILE], [(0, -1)], 0.5, ValueError, r"offset of tile 0 is \(0, -1\).*negative"),
        ([TILE], [(0, 1.5)], 0.5, TypeError, "whole numbers of pixels"),
        ([TILE], [(0,)], 0.5, ValueError, "one number for each dim"),
        ([TILE], [0], 0.5, ValueError, "one number for each dim"),
        ([TILE, TILE[0]], [(0, 0), (0, 0)], 0.5, ValueError, "tile 1 has the dims"),
        ([TILE * 1.0], [(0, 0)], 0.5, TypeError, "float64"),
        ([TILE > 0], [(0, 0)], 0.5, TypeError, "tile 0 holds bool.*connected_components"),
        ([[[1, 2]]], [(0, 0)], 0.5, TypeError, "tile 0 is list"),
        ([TILE, xr.DataArray(TILE)], [(0, 0), (0, 0)], 0.5, TypeError, "tile 0 is not a DataArray"),
        (3, [(0, 0)], 0.5, TypeError, "tiles are a list"),
        ([TILE], [(0, 0)], 0, ValueError, "above 0 and at most 1, not 0"),
        ([TILE], [(0, 0)], 1.1, ValueError, "at most 1"),
        ([TILE], [(0, 0)], "half", TypeError, "iou is a number"),
    ],
)
def test_what_cannot_be_joined_is_said(tiles: Any, offsets: Any, iou: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        xlabelstats.stitch(tiles, offsets, iou=iou)


def test_tiles_are_not_changed() -> None:
    tiles = [TILE.copy(), TILE.copy() * 3]
    for tile in tiles:
        tile.flags.writeable = False
    result = xlabelstats.stitch(tiles, [(0, 0), (1, 0)]).compute()
    result[:] = 9
    np.testing.assert_array_equal(tiles[1], TILE * 3)
