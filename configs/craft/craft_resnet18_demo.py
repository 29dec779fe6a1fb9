# A light CRAFT on generated text: minutes on two CPU cores. `make demo` runs it.
_base_ = ["../_base_/default_runtime.py", "_base_craft_vgg16bn.py"]

data_root = "data/generated_text"
input_size = 192
max_iters = 780

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmdet.ResNet",
        depth=18,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
    ),
    # Strides 4, 8 and 16; one step more brings the maps to stride 2.
    neck=dict(in_channels=[32, 64, 128], out_channels=[64, 32, 16]),
    det_head=dict(
        in_channels=16,
        module_loss=dict(min_negatives=300),
        # Outlines rather than boxes, for the curved words. Peaks of so short a training stay lower
        # than those of the official network: at 0.7 a third of the words would go.
        postprocessor=dict(text_repr_type="poly", text_threshold=0.6),
    ),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadCharAnnotations"),
    dict(
        type="RandomTextWarp",
        size=input_size,
        scale=(1.0, 1.7),
        rotation=10,
        perspective=0.03,
        text_ratio=0.5,
    ),
    dict(type="PackCharInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeLongSide", long_side=1280, magnification=1.0),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=True),
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            type="CharTextDataset",
            data_root=data_root,
            ann_file="train.json",
            data_prefix=dict(img_path=""),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CharTextDataset",
        data_root=data_root,
        ann_file="val.json",
        data_prefix=dict(img_path=""),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
# All words count that the post-processor lets through: its thresholds are the stated ones.
val_evaluator = dict(type="HmeanMetric")
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=5.0, error_if_nonfinite=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=50, end=max_iters, eta_min=1e-5),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=250, save_best="icdar/hmean", rule="greater")
)
auto_scale_lr = dict(base_batch_size=8)
