"""The asv suite: times and memory of the calls on small fields, from commit to commit.

From the checkout's root, with ``asv`` and ``virtualenv`` installed:

    asv run --quick                       the last commit
    asv run v0.1.0..HEAD                  all commits since a tag
    asv continuous HEAD~1 HEAD            two commits side by side

Fields, and calls on stored ones, are those of ``tests/benchmarks``, which measures large images beside other tools.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "benchmarks"))
