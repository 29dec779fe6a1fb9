"""Small RoI heads of MMDetection, features and samples to mine among, for the tests."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

import mmtextplug  # noqa: F401 - registers

CLASSES, CHANNELS, STRIDES, SIDE = 3, 8, (4, 8), 96
EXTRACTOR = dict(
    type="SingleRoIExtractor",
    roi_layer=dict(type="RoIAlign", output_size=3, sampling_ratio=0),
    out_channels=CHANNELS,
    featmap_strides=list(STRIDES),
    finest_scale=12,  # of these boxes some go to either level
)
MASK_EXTRACTOR = {**EXTRACTOR, "roi_layer": dict(type="RoIAlign", output_size=6, sampling_ratio=0)}
CODER = dict(type="DeltaXYWHBBoxCoder", target_stds=(0.1, 0.1, 0.2, 0.2))
MASK_HEAD = dict(
    type="FCNMaskHead",
    num_convs=1,
    in_channels=CHANNELS,
    conv_out_channels=CHANNELS,
    num_classes=CLASSES,
    loss_mask=dict(type="CrossEntropyLoss", use_mask=True),
)
POINT_HEAD = dict(
    type="MaskPointHead",
    num_fcs=1,
    in_channels=CHANNELS * len(STRIDES),
    fc_channels=CHANNELS,
    num_classes=CLASSES,
    coarse_pred_each_layer=True,
    loss_point=dict(type="CrossEntropyLoss", use_mask=True),
)
SEMANTIC = dict(
    num_ins=2,
    fusion_level=0,
    num_convs=1,
    in_channels=CHANNELS,
    conv_out_channels=CHANNELS,
    num_classes=CLASSES,
    loss_seg=dict(type="CrossEntropyLoss", ignore_index=255, loss_weight=0.2),
)
MASKS = dict(mask_roi_extractor=MASK_EXTRACTOR, mask_head=MASK_HEAD)


def box_head(**changes) -> dict:
    head = dict(
        type="Shared2FCBBoxHead",
        in_channels=CHANNELS,
        fc_out_channels=16,
        roi_feat_size=3,
        num_classes=CLASSES,
        bbox_coder=CODER,
        reg_class_agnostic=False,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False),
        loss_bbox=dict(type="SmoothL1Loss", beta=1.0),
    )
    return {**head, **changes}


def train_cfg(sampler: dict, **changes) -> dict:
    assigner = dict(
        type="MaxIoUAssigner",
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.5,
        match_low_quality=False,
        ignore_iof_thr=0.5,
    )
    cfg = dict(assigner=assigner, sampler=sampler, mask_size=12, pos_weight=-1, debug=False)
    return {**cfg, **changes}


def build(kind: str, sampler: dict, head: dict | None = None, stages: int = 2, **changes):
    """A RoI head with weights from a fixed seed, in training mode."""
    init_default_scope("mmdet")
    head = head or box_head()
    cfg = dict(type=kind, bbox_roi_extractor=EXTRACTOR, bbox_head=head)
    if any(name in kind for name in ("Cascade", "SCNet")):
        cfg |= dict(num_stages=stages, stage_loss_weights=[1.0] * stages)
        cfg |= dict(bbox_head=[head] * stages, train_cfg=[train_cfg(sampler)] * stages)
    else:
        cfg |= dict(train_cfg=train_cfg(sampler))
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict({**cfg, **changes}))
    model.init_weights()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        # The small weights of the initialisation would make all RoIs alike.
        if parameter.dim() > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model.train()


def kinds(sampler: dict) -> dict[str, dict]:
    """What `build` takes for each kind of RoI head that can mine, with all its branches."""
    dynamic = dict(
        iou_topk=20, beta_topk=5, update_iter_interval=100, initial_iou=0.4, initial_beta=1.0
    )
    points = dict(num_points=20, oversample_ratio=3, importance_sample_ratio=0.75)
    semantic = dict(
        semantic_roi_extractor={**MASK_EXTRACTOR, "featmap_strides": [4]},
        semantic_head=dict(SEMANTIC, type="FusedSemanticHead"),
    )
    first = dict(MASK_HEAD, type="HTCMaskHead", with_conv_res=False)
    return {
        "StandardRoIHead": MASKS,
        "DoubleHeadRoIHead": dict(
            head=box_head(
                type="DoubleConvFCBBoxHead", num_convs=1, num_fcs=1, conv_out_channels=16
            ),
            reg_roi_scale_factor=1.3,
        ),
        "DynamicRoIHead": dict(train_cfg=train_cfg(sampler, dynamic_rcnn=dynamic)),
        "PointRendRoIHead": dict(
            train_cfg=train_cfg(sampler, mask_size=6, **points),
            mask_roi_extractor=MASK_EXTRACTOR,
            mask_head=dict(
                MASK_HEAD,
                type="CoarseMaskHead",
                num_fcs=1,
                fc_out_channels=16,
                roi_feat_size=6,
                downsample_factor=1,
            ),
            point_head=POINT_HEAD,
        ),
        "CascadeRoIHead": MASKS,
        "HybridTaskCascadeRoIHead": dict(
            interleaved=True,
            mask_info_flow=True,
            mask_roi_extractor=MASK_EXTRACTOR,
            mask_head=[first, dict(first, with_conv_res=True)],
            **semantic,
        ),
        "SCNetRoIHead": dict(
            head=box_head(type="SCNetBBoxHead", num_shared_fcs=2),
            mask_roi_extractor=MASK_EXTRACTOR,
            mask_head=dict(MASK_HEAD, type="SCNetMaskHead", conv_to_res=True),
            glbctx_head=dict(
                type="GlobalContextHead",
                num_convs=1,
                in_channels=CHANNELS,
                conv_out_channels=CHANNELS,
                num_classes=CLASSES,
                loss_weight=3.0,
            ),
            feat_relay_head=dict(
                type="FeatureRelayHead",
                in_channels=16,
                out_conv_channels=CHANNELS,
                roi_feat_size=3,
                scale_factor=2,
            ),
            semantic_roi_extractor=semantic["semantic_roi_extractor"],
            semantic_head=dict(SEMANTIC, type="SCNetSemanticHead"),
        ),
    }


def features(images: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(images, CHANNELS, SIDE // s, SIDE // s, generator=generator) for s in STRIDES
    )


def boxes(count: int, generator: torch.Generator) -> Tensor:
    corner = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 25], 1)


def samples(
    images: int = 2, proposals: int = 60, truths: int = 3, ignored: int = 0, seed: int = 0
) -> tuple[list[InstanceData], list[DetDataSample]]:
    """Proposals, half of them near ground truths, and samples with masks."""
    generator = torch.Generator().manual_seed(seed)
    results, data = [], []
    for _ in range(images):
        gts = boxes(truths, generator)
        near = gts[
            torch.randint(max(truths, 1), (proposals // 2 if truths else 0,), generator=generator)
        ]
        near = near + torch.randn(near.shape, generator=generator) * 2
        far = boxes(proposals - len(near), generator)
        results.append(InstanceData(bboxes=torch.cat([near, far])))
        sample = DetDataSample(
            metainfo=dict(img_shape=(SIDE, SIDE), batch_input_shape=(SIDE, SIDE))
        )
        labels = torch.randint(CLASSES, (truths,), generator=generator)
        masks = torch.zeros(truths, SIDE, SIDE)
        for mask, box in zip(masks, gts.round().long()):
            mask[box[1] : box[3], box[0] : box[2]] = 1
        sample.gt_instances = InstanceData(
            bboxes=gts, labels=labels, masks=BitmapMasks(masks.numpy().astype("uint8"), SIDE, SIDE)
        )
        sample.ignored_instances = InstanceData(bboxes=boxes(ignored, generator))
        # Its loss reads every eighth pixel.
        seg = torch.randint(0, CLASSES, (1, SIDE * 2, SIDE * 2), generator=generator)
        sample.gt_sem_seg = PixelData(sem_seg=seg)
        data.append(sample)
    return results, data
