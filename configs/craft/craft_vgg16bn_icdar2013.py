# The CRAFT paper's test settings for ICDAR 2013: longer side 960 px and link threshold 0.2; the
# author named no others, so the other two are those of ICDAR 2015.
# Data: the 233 test images and their annotation, as MMOCR's
# `tools/dataset_converters/prepare_dataset.py icdar2013 --task textdet` leaves them. The paper
# counts by DetEval, this metric by IoU: its numbers are lower.
_base_ = ["craft_vgg16bn_general.py"]

data_root = "data/icdar2013"

model = dict(
    det_head=dict(
        postprocessor=dict(text_threshold=0.85, link_threshold=0.2, low_text=0.5),
    )
)
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=960, magnification=1.5),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
