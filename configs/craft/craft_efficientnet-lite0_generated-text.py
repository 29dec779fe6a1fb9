# The light detector, strong stage: CRAFT on EfficientNet-Lite0, 2.0 M parameters, on generated text
# whose characters are known. `tools/train_light.py` runs it and the weak stage,
# craft_efficientnet-lite0_icdar2015.py; on two CPU cores with bfloat16 it takes 45 minutes.
#
# Data: fonts and photos without text in data/light_text, which `tools/train_light.py` puts there;
# ICDAR 2015's photos 901 to 1000 to look at the progress.
_base_ = [
    "../_base_/default_runtime.py",
    "_base_craft_vgg16bn.py",
    "../_base_/datasets/icdar2015.py",
]

data_root = "data/light_text"
input_size = 320
max_iters = 1500

model = dict(
    backbone=dict(_delete_=True, type="EfficientNetLite0", num_blocks=14, pretrained=True),
    # Strides 2 to 32.
    neck=dict(in_channels=[16, 24, 40, 112, 192], out_channels=[48, 32, 24, 16]),
    det_head=dict(
        in_channels=16,
        module_loss=dict(min_negatives=500),
        postprocessor=dict(text_threshold=0.6),
    ),
)

colour = dict(
    type="TorchVisionWrapper",
    op="ColorJitter",
    brightness=0.25,
    contrast=0.25,
    saturation=0.25,
)
generated = dict(
    type="GeneratedTextDataset",
    num_samples=1_000_000,
    size=input_size,
    renderer=dict(
        words_per_image=(0, 24),
        char_height=(7, 64),
        styles=dict(straight=0.3, rotated=0.25, perspective=0.35, curved=0.1),
        max_rotation=30,
        line_prob=0.35,
        background_dir=f"{data_root}/backgrounds",
        photo_prob=0.75,
        font_dirs=[f"{data_root}/fonts"],
    ),
    pipeline=[
        dict(type="LoadCharAnnotations"),
        # Enlarged and blurred, it is as soft as text on photos.
        dict(
            type="RandomTextWarp",
            size=input_size,
            scale=(1.0, 2.0),
            rotation=0,
            perspective=0,
            text_ratio=0.5,
        ),
        dict(
            type="RandomApply",
            prob=0.4,
            transforms=[
                dict(type="TorchVisionWrapper", op="GaussianBlur", kernel_size=9, sigma=(0.3, 2.0))
            ],
        ),
        colour,
        dict(type="PackCharInputs"),
    ],
)
train_dataloader = dict(
    batch_size=12,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=False),
    dataset=dict(type="SeededDataset", dataset=generated),
)
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=1600, magnification=1.5),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(_base_.icdar2015_textdet_val, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="HmeanMetric")
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=5.0, error_if_nonfinite=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min_ratio=0.05),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=500)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=250))
auto_scale_lr = dict(base_batch_size=12)
