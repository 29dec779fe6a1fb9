# MSRA-TD500: lines of text of any orientation, four corners each; test images 736 pixels high.
_base_ = ["../../_base_/datasets/msra_td500.py", "loaders.py"]

resized = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    # As in the authors' code: a set height, the width of the same ratio to the nearest 32 pixels.
    dict(type="RescaleToHeight", height=736, width_divisor=32),
    dict(type="LoadOCRAnnotations", with_polygon=True, with_bbox=True, with_label=True),
    dict(
        type="PackTextDetInputs", meta_keys=("img_path", "ori_shape", "img_shape", "scale_factor")
    ),
]
# As published, with the photos of HUST-TR400; without them, take them out of this list.
train_dataloader = dict(
    dataset=dict(
        type="ConcatDataset",
        datasets=[_base_.msra_td500_textdet_train, _base_.hust_tr400_textdet_train],
        pipeline=_base_.augmented,
        verify_meta=False,  # annotation files may say more about themselves, each its own
    )
)
val_dataloader = dict(dataset=dict(_base_.msra_td500_textdet_test, pipeline=resized))
test_dataloader = val_dataloader

# The margin goes with exact kernels.
postprocessor = dict(text_repr_type="quad", unclip_ratio=1.5, margin=0.5)
