# The CRAFT paper's test settings for ICDAR 2015: longer side 2240 px (1.75 times its 1280), text
# threshold 0.85, low text 0.5, link threshold 0.2 (the author's word for the paper's numbers).
# Data: the 500 test images and their annotation, as MMOCR's
# `tools/dataset_converters/prepare_dataset.py icdar2015 --task textdet` leaves them.
_base_ = ["craft_vgg16bn_general.py"]

data_root = "data/icdar2015"

model = dict(
    det_head=dict(
        postprocessor=dict(text_threshold=0.85, link_threshold=0.2, low_text=0.5),
    )
)
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=2240, magnification=1.75),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
