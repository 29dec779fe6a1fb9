# DBNet++ with ResNet-18 on MSRA-TD500, with the score threshold of the authors' DBNet.
_base_ = ["_base_/dbnetpp_resnet18_fpnc.py", "_base_/msra-td500.py"]

model = dict(det_head=dict(postprocessor=dict(_base_.postprocessor, min_text_score=0.5)))
