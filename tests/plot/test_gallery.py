"""Windows side by side under their ids."""

from __future__ import annotations

import dask.array as da
import drawing
import numpy as np
import pytest
import xarray as xr
from drawing import added, axes, shown, stretched, volume
from scipy import ndimage

from xlabelstats import plot

image, mask = drawing.image, drawing.mask


def tiles(ax) -> list[np.ndarray]:
    """The opaque parts of the picture, in reading order."""
    picture = shown(ax)
    parts, _ = ndimage.label(picture[..., 3])
    boxes = sorted(ndimage.find_objects(parts), key=lambda box: (box[0].start, box[1].start))
    return [picture[box][..., :3] for box in boxes]


def names(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("lazy", [False, True])
def test_a_gallery_holds_the_windows_and_their_ids(image, mask, lazy):
    image, labels = (image[0].chunk(11), mask.chunk(9)) if lazy else (image[0], mask)
    windows = image.instances.windows(labels, {"y": 45, "x": 55})
    ax = plot.gallery(windows, n=5, ax=axes())
    drawn = windows["image"].values[:5]
    grey = stretched(drawn)
    assert names(ax) == [str(label) for label in windows["label"].values[:5]]
    assert len(tiles(ax)) == 5
    for tile, expected in zip(tiles(ax), grey, strict=True):
        np.testing.assert_allclose(tile, expected[..., None].repeat(3, -1), atol=0.51)
    assert not ax.axison
    np.testing.assert_array_equal(shown(plot.gallery(windows["image"], n=5, ax=axes())), shown(ax))


def test_ids_stand_above_their_windows(image, mask):
    ax = plot.gallery(image[0].instances.windows(mask, {"y": 45, "x": 55}), columns=3, n=7, ax=axes())
    parts, _ = ndimage.label(shown(ax)[..., 3])
    boxes = sorted(ndimage.find_objects(parts), key=lambda box: (box[0].start, box[1].start))
    for text, (rows, columns) in zip(ax.texts, boxes, strict=True):
        x, y = text.get_position()
        assert (x, y) == ((columns.start + columns.stop - 1) / 2, rows.start - 0.5)
        assert ax.transData.transform((x, y))[1] > ax.transData.transform((x, rows.stop))[1]
        # Between the window and the one above it.
        box = text.get_window_extent().transformed(ax.transData.inverted())
        above = [b[0].stop for b in boxes if b[0].stop <= rows.start]
        assert min(box.y0, box.y1) >= max(above, default=0) - 1
    assert [box[1].start for box in boxes[:3]] == [box[1].start for box in boxes[3:6]]
    assert boxes[6][1].start == boxes[0][1].start


@pytest.mark.parametrize(("n", "size"), [(1, (200, 300)), (20, (800, 100)), (20, (100, 800)), (60, (500, 400))])
def test_windows_fit_their_axes(n, size):
    windows = xr.DataArray(np.ones((60, 9, 12)), dims=("label", "y", "x"))
    ax = plot.gallery(windows, n=n, ax=axes(*size))
    assert len(ax.texts) == n
    height, width = shown(ax).shape[:2]
    dots = min(size[0] / width, size[1] / height)
    # Windows of few pixels in the Axes of many are as large as can be: one more row or column would not fit twice.
    assert n * (9 * dots) * (12 * dots) > 0.2 * size[0] * size[1]


def test_named_labels_are_drawn_in_their_order(image, mask):
    windows = image[0].instances.windows(mask, {"y": 45, "x": 55})
    wanted = windows["label"].values[[4, 1, 3]]
    ax = plot.gallery(windows, labels=wanted, ax=axes())
    assert names(ax) == [str(label) for label in wanted]
    grey = stretched(windows["image"].sel(label=wanted).values)
    for tile, expected in zip(tiles(ax), grey, strict=True):
        np.testing.assert_allclose(tile[..., 0], expected, atol=0.51)


def test_channels_of_windows_are_coloured_as_those_of_images(image, mask):
    windows = image.instances.windows(mask, {"y": 45, "x": 55})
    for given_ in (windows, windows["image"], windows.transpose("y", "c", "x", "label")):
        ax = plot.gallery(given_, n=4, channels=["CD8", "DAPI"], ax=axes())
        channels = [windows["image"].sel(c=c).values[:4] for c in ("CD8", "DAPI")]
        for tile, expected in zip(tiles(ax), added(channels, ["magenta", "lime"]), strict=True):
            np.testing.assert_allclose(tile, expected, atol=0.51)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["CD8", "DAPI"]
    assert plot.gallery(windows, channels="CD3", ax=axes()).get_title() == "c = CD3"


def test_of_volumes_the_middle_plane_is_drawn_or_that_of_an_index():
    image, mask = volume()
    windows = image.isel(t=0).instances.windows(mask, {"z": 9, "y": 41, "x": 49})
    for options, z in (({}, 4), ({"z": 2}, 2), ({"z": -1}, 8)):
        for given_ in (windows, windows["image"]):
            ax = plot.gallery(given_, n=3, c=1, ax=axes(), **options)
            grey = stretched(windows["image"].values[:3, 1, z])
            for tile, expected in zip(tiles(ax), grey, strict=True):
                np.testing.assert_allclose(tile[..., 0], expected, atol=0.51)
    with pytest.raises(IndexError, match="there are 9 along 'z'"):
        plot.gallery(windows, z=9, ax=axes())


def test_windows_of_a_mask_alone_show_its_objects(mask):
    windows = mask.instances.windows({"y": 45, "x": 55}, remove_background=False)
    ax = plot.gallery(windows, n=4, ax=axes())
    for tile, window, label in zip(tiles(ax), windows["mask"].values, windows["label"].values, strict=False):
        np.testing.assert_array_equal(tile[..., 0] > 0, window == label)


def test_large_windows_are_thinned_out():
    windows = xr.DataArray(np.random.default_rng(0).random((6, 200, 300)), dims=("label", "y", "x"))
    ax = plot.gallery(windows, columns=3, ax=axes(300, 200))
    grey = stretched(windows.values[:, 1::3, 1::3])
    for tile, expected in zip(tiles(ax), grey, strict=True):
        np.testing.assert_allclose(tile[..., 0], expected, atol=0.51)


def test_only_the_windows_drawn_are_computed():
    computed: list[int] = []

    def cut(block: np.ndarray) -> np.ndarray:
        computed.extend(block[:, 0, 0])
        return block

    blocks = da.from_array(np.arange(2000.0)[:, None, None] * np.ones((1, 9, 7)), chunks=(1, -1, -1))
    blocks = blocks.map_blocks(cut, dtype=float, meta=np.empty((0, 0, 0)))
    windows = xr.Dataset({"image": (("label", "y", "x"), blocks)}, coords={"label": np.arange(2000) + 5})
    plot.gallery(windows, n=12, ax=axes())
    assert sorted(computed) == list(range(12))
    computed.clear()
    plot.gallery(windows, labels=[905, 6], ax=axes())
    assert sorted(computed) == [1, 900]
    computed.clear()
    assert len(plot.gallery(windows, ax=axes()).texts) == len(computed) == 48


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n": 0}, ValueError, "n is a positive whole number, not 0"),
        ({"n": True}, ValueError, "n is a positive whole number"),
        ({"columns": 1.5}, ValueError, "columns is a positive whole number, not 1.5"),
        ({"labels": [10**6]}, ValueError, "no window of label 1000000"),
        ({"labels": [1], "n": 1}, ValueError, "give one of the two"),
        ({"colour": "red"}, TypeError, "no option 'colour'"),
    ],
)
def test_galleries_that_cannot_be_drawn_are_refused(image, mask, options, error, words):
    with pytest.raises(error, match=words):
        plot.gallery(image.instances.windows(mask, {"y": 45, "x": 55}), ax=axes(), **options)


def test_what_holds_no_windows_is_refused(image):
    with pytest.raises(ValueError, match="has an image or a mask"):
        plot.gallery(xr.Dataset({"mean": ("label", [1.0])}), ax=axes())
    with pytest.raises(ValueError, match="windows have the dim 'label'"):
        plot.gallery(image, ax=axes())
    with pytest.raises(TypeError, match="not ndarray"):
        plot.gallery(np.zeros((3, 4, 4)), ax=axes())


def test_no_windows_draw_an_empty_gallery(image, mask):
    ax = plot.gallery(image.instances.windows(xr.zeros_like(mask)), ax=axes())
    assert not ax.images
    assert not ax.texts
