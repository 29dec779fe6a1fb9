#!/usr/bin/env python3
"""Make the environment that `make demo` and `make test` run in.

Creates `.venv` in the repository and installs the stack pinned in `requirements/stack.txt`,
MMCV's compiled operators included, then this project in editable mode. Needs CPython 3.10 to 3.12
and a C++ compiler, nothing else; a GPU is used where PyTorch sees one and `nvcc` is there. Every
step leaves a stamp, so a second run only does what has changed, and a log in `.venv/setup-logs`.

    python3 tools/setup_env.py [--torch-index URL]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NamedTuple

from setup_progress import SetupError, elapsed, run

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 10), (3, 12))
GIB = 1 << 30
NEEDED_GIB = (
    8  # in all: 2.1 with a CPU build of PyTorch, 5.6 with a CUDA build, and as much in pip's cache
)
COMPILERS = ("c++", "g++", "clang++")


class Step(NamedTuple):
    """One thing to install: a section of the requirements file and how pip takes it."""

    name: str
    options: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # steps that make this one stale when they change
    needs: str = ""  # what to expect, for the reader who waits


STEPS = (
    Step("build", ("--upgrade",)),
    Step("torch", needs="the largest download"),
    Step("libraries"),
    Step("torchvision", ("--no-deps",), ("torch",)),
    # --no-cache-dir: pip's cache of built wheels does not know which torch a wheel was built
    # against. --no-build-isolation: it has to see that torch.
    Step(
        "mmcv",
        ("--no-deps", "--no-build-isolation", "--no-cache-dir", "--force-reinstall"),
        ("torch",),
        "compiles about 80 C++ files: some 10 minutes on 2 cores",
    ),
    Step("mmdet", ("--no-deps", "--no-build-isolation")),
    Step("mmocr", ("--no-deps",)),
    Step("dev"),
    Step("weights", needs="75 MB"),
    Step("project", ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))),
    Step("check", after=("torch", "torchvision", "libraries", "mmcv", "mmdet", "mmocr", "project")),
)


def parse_sections(text: str) -> dict[str, list[str]]:
    """Reads the requirement lines under each `# [name]` heading, in order."""
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for raw in text.splitlines():
        line = raw.strip()
        heading = re.match(r"#\s*\[([\w-]+)\]", line)
        if heading:
            current = sections.setdefault(heading.group(1), [])
        elif line and not line.startswith("#"):
            if current is None:
                raise SetupError(f"requirements/stack.txt: {line!r} stands before any '# [name]'")
            current.append(line)
    return sections


def step_keys(sections: dict[str, list[str]], extra: dict[str, str]) -> dict[str, str]:
    """Hashes what each step depends on: Python, its lines and options, and the steps before it.

    Args:
        sections: The requirement lines of each step.
        extra: What else makes a step stale, by its name.
    """
    python = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    keys: dict[str, str] = {}
    for step in STEPS:
        lines = sections.get(step.name, []) + sections.get(f"{step.name}-fallback", [])
        parts = [python, *lines, *step.options, extra.get(step.name, "")]
        parts += [keys[name] for name in step.after]
        keys[step.name] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return keys


class Environment:
    """The virtual environment under construction.

    Args:
        folder: Where it stands.
        sections: The requirement lines of each step.
        torch_index: A further package index for torch and torchvision, or an empty string.
    """

    def __init__(self, folder: Path, sections: dict[str, list[str]], torch_index: str) -> None:
        self.folder = folder
        self.sections = sections
        self.torch_index = torch_index
        self.python = folder / "bin" / "python"
        self.logs = folder / "setup-logs"
        self.stamps = folder / "setup-stamps"
        self.marker = folder / "setup-python"
        self.env = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
        self.env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}

    def create(self) -> None:
        """Makes the environment, or makes it anew when it belongs to another Python.

        Raises:
            SetupError: If something stands there that this tool did not make.
        """
        version = f"{platform.python_implementation()} {platform.python_version()}"
        if self.folder.exists() and not self.marker.exists():
            raise SetupError(
                f"{self.folder} exists and was not made by this tool: move it away, or choose "
                "another folder with --venv"
            )
        if self.python.exists() and self.marker.read_text(encoding="utf-8") == version:
            return
        # Never the interpreter of the environment that is about to be replaced.
        base = getattr(sys, "_base_executable", sys.executable)
        print(f"creating {self.folder} with Python {platform.python_version()}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.stamps.mkdir()
        # Unfinished, but ours: an interrupted run must not lock the next one out.
        self.marker.write_text("unfinished", encoding="utf-8")
        command = [base, "-m", "venv", str(self.folder)]
        run(command, "venv", self.logs / "venv.log", self.env)
        self.marker.write_text(version, encoding="utf-8")

    def done(self, name: str, key: str) -> bool:
        """Tells whether a step was finished under this key."""
        stamp = self.stamps / name
        return stamp.exists() and stamp.read_text(encoding="utf-8") == key

    def perform(self, step: Step, key: str) -> None:
        """Carries out a step and stamps it."""
        (self.stamps / step.name).unlink(missing_ok=True)
        log = self.logs / f"{step.name}.log"
        log.write_text("", encoding="utf-8")
        if step.name == "torchvision":
            self._torchvision(step)
        elif step.name == "check":
            self._check(log)
        else:
            self._pip(step, self._compiler_env() if step.name == "mmcv" else {})
        (self.stamps / step.name).write_text(key, encoding="utf-8")

    def _pip(self, step: Step, env: dict[str, str] | None = None, lines: list[str] | None = None):
        command = [str(self.python), "-m", "pip", "install"]
        if step.name != "build":  # the pip that venv ships may be too old to know it
            command.append("--progress-bar=raw")
        if step.name == "mmcv":
            command.append("--verbose")  # otherwise pip keeps Ninja's lines to itself
        if step.name in ("torch", "torchvision") and self.torch_index:
            command += ["--extra-index-url", self.torch_index]
        command += [*step.options, *(self.sections.get(step.name, []) if lines is None else lines)]
        run(command, step.name, self.logs / f"{step.name}.log", self.env | (env or {}))

    def _failure(self, statement: str) -> str:
        """Runs a statement in the environment; returns why it failed, or an empty string."""
        command = [str(self.python), "-W", "ignore", "-c", statement]
        result = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True
        )
        last = result.stderr.strip().splitlines()[-1:] or [f"status {result.returncode}"]
        return last[0] if result.returncode else ""

    def _torchvision(self, step: Step) -> None:
        """Installs torchvision; beside a CPU torch, a CUDA build of it refuses to import.

        MMOCR needs its Python code only, so the last release that imports without its compiled
        operators will do. There is no wheel of it for Python 3.12, and none is needed: what is
        compiled stays unloaded, and the Python code of the one for 3.11 runs there.
        """
        self._pip(step)
        if not self._failure("import torchvision.transforms"):
            return
        print("  this torchvision needs another build of torch: taking its Python code only")
        log = self.logs / "torchvision.log"
        pip = [str(self.python), "-m", "pip"]
        run([*pip, "uninstall", "--yes", "torchvision"], "torchvision", log, self.env)
        options = step.options
        if sys.version_info >= (3, 12):
            site = self.folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
            options += ("--target", str(site), "--only-binary=:all:", "--python-version=3.11")
            options += ("--implementation=cp", "--abi=cp311")
        fallback = self.sections["torchvision-fallback"]
        self._pip(Step("torchvision", options), lines=fallback)
        error = self._failure("import torchvision.transforms")
        if error:
            raise SetupError(
                f"neither {self.sections['torchvision'][0]} nor {fallback[0]} imports beside the "
                f"torch of {self.folder} ({error}); remedy: delete that folder and name the index "
                "of your build with --torch-index"
            )

    def _compiler_env(self) -> dict[str, str]:
        env = {"MMCV_WITH_OPS": "1", "MAX_JOBS": os.environ.get("MAX_JOBS", str(compile_jobs()))}
        # Ask torch, which finds nvcc in more places than PATH.
        if not self._failure(
            "import torch; from torch.utils.cpp_extension import CUDA_HOME; "
            "assert torch.cuda.is_available() and CUDA_HOME is None"
        ):
            print(
                "  PyTorch sees a GPU, but there is no CUDA compiler (nvcc): MMCV's operators "
                "will run on the CPU only. To have them on the GPU, install the CUDA toolkit, "
                "delete .venv/setup-stamps/mmcv and run this again",
                flush=True,
            )
            env["CUDA_VISIBLE_DEVICES"] = ""
        return env

    def _check(self, log: Path) -> None:
        statement = "import torch, torchvision.transforms, mmengine, mmcv.ops, mmdet"
        run([str(self.python), "-c", statement], "check", log, self.env)
        run([str(self.python), "-m", "mmtextplug"], "check", log, self.env)


def compile_jobs() -> int:
    """Counts how many files to compile at once: a core and 2 GiB of memory each."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return cores
    return max(1, min(cores, memory // (2 * GIB)))


def check_python() -> None:
    """Raises SetupError if this Python cannot carry the stack."""
    found = sys.version_info[:2]
    if not PYTHONS[0] <= found <= PYTHONS[1]:
        candidates = (f"python3.{minor}" for minor in (12, 11, 10))
        better = next((name for name in candidates if shutil.which(name)), "python3.11")
        raise SetupError(
            f"Python 3.10 to 3.12 is needed, this is {found[0]}.{found[1]}: "
            f"make PYTHON={better} setup, or {better} tools/setup_env.py"
        )
    if not importlib.util.find_spec("ensurepip") or not importlib.util.find_spec("venv"):
        raise SetupError(
            "this Python has no venv; on Debian and Ubuntu: apt-get install python3-venv"
        )


def check_machine(pending: set[str], folder: Path) -> None:
    """Raises SetupError if the compiler, Python's headers or disk space are missing."""
    if "mmcv" in pending:
        compiler = os.environ.get("CXX")
        if not any(shutil.which(name) for name in ([compiler] if compiler else COMPILERS)):
            raise SetupError(
                f"no C++ compiler ({compiler or ', '.join(COMPILERS)}), which MMCV's operators "
                "need; on Debian and Ubuntu: apt-get install g++"
            )
        header = Path(sysconfig.get_path("include")) / "Python.h"
        if not header.exists():
            raise SetupError(
                f"no {header}, which MMCV's operators need; on Debian and Ubuntu: "
                "apt-get install python3-dev"
            )
    free = shutil.disk_usage(folder.parent).free / GIB
    if "torch" in pending and free < NEEDED_GIB:
        raise SetupError(
            f"{free:.1f} GiB free on the disk of {folder.parent}, {NEEDED_GIB} needed: free some, "
            "or put the environment elsewhere with --venv"
        )


def set_up(folder: Path, torch_index: str) -> None:
    """Brings the environment up to date.

    Raises:
        SetupError: If it cannot be done; the message says why and what to do.
    """
    check_python()
    stack = ROOT / "requirements" / "stack.txt"
    sections = parse_sections(stack.read_text(encoding="utf-8"))
    build = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "setup.py")
    )
    keys = step_keys(sections, {"project": build})
    environment = Environment(folder, sections, torch_index)
    fresh = not environment.marker.exists()
    pending = {s.name for s in STEPS if fresh or not environment.done(s.name, keys[s.name])}
    check_machine(pending, folder)
    environment.create()
    start = time.monotonic()
    steps = [step for step in STEPS if not environment.done(step.name, keys[step.name])]
    for number, step in enumerate(steps, 1):
        lines = sections.get(step.name, [])
        what = f"{step.name}: {lines[-1] if len(lines) == 1 else f'{len(lines)} packages'}"
        what = what if lines else step.name
        print(
            f"[{number}/{len(steps)}] {what}{f' ({step.needs})' if step.needs else ''}", flush=True
        )
        begin = time.monotonic()
        environment.perform(step, keys[step.name])
        print(f"  done in {elapsed(time.monotonic() - begin)}", flush=True)
    if steps:
        print(f"environment ready in {elapsed(time.monotonic() - start)}: {folder}", flush=True)


def main() -> int:
    """Reads the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where to make it")
    parser.add_argument(
        "--torch-index",
        default=os.environ.get("TORCH_INDEX", ""),
        help="a further package index for torch and torchvision (also: TORCH_INDEX), for a build "
        "other than the default one",
    )
    options = parser.parse_args()
    try:
        set_up(Path(os.path.abspath(options.venv)), options.torch_index)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; run it again to go on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
