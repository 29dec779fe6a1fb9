# ICDAR 2019 ArT, 5,603 photos to train on: words and Chinese lines, polygons of any number of
# corners. Its test set has no published truth; photos of the test sets of Total-Text and CTW1500
# are among the training photos.
#   python tools/datasets/prepare.py art data/art
art_textdet_data_root = "data/art"

art_textdet_train = dict(
    type="CharTextDataset",
    data_root=art_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
