# What all published settings share. MMOCR's runtime and its schedule: SGD with a learning rate of
# 0.007, momentum 0.9 and weight decay 1e-4, falling by a power of 0.9 over 1,200 epochs of 16
# images a step (Liao et al., AAAI 2020, "Implementation details").
_base_ = [
    "mmocr::textdet/_base_/default_runtime.py",
    "mmocr::textdet/_base_/schedules/schedule_sgd_1200e.py",
]
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)

visualizer = dict(type="ScoreMapVisualizer")
# All words count that the post-processor lets through: its min_text_score is the one threshold.
val_evaluator = dict(_delete_=True, type="HmeanMetric")
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=16)
