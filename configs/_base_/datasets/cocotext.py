# COCO-Text, 43,686 photos to train on and 10,000 to validate (20,000 in version 1): words in photos
# that were not taken for their text, in half of which there is none.
#   python tools/datasets/prepare.py cocotext data/cocotext
cocotext_textdet_data_root = "data/cocotext"

cocotext_textdet_train = dict(
    type="CharTextDataset",
    data_root=cocotext_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
cocotext_textdet_val = dict(
    type="CharTextDataset",
    data_root=cocotext_textdet_data_root,
    ann_file="textdet_val.json",
    test_mode=True,
    pipeline=None,
)
