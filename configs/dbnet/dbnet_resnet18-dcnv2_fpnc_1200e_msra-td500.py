# DBNet with a deformable ResNet-18 on MSRA-TD500, with the authors' score threshold.
_base_ = ["_base_/dbnet_resnet18-dcnv2_fpnc.py", "_base_/msra-td500.py"]

model = dict(det_head=dict(postprocessor=dict(_base_.postprocessor, min_text_score=0.5)))
