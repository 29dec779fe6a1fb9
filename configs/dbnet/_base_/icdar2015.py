# ICDAR 2015: oriented words, four corners each. Pipelines are MMOCR's and differ by network: the
# shorter side of test images is 736 with ResNet-18 and 1024 with ResNet-50 (published: 736, and
# 736 or 1152).
_base_ = ["../../_base_/datasets/icdar2015.py", "loaders.py"]

train_dataloader = dict(dataset=_base_.icdar2015_textdet_train)
val_dataloader = dict(dataset=_base_.icdar2015_textdet_test)
test_dataloader = val_dataloader

# The margin goes with exact kernels.
postprocessor = dict(text_repr_type="quad", unclip_ratio=1.5, margin=0.5)
