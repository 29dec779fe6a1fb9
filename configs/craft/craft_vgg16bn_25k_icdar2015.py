# Weak supervision as published: SynthText's characters and ICDAR 2015's words, 768 px, 25,000
# steps. It starts from the strong stage (craft_vgg16bn_50k_synthtext.py), or from the official
# weights: --cfg-options load_from=craft_mlt_25k.pth
# 8 GPUs with 6 images each: one of SynthText to five of ICDAR 2015, as the public trainers read
# the paper's "SynthText is used at a rate of 1:5".
#
# Data: SynthText as in the strong stage; ICDAR 2015's training photos 1 to 900, and 901 to 1000 to
# choose checkpoints and thresholds by, as configs/_base_/datasets/icdar2015.py says.
_base_ = ["craft_vgg16bn_50k_synthtext.py", "../_base_/datasets/icdar2015.py"]

load_from = "work_dirs/craft_vgg16bn_50k_synthtext/iter_50000.pth"
max_iters = 25_000

with_chars = _base_.train_dataloader.dataset.dataset
words_only = dict(
    _base_.icdar2015_textdet_train900,
    pipeline=[
        dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
        dict(type="LoadCharAnnotations"),
        dict(type="RandomTextWarp", size=768, scale=(1.0, 4.0), rotation=20, perspective=0.03),
        _base_.colour,
        dict(type="PackCharInputs"),
    ],
)
train_dataloader = dict(
    sampler=dict(ratio=(1, 5)),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type="ConcatDataset",
            datasets=[with_chars, words_only],
            verify_meta=False,  # annotation files may say more about themselves, each its own
        )
    ),
)

test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=2240, magnification=1.75),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
val_dataloader = dict(dataset=dict(_base_.icdar2015_textdet_val, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(_base_.icdar2015_textdet_test, pipeline=test_pipeline))
model = dict(
    backbone=dict(init_cfg=None),  # all weights come from load_from
    det_head=dict(
        postprocessor=dict(text_threshold=0.85, link_threshold=0.2, low_text=0.5),
    ),
)

# The teacher stays the network that the stage began with for a thousand steps, then follows.
custom_hooks = [dict(type="PseudoCharLabelHook", teacher="ema", momentum=0.001, start=1000)]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=False, milestones=[7_500, 15_000, 22_500], gamma=0.2),
]
train_cfg = dict(max_iters=max_iters, val_interval=2500)
