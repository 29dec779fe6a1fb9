"""The helpers of these tests lie beside this file, or are tools of the analysis."""

from __future__ import annotations

import sys
from pathlib import Path

for _folder in (
    Path(__file__).resolve().parent,
    Path(__file__).resolve().parents[2] / "tools" / "analysis",
):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
