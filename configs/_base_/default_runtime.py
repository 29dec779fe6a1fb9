# What every recipe shares: the registrations of this package, hooks, logging, visualization.
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)
default_scope = "mmocr"

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
# A seed, so that a run can be repeated and resumed: exactly on CPUs; on GPUs, whose fastest
# kernels add in no fixed order, add deterministic=True and set cudnn_benchmark=False.
randomness = dict(seed=0)

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    # More than one is kept, so that a crash while saving leaves one to resume from.
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=1000, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    sync_buffer=dict(type="SyncBuffersHook"),
    visualization=dict(
        type="VisualizationHook", enable=False, interval=1, draw_gt=True, draw_pred=True
    ),
)

log_level = "INFO"
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=False)
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="ScoreMapVisualizer", name="visualizer", vis_backends=vis_backends)

load_from = None
resume = False
