# MMOCR's DBNet with ResNet-18, with the head, the loss and the post-processor of this package.
_base_ = ["mmocr::textdet/dbnet/_base_dbnet_resnet18_fpnc.py", "schedule_1200e.py"]

model = dict(
    det_head=dict(
        type="DifferentiableBinarizationHead",
        module_loss=dict(_delete_=True, type="DifferentiableBinarizationLoss"),
        postprocessor=dict(_delete_=True, type="DifferentiableBinarizationPostprocessor"),
    )
)
