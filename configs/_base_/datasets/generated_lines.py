# Lines of text without end, drawn when they are asked for: of one to four words, straight, turned,
# in perspective, curved, standing, and in columns beside each other. Nothing is on disk.
generated_lines = dict(
    unit="line",
    words_per_image=(2, 10),
    words_per_line=(2, 4),
    line_prob=0.85,
    char_height=(10, 22),
    styles=dict(
        straight=0.25, rotated=0.15, perspective=0.1, curved=0.15, vertical=0.1, columns=0.25
    ),
)
generated_lines_train = dict(
    type="GeneratedTextDataset",
    num_samples=100_000,
    seed=11,
    size=256,
    renderer=generated_lines,
    pipeline=[
        dict(type="LoadCharAnnotations", with_chars=False),
        dict(type="RandomTextWarp", size=256, scale=(1.0, 1.3), rotation=5, perspective=0.03),
        dict(type="PackCharInputs"),
    ],
)
generated_lines_val = dict(
    type="GeneratedTextDataset",
    num_samples=100,
    seed=1_000_011,
    size=256,
    renderer=generated_lines,
    test_mode=True,
    pipeline=[
        # For MMOCR's inferencers, which put their own loading in its place.
        dict(type="LoadImageFromNDArray"),
        dict(type="ResizeLongSide", long_side=1280, magnification=1.0),
        dict(type="LoadCharAnnotations"),
        dict(type="PackCharInputs"),
    ],
)
