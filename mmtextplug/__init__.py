"""CRAFT that trains, OHEM and S-OHEM, losses and heads for DBNet: a plug-in for OpenMMLab.

`import mmtextplug`, or `custom_imports = dict(imports=['mmtextplug'])` in a config, registers all
that the installed packages allow; `python -m mmtextplug` shows what that is.
"""

from __future__ import annotations

from .registration import COMPONENTS, register_all
from .version import __version__

__all__ = ["REGISTERED", "__version__"]

REGISTERED = register_all(COMPONENTS)
