"""Detectors of other packages, as benchmark_inference.py measures them beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from inference_subjects import Job, Subject, Watched, Words, at_once

PEERS = {
    "craft": {"easyocr": "EasyOCR", "easyocr-quantize": "EasyOCR, quantize=True"},
    "dbnet": {"rapidocr": "RapidOCR (PP-OCR DB)"},
}
"""Other packages with a detector of the same kind."""


def easyocr(job: Job) -> Subject:
    """EasyOCR's detector, as its ``Reader`` runs it, which reads photos as RGB."""
    from easyocr import detection

    subject = Subject(start=lambda images: lambda: [])
    detection.getDetBoxes = Watched(detection.getDetBoxes, subject.finding, job.device)
    quantize = job.subject == "easyocr-quantize"
    network = detection.get_detector(job.checkpoint, device=job.device, quantize=quantize)

    def test(images: np.ndarray) -> list[Words]:
        boxes, _ = detection.test_net(
            job.long_side, 1.5, network, images, 0.7, 0.4, 0.4, False, job.device
        )
        return [list(found) for found in boxes]

    def find(images: Sequence[np.ndarray]) -> list[Words]:
        photos = [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images]
        if len({photo.shape for photo in photos}) == 1:
            return test(np.stack(photos))
        return [words for photo in photos for words in test(photo[None])]

    subject.start = at_once(find)
    return subject


def bundled_rapidocr(package: Path) -> Path | None:
    """The detector that comes with the installed ``rapidocr``, if there is one."""
    return next(iter(sorted((package / "models").glob("*_det_*.onnx"))), None)


def rapidocr(job: Job) -> Subject:
    """RapidOCR without its classifier and its reader; its model file is the job's ``onnx``."""
    from rapidocr import RapidOCR

    engine = RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.use_rec": False,
            "Global.log_level": "error",
            "Global.max_side_len": max(job.long_side, 2000),
            "EngineConfig.onnxruntime.intra_op_num_threads": job.threads,
            "Det.model_path": job.onnx,
            "Det.limit_side_len": job.long_side,
            "Det.limit_type": "max",
        }
    )
    finding: list[float] = []

    def find(images: Sequence[np.ndarray]) -> list[Words]:
        results = [engine(image) for image in images]
        return [[] if found.boxes is None else list(found.boxes) for found in results]

    find([np.zeros((64, 64, 3), np.uint8)])  # loads the model
    engine.text_det.postprocess_op = Watched(engine.text_det.postprocess_op, finding)
    return Subject(at_once(find), finding=finding)
