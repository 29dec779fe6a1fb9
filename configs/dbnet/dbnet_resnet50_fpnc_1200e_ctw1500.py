# DBNet with ResNet-50 on CTW1500, with the score threshold of Total-Text.
_base_ = ["_base_/dbnet_resnet50_fpnc.py", "_base_/ctw1500.py"]

model = dict(det_head=dict(postprocessor=dict(_base_.postprocessor, min_text_score=0.6)))
