"""What the command line tools share: checked configs, training on CPUs, clear errors."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.registry import Registry, root
from mmengine.runner import find_latest_checkpoint

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
    except (SyntaxError, *USER_ERRORS, NameError, AttributeError) as error:
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


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``tools/train.py`` and ``tools/test.py`` share: options of configs and launchers."""
    add_config_options(parser)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    # Old launchers say it on the command line, where MMEngine does not look.
    parser.add_argument(
        "--local-rank",
        "--local_rank",
        type=lambda rank: os.environ.setdefault("LOCAL_RANK", str(int(rank))),
        help="set by some launchers",
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, which `load_config` merges."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help='override settings of the config: key=value, key="[a,b]", key=a,b',
    )


def demand(cfg: Config, *fields: str, use: str) -> None:
    """Raise a ValueError unless a config has all of these fields, such as ``model.det_head``.

    Args:
        cfg (Config): From `load_config`.
        fields (str): Fields, with dots.
        use (str): What needs them, for the message.
    """
    for field in fields:
        value = cfg
        for name in field.split("."):
            value = value.get(name) if hasattr(value, "get") else None
        if value is None:
            name = cfg.filename or "the config"
            raise ValueError(f"{name}: {use} needs {field}, which it lacks")


def go_on(cfg: Config) -> None:
    """Resume from the last checkpoint of the work folder; without one, start as the config says.

    MMEngine would resume from ``load_from`` itself, where a config names weights to start from, and
    looks for a checkpoint where it was written, though its folder may have been moved.

    Raises:
        FileNotFoundError: If the last checkpoint is gone.
    """
    last = find_latest_checkpoint(cfg.work_dir)
    cfg.resume = last is not None
    if not cfg.resume:
        return
    here = Path(cfg.work_dir) / Path(last).name
    if not here.is_file() and "://" not in last and not Path(last).is_file():
        raise FileNotFoundError(
            f"{here}: the last checkpoint is gone: write the path of another into "
            f"{here.with_name('last_checkpoint')}, or delete that file to start again"
        )
    cfg.load_from = str(here) if here.is_file() else last


def adapt_to_cpu(cfg: Config) -> None:
    """Make a config run where there is no GPU: gloo, no device ids, no SyncBN.

    Mixed precision is `mmtextplug.safe_runner.SafeRunner`'s, which leaves the config as it is.

    Raises:
        ValueError: If the launcher of the config did not start this process.
    """
    import torch

    if torch.cuda.is_available():
        return
    launcher = cfg.get("launcher", "none")
    if launcher == "none":
        return
    import torch.distributed

    if cfg.get("model_wrapper_cfg") is None:
        cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel")
    cfg.model_wrapper_cfg.update(
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if cfg.pop("sync_bn", None):
        print_log("SyncBN needs GPUs: each process normalises its own batches", logger="current")
    # MMEngine would select a CUDA device first; it leaves an initialised process group alone.
    if not torch.distributed.is_initialized():
        _name_process(launcher)
        torch.distributed.init_process_group(backend="gloo")


# What PyTorch reads from the environment, and where launchers other than its own leave it.
_LAUNCHED_BY = {
    "slurm": {
        "RANK": "SLURM_PROCID",
        "WORLD_SIZE": "SLURM_NTASKS",
        "LOCAL_RANK": "SLURM_LOCALID",
    },
    "mpi": {
        "RANK": "OMPI_COMM_WORLD_RANK",
        "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE",
        "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK",
    },
}


def _name_process(launcher: str) -> None:
    for wanted, given in _LAUNCHED_BY.get(launcher, {}).items():
        if given not in os.environ:
            program = "srun" if launcher == "slurm" else "mpirun"
            raise ValueError(
                f"--launcher {launcher}: {given} is not set; start this with {program}"
            )
        os.environ[wanted] = os.environ[given]
    if launcher == "slurm" and "MASTER_ADDR" not in os.environ:
        nodes = os.environ.get("SLURM_NODELIST", "")
        found = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=False
        ).stdout.split()
        if not found:
            raise ValueError(f"--launcher slurm: no node found in {nodes!r}; set MASTER_ADDR")
        os.environ["MASTER_ADDR"] = found[0]
    if launcher == "mpi" and "MASTER_ADDR" not in os.environ:
        raise ValueError("--launcher mpi: set MASTER_ADDR to the machine of the first process")
    if launcher != "pytorch":
        os.environ.setdefault("MASTER_PORT", "29500")  # as in MMEngine


def run(main: Callable[[], int | None]) -> None:
    """Run a tool; errors that the user can mend become one line and exit status 1.

    ``MMTEXTPLUG_DEBUG=1`` keeps their tracebacks.
    """
    try:
        status = main()
        _leave_process_group()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except USER_ERRORS as error:
        if os.environ.get("MMTEXTPLUG_DEBUG") == "1":
            raise
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        message = " ".join(_without_traceback(text).split()) or type(error).__name__
        print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
        status = 1
    sys.exit(status or 0)


def _leave_process_group() -> None:
    """End the process group that this process has joined, if it has, before the interpreter ends.

    A thread of gloo's that still lets go of the tensors of the last exchange needs the interpreter
    lock for that; where it asks for it too late, the process aborts although all its work is done.
    Destroying the group does not end those threads: DDP keeps it alive.
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(0.5)  # the lock is free; what the threads do with it takes microseconds


def _without_traceback(text: str) -> str:
    """What remains of an error that PyTorch carried over from a process that loads data."""
    if not re.match(r"Caught \S+ in .*process", text):
        return text
    raised = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Found)(?:: |$)", re.MULTILINE)
    starts = [match.end() for match in raised.finditer(text)]
    return text[starts[-1] :] if starts else text.strip().splitlines()[-1]
