# The CRAFT paper's test settings for ICDAR 2015: longer side 2240 px (1.75 times its 1280), text
# threshold 0.85, low text 0.5, link threshold 0.2 (the author's word for the paper's numbers).
_base_ = ["craft_vgg16bn_general.py"]

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
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
