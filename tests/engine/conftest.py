"""What the tests of whole tools share: generated data; their helpers lie beside this file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from whole_tools import ENV, GENERATE


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    command = [*GENERATE, "--out", str(folder), "--num-train", "12", "--num-val", "3"]
    subprocess.run([*command, "--size", "96", "--workers", "0"], env=ENV, check=True)
    return folder
