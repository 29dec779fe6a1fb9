# Weak supervision from curved words: SynthText's characters and Total-Text's polygons.
# Words are laid straight strip by strip between the points of their upper and lower sides.
# It starts from the strong stage, or from the official weights (load_from).
#
# Data: SynthText as in the strong stage; Total-Text's photos and polygons by
#   python tools/datasets/icdar_to_json.py --format polygon --images data/totaltext/Images/Train \
#       --annotations data/totaltext/txts/Train --out data/totaltext/train.json \
#       --root data/totaltext
# and the same for Test. Text files hold x1,y1,...,xn,yn,transcription a line.
_base_ = ["craft_vgg16bn_25k_icdar2015.py"]

data_root = "data/totaltext"
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=1280, magnification=1.5),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
# In lists nothing is merged: the second dataset is written out.
words_only = dict(
    type="CharTextDataset",
    data_root=data_root,
    ann_file="train.json",
    data_prefix=dict(img_path=""),
    pipeline={{_base_.words_only.pipeline}},
)
train_dataloader = dict(dataset=dict(dataset=dict(datasets=[{{_base_.with_chars}}, words_only])))
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file="test.json", pipeline=test_pipeline)
)
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
