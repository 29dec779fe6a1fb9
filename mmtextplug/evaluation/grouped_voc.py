"""Average precision as in PASCAL VOC, of all categories and of groups of them, such as rigid ones.

S-OHEM's paper reports both: its gains are those of rigid categories at high IoU.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from mmdet.evaluation import VOCMetric, bbox_overlaps, eval_map
from mmdet.evaluation.functional.mean_ap import tpfp_default
from mmengine.logging import MMLogger, print_log
from mmengine.registry import METRICS


@METRICS.register_module()
class GroupedVOCMetric(VOCMetric):
    """MMDetection's ``VOCMetric`` that also averages over groups of categories.

    Beside ``mAP``, ``AP50`` and so on it returns ``rigid_AP50`` and so on, one for each group and
    IoU threshold: the mean of the AP of those categories of the group that have objects; 0, with a
    warning, if none has. All are fractions of 1.

    Args:
        groups (dict[str, list[str]]): Names of groups, and of the categories in each. Groups may
            overlap, and need not hold all categories.
        ignore_iof_thr (float, optional): In (0, 1]. A detection that matches no object is neither
            right nor wrong if this share of its area or more lies in one ignored region of its
            category; KITTI forgives by the share too, as its regions may hold many objects. One
            that does match an object counts, whatever it shares with a region. Default: VOC's rule,
            by which a detection is a region's if its IoU with it is the highest and high enough.
        **kwargs: Of ``VOCMetric``: iou_thrs, eval_mode, collect_device, prefix.

    Raises:
        ValueError: If a group is empty, names a category twice or has no name, if
            ``ignore_iof_thr`` is out of its range, or for a setting of ``VOCMetric`` that has no AP
            of categories. When the metric learns the categories of its data set, before training
            begins: if a group names another.

    Source: Li et al., S-OHEM: Stratified Online Hard Example Mining for Object Detection, 2017,
        section 4, Table 4.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]],
        ignore_iof_thr: float | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if self.metric != "mAP":
            raise ValueError(f"{name}: metric {self.metric!r} has no AP of groups; use 'mAP'")
        if self.scale_ranges is not None:
            raise ValueError(f"{name}: scale_ranges are not supported; leave them out")
        if ignore_iof_thr is not None and not 0 < ignore_iof_thr <= 1:
            raise ValueError(
                f"{name}: ignore_iof_thr is {ignore_iof_thr}; it must be in (0, 1], or None for "
                "VOC's rule"
            )
        self.ignore_iof_thr = ignore_iof_thr
        if not isinstance(groups, Mapping) or not groups:
            raise ValueError(f"{name}: groups must be a dict such as dict(rigid=['car', 'bus'])")
        for group, members in groups.items():
            what = f"{name}: groups[{group!r}]"
            if not isinstance(group, str) or not group:
                raise ValueError(f"{what}: its name must be a text")
            if isinstance(members, str) or not members:
                raise ValueError(f"{what} is {members!r}; give a list of names of categories")
            if len(set(members)) < len(members):
                raise ValueError(f"{what} names a category twice: {', '.join(members)}")
        self.groups = {group: list(members) for group, members in groups.items()}

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the data set; setting it checks the groups."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict | None) -> None:
        # The runner sets it when it builds the loop of validation, before the first training step.
        self._dataset_meta = dataset_meta
        if dataset_meta is not None:
            classes = dataset_meta.get("classes")
            if not classes:
                raise ValueError(
                    f"{type(self).__name__}: the data set does not say its categories; set its "
                    "metainfo=dict(classes=...)"
                )
            group_labels(self.groups, classes)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """AP of all categories and of the groups at each threshold.

        Args:
            results (list): For each image the truth (``bboxes``, ``labels``, both also of ignored
                objects) and a list of ``(n, 5)`` detections with scores of each category.
        """
        truths, detections = zip(*results)
        classes = self.dataset_meta["classes"]
        labels = group_labels(self.groups, classes)
        logger = MMLogger.get_current_instance()
        judge = None
        if self.ignore_iof_thr is not None:
            judge = partial(tpfp_in_regions, ignore_iof_thr=self.ignore_iof_thr)
        overall, grouped = {}, {}
        for threshold in self.iou_thrs:
            print_log(f"\n{'-' * 15}iou_thr: {threshold}{'-' * 15}", logger=logger)
            mean, of_class = eval_map(
                detections,
                truths,
                iou_thr=threshold,
                dataset=classes,
                logger=logger,
                tpfp_fn=judge,
                eval_mode=self.eval_mode,
                use_legacy_coordinate=True,
            )
            key = f"AP{int(threshold * 100):02d}"  # as VOCMetric names it
            overall[key] = mean
            for group, members in labels.items():
                grouped[f"{group}_{key}"] = group_mean(of_class, members)
        absent = {
            group: [classes[label] for label in members if not of_class[label]["num_gts"]]
            for group, members in labels.items()
        }
        for group, names in absent.items():
            if names:
                print_log(
                    f"group {group!r}: no objects of {', '.join(names)} in this data",
                    logger=logger,
                    level=logging.WARNING,
                )
        rounded = {key: round(value, 3) for key, value in (overall | grouped).items()}
        return {"mAP": sum(overall.values()) / len(overall), **rounded}


def tpfp_in_regions(
    detections: np.ndarray,
    truths: np.ndarray,
    regions: np.ndarray,
    iou_thr: float,
    area_ranges: None = None,
    use_legacy_coordinate: bool = True,
    *,
    ignore_iof_thr: float,
    **kwargs: object,
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of a category in an image are right, and which are wrong.

    Those that match no object, and lie in a region by at least a share of their area, are neither.

    Args:
        detections (np.ndarray): ``(m, 5)``, x1, y1, x2, y2 in pixels, score.
        truths (np.ndarray): ``(n, 4)``, objects.
        regions (np.ndarray): ``(k, 4)``, ignored.
        iou_thr (float): Least IoU of a match.
        area_ranges: Not supported; ``eval_map`` hands it over.
        use_legacy_coordinate (bool): Whether boxes end with their last pixels.
        ignore_iof_thr (float): The share.
        **kwargs: What else ``eval_map`` hands over, of no use here.

    Returns:
        tuple[np.ndarray, np.ndarray]: Right ones and wrong ones, ``(1, m)`` of 0 and 1.
    """
    legacy = dict(use_legacy_coordinate=use_legacy_coordinate)
    right, wrong = tpfp_default(detections, truths, regions[:0], iou_thr, **legacy)
    iou = bbox_overlaps(detections, truths, **legacy)
    share = bbox_overlaps(detections, regions, mode="iof", **legacy)
    # One by one, as MMDetection does it: NumPy 1 compares numbers with more digits than arrays.
    matched = np.array([best >= iou_thr for best in iou.max(axis=1, initial=0)], bool)
    wrong[:, ~matched & (share.max(axis=1, initial=0) >= ignore_iof_thr)] = 0
    return right, wrong


def group_labels(
    groups: Mapping[str, Sequence[str]], classes: Sequence[str]
) -> dict[str, list[int]]:
    """The labels of each group's categories.

    Args:
        groups (dict[str, list[str]]): Names of groups and categories.
        classes (Sequence[str]): Categories of the data set in the order of their labels.

    Raises:
        ValueError: If the data set lacks a category.
    """
    label = {name: index for index, name in enumerate(classes)}
    for group, members in groups.items():
        unknown = [name for name in members if name not in label]
        if unknown:
            raise ValueError(
                f"GroupedVOCMetric: groups[{group!r}] names {', '.join(map(repr, unknown))}, of "
                f"which the data set knows nothing; it has {', '.join(classes)}"
            )
    return {group: [label[name] for name in members] for group, members in groups.items()}


def group_mean(of_class: Sequence[Mapping], labels: Sequence[int]) -> float:
    """Mean AP of those categories that have objects, as ``eval_map`` takes it; 0 if none has.

    Args:
        of_class (Sequence[Mapping]): ``ap`` and ``num_gts`` of every category.
        labels (Sequence[int]): The categories of the group.
    """
    values = [of_class[label]["ap"] for label in labels if of_class[label]["num_gts"] > 0]
    return float(np.mean(values)) if values else 0.0
