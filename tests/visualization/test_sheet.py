"""Pictures laid out on white: where each of them comes to lie."""

from __future__ import annotations

import numpy as np

from mmtextplug.visualization.sheet import column, framed, padded, row, titled

A, B = np.full((4, 6, 3), 10, np.uint8), np.full((7, 5, 3), 20, np.uint8)


def test_row():
    picture = row([A, B], gap=3)
    assert picture.shape == (7, 6 + 3 + 5, 3)
    assert (picture[:4, :6] == 10).all()
    assert (picture[:, 9:] == 20).all()
    assert (picture[4:, :6] == 255).all()
    assert (picture[:, 6:9] == 255).all()


def test_column():
    picture = column([A, B], gap=2)
    assert picture.shape == (4 + 2 + 7, 6, 3)
    assert (picture[:4] == 10).all()
    assert (picture[6:, :5] == 20).all()
    assert (picture[4:6] == 255).all()
    assert (picture[6:, 5:] == 255).all()
    np.testing.assert_array_equal(column([A], gap=9), A)
    np.testing.assert_array_equal(row([A], gap=9), A)
    assert column([A, A], gap=0).shape == (8, 6, 3)


def test_padding_never_cuts():
    np.testing.assert_array_equal(padded(A, 2, 3), A)
    assert padded(A, 5, 9).shape == (5, 9, 3)


def test_title_and_frame():
    picture = titled("region score", B, 80)
    strip = picture[:-7]
    assert picture.shape[1] == 80
    assert (strip < 128).any()
    assert (picture[-7:, :5] == 20).all()
    assert (picture[-7:, 5:] == 255).all()
    assert titled("much too long a title for it", B).shape[1] == 5
    edge = framed(A, 2)
    assert edge.shape == (8, 10, 3)
    assert (edge[2:6, 2:8] == 10).all()
    assert edge.sum() == A.sum() + 3 * 255 * (8 * 10 - 4 * 6)
