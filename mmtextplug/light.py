"""The light detector that comes with the package: CRAFT on EfficientNet-Lite0, 2.0 M parameters.

``mmtextplug/weights/README.md`` says what it was trained on, how good it is and where it fails.
"""

from __future__ import annotations

from pathlib import Path

FILE = "craft_efficientnet-lite0-b9ba0175.pth"
"""Its parameters in half precision, and its config; the end of the name is its checksum."""


def light_weights() -> Path:
    """Where its checkpoint lies: for whatever takes a checkpoint that holds its config.

    Raises:
        FileNotFoundError: If the installation has lost it.
    """
    path = Path(__file__).parent / "weights" / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the light detector is missing: reinstall mmtextplug, or name a checkpoint"
        )
    return path
