"""What the command line tools share: checked configs, training on CPUs, clear errors."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import Registry, root

from mmtextplug.compat import import_upstream

# Where every type is a registered component. Elsewhere `type` may name other things: operators of
# MMCV, transforms of other libraries.
_COMPONENT = re.compile(
    r"(^|\.)(model|backbone|neck|\w*head|module_loss|postprocessor|data_preprocessor|dataset|sampler|"
    r"\w*pipeline\[\d+\]|\w+_evaluator(\[\d+\])?|visualizer|optim_wrapper|optimizer|"
    r"default_hooks\.\w+|custom_hooks\[\d+\])$"
)

# Errors that tell the user what to change; others are bugs and keep their traceback.
USER_ERRORS = (OSError, ValueError, KeyError, ImportError, TypeError)


def load_config(path: str, options: dict | None = None, work_dir: str | None = None) -> Config:
    """Read a config, merge command line options, settle the work directory, check all types.

    Args:
        path (str): Config file.
        options (dict, optional): From ``--cfg-options``.
        work_dir (str, optional): From ``--work-dir``; else the config's, else
            ``work_dirs/<name of the config>``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no valid config, or names a type that nobody registered.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such config file")
    try:
        cfg = Config.fromfile(path)
    except (SyntaxError, KeyError, NameError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: not a valid config: {error}") from error
    if options:
        cfg.merge_from_dict(options)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(path).stem)
    unknown = unknown_types(cfg)
    if unknown:
        raise ValueError(f"{path}: " + "; ".join(unknown))
    return cfg


def unknown_types(cfg: Config) -> list[str]:
    """A line for each component of a config whose ``type`` no registry of its scope knows."""
    scope = cfg.get("default_scope", "mmengine")
    lines = []
    for where, name, inner_scope in _types(cfg.to_dict(), "", scope):
        if _COMPONENT.search(where) and not _known(name, inner_scope):
            known = sorted({key for registry in _registries() for key in registry.module_dict})
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            lines.append(
                f"{where}.type {name!r} is not registered{hint} (custom_imports must name the "
                "package that registers it)"
            )
    return lines


def _types(value: object, where: str, scope: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        scope = value.get("_scope_", scope)
        if isinstance(value.get("type"), str):
            yield where, value["type"], scope
        for key, item in value.items():
            yield from _types(item, f"{where}.{key}" if where else str(key), scope)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _types(item, f"{where}[{index}]", scope)


def _registries() -> list[Registry]:
    return [item for item in vars(root).values() if isinstance(item, Registry)]


def _known(name: str, scope: str) -> bool:
    with contextlib.suppress(ImportError):
        import_upstream(f"{scope}.registry")
    # A scope has no child of some registries; the root itself then answers.
    return any(
        registry.children.get(scope, registry).get(name) is not None for registry in _registries()
    )


def adapt_to_cpu(cfg: Config) -> None:
    """Make distributed training run where there is no GPU: gloo, no device ids, no SyncBN."""
    import torch

    if torch.cuda.is_available() or cfg.get("launcher", "none") != "pytorch":
        return
    import torch.distributed

    cfg.setdefault("model_wrapper_cfg", dict(type="MMDistributedDataParallel"))
    cfg.model_wrapper_cfg.update(
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if cfg.pop("sync_bn", None):
        print_log("SyncBN needs GPUs: each process normalises its own batches", logger="current")
    # MMEngine would select a CUDA device first; it leaves an initialised process group alone.
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(backend="gloo")


def local_rank_from(argument: int) -> None:
    """Set ``LOCAL_RANK`` from the command line where the launcher did not."""
    os.environ.setdefault("LOCAL_RANK", str(argument))


def run(main: Callable[[], int | None]) -> None:
    """Run a tool; errors that the user can mend become one line and exit status 1.

    ``MMTEXTPLUG_DEBUG=1`` keeps their tracebacks.
    """
    try:
        status = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except USER_ERRORS as error:
        if os.environ.get("MMTEXTPLUG_DEBUG") == "1":
            raise
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        message = " ".join(text.split()) or type(error).__name__
        print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
        status = 1
    sys.exit(status or 0)
