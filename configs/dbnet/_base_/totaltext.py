# Total-Text: curved words, polygons of any number of corners; test images 800 pixels high.
_base_ = ["../../_base_/datasets/totaltext.py", "loaders.py"]

resized = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    # As in the authors' code: a set height, the width of the same ratio to the nearest 32 pixels.
    dict(type="RescaleToHeight", height=800, width_divisor=32),
    dict(type="LoadOCRAnnotations", with_polygon=True, with_bbox=True, with_label=True),
    dict(type="FixInvalidPolygon", min_poly_points=4),
    dict(
        type="PackTextDetInputs", meta_keys=("img_path", "ori_shape", "img_shape", "scale_factor")
    ),
]
train_dataloader = dict(dataset=dict(_base_.totaltext_textdet_train, pipeline=_base_.augmented))
val_dataloader = dict(dataset=dict(_base_.totaltext_textdet_test, pipeline=resized))
test_dataloader = val_dataloader

# Outlines, simplified and grown as in the authors' code.
# The margin goes with exact kernels.
postprocessor = dict(text_repr_type="poly", epsilon_ratio=0.002, unclip_ratio=2.0, margin=0.5)
