# A light link refiner on generated lines of text: the light CRAFT of craft_resnet18_demo.py stays
# as it is, its refiner learns to join the words of a line and to keep columns apart. About ten
# minutes of a CPU core, after `make demo`.
_base_ = ["craft_resnet18_demo.py", "../_base_/datasets/generated_lines.py"]

load_from = "work_dirs/craft_resnet18_demo/iter_780.pth"
max_iters = 400

model = dict(
    frozen=True,
    det_head=dict(
        link_refiner=dict(type="LinkRefiner", in_channels=16, channels=16),
        module_loss=dict(_delete_=True, type="LinkRefinerModuleLoss"),
    ),
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(_delete_=True, type="SeededDataset", dataset={{_base_.generated_lines_train}}),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset={{_base_.generated_lines_val}},
)
test_dataloader = val_dataloader

param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=max_iters, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
auto_scale_lr = dict(base_batch_size=4)
