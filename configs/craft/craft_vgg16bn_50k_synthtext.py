# Strong supervision as published: SynthText, 768 px, 48 images a step, Adam 1e-4, 50,000 steps.
# 8 GPUs with 6 images each; for another number of GPUs change batch_size, or let
# `--auto-scale-lr` adapt the learning rate.
#
# Data, from the folders that were downloaded:
#   python tools/datasets/prepare.py synthtext data/synthtext
#   python tools/datasets/prepare.py icdar2013 data/icdar2013
# Checkpoints are chosen on the training photos of ICDAR 2013, whose focused text is closest to
# SynthText's, and tested on its test photos.
_base_ = [
    "../_base_/default_runtime.py",
    "_base_craft_vgg16bn.py",
    "../_base_/datasets/synthtext.py",
    "../_base_/datasets/icdar2013.py",
]

max_iters = 50_000

# ImageNet weights for the VGG16 part, as torchvision publishes them.
model = dict(
    backbone=dict(
        init_cfg=[
            dict(type="Xavier", layer="Conv2d", distribution="uniform"),
            dict(type="Pretrained", checkpoint="torchvision://vgg16_bn"),
        ]
    )
)
sync_bn = "torch"

# Not the hue, which the public trainer also changes: older releases of torchvision cannot with
# NumPy 2.
colour = dict(
    type="TorchVisionWrapper", op="ColorJitter", brightness=0.2, contrast=0.2, saturation=0.2
)
train_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="LoadCharAnnotations"),
    # Scale 1 fits the shorter side: the published trainers crop a square of that side, or less.
    dict(type="RandomTextWarp", size=768, scale=(1.0, 2.5), rotation=10, perspective=0.03),
    colour,
    dict(type="PackCharInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=960, magnification=1.5),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]

train_dataloader = dict(
    batch_size=6,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=True),
    dataset=dict(
        type="SeededDataset",
        dataset=dict(_base_.synthtext_textdet_train, pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(_base_.icdar2013_textdet_train, test_mode=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    val_dataloader, dataset=dict(_base_.icdar2013_textdet_test, pipeline=test_pipeline)
)
# All words count that the post-processor lets through: its thresholds are the stated ones.
val_evaluator = dict(type="HmeanMetric")
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="AmpOptimWrapper",
    loss_scale="dynamic",
    optimizer=dict(type="Adam", lr=1e-4),
)
# The author of CRAFT: "lr decay has a huge impact"; 0.8 every 10,000 steps is his schedule.
param_scheduler = [
    dict(
        type="MultiStepLR",
        by_epoch=False,
        milestones=list(range(10_000, 50_000, 10_000)),
        gamma=0.8,
    )
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=5000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(checkpoint=dict(interval=1000, save_best="icdar/hmean", rule="greater"))
auto_scale_lr = dict(base_batch_size=48)
