"""Which textures are warned of: those whose grey levels the objects hardly fill, or whose range they are beyond."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xlabelstats.catalogue import measure_of
from xlabelstats.labels import grey_levels
from xlabelstats.labels.grey_levels import warn_of_few_levels
from xlabelstats.labels.subject import find_whole

DIMS = ("z", "y", "x")


def warns(pixels, labels=None, *, only=None, background=False, **parameters):
    """What is said of the texture of an image (channel, *mask); without labels all of it is one object."""
    image = pixels if isinstance(pixels, xr.DataArray) else xr.DataArray(pixels, dims=DIMS[-pixels.ndim :])
    mask = xr.ones_like(image.isel({dim: 0 for dim in image.dims if dim not in DIMS}, drop=True), int)
    mask = mask if labels is None else mask.copy(data=labels)
    entry = measure_of(("texture_contrast", parameters) if parameters else "texture_contrast")
    subject = find_whole(image, mask, [1] if only is None and labels is None else only, background)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_few_levels(image, subject, [entry.settled(image.dtype, lambda: (0, 1))])
    return [str(warning.message) for warning in caught]


def ramp(*shape, low=0, high=60000):
    """16-bit pixels whose numbers are spread evenly over a range, in no order of place."""
    return np.random.default_rng(0).permutation(np.linspace(low, high, int(np.prod(shape)))).reshape(shape).astype("u2")


class TestFewLevels:
    def test_a_hot_pixel_hides_nothing(self):
        pixels = ramp(50, 60, high=1000)
        pixels[3, 4] = pixels[20, 20] = 65535
        (message,) = warns(pixels)
        low, high = np.sort(pixels, axis=None)[[15, -16]]
        assert message.startswith(
            f"texture: 99 % of the labelled pixels lie from {low} to {high} and fill 4 of 256 grey levels over the "
            f"range of uint16; give the range that they fill, such as range=({low}, {high}), or range='object'"
        )

    @pytest.mark.parametrize(("bright", "told"), [(15, True), (16, False)])
    def test_one_pixel_of_two_hundred_at_either_end_does_not_count(self, bright, told):
        pixels = ramp(3000, high=1000)
        pixels[:bright] = 60000
        assert bool(warns(pixels)) == told

    def test_a_dim_channel_is_named_beside_bright_ones(self):
        image = xr.DataArray(
            [ramp(30, 40), ramp(30, 40, high=1400), ramp(30, 40, high=900)],
            dims=("c", "y", "x"),
            coords={"c": ["DNA", "RNA", "ER"]},
        )
        (message,) = warns(image)
        assert "labelled pixels of c='ER' lie from" in message
        assert message.endswith("; measure channels that differ in brightness one at a time")
        (message,) = warns(image.rename("cells").expand_dims(t=[5]).transpose("y", "c", "t", "x"))
        assert "labelled pixels of 'cells', c='ER', t=5 lie from" in message
        assert not warns(image.sel(c=["DNA"]))
        assert not warns(image.sel(c="DNA"))

    def test_of_a_range_that_holds_a_bright_channel_too_the_dim_one_is_named(self):
        image = xr.DataArray(
            [ramp(30, 40, low=198, high=828), ramp(30, 40, low=200)], dims=("c", "y", "x"), coords={"c": ["ER", "DNA"]}
        )
        (message,) = warns(image, range=(100, 60000))
        assert "of c='ER' lie from 201 to 824 and fill 4 of 256 grey levels over range=(100, 60000); give" in message
        assert message.endswith("; measure channels that differ in brightness one at a time")
        assert not warns(image.sel(c=["DNA"]), range=(100, 60000))

    @pytest.mark.parametrize(("levels", "fewest"), [(2, 2), (5, 2), (10, 5), (16, 8), (256, 8)])
    @pytest.mark.parametrize("given", [False, True])
    def test_eight_levels_are_enough_or_half_of_those_there_are(self, levels, fewest, given):
        for filled in range(1, fewest + 1):
            # A third into the last level that is filled.
            pixels = ramp(30, 40, high=(filled - 2 / 3) * 65536 / levels)
            assert bool(warns(pixels, levels=levels, **({"range": (0, 65536)} if given else {}))) == (filled < fewest)

    def test_only_pixels_of_the_labels_that_are_measured_count(self):
        labels = np.repeat([0, 1, 2], 20)[:, None] * np.ones(40, int)
        pixels = np.concatenate([ramp(20, 40), ramp(20, 40, high=900), ramp(20, 40, high=50000)])
        assert not warns(pixels, labels)
        assert not warns(pixels, labels, only=[2])
        assert "fill 4 of 256" in warns(pixels, labels, only=[1])[0]
        assert not warns(pixels, labels == 1, background=True)
        assert "fill 4 of 256" in warns(pixels, labels == 1)[0]

    @pytest.mark.parametrize("pixels", [np.full((3, 4), 7, "u2"), np.full((3, 4), np.nan)], ids=["constant", "NaN"])
    def test_what_has_no_two_numbers_needs_no_word(self, pixels):
        assert not warns(pixels, range=(0, 1000))
        assert not warns(pixels, np.zeros((3, 4), int), range=(0, 1000))

    def test_nan_and_infinity_fill_no_level(self):
        light = np.full((90, 90), np.nan, np.float32)
        light[1::2] = np.linspace(0, 2, 90)
        light[3] = np.inf
        assert "lie from 0 to 2 and fill 1 of 256" in warns(light, range=(0, 1000))[0]
        # A line of 45 is infinite.
        assert "2 % of the labelled pixels are beyond range=(0, 2)" in warns(light, range=(0, 2))[0]
        assert not warns(np.where(light == np.inf, np.float32(np.nan), light), range=(0, 2))

    @pytest.mark.parametrize(
        ("low", "high", "told"),
        [
            (1_000_000, 1_000_004, "(1000000, 1000004)"),
            (12.3456, 12.3457, "(12.3456, 12.3457)"),
            (1000.4, 1003.4, "(1000.4, 1003.4)"),
            (-1e-9, 1e-9, "(-1e-09, 1e-09)"),
            (-0.25, 666.6666, "(-0.25, 667)"),
        ],
    )
    def test_the_range_that_is_told_can_be_given(self, low, high, told):
        pixels = np.linspace(low, high, 3000)
        pixels = np.concatenate([pixels, np.full(20, low), np.full(20, high)])
        (message,) = warns(pixels, range=(-1e12, 1e12))
        assert f"such as range={told}, or" in message
        assert "over range=(-1000000000000, 1000000000000);" in message
        assert not warns(pixels, range=tuple(map(float, told.strip("()").split(", "))))


class TestBeyondTheRange:
    @pytest.mark.parametrize(("beyond", "told"), [(30, None), (45, "2 %"), (600, "20 %")])
    def test_more_than_one_pixel_of_a_hundred_is_told(self, beyond, told):
        pixels = ramp(50, 60, low=1000, high=2000)
        ordered = np.sort(pixels, axis=None)
        low, high = ordered[beyond // 3], ordered[-1 - beyond + beyond // 3]
        messages = warns(pixels, range=(low, high))
        assert len(messages) == (told is not None)
        for message in messages:
            assert message.startswith(
                f"texture: {told} of the labelled pixels are beyond range=({low}, {high}) and count as its lowest or "
                f"highest grey level; 99 % of all lie from {ordered[15]} to {ordered[-16]}"
            )

    def test_the_channel_with_the_most_is_named_once(self):
        image = xr.DataArray(
            [ramp(30, 40, high=4000), ramp(30, 40, high=8000), ramp(30, 40, high=6000)],
            dims=("c", "y", "x"),
            coords={"c": ["DNA", "RNA", "ER"]},
        )
        (message,) = warns(image, range=(0, 4095))
        assert "49 % of the labelled pixels of c='RNA' are beyond" in message
        assert message.endswith("; measure channels that differ in brightness one at a time")

    def test_the_worst_is_that_of_the_largest_part_and_told_beside_few_levels_of_another(self):
        hidden = np.where(np.arange(1200).reshape(30, 40) % 40, np.nan, ramp(30, 40, high=6000))
        image = xr.DataArray([ramp(30, 40, high=4200), hidden, ramp(30, 40, high=40)], dims=("c", "y", "x"))
        assert "of c=1 are beyond" in warns(image.isel(c=[0, 1]), range=(0, 4095))[0]
        few, beyond = warns(image, range=(0, 4095))
        assert "of c=2 lie from" in few
        assert "of c=1 are beyond" in beyond

    def test_a_constant_channel_has_no_texture_to_lose(self):
        image = xr.DataArray([ramp(30, 40, high=6000), np.full((30, 40), 9, "u2")], dims=("c", "y", "x"))
        assert "of c=0 are beyond" in warns(image, range=(100, 4095))[0]
        assert not warns(image.isel(c=[1]), range=(100, 4095))

    @pytest.mark.parametrize("dtype", ["f2", "f4"])
    def test_a_range_wider_than_the_dtype_overflows_nothing(self, dtype):
        with warnings.catch_warnings(action="error"):
            assert warns(np.linspace(0, 1, 3000, dtype=dtype), range=(0, 1e39))

    def test_by_chance_no_channel_of_many_has_too_many(self):
        few = np.random.default_rng(0).random((200, 300, 300)) < 0.006
        assert not warns(
            xr.DataArray(np.where(few, 60000, ramp(300, 300, high=4000)), dims=("c", "y", "x")), range=(0, 4095)
        )

    def test_ranges_of_objects_and_of_the_dtype_have_nothing_beyond(self):
        assert not warns(ramp(30, 40), range="object")
        assert not warns(ramp(30, 40))


class TestSample:
    @pytest.mark.parametrize("order", [("c", "y", "x"), ("y", "x", "c"), ("z", "y", "x"), ("x",), ("c", "z", "y", "x")])
    def test_some_pixels_are_enough(self, order, monkeypatch):
        sizes = {"c": 3, "z": 30, "y": 200, "x": 400_000 if len(order) == 1 else 300}
        image = xr.DataArray(ramp(*(sizes[dim] for dim in order)), dims=order)
        sampled, sample_of = [], grey_levels._sample_of
        monkeypatch.setattr(
            grey_levels, "_sample_of", lambda subject: sampled.append(sample_of(subject)) or sampled[-1]
        )
        assert not warns(image)
        (some,) = sampled
        assert some.shape[0] == (3 if "c" in order else 1)
        assert 10_000 < some.size <= grey_levels.SAMPLED_PIXELS < image.size

    def test_objects_that_lie_evenly_are_sampled_all_over(self):
        square = np.pad(ramp(8, 8), 1)
        labels = np.arange(1, 256**2 + 1).reshape(256, 256).repeat(10, 0).repeat(10, 1)
        assert not warns(np.tile(square, (256, 256)), labels)

    @pytest.mark.parametrize("size", [1, 4])
    def test_small_objects_far_apart_are_found(self, size):
        labels = np.zeros((3000, 3000), int)
        for i, place in enumerate(np.random.default_rng(1).integers(0, 2900, (300, 2)), 1):
            labels[place[0] : place[0] + size, place[1] : place[1] + size] = i
        pixels = np.full(labels.shape, 60000, "u2")
        pixels[labels > 0] = ramp((labels > 0).sum(), high=900)
        assert "fill 4 of 256" in warns(pixels, labels)[0]
        assert "% of the labelled pixels are beyond" in warns(pixels, labels, range=(0, 18))[0]

    @settings(deadline=None)
    @given(
        pixels=st.sampled_from(["u2", "i4", "f4"]).flatmap(
            lambda dtype: arrays(
                dtype, (2, 4, 5), elements={"min_value": -90, "max_value": 90} if dtype == "i4" else None
            )
        ),
        labels=arrays("i4", (4, 5), elements=st.integers(-1, 2)),
        levels=st.integers(2, 16),
        low=st.integers(-100, 90),
    )
    def test_as_the_pixels_of_every_channel_say(self, pixels, labels, levels, low):
        filled, parts = [], []
        for channel in pixels[:, labels != 0].astype(float):
            finite = channel[np.isfinite(channel)]
            varied = np.unique(finite).size > 1
            places = np.clip((finite - low) // (64 / levels), 0, levels - 1)
            filled.append(np.ptp(places) + 1 if varied else levels)
            beyond = ((channel < low) | (channel > low + 64)).sum()
            parts.append(beyond / np.count_nonzero(channel == channel) if varied else 0)
        told = warns(xr.DataArray(pixels, dims=("c", "y", "x")), labels, levels=levels, range=(low, low + 64))
        few, most = np.argmin(filled), np.argmax(parts)
        expected = [f"c={few} lie from"] if filled[few] < max(2, min(8, levels // 2)) else []
        expected += [f"c={most} are beyond"] if parts[most] and (not expected or most != few) else []
        assert len(told) == len(expected)
        for message, words in zip(told, expected, strict=True):
            assert words in message


class TestNames:
    @pytest.mark.parametrize("dim", [0, ("c", "k"), None, "k"], ids=repr)
    def test_of_a_dim_without_coordinates_the_position_is_told(self, dim):
        image = xr.DataArray([ramp(30, 40), ramp(30, 40, high=900)], dims=(dim, "y", "x"))
        assert f"labelled pixels of {dim}=1 lie from" in warns(image)[0]
        assert f"labelled pixels of {dim}=0 are beyond" in warns(image, range=(0, 999))[0]


class TestOrdinaryImages:
    @pytest.mark.parametrize(
        ("change", "parameters"),
        [
            (lambda image: image, {}),
            (lambda image: image.astype("u2") * 257, {}),
            (lambda image: image.astype("u2") * 16, {"range": (0, 4095)}),
            (lambda image: image / np.float32(255), {"range": (0, 1)}),
            (lambda image: (image / 255).where(image > 20), {"range": (0, 1)}),
            (lambda image: image.astype("u2"), {"range": "object"}),
        ],
        ids=["8 bits", "16 bits", "12 bits", "floats", "NaN", "own"],
    )
    @pytest.mark.parametrize("only", [None, [7], [1, 3, 9]])
    def test_of_nuclei_there_is_no_word(self, nuclei2d, change, parameters, only):
        image, mask = nuclei2d
        assert not warns(change(image), mask.values, only=only, **parameters)
