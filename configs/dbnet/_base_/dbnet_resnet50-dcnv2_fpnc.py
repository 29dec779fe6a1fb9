# MMOCR's DBNet with ResNet-50 and deformable convolutions in stages 2 to 4, with the head, the loss
# and the post-processor of this package.
_base_ = ["mmocr::textdet/dbnet/_base_dbnet_resnet50-dcnv2_fpnc.py", "schedule_1200e.py"]

# Trained on SynthText by MMOCR, as published and as MMOCR does for ICDAR 2015.
load_from = "https://download.openmmlab.com/mmocr/textdet/dbnet/tmp_1.0_pretrain/dbnet_r50dcnv2_fpnc_sbn_2e_synthtext_20210325-ed322016.pth"

model = dict(
    det_head=dict(
        type="DifferentiableBinarizationHead",
        module_loss=dict(_delete_=True, type="DifferentiableBinarizationLoss"),
        postprocessor=dict(_delete_=True, type="DifferentiableBinarizationPostprocessor"),
    )
)
