"""Trained detectors as functions from images to words: fast, and in limited memory."""

from mmtextplug.inference.detector import Detection, TextDetector
from mmtextplug.inference.network import accelerate
from mmtextplug.inference.settings import OFFICIAL, photo_pipeline

__all__ = ["OFFICIAL", "Detection", "TextDetector", "accelerate", "photo_pipeline"]
