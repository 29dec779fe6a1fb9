"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mmtextplug.files import write_atomically


def test_a_file_is_written_and_replaced(tmp_path):
    for content in (b"one", b"", b"another"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def fill_the_disk(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data[:3])
    raise OSError(errno.ENOSPC, "No space left on device")


def refuse(*paths: object) -> None:
    raise OSError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("owner", "name", "fault"), [(Path, "write_bytes", fill_the_disk), (os, "replace", refuse)]
)
def test_what_was_there_stays_when_writing_fails(tmp_path, monkeypatch, owner, name, fault):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(OSError, match=r"No space|Permission"):
        write_atomically(path, b"new content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"
