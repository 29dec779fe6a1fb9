# The official architecture (Baek et al., CVPR 2019), 20.8 M parameters.
model = dict(
    type="CRAFT",
    data_preprocessor=dict(
        type="TextDetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(type="CRAFTVGG16BN"),
    neck=dict(type="CRAFTDecoder", in_channels=[128, 256, 512, 512, 1024]),
    det_head=dict(
        type="CRAFTHead",
        in_channels=32,
        module_loss=dict(type="CRAFTModuleLoss"),
        postprocessor=dict(
            type="CRAFTPostprocessor", text_threshold=0.7, link_threshold=0.4, low_text=0.4
        ),
    ),
)
