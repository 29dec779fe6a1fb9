# Mask R-CNN with OHEM, narrow enough for two CPU cores: EfficientNet-Lite0 from its ImageNet
# weights, on ICDAR 2015's photos 1 to 900; measured on 901 to 1000.
#
# Data and ImageNet weights: as ../craft/craft_efficientnet-lite0_generated-text.py says.
_base_ = "mask-rcnn_resnet50_fpn_ohem_160e_icdar2015.py"

max_iters = 1500
width = 64

model = dict(
    cfg=dict(
        backbone=dict(
            _delete_=True,
            type="EfficientNetLite0",
            num_blocks=14,
            out_indices=(1, 2, 3, 4),
            pretrained=True,
        ),
        # The levels of this backbone are linear and large: standard deviations of 5 to 10.
        neck=dict(
            in_channels=[24, 40, 112, 192],
            out_channels=width,
            norm_cfg=dict(type="BN", requires_grad=True),
        ),
        rpn_head=dict(in_channels=width, feat_channels=width),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=width),
            bbox_head=dict(in_channels=width, fc_out_channels=256),
            mask_roi_extractor=dict(out_channels=width),
            mask_head=dict(in_channels=width, conv_out_channels=width, num_convs=2),
        ),
        # A crop has two or three words: of 128 RoIs, 3 would be on them.
        train_cfg=dict(rcnn=dict(sampler=dict(num=32))),
    )
)

train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type="RandomResize", scale=(512, 512), ratio_range=(1.5, 4.0), keep_ratio=True),
    dict(type="TextDetRandomCrop", target_size=(512, 512)),
    *_base_.train_pipeline[-2:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type="Resize", scale=(1280, 1280), keep_ratio=True),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        _base_.icdar2015_textdet_train, ann_file="textdet_train900.json", pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    dataset=dict(_base_.icdar2015_textdet_test, ann_file="textdet_val.json", pipeline=test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type="HmeanMetric",
    score_thr=0.5,
    pred_score_thrs=dict(start=0.1, stop=0.95, step=0.1),
)
test_evaluator = val_evaluator

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=10.0, error_if_nonfinite=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min_ratio=0.01),
]
train_cfg = dict(
    _delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters
)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=2)
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=4)
