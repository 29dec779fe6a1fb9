# The CRAFT paper's test settings for ICDAR 2013: longer side 960 px and link threshold 0.2; the
# author named no others, so the other two are those of ICDAR 2015.
# The paper counts by DetEval; by IoU numbers are lower.
_base_ = ["craft_vgg16bn_general.py", "../_base_/datasets/icdar2013.py"]

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
test_dataloader = dict(dataset=dict(_base_.icdar2013_textdet_test, pipeline=test_pipeline))
test_evaluator = [dict(type="HmeanMetric"), dict(type="DetEvalMetric")]
