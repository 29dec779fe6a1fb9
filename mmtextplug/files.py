"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another name beside a file, to be written to; what is there at the end gets the file's own.

    Args:
        path (Path): Replaced if it exists; kept as it was if the block fails.

    Yields:
        Path: The other name, which is gone afterwards.

    Raises:
        OSError: If nothing was written, or there is no permission.
    """
    # Short, whatever the file's own: names have limits.
    name = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    partial = path.with_name(f".{name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under another name, then give it its own.

    Args:
        path (Path): Replaced if it exists; kept as it was if writing fails.
        data (bytes): Its content.

    Raises:
        OSError: If there is no space, no permission, or such a name is not possible.
    """
    try:
        with replacing(path) as partial:
            partial.write_bytes(data)
    except OSError as error:  # a full disk does not say which file, and the other name says nothing
        raise OSError(error.errno, error.strerror, str(path)) from error
