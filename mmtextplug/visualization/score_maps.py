"""Words and score maps of a sample as one picture, predicted beside generated from the annotation:
a visualizer for MMEngine's hooks, and the pure functions under it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import mmcv
import numpy as np
from mmengine.registry import VISUALIZERS
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from .draw import draw_words, overlay_score, side_by_side
from .scene import Scene, read_scene

# BGR, as MMOCR has them: annotated words green, ignored ones blue, found ones red.
ANNOTATED_COLOUR = (0, 220, 0)
IGNORED_COLOUR = (255, 110, 0)
FOUND_COLOUR = (0, 0, 255)

_GAP = 4
# A title above a panel of 2,000 pixels.
_TITLE_HEIGHT = 48
# Photos smaller than this are enlarged, in pixels of their longer side.
_LEGIBLE = 420


def draw_scene(
    image: np.ndarray, scene: Scene, *, max_side: int = 2000, captions: bool = True
) -> np.ndarray:
    """Draw all that a scene has, predictions beside annotations.

    Args:
        image: ``(H, W, 3)`` uint8 BGR.
        scene: What to draw.
        max_side: Greatest width and height of the picture, in pixels. Small photos are enlarged.
        captions: Whether to write above each panel what it shows.

    Returns:
        ``(H', W', 3)`` uint8, BGR: a row for words and for each kind of map, what was predicted on
        the left (what there is of it); for upright images, columns instead of rows. The image
        alone if there is nothing to draw.
    """
    pairs = [("words found", "words annotated")]
    pairs += [(f"predicted {kind}", f"generated {kind}") for kind in scene.kinds]
    rows = [[name for name in row if name in _available(scene)] for row in pairs]
    rows = [row for row in rows if row]
    if image.shape[0] > image.shape[1] or all(len(row) == 1 for row in rows):
        columns = max((len(row) for row in rows), default=0)
        rows = [[row[i] for row in rows if i < len(row)] for i in range(columns)]
    shown = fit(image, max((len(row) for row in rows), default=1), max(len(rows), 1), max_side)
    if not rows:
        return shown
    panels = draw_panels(shown, scene, shown.shape[1] / image.shape[1])
    return stack_rows(
        [side_by_side([panels[n] for n in row], row if captions else None, _GAP) for row in rows]
    )


def _available(scene: Scene) -> set[str]:
    names = {
        "words found": scene.found,
        "words annotated": scene.annotated,
        **{f"predicted {kind}": scene.predicted for kind in scene.kinds},
        **{f"generated {kind}": scene.generated for kind in scene.kinds},
    }
    return {name for name, content in names.items() if content is not None}


def draw_panels(image: np.ndarray, scene: Scene, factor: float = 1.0) -> dict[str, np.ndarray]:
    """Draw each panel of a scene.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, enlarged by ``factor``.
        scene: What to draw.
        factor: Pixels of ``image`` for each pixel of the original image.

    Returns:
        Pictures of the size of ``image`` by their names, 'words found' and the like; nothing for
        what the scene has not.
    """
    panels = {}
    if scene.found is not None:
        panels["words found"] = draw_words(image, _scaled(scene.found, factor), FOUND_COLOUR)
    if scene.annotated is not None:
        picture = draw_words(image, _scaled(scene.ignored or [], factor), IGNORED_COLOUR)
        panels["words annotated"] = draw_words(
            picture, _scaled(scene.annotated, factor), ANNOTATED_COLOUR
        )
    # On grey, so that colours mean scores and nothing else.
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    for kind, maps in (("predicted", scene.predicted), ("generated", scene.generated)):
        if maps is not None:
            for name, score in zip(scene.kinds, maps):
                panels[f"{kind} {name}"] = overlay_score(grey, score)
    return panels


def _scaled(polygons: Sequence[np.ndarray], factor: float) -> list[np.ndarray]:
    return [polygon * factor for polygon in polygons]


def fit(image: np.ndarray, columns: int, rows: int, max_side: int) -> np.ndarray:
    """Resize an image so that a grid of it, with titles, stays within ``max_side`` pixels a side.

    Images that are too small to be seen well are enlarged.
    """
    height, width = image.shape[:2]
    factor = min(
        (max_side / columns - _GAP) / width,
        (max_side / rows - _GAP - _TITLE_HEIGHT) / height,
        max(1.0, _LEGIBLE / max(height, width)),
    )
    if factor == 1:
        return image
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def stack_rows(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures ``(H, W, 3)`` of any width under one another on white; at least one."""
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded)[:-_GAP]


@VISUALIZERS.register_module()
class ScoreMapVisualizer(Visualizer):
    """Draws words and score maps, predicted beside annotated, as one picture.

    It takes the place of MMOCR's ``TextDetLocalVisualizer`` in a config and works with any text
    detector. Score maps are shown where there are any: the predicted ones with
    ``model.det_head.postprocessor.keep_score_maps=True``, those generated from the annotation
    where the pipeline loads characters, for CRAFT, or beside predicted ones, for DB.

    Args:
        name (str): Name of the instance.
        *args, **kwargs: See ``mmengine.visualization.Visualizer``.
        max_side (int): Greatest width and height of a picture, in pixels.
    """

    def __init__(self, name: str = "visualizer", *args, max_side: int = 2000, **kwargs) -> None:
        super().__init__(name, *args, **kwargs)
        self.max_side = max_side

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: BaseDataElement | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> np.ndarray:
        """Draw a sample and hand the picture to the backends.

        Args:
            name (str): Name of the picture.
            image (np.ndarray): The original image, ``(H, W, 3)`` uint8 RGB.
            data_sample (TextDetDataSample, optional): See `read_scene`.
            draw_gt, draw_pred (bool): What to draw of it.
            show (bool): Whether to open a window, instead of writing to the backends.
            wait_time (float): How long the window stays, in seconds; 0 until a key is pressed.
            out_file (str, optional): Where to write the picture as well.
            pred_score_thr (float): Words with a lower score are left out.
            step (int): Recorded with the picture.

        Returns:
            np.ndarray: The picture, ``(H', W', 3)`` uint8 RGB.
        """
        scene = Scene()
        if data_sample is not None:
            scene = read_scene(
                data_sample,
                image.shape[:2],
                gt=draw_gt,
                pred=draw_pred,
                score_thr=pred_score_thr,
            )
        bgr = np.ascontiguousarray(image[..., ::-1])
        picture = draw_scene(bgr, scene, max_side=self.max_side)
        if out_file is not None:
            mmcv.imwrite(picture, out_file)
        picture = np.ascontiguousarray(picture[..., ::-1])
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        else:
            self.add_image(name, picture, step)
        return picture
