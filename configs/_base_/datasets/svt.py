# Street View Text, 100 photos to train on and 249 to test: upright words. Only words of a list that
# belongs to each photo are annotated: what else can be read there counts as background.
#   python tools/datasets/prepare.py svt data/svt
svt_textdet_data_root = "data/svt"

svt_textdet_train = dict(
    type="CharTextDataset",
    data_root=svt_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
svt_textdet_test = dict(
    type="CharTextDataset",
    data_root=svt_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
