"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mmtextplug.files import replacing, write_atomically


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


def test_names_may_be_as_long_as_the_disk_allows(tmp_path):
    for name in ("x" * 255, "é" * 127):
        write_atomically(tmp_path / name, b"content")
        assert (tmp_path / name).read_bytes() == b"content"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_other_name_is_beside_the_file_short_and_its_own(tmp_path):
    with (
        replacing(tmp_path / ("x" * 254 + "a")) as one,
        replacing(tmp_path / ("x" * 254 + "b")) as two,
    ):
        assert one != two
        for partial in (one, two):
            assert partial.parent == tmp_path
            assert partial.name.startswith(".")
            assert partial.name.endswith(f".{os.getpid()}.part")
            assert len(partial.name) < 50
            partial.write_text(partial.name)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("name", ["x" * 256, "folder"])
def test_a_name_that_is_not_possible_is_named_and_nothing_stays(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"too long|Is a directory") as caught:
        write_atomically(tmp_path / name, b"content")
    assert caught.value.filename == str(tmp_path / name)
    assert caught.value.filename2 is None
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
