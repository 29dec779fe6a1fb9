# The same without deformable convolutions, from ImageNet's weights and statistics, with the
# learning rate that MMOCR has for it.
_base_ = "dbnet_resnet50-dcnv2_fpnc.py"

load_from = None
model = dict(backbone=dict(dcn=None, norm_eval=True))
optim_wrapper = dict(optimizer=dict(lr=0.002))
param_scheduler = [
    dict(type="LinearLR", end=100, start_factor=0.001),
    dict(type="PolyLR", power=0.9, eta_min=1e-7, begin=100, end=1200),
]
