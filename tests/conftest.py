"""What all tests share: one thread, so that results and times do not depend on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor on matrix units: that 'auto' takes bfloat16 here or not must not change what is tested. (A
# signal that arrives beside AMX's registers has also ended whole test runs on virtual machines.)
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")

# Registers everything and lets MMOCR import, as the first line of any project that uses it.
import mmtextplug  # noqa: F401

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code in a fresh interpreter that sees this repository, and `tmp_path` before it."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
        return subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            env={**os.environ, "PYTHONPATH": path, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def painted_network(monkeypatch: pytest.MonkeyPatch) -> type:
    """In the place of any CRAFT: its region and affinity scores are the red and the green channel
    of a photo, at half the size. ``calls`` counts the photos."""
    import cv2
    import numpy as np
    import torch
    from mmengine.structures import PixelData
    from mmocr.structures import TextDetDataSample

    from mmtextplug.craft import weights
    from mmtextplug.inference import TextDetector

    class Painted:
        calls = 0

        def samples(self, images: list) -> list:
            (image,) = images
            Painted.calls += 1
            half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            shapes = dict(img_shape=image.shape[:2], scale_factor=(1.0, 1.0))
            sample = TextDetDataSample(metainfo=shapes)
            maps = np.stack([half[..., 2], half[..., 1]]).astype(np.float32) / 255
            sample.pred_score_maps = PixelData(data=torch.from_numpy(maps))
            return [sample]

    monkeypatch.setattr(TextDetector, "from_config", lambda *_, **__: Painted())
    # Nor need the official weights be installed.
    monkeypatch.setattr(weights, "official_weights", lambda: Path(__file__))
    return Painted
