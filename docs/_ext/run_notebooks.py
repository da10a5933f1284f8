"""Run the notebooks and compare with what they hold: ``python docs/_ext/run_notebooks.py [--store] [NOTEBOOK ...]``.

Each notebook of ``examples/notebooks`` runs in an empty folder.  It fails if a cell raises or writes to stderr, and if
outputs are not of the kinds that the notebook holds, such as a picture.  ``--store`` writes the outputs into the
notebook, without what differs from run to run.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
LARGEST = 400_000  # bytes, so that a notebook opens at once on the web
# A warning that another package gives about itself, and the line of code below it.
OTHERS = re.compile(r"^\S*site-packages\S*:\d+: \w*Warning: .*\n(?:  .*\n)?", re.MULTILINE)
# xarray's tables are unfolded by ids that are new each time.
IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Addresses in memory, and folders of the machine that ran the notebook.
PRIVATE = re.compile(r"\bat 0x[0-9a-f]+|(?:/tmp|/home|/root|/Users|[A-Z]:\\Users)[/\\]")


def executed(path: Path) -> tuple[NotebookNode, float]:
    """The notebook with new outputs, and the seconds that they took."""
    started = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=300, resources=resources, record_timing=False)
        # Temporary files go into the folder too, and with it.
        try:
            client.execute(env={**os.environ, "TMPDIR": folder, "TEMP": folder})
        except Exception as error:
            error.add_note(f"in {path}")
            raise
    return cleaned(notebook), time.perf_counter() - started


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook without the version of Python, warnings of others and ids that change, and with smaller pictures."""
    notebook.metadata.language_info = NotebookNode(name="python")
    known: dict[str, str] = {}
    for cell in code_of(notebook):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                output.text = OTHERS.sub("", output.text)
        cell.outputs = [output for output in cell.outputs if output.get("text") != ""]
        for output in cell.outputs:
            if html := output.get("data", {}).get("text/html"):
                output.data["text/html"] = IDS.sub(lambda found: known.setdefault(found[0], f"id-{len(known)}"), html)
            if picture := output.get("data", {}).get("image/png"):
                output.data["image/png"] = smaller(picture)
    return notebook


def smaller(picture: str) -> str:
    """A picture in 256 colours, which takes a third of the bytes and looks the same."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        palette = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(file := io.BytesIO(), "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def code_of(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds_of(cell: NotebookNode) -> list[str]:
    """The outputs of a cell: names of streams, and media types."""
    return sorted({kind for output in cell.outputs for kind in output.get("data", {output.get("name"): ""})})


def problems_of(path: Path, new: NotebookNode) -> list[str]:
    """What is wrong with the outputs of a run, and with those that the notebook holds."""
    problems = []
    stored = nbformat.read(path, as_version=4)
    for number, (cell, other) in enumerate(zip(code_of(new), code_of(stored), strict=True), 1):
        problems += [f"code cell {number} writes: {out.text}" for out in cell.outputs if out.get("name") == "stderr"]
        if kinds_of(cell) != kinds_of(other):
            problems.append(f"code cell {number} gives {kinds_of(cell)}, and the notebook holds {kinds_of(other)}")
        for output in other.outputs:
            text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            problems += [f"the output of code cell {number} holds {found!r}" for found in PRIVATE.findall(text)]
    if not any("image/png" in kinds_of(cell) for cell in code_of(stored)):
        problems.append("the notebook holds no picture; `python docs/_ext/run_notebooks.py --store` stores the outputs")
    if (size := path.stat().st_size) > LARGEST:
        problems.append(f"{size} bytes are more than {LARGEST}: draw smaller pictures")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default all of the folder examples/notebooks")
    parser.add_argument("--store", action="store_true", help="write the outputs into the notebooks")
    options = parser.parse_args()
    notebooks = options.notebooks or sorted(FOLDER.glob("*.ipynb"))
    if not notebooks:
        parser.error(f"there is no notebook in {FOLDER}")
    failed = False
    with ThreadPoolExecutor(2) as pool:
        for path, (new, seconds) in zip(notebooks, pool.map(executed, notebooks), strict=True):
            if options.store:
                nbformat.write(new, path)
            problems = problems_of(path, new)
            print(f"{path.name}: {seconds:.1f} s", *problems, sep="\n    ", flush=True)
            failed |= bool(problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
