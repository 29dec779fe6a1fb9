"""Bands of constant thickness along lines: their exact outlines, and how they are drawn."""

from __future__ import annotations

import cv2
import numpy as np
from shapely.geometry import Polygon


def arc(radius: float, degrees: float, extra: float = 0) -> np.ndarray:
    """Points on an arc that bulges upwards, ``extra`` pixels longer at either end."""
    half = np.radians(degrees) / 2 + extra / radius
    angle = np.linspace(-half, half, 80)
    return radius * np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def wave(length: float, height: float, extra: float = 0) -> np.ndarray:
    x = np.linspace(-length / 2 - extra, length / 2 + extra, 80)
    return np.stack([x, height * np.sin(2 * np.pi * x / length)], axis=1)


def band(line: np.ndarray, thickness: float) -> np.ndarray:
    """The exact outline of a band of constant thickness around a line, clockwise."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    up = np.stack([along[:, 1], -along[:, 0]], axis=1) * thickness / 2
    return np.concatenate([line + up, (line - up)[::-1]])


def placed(points: np.ndarray, degrees: float, reference: np.ndarray) -> np.ndarray:
    """Rotate points and bring the middle of the rotated reference to (130.3, 129.6)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, s], [-s, c]])
    middle = ((reference @ turn).min(axis=0) + (reference @ turn).max(axis=0)) / 2
    return points @ turn - middle + [130.3, 129.6]


def raster(outline: np.ndarray, size: int = 260) -> np.ndarray:
    """(size, size) float32, 1 where at least half of a pixel is inside the outline."""
    large = np.zeros((8 * size, 8 * size), np.uint8)
    cv2.fillPoly(large, [np.rint((outline * 8 + 3.5) * 16).astype(np.int32)], 255, shift=4)
    small = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)
    return (small > 127).astype(np.float32)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    first, second = Polygon(first), Polygon(second)
    return first.intersection(second).area / first.union(second).area
