"""How a job of several steps runs: commands, progress, one at a time, notes of what is done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class StepError(Exception):
    """The job cannot go on; the message says why and what to do."""


def elapsed(seconds: float) -> str:
    """Writes a duration as `4.2s` or `3m10s`."""
    return f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


def condense(line: str) -> str | None:
    """What a line of MMEngine's log says about progress, in short; None if nothing."""
    match = re.search(r"Iter\((train|val|test)\)\s*\[\s*(\d+)/(\d+)\s*\](.*)", line)
    if not match:
        return None
    kind, number, total, rest = match.groups()
    if kind == "train":
        eta = re.search(r"eta:\s*((?:\d+ days?, )?[\d:]+)", rest)
        loss = re.search(r"\bloss:\s*(\S+)", rest)
        fields = (f"  loss {loss[1]}" if loss else "", f"  {eta[1]} left" if eta else "")
        return f"iteration {number:>{len(total)}}/{total}{fields[0]}{fields[1]}"
    found = {
        name: re.search(rf"/{name}:\s*([\d.]+)", rest) for name in ("precision", "recall", "hmean")
    }
    if all(found.values()):
        scores = ", ".join(f"{name} {float(value[1]):.3f}" for name, value in found.items())
        return f"on held-out pictures: {scores}"
    return f"evaluating {number}/{total}"


@contextlib.contextmanager
def started(command: list[str], lock: int, **options: object) -> Iterator[subprocess.Popen]:
    """Starts a command, which ends with all its helpers if this process is stopped.

    It inherits the lock, so that nobody starts the job again beside what outlived a killed one.
    """
    process = subprocess.Popen(
        command, cwd=ROOT, pass_fds=(lock,), start_new_session=True, **options
    )
    os.ftruncate(lock, 0)
    os.write(lock, str(process.pid).encode())
    try:
        yield process
    except BaseException:
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, ending)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        raise


def run(command: list[str], log: Path, lock: int, show: Callable[[str], str | None]) -> None:
    """Runs a command, shows what `show` makes of its lines and adds all of them to `log`.

    Raises:
        StepError: If it fails; with the last lines of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=15)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    options |= {"encoding": "utf-8", "errors": "replace"}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (
        started(command, lock, env=environment, **options) as process,
        log.open("a", encoding="utf-8") as file,
    ):
        for line in process.stdout:
            file.write(line)
            file.flush()
            tail.append(line.rstrip())
            text = show(line)
            if text:
                print(f"  {text}", flush=True)
        status = process.wait()
    if status:
        shown = "\n".join(f"    {line}" for line in tail if line)
        raise StepError(f"{command[1]} failed (exit status {status}); all of it: {log}\n{shown}")


class State:
    """What was done with which settings: a small JSON file in the folder it speaks of."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, **content: object) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(content, indent=2), encoding="utf-8")
        os.replace(partial, self.path)


def set_aside(folder: Path) -> Path:
    """Renames a folder to the first free name `folder.1`, `folder.2`, ..."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return folder.rename(target)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[int]:
    """Holds a lock that this process and all that it starts share; yields its file descriptor.

    Raises:
        StepError: If another run, or what a killed one left running, holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for patience in range(20, -1, -1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Data workers notice after some seconds that their trainer is gone.
                time.sleep(0.5)
                if not patience:
                    raise StepError(
                        f"another run, or what a killed one started, is at work in {path.parent}: "
                        f"wait for it, or end it with: kill -- -{path.read_text() or 'PID'}"
                    ) from None
        yield file.fileno()


def perform(steps: Sequence[tuple[str, Callable[[], str]]]) -> None:
    """Performs steps, each a title and what returns how it ended, or nothing for its time."""
    for number, (title, step) in enumerate(steps, 1):
        print(f"[{number}/{len(steps)}] {title}", flush=True)
        start = time.monotonic()
        print(f"  {step() or 'done in ' + elapsed(time.monotonic() - start)}", flush=True)


def status_of(name: str, job: Callable[[], None]) -> int:
    """Runs a job to its end; errors and Ctrl-C become a line and an exit status."""
    # Ended by a signal, it is to end what it started.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        job()
    except StepError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name}: stopped; run it again to go on from here", file=sys.stderr)
        return 130
    return 0
