"""Cells of a notebook that are edited and run again: what they change is computed anew."""

from __future__ import annotations

import textwrap

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

SETUP = """
    import numpy as np
    from xlabelstats.pipeline import Cache, map_blocks
    cache, image = Cache({folder!r}), np.arange(4.0)
"""
MODEL = """
    class Model:
        '''Say what it does.'''
        def __call__(self, image):
            print("computing")
            return float(image.sum()) {edit}
"""
FUNCTION = """
    def clean(image):
        print("computing")
        return float(image.sum()) {edit}
"""
HELPER = """
    def helper(image):
        return float(image.sum()) {edit}
"""
CALLER = """
    def clean(image):
        print("computing")
        return helper(image)
"""
FACTOR = """
    factor = 1 {edit}
"""
SCALED = """
    def clean(image):
        print("computing")
        return float(image.sum()) * factor
"""
BLOCK = """
    class Threshold:
        def __init__(self):
            self.above = 1
        def __call__(self, block):
            print("computing")
            return (block > self.above {edit}).astype("u1")
"""
KEYWORD = """
    def by_default(image, model=Model):
        return model()(image)
"""


@pytest.fixture(scope="module")
def run():
    """Run a cell, and give what it prints."""
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=120, kernel_name="python3")

    def run(source: str) -> list[str]:
        cell = nbformat.v4.new_code_cell(textwrap.dedent(source))
        client.nb.cells.append(cell)
        client.execute_cell(cell, len(client.nb.cells) - 1)
        return "".join(output.text for output in cell.outputs if output.output_type == "stream").split()

    client.create_kernel_manager()
    client.start_new_kernel()
    client.start_new_kernel_client()
    with client.setup_kernel():
        yield run


@pytest.mark.parametrize(
    ("cells", "call", "results"),
    [
        ([MODEL], "cache.run('m', Model(), image)", ["6.0", "7.0"]),
        ([MODEL], "cache.run('m', lambda image, kind: kind()(image), image, Model)", ["6.0", "7.0"]),
        ([MODEL, KEYWORD], "cache.run('m', by_default, image)", ["6.0", "7.0"]),
        ([FUNCTION], "cache.run('m', clean, image)", ["6.0", "7.0"]),
        ([HELPER, CALLER], "cache.run('m', clean, image)", ["6.0", "7.0"]),
        ([FACTOR, SCALED], "cache.run('m', clean, image)", ["6.0", "12.0"]),
        ([BLOCK], "int(cache.run('m', map_blocks, image, Threshold()).sum())", ["2", "1"]),
    ],
    ids=["class", "class as argument", "class as default", "function", "helper", "global", "function of blocks"],
)
def test_what_was_edited_is_computed_anew_and_nothing_else(run, tmp_path, cells, call, results):
    run(SETUP.format(folder=str(tmp_path / "cache")))
    computed = ["computing"]
    for edit, result in zip(("", "+ 1"), results, strict=True):
        for again in (False, True):
            for cell in cells:
                run(("# Run again.\n\n" if again else "") + textwrap.dedent(cell).format(edit=edit))
            assert run(f"print({call})") == [*([] if again else computed), result]
