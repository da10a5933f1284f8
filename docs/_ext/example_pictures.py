"""Pictures that the programs of ``examples`` save, for pages that show them."""

import contextlib
import io
import runpy
import sys
import tempfile
from pathlib import Path

from IPython.display import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def drawn_by(program: str) -> Image:
    """The picture that a program saves where its first argument says."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        picture = Path(folder) / "picture.png"
        sys.argv = [program, str(picture)]
        runpy.run_path(str(EXAMPLES / program))
        return Image(picture.read_bytes())
