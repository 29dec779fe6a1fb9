# ICDAR 2017 MLT, 7,200 photos to train on and 1,800 to validate: words of four corners in nine
# languages. Its test set has no published truth.
#   python tools/datasets/prepare.py mlt2017 data/mlt2017
mlt2017_textdet_data_root = "data/mlt2017"

mlt2017_textdet_train = dict(
    type="CharTextDataset",
    data_root=mlt2017_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
mlt2017_textdet_val = dict(
    type="CharTextDataset",
    data_root=mlt2017_textdet_data_root,
    ann_file="textdet_val.json",
    test_mode=True,
    pipeline=None,
)
