"""Steps that are coroutines, that give arrays in blocks, and that get a viewer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from conftest import Calls

from xlabelstats.pipeline import Cache, connected_components

pytest.importorskip("ome_zarr")

CALLS = Calls()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


LEVEL = 0.7


class TestSteps:
    @pytest.mark.parametrize("loop", [False, True])
    def test_a_step_may_be_a_coroutine_function(self, loop, tmp_path):
        async def summed(image):
            CALLS.append("summed")
            await asyncio.sleep(0)
            return float(image.sum())

        def twice():
            return [Cache(tmp_path).run("summed", summed, np.arange(4)) for _ in range(2)]

        async def within():
            before = asyncio.get_running_loop()
            found = twice()
            assert asyncio.get_running_loop() is before
            await asyncio.sleep(0)
            return found

        assert (asyncio.run(within()) if loop else twice()) == [6.0, 6.0]
        assert CALLS == ["summed"]

    def test_an_error_of_a_coroutine_says_its_step(self, tmp_path):
        async def broken_coroutine(image):
            raise ZeroDivisionError("no")

        with pytest.raises(ZeroDivisionError, match="no") as told:
            Cache(tmp_path).run("b", broken_coroutine, 1)
        assert told.value.__notes__ == ["in the step 'b'"]

    def test_a_viewer_among_the_arguments_is_no_part_of_the_key(self, viewer, tmp_path):
        def seen(image, viewer):
            CALLS.append("seen")
            return image

        for _ in range(2):
            Cache(tmp_path).run("seen", seen, np.ones(3), viewer)
            viewer.dims.ndim = 3
        assert CALLS == ["seen"]

    def test_a_step_gives_and_takes_arrays_in_blocks(self, volume, tmp_path):
        class InBlocks:
            def as_dask_array(self):
                return (volume > LEVEL).astype("uint8")

        found = Cache(tmp_path).run("blocks", InBlocks)
        np.testing.assert_array_equal(found, volume > LEVEL)
        np.testing.assert_array_equal(connected_components(InBlocks()), connected_components(found))
