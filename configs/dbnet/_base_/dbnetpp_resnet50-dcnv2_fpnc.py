# MMOCR's DBNet++ with ResNet-50 and deformable convolutions in stages 2 to 4, with the head, the
# loss and the post-processor of this package.
_base_ = ["mmocr::textdet/dbnetpp/_base_dbnetpp_resnet50-dcnv2_fpnc.py", "schedule_1200e.py"]

# Trained on SynthText by MMOCR, as published and as MMOCR does for ICDAR 2015.
load_from = "https://download.openmmlab.com/mmocr/textdet/dbnetpp/tmp_1.0_pretrain/dbnetpp_r50dcnv2_fpnc_100k_iter_synthtext-20220502-352fec8a.pth"

model = dict(
    det_head=dict(
        type="DifferentiableBinarizationHead",
        module_loss=dict(_delete_=True, type="DifferentiableBinarizationLoss"),
        postprocessor=dict(_delete_=True, type="DifferentiableBinarizationPostprocessor"),
    )
)
