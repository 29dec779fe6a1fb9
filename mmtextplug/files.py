"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under another name, then give it its own.

    Args:
        path (Path): Replaced if it exists; kept as it was if writing fails.
        data (bytes): Its content.

    Raises:
        OSError: If there is no space, or no permission.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
