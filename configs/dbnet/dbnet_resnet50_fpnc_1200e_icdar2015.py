# DBNet with ResNet-50 on ICDAR 2015, with the authors' score threshold.
_base_ = ["_base_/dbnet_resnet50_fpnc.py", "_base_/icdar2015.py"]

model = dict(det_head=dict(postprocessor=dict(_base_.postprocessor, min_text_score=0.6)))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
