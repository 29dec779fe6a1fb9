"""The helpers of these tests lie beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of a painted detector, which sees nothing without them."""
    path = tmp_path / "painted.pth"
    torch.save({"state_dict": {"backbone.gain": torch.ones(1)}}, path)
    return path
