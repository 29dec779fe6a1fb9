# SynthText, 858,750 drawn photos to train on: words and the boxes of their characters. It is read
# through an index, which remembers in which folder the photos are.
#   python tools/datasets/prepare.py synthtext data/synthtext
synthtext_textdet_data_root = "data/synthtext"

synthtext_textdet_train = dict(
    type="SynthTextDataset",
    data_root=synthtext_textdet_data_root,
    index="index",
    pipeline=None,
)
