"""Which names in settings of unknown origin are of registered components, found without imports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry, root

from mmtextplug.compat import UpstreamError, import_upstream

# Of MMCV's operators, which no registry is asked for.
_OPERATORS = {
    "nms": ("nms", "soft_nms", "nms_match", "nms_rotated", "nms_quadri"),
    "roi_layer": ("RoIAlign", "RoIAlignRotated", "RoIPool", "SimpleRoIAlign"),
}


def unregistered(settings: object) -> Iterator[tuple[str, object]]:
    """Names of types and scopes that nobody registered, and where they are.

    ``Registry.get`` imports, and calls, whatever a type names that it does not know, with dots
    (``subprocess.Popen``) and without (a module); scopes are imported, too. So no registry is asked
    for them, and but for the packages of OpenMMLab nothing is imported.

    Args:
        settings (object): Dicts, lists and tuples of settings, as deep as need be.

    Yields:
        tuple[str, object]: As ``("model.neck[0].type", "subprocess.Popen")``.
    """
    for where, key, name in _names(settings, ""):
        if key == "type":
            parent = where.removesuffix(".type").rpartition(".")[2]
            known = _is_type(name) or name in _OPERATORS.get(parent, ())
        else:
            known = name is None or (isinstance(name, str) and any(_registries(name)))
        if not known:
            yield where, name


def _is_type(name: object) -> bool:
    if not isinstance(name, str):
        return False
    scope, dot, item = name.rpartition(".")
    return any(item in registry.module_dict for registry in _registries(scope if dot else None))


def _registries(scope: str | None) -> Iterator[Registry]:
    """All that there are of a scope; of all scopes if it is None."""
    if scope in MODULE2PACKAGE:
        with contextlib.suppress(UpstreamError):
            import_upstream(f"{scope}.registry")
    nodes = [value for value in vars(root).values() if isinstance(value, Registry)]
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children.values())
        if scope in (None, node.scope):
            yield node


def _names(value: object, where: str) -> Iterator[tuple[str, str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            inner = f"{where}.{key}" if where else str(key)
            if key in ("type", "default_scope", "_scope_"):
                yield inner, key, item
            yield from _names(item, inner)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _names(item, f"{where}[{index}]")
