"""The helpers of these tests lie beside this file; all run in MMOCR's scope."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="module", autouse=True)
def mmocr_scope():
    """The scope that the configs run in."""
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield
