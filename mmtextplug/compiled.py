"""Loops that resist vectorising, compiled by Numba when they are first needed."""

from __future__ import annotations

import functools
from collections.abc import Callable


@functools.cache
def compiled(loop: Callable) -> Callable:
    """The machine code of a loop over NumPy arrays; it lets other threads run beside it."""
    import numba  # takes longer to import than all else here

    try:
        return numba.njit(cache=True, nogil=True)(loop)
    except RuntimeError:
        # No folder to keep the compiled code in (a read-only installation): compile a process.
        return numba.njit(nogil=True)(loop)
