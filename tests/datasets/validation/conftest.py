"""The images of these tests; their helpers lie beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def folder(tmp_path):
    """Images 0.png to 3.png of 100 x 60 pixels."""
    for number in range(4):
        Image.new("RGB", (100, 60), (9, 9, 60 * number)).save(tmp_path / f"{number}.png")
    return tmp_path
