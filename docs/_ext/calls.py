"""A table of the calls of a class or module, each with the first sentence of its docstring and a link to the rest.

``.. calls:: xlabelstats.LabelsAccessor``
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.autosummary import Autosummary, import_by_name


class Calls(Autosummary):
    required_arguments = 1
    has_content = False
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        owner = self.arguments[0]
        _, thing, _, _ = import_by_name(owner)
        names = dir(thing) if inspect.isclass(thing) else thing.__all__
        self.options["nosignatures"] = True  # they are long, and stand at the call
        self.content = [f"~{owner}.{name}" for name in sorted(names, key=str.lower) if not name.startswith("_")]
        return super().run()


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("calls", Calls)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
