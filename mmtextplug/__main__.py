"""`python -m mmtextplug`: the versions found, what registered, what is missing and the remedy.

The exit status is 0 if everything is there and 1 if something is missing.
"""

from __future__ import annotations

import platform
import sys
from types import ModuleType

from . import REGISTERED, __version__
from .compat import UpstreamError, ceilings_lifted, import_upstream

# Each package, and the parts of it that can be missing or broken on their own.
_PACKAGES = {
    "numpy": (),
    "cv2": (),
    "torch": (),
    "torchvision": ("torchvision.transforms",),
    "mmengine": (),
    "mmcv": ("mmcv.ops",),
    "mmdet": ("mmdet.models",),
    "mmocr": ("mmocr.models", "mmocr.datasets"),
}


def main() -> int:
    """Prints the report; returns the exit status."""
    lines = [
        f"mmtextplug {__version__}",
        "",
        "versions",
        f"  python       {platform.python_version()}",
    ]
    problems: dict[str, list[str]] = {}
    for name, parts in _PACKAGES.items():
        try:
            module = import_upstream(name)
        except UpstreamError as error:
            lines.append(f"  {name:<12} -")
            problems.setdefault(str(error), [])
            continue
        broken = []
        for part in parts:
            try:
                import_upstream(part)
            except UpstreamError as error:
                broken.append(part)
                problems.setdefault(str(error), [])
        version = getattr(module, "__version__", "unknown")
        lines.append(f"  {name:<12} {version:<14} {_remark(name, module, broken)}".rstrip())

    registered: dict[str, list[str]] = {}
    for component, error in REGISTERED:
        if error is None:
            registered.setdefault(component.registry, []).extend(component.names)
        else:
            problems.setdefault(str(error), []).extend(component.names)
    lines += ["", "registered"]
    lines += [f"  {kind:<12} {' '.join(sorted(names))}" for kind, names in registered.items()]
    if not registered:
        lines.append("  nothing")
    if problems:
        lines += ["", "missing"]
        for problem, names in problems.items():
            lines.append(f"  {problem}" + (f" (for {', '.join(names)})" if names else ""))
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if problems else 0


def _remark(name: str, module: ModuleType, broken: list[str]) -> str:
    remarks = [f"{part} does not import" for part in broken if part != "mmcv.ops"]
    if name == "mmcv":
        remarks.append(f"compiled operators: {'no' if broken else 'yes'}")
    if name == "torch":
        cuda = module.cuda.is_available()
        remarks.append(f"CUDA: {module.cuda.get_device_name() if cuda else 'not available'}")
    if name in ceilings_lifted():
        remarks.append(f"its ceiling was lifted, it refuses {ceilings_lifted()[name]}")
    return ", ".join(remarks)


if __name__ == "__main__":
    sys.exit(main())
