# The official CRAFT with its general settings: thresholds 0.7 / 0.4 / 0.4, images enlarged 1.5
# times up to 1280 px; tools/infer.py does the same without a config. The weights are
# craft_mlt_25k.pth, in the extra `weights` of this package.
# Data: the test photos of ICDAR 2015, or anything else in MMOCR's JSON.
_base_ = [
    "../_base_/default_runtime.py",
    "_base_craft_vgg16bn.py",
    "../_base_/datasets/icdar2015.py",
]

# The scores of the official weights lie to the right of characters; see CRAFTPostprocessor.
model = dict(det_head=dict(postprocessor=dict(char_shift=0.1)))

test_pipeline = [
    # Benchmarks annotate the pixels as they are stored.
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=1280, magnification=1.5),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(_base_.icdar2015_textdet_test, pipeline=test_pipeline),
)
# All words count that the post-processor lets through: its thresholds are the stated ones.
test_evaluator = dict(type="HmeanMetric")
test_cfg = dict(type="TestLoop")
