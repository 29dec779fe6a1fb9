# A light Faster R-CNN with S-OHEM on generated text: minutes on two CPU cores.
_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "mmdet::_base_/default_runtime.py"]
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)

max_iters = 800
channels = 64

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    backbone=dict(
        _delete_=True, type="ResNet", depth=18, stem_channels=16, base_channels=16, norm_eval=False
    ),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=channels, num_outs=4),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        # Words are up to five times as wide as they are high.
        anchor_generator=dict(scales=[4], ratios=[0.2, 0.5, 1.0], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        type="MiningStandardRoIHead",
        bbox_roi_extractor=dict(
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            finest_scale=28,
            roi_layer=dict(output_size=5, sampling_ratio=2),
        ),
        bbox_head=dict(
            in_channels=channels,
            fc_out_channels=256,
            roi_feat_size=5,
            num_classes=1,
            loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=1.0),
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=300),
        rcnn=dict(
            sampler=dict(
                _delete_=True, type="StratifiedOHEMSampler", num=32, iou_thr=0.7, mode="weighted"
            )
        ),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)
custom_hooks = [dict(type="StratifiedOHEMHook", interval=20)]

pictures = dict(
    type="GeneratedTextDataset",
    size=256,
    metainfo=dict(classes=("text",)),
    renderer=dict(
        words_per_image=(2, 6),
        char_height=(16, 44),
        styles=dict(straight=2, rotated=1, perspective=1),
        max_rotation=12,
    ),
    pipeline=[
        dict(type="mmocr.LoadOCRAnnotations", with_bbox=True, with_polygon=True, with_label=True),
        dict(type="mmocr.MMOCR2MMDet"),
        dict(type="Resize", scale=(256, 256), keep_ratio=True),
        dict(
            type="PackDetInputs",
            meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        ),
    ],
)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    # Each picture is new: its number is all that it is made from.
    sampler=dict(type="InfiniteSampler", shuffle=False),
    dataset=dict(**pictures, num_samples=4 * max_iters, seed=0),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**pictures, num_samples=100, seed=1_000_007, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="VOCMetric", metric="mAP", iou_thrs=[0.5, 0.75], eval_mode="area")
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=60),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=60, end=max_iters, eta_min=4e-5),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters // 2)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=max_iters // 2)
)
log_processor = dict(by_epoch=False)
