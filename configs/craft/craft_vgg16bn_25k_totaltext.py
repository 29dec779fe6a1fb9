# Weak supervision from curved words: SynthText's characters and Total-Text's polygons.
# Words are laid straight strip by strip between the points of their upper and lower sides.
# It starts from the strong stage, or from the official weights (load_from).
#
# Data: SynthText as in the strong stage; Total-Text's photos and polygons by
#   python tools/datasets/prepare.py totaltext data/totaltext
_base_ = ["craft_vgg16bn_25k_icdar2015.py", "../_base_/datasets/totaltext.py"]

test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=1280, magnification=1.5),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
# In lists nothing is merged: the second dataset is written out.
words_only = dict(_base_.totaltext_textdet_train, pipeline=_base_.words_only.pipeline)
train_dataloader = dict(dataset=dict(dataset=dict(datasets=[_base_.with_chars, words_only])))
val_dataloader = dict(dataset=dict(_base_.totaltext_textdet_test, pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    det_head=dict(
        postprocessor=dict(
            text_repr_type="poly", text_threshold=0.7, link_threshold=0.4, low_text=0.4
        ),
    )
)
# Total-Text has no validation photos: the last checkpoint is tested, not the best on the test set.
default_hooks = dict(checkpoint=dict(save_best=None))
