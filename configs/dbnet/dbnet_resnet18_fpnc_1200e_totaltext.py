# DBNet with ResNet-18 on Total-Text, with the authors' score threshold.
_base_ = ["_base_/dbnet_resnet18_fpnc.py", "_base_/totaltext.py"]

model = dict(det_head=dict(postprocessor=dict(_base_.postprocessor, min_text_score=0.7)))
