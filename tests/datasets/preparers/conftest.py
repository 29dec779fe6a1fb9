"""The command under test; the helpers of these tests lie beside this file."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def tool(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "datasets"))
    return importlib.import_module("prepare")


@pytest.fixture
def prepared(tool, tmp_path):
    """Runs the command on tmp_path; the entries of each file that it wrote, by the file's name."""

    def run(dataset: str, *arguments: str) -> dict[str, list[dict]]:
        tool.main([dataset, str(tmp_path), *arguments])
        return {
            path.stem.removeprefix("textdet_"): json.loads(path.read_text())["data_list"]
            for path in sorted(tmp_path.glob("textdet_*.json"))
        }

    return run
