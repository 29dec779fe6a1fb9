"""How the set-up shows what it does: a command's output read, condensed, logged, and explained.

Part of `tools/setup_env.py`; needs the standard library only.
"""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

HEARTBEAT_S = 30
TAIL_LINES = 15

REMEDIES = (
    (r"No space left on device", "free some disk space (TMPDIR counts too), then run it again"),
    (
        r"Killed|Cannot allocate memory|terminated program cc1plus",
        "out of memory: run it again with MAX_JOBS=1",
    ),
    (
        r"Python\.h: No such file",
        "install Python's headers, on Debian and Ubuntu: apt-get install python3-dev",
    ),
    (
        r"detected CUDA version .* mismatches",
        "nvcc and PyTorch differ in CUDA's version: put the matching toolkit first in PATH, or "
        "set CUDA_VISIBLE_DEVICES= to compile MMCV for the CPU only",
    ),
    (
        r"Temporary failure in name resolution|NewConnectionError|Max retries|ReadTimeout",
        "no package index within reach: check the network, or set PIP_INDEX_URL to a mirror",
    ),
    (
        r"No matching distribution found|Could not find a version",
        "the index holds no such version for this Python: check PIP_INDEX_URL",
    ),
    (r"ensurepip", "install venv, on Debian and Ubuntu: apt-get install python3-venv"),
)


class SetupError(Exception):
    """The set-up cannot go on; the message says why and what to do."""


def parse_compiled(line: str) -> tuple[int, int] | None:
    """Reads (files compiled, files in all) from a line of Ninja's, `[12/78] c++ ...`."""
    match = re.match(r"\s*\[(\d+)/(\d+)\]\s", line)
    return (int(match.group(1)), int(match.group(2))) if match else None


def parse_downloaded(line: str) -> tuple[int, int] | None:
    """Reads (bytes received, bytes in all) from a line of pip's raw progress bar."""
    match = re.match(r"\s*Progress (\d+) of (\d+)\s*$", line)
    return (int(match.group(1)), int(match.group(2))) if match else None


def elapsed(seconds: float) -> str:
    """Writes a duration as `45s`, `3m10s` or `1h02m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def remedy_for(log: str) -> str:
    """Finds the advice that fits a failed command's output."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, log):
            return remedy
    return "read the log; once the cause is gone, run the same command again"


class Progress:
    """What a step shows while it runs: one line that changes on a terminal, else a line at times.

    Args:
        label: What is being done.
        stream: Where to write.
    """

    def __init__(self, label: str, stream=None) -> None:
        self.label = label
        self.stream = stream or sys.stdout
        self.tty = self.stream.isatty()
        self.start = self.written = time.monotonic()
        self.status = ""
        self.said = 0

    def line(self, line: str) -> None:
        """Takes in one line of the command's output."""
        compiled, downloaded = parse_compiled(line), parse_downloaded(line)
        if compiled:
            self.status = f"compiling {self.label}: {compiled[0]}/{compiled[1]}"
            if compiled[0] >= self.said + 10 or compiled[0] == compiled[1]:
                self.said = compiled[0]
                self._say()
        elif downloaded:
            name = self.status.split(":")[0] if self.status.startswith("downloading") else ""
            mega = [count / 1e6 for count in downloaded]
            self.status = f"{name or 'downloading'}: {mega[0]:.0f}/{mega[1]:.0f} MB"
        elif "Downloading " in line:
            path = line.split("Downloading ")[1].split(" ")[0].split("?")[0].strip()
            self.status = f"downloading {path.rsplit('/', 1)[-1]}"
        elif line.startswith("Installing collected packages"):
            self.status = f"installing {self.label}"
        self.tick()

    def tick(self) -> None:
        """Shows that time passes."""
        if self.tty:
            text = f"  {self.status or self.label} ({elapsed(time.monotonic() - self.start)})"
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\x1b[K" + text[:width])
            self.stream.flush()
        elif time.monotonic() - self.written > HEARTBEAT_S:
            self._say()

    def close(self) -> None:
        """Leaves the line clean for whatever is printed next."""
        if self.tty:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def _say(self) -> None:
        if not self.tty:
            spent = elapsed(time.monotonic() - self.start)
            self.stream.write(f"  {self.status or self.label} ({spent})\n")
            self.stream.flush()
            self.written = time.monotonic()


def run(command: list[str], label: str, log: Path, env: dict[str, str]) -> None:
    """Runs a command, shows how it goes, appends its output to a log.

    Raises:
        SetupError: If it fails, with the end of the log and the remedy.
    """
    progress = Progress(label)
    lines: queue.Queue[str | None] = queue.Queue()
    output: list[str] = []
    # In the syntax of Python 3.7: an old Python has to get as far as being told that it is too old.
    with log.open("a", encoding="utf-8") as sink:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            text=True,
            errors="replace",
        )
        sink.write(f"$ {' '.join(command)}\n")
        reader = threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True)
        reader.start()
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                progress.tick()
                continue
            if line is None:
                break
            if not parse_downloaded(line):
                sink.write(line)
                output.append(line)
            progress.line(line)
        status = process.wait()
    progress.close()
    if status:
        tail = "".join(f"    {line}" for line in output[-TAIL_LINES:])
        raise SetupError(
            f"{label} failed with status {status}; its last lines:\n{tail.rstrip()}\n"
            f"  full log: {log}\n  remedy: {remedy_for(''.join(output))}"
        )


def _forward(stream, lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
