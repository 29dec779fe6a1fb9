"""The only room that knows which versions the upstream packages accept.

MMOCR 1.0.1 and MMDetection 3.x assert, when they are imported, that MMCV and MMDetection are older
than the newest release of their day. Those ceilings are stale: what lies above them works.
`import_upstream` lifts them while the package in question is imported, says so in one log line,
and touches nothing when they hold. It also turns every way in which an upstream package can be
missing or broken into one error that says what to install.

NumPy is left alone. MMOCR calls `np.int0`, which NumPy 2 removed, in `TextDetRandomCropFlip` and
in `FCEPostprocessor`; nothing here uses either, and a name put back into NumPy would hide the same
defect in every other package of the process.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["UpstreamError", "ceilings_lifted", "explain", "import_upstream"]

# What an upstream package imports itself, and would blame on its own importer if it failed.
_NEEDS = {"mmcv": ("mmengine",), "mmdet": ("mmcv",), "mmocr": ("mmcv", "mmdet")}

# The newest versions that every assertion accepts: MMDetection 3.1 wants mmcv < 2.1, MMOCR 1.0.1
# wants mmdet < 3.2.
_ACCEPTED = {"mmcv": "2.0.1", "mmdet": "3.1.0"}

_INSTALL = {
    "torch": "pip install torch",
    "mmengine": "pip install onedl-mmengine (or mmengine)",
    "mmcv": "MMCV_WITH_OPS=1 pip install --no-build-isolation onedl-mmcv (or mmcv)",
    "mmdet": "pip install --no-build-isolation onedl-mmdetection (or mmdet)",
    "mmocr": "pip install --no-deps mmocr==1.0.1",
    "imgaug": "pip install imaug",
    "skimage": "pip install scikit-image",
    "cv2": "pip install opencv-python",
}

# Errors whose own text leads nowhere: what it says, what is wrong, what to do.
_KNOWN = (
    (
        r"No module named 'mmcv\.(_ext|ops)'",
        "mmcv was installed without its compiled operators",
        "pip uninstall mmcv mmcv-lite onedl-mmcv, then "
        "MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir onedl-mmcv",
    ),
    (
        r"_ext\..*undefined symbol|undefined symbol.*c10",
        "mmcv was compiled against another version of torch",
        "MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir --force-reinstall "
        "--no-deps onedl-mmcv",
    ),
    (
        r"libGL\.so",
        "OpenCV finds no libGL",
        "on Debian and Ubuntu apt-get install libgl1, or use opencv-python-headless",
    ),
    (
        r"np\.sctypes",
        "imgaug 0.4.0 does not run on NumPy 2",
        "pip uninstall imgaug, then pip install imaug",
    ),
    (
        r"torchvision::nms",
        "torchvision and torch are different builds",
        "install the torchvision that belongs to this torch, from the same index",
    ),
)

_lock = threading.RLock()
_lifted: dict[str, str] = {}


class UpstreamError(ImportError):
    """An upstream package is missing, too old or broken; the message says what to install."""


def ceilings_lifted() -> dict[str, str]:
    """Tells for which packages a ceiling was lifted, and what they refused, as `name: reason`."""
    return dict(_lifted)


def import_upstream(name: str) -> ModuleType:
    """Imports a package or module of OpenMMLab, whatever versions it declares itself ready for.

    Args:
        name: Full module name, such as `'mmocr'` or `'mmcv.ops'`.

    Returns:
        The module, as `importlib.import_module` returns it.

    Raises:
        UpstreamError: If it cannot be imported; one line with the cause and the remedy.
    """
    package = name.partition(".")[0]
    with _lock:
        if package not in sys.modules:
            for need in _NEEDS.get(package, ()):
                import_upstream(need)
            _import_package(package)
        return _import(name)


def _import_package(package: str) -> None:
    try:
        importlib.import_module(package)
        return
    except AssertionError as error:
        refusal = error
    except Exception as error:
        raise explain(package, error) from error
    above = _above_ceiling(_NEEDS.get(package, ()))
    if not above:
        raise explain(package, refusal) from refusal
    _forget(package)
    with _reporting({name: _ACCEPTED[name] for name in above}):
        module = _import(package)
    found = " and ".join(f"{name} {version}" for name, version in above.items())
    _lifted[package] = found
    version = getattr(module, "__version__", "(version unknown)")
    _log(f"mmtextplug: {package} {version} refuses {found}: lifted its ceiling")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    # Whatever an upstream package raises while it is imported, it cannot be used.
    except Exception as error:
        raise explain(name, error) from error


def explain(name: str, error: Exception) -> UpstreamError:
    """Words what went wrong while an upstream module was imported, and what to do about it."""
    if isinstance(error, UpstreamError):
        return error
    package = name.partition(".")[0]
    text = " ".join(str(error).split()) or type(error).__name__
    for pattern, cause, remedy in _KNOWN:
        if re.search(pattern, text):
            return UpstreamError(f"{name} cannot be imported: {cause}; remedy: {remedy}")
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    root = (missing or "").partition(".")[0]
    if missing == package:
        return UpstreamError(f"{name} is not installed; remedy: {_install(package)}")
    if missing and root != package:
        return UpstreamError(
            f"{name} cannot be imported: it needs {missing}; remedy: {_install(root)}"
        )
    if isinstance(error, (ImportError, AssertionError)):
        version = getattr(sys.modules.get(package), "__version__", "")
        found = " ".join(part for part in (package, version) if part)
        return UpstreamError(
            f"{name} cannot be imported from {found}: {text}; remedy: {_install(package)}"
        )
    return UpstreamError(
        f"{name} cannot be imported: {type(error).__name__}: {text}; remedy: reinstall it, "
        f"{_install(package)}"
    )


def _install(package: str) -> str:
    return _INSTALL.get(package, f"pip install {package}")


def _above_ceiling(packages: tuple[str, ...]) -> dict[str, str]:
    """Finds the imported packages that are newer than what the assertions accept."""
    found = {}
    for name in packages:
        version = getattr(sys.modules.get(name), "__version__", None)
        if name in _ACCEPTED and version and _numbers(version) > _numbers(_ACCEPTED[name]):
            found[name] = version
    return found


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _forget(package: str) -> None:
    """Drops the submodules that a failed import of the package left behind."""
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        del sys.modules[name]


@contextmanager
def _reporting(versions: dict[str, str]) -> Iterator[None]:
    """Lets packages report other versions of themselves for a moment."""
    real = {name: sys.modules[name].__version__ for name in versions}
    try:
        for name, version in versions.items():
            sys.modules[name].__version__ = version
        yield
    finally:
        for name, version in real.items():
            sys.modules[name].__version__ = version


def _log(message: str) -> None:
    # Python's own logging, not MMEngine's: a logger of MMEngine's made at import time would become
    # the current one before the Runner makes its own. One line a run: silent in worker processes
    # and in all ranks but the first.
    first = os.environ.get("RANK", "0") == "0" and multiprocessing.parent_process() is None
    logging.getLogger("mmtextplug").log(logging.WARNING if first else logging.DEBUG, message)
