"""Where annotated and predicted words are kept: folders and ZIP archives of small files, and JSON.

Nothing is unpacked: members of an archive are read where they are.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmtextplug.datasets.icdar import file_key, not_utf8, read_lines
from mmtextplug.datasets.instances import Remark


def image_key(name: str) -> str:
    """What the names of a photo, its annotation and its predictions have in common."""
    return file_key(Path(name)).removeprefix("res_")


def text_lines(path: Path) -> tuple[dict[str, list[tuple[str, str]]], list[Remark]]:
    """Lines of all text files by image, each with its place."""
    lines: dict[str, list[tuple[str, str]]] = {}
    remarks = []
    for key, member in _by_key(find_members(path, ".txt"), path, ".txt files").items():
        try:
            content = read_lines(member)
        except UnicodeDecodeError as error:
            remarks.append(not_utf8(member, error))
            content = []
        lines[key] = [(f"{member}:{number}", line) for number, line in content]
    return lines, remarks


def find_members(path: Path, suffix: str) -> list[Path]:
    """Files of a folder or archive, however deep, in natural order of names."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        root = path
    else:
        try:
            root = zipfile.Path(zipfile.ZipFile(path))
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{path}: neither a folder nor a ZIP archive nor JSON ({error})"
            ) from None
    return [one for one in _walk(root) if one.name.lower().endswith(suffix)]


def _walk(folder: Path) -> Iterator[Path]:
    for one in sorted(folder.iterdir(), key=lambda entry: entry.name):
        # Archives made on a Mac carry a shadow of each file.
        if one.name.startswith((".", "__MACOSX")):
            continue
        if one.is_dir():
            yield from _walk(one)
        else:
            yield one


def _by_key(members: Iterable[Path], path: Path, what: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for member in members:
        key = image_key(member.name)
        if key in found:
            raise ValueError(f"{path}: {found[key]} and {member} are of one image; remove one")
        found[key] = member
    if not found:
        raise ValueError(f"{path}: no {what} in it")
    return found


def load_json(path: Path) -> object:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
