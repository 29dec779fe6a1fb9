# CTW1500: curved lines of text, 14 corners each; test images 1024 pixels high.
_base_ = ["../../_base_/datasets/ctw1500.py", "loaders.py"]

resized = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    # The size is the paper's (table 4); height and width as in the authors' code for other sets.
    dict(type="RescaleToHeight", height=1024, width_divisor=32),
    dict(type="LoadOCRAnnotations", with_polygon=True, with_bbox=True, with_label=True),
    dict(type="FixInvalidPolygon", min_poly_points=4),
    dict(
        type="PackTextDetInputs", meta_keys=("img_path", "ori_shape", "img_shape", "scale_factor")
    ),
]
train_dataloader = dict(dataset=dict(_base_.ctw1500_textdet_train, pipeline=_base_.augmented))
val_dataloader = dict(dataset=dict(_base_.ctw1500_textdet_test, pipeline=resized))
test_dataloader = val_dataloader

# As for Total-Text; the authors published no code for this set.
# The margin goes with exact kernels.
postprocessor = dict(text_repr_type="poly", epsilon_ratio=0.002, unclip_ratio=2.0, margin=0.5)
