# The official CRAFT with its general settings: thresholds 0.7 / 0.4 / 0.4, images enlarged 1.5
# times up to 1280 px; tools/infer.py does the same without a config. The weights are
# craft_mlt_25k.pth, in the extra `weights` of this package.
# Data: anything in MMOCR's format, such as what MMOCR's
# `tools/dataset_converters/prepare_dataset.py icdar2015 --task textdet` leaves.
_base_ = ["../_base_/default_runtime.py", "_base_craft_vgg16bn.py"]

# The scores of the official weights lie to the right of characters; see CRAFTPostprocessor.
model = dict(det_head=dict(postprocessor=dict(char_shift=0.1)))

data_root = "data/icdar2015"

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
    dataset=dict(
        type="CharTextDataset",
        data_root=data_root,
        ann_file="textdet_test.json",
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
# One stated score threshold; by default MMOCR's metric reports the best of seven.
test_evaluator = dict(type="HmeanIOUMetric", pred_score_thrs=dict(start=0.5, stop=0.55, step=0.1))
test_cfg = dict(type="TestLoop")
