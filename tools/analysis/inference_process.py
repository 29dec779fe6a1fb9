"""A subject of benchmark_inference.py in a process of its own, and what it took in there.

    python tools/analysis/inference_process.py JOB.json RESULT.json

Photos come decoded, as arrays: nothing is imported here that the subject itself does not need.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from inference_peers import easyocr, rapidocr
from inference_subjects import Job, Subject, Words, ladder

MIB = 1 << 20
_THREADS = (*("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),)


def measure(job: Job) -> dict:
    """`run` a job in a process of its own.

    Returns:
        dict: What `run` returns, or only ``error``, a line.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark_inference_") as folder:
        source, target, log = (Path(folder) / name for name in ("job.json", "result.json", "log"))
        source.write_text(json.dumps(dataclasses.asdict(job)))
        command = [sys.executable, __file__, str(source), str(target)]
        variables = {**os.environ, **dict.fromkeys(_THREADS, str(job.threads))}
        with log.open("wb") as file:
            done = subprocess.run(
                command, check=False, env=variables, stdout=file, stderr=subprocess.STDOUT
            )
        if target.is_file():
            return json.loads(target.read_text())
        if os.environ.get("MMTEXTPLUG_DEBUG") == "1":
            print(log.read_text(errors="replace"), file=sys.stderr)
        return {"error": _ended(done.returncode, log.read_text(errors="replace"))}


def _ended(status: int, log: str) -> str:
    """What to say of a process that ended without a result."""
    if status == -signal.SIGKILL:
        return "killed: not enough memory, as a rule; fewer photos at once need less"
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "no message")
    return f"ended with status {status}: {last.strip()[:200]}"


def memory(name: str) -> int:
    """Bytes that this process has resident ('VmRSS'), or at most had ('VmHWM')."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def run_through(
    subject: Subject, photos: Sequence[np.ndarray], batch_size: int
) -> tuple[list[Words], list[tuple[int, float]]]:
    """Time a subject on photos, after a first batch that does not count.

    Returns:
        tuple: The words of each photo; and of each batch the number of its photos and the seconds
        until the next one could start. Words that are then still on their way count to the next
        batch, or to the last.
    """
    groups = [photos[i : i + batch_size] for i in range(0, len(photos), batch_size)]
    subject.start(groups[0])()
    subject.finding.clear()
    words: list[Words] = []
    laps: list[tuple[int, float]] = []
    waiting: Callable[[], list[Words]] = lambda: []  # noqa: E731
    last = time.perf_counter()
    for number, group in enumerate(groups, 1):
        started = subject.start(group)
        words += waiting()
        waiting = started
        if number == len(groups):
            words += waiting()
        now = time.perf_counter()
        laps.append((len(group), now - last))
        last = now
    return words, laps


def run(job: Job) -> dict:
    """Run a job in this process; what benchmark_inference.py reads, for JSON."""
    on_gpu = job.device.startswith("cuda")
    cv2.setNumThreads(job.threads)
    peers = {"easyocr": easyocr, "easyocr-quantize": easyocr, "rapidocr": rapidocr}
    subject = peers.get(job.subject, ladder)(job)
    loaded = memory("VmRSS")
    if on_gpu:
        import torch

        loaded = torch.cuda.memory_allocated(job.device)
    photos = [np.load(path) for path in job.photos]
    subject.prepare(photos)
    words, laps = run_through(subject, photos, job.batch_size)
    # All subjects have all photos in memory; in practice nobody does.
    peak = memory("VmHWM") - sum(photo.nbytes for photo in photos)
    reserved = None
    if on_gpu:
        peak = torch.cuda.max_memory_allocated(job.device)
        reserved = torch.cuda.max_memory_reserved(job.device) / MIB
    return {
        "precision": subject.precision(),
        "loaded": loaded / MIB,
        "peak": peak / MIB,
        "reserved": reserved,
        "laps": laps,
        "finding": sum(subject.finding),
        "words": [[np.asarray(word, float).tolist() for word in found] for found in words],
    }


def main(argv: Sequence[str]) -> int:
    source, target = map(Path, argv)
    job = Job(**json.loads(source.read_text()))
    # As on a machine that has no more: threads that find words get no processors of their own.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    try:
        result = run(job)
    except Exception as error:  # whatever the packages of others raise
        if os.environ.get("MMTEXTPLUG_DEBUG") == "1":
            raise
        result = {"error": " ".join(str(error).split())[:300] or type(error).__name__}
    target.write_text(json.dumps(result))
    return int("error" in result)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
