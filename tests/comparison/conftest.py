"""The helpers of these tests lie beside this file, what they test among the tools."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools" / "analysis")]

# Registered for every process that runs a part of these tests, whichever files it is given.
import hard_text  # noqa: E402, F401
import sampler_probe  # noqa: E402, F401
