# Loaders without their datasets; for sets without pipelines in MMOCR, the published augmentation
# as MMOCR has it for Total-Text.
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader

augmented = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="LoadOCRAnnotations", with_polygon=True, with_bbox=True, with_label=True),
    dict(type="FixInvalidPolygon", min_poly_points=4),
    dict(type="TorchVisionWrapper", op="ColorJitter", brightness=32.0 / 255, saturation=0.5),
    dict(
        type="ImgAugWrapper",
        args=[["Fliplr", 0.5], dict(cls="Affine", rotate=[-10, 10]), ["Resize", [0.5, 3.0]]],
    ),
    dict(type="RandomCrop", min_side_ratio=0.1),
    dict(type="Resize", scale=(640, 640), keep_ratio=True),
    dict(type="Pad", size=(640, 640)),
    dict(type="PackTextDetInputs", meta_keys=("img_path", "ori_shape", "img_shape")),
]
