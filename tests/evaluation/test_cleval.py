"""CLEval: hand-computed pages, and a literal implementation of the authors' rules."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.evaluation.char_points import char_points, points_inside
from mmtextplug.evaluation.cleval import CLEvalCounts, judge_cleval, summarize_cleval
from mmtextplug.evaluation.overlaps import Predictions, Truth


def outline(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def page(words: list, predicted: list) -> tuple[Truth, Predictions]:
    """Words are (outline, text), with the text '###' of ignored ones."""
    truth = Truth(
        [np.array(points, dtype=float).reshape(-1, 2) for points, _ in words],
        np.array([text == "###" for _, text in words], dtype=bool),
        [text for _, text in words],
    )
    outlines = [np.array(points, dtype=float).reshape(-1, 2) for points in predicted]
    return truth, Predictions(outlines, np.ones(len(predicted)))


def centres(points: object, text: str | None, polygons: bool = False) -> np.ndarray:
    return char_points(page([(points, text)], [])[0], polygons, None)[0]


def test_characters_stand_along_the_middle():
    assert centres(outline(0, 0, 40, 10), "abcd").tolist() == [[5, 5], [15, 5], [25, 5], [35, 5]]
    # A slanted quad: from (0, 5) to (40, 25).
    slanted = [(0, 0), (40, 20), (40, 30), (0, 10)]
    assert centres(slanted, "ab").tolist() == [[10, 10], [30, 20]]
    # More than twice as high as wide: from the bottom to the top.
    assert centres(outline(0, 0, 10, 40), "ab").tolist() == [[5, 30], [5, 10]]
    assert centres(outline(0, 0, 10, 19), "ab").tolist() == [[2.5, 9.5], [7.5, 9.5]]
    assert centres(outline(0, 0, 10, 21), "ab").tolist() == [[5, 15.75], [5, 5.25]]
    assert centres(outline(0, 0, 40, 10), "").shape == (0, 2)


def test_characters_of_a_polygon():
    # Two segments of 10 and 30 pixels take two of the four characters each.
    points = [(0, 0), (10, 0), (40, 8), (40, 18), (10, 10), (0, 10)]
    expected = [[2.5, 5], [7.5, 5], [17.5, 7], [32.5, 11]]
    assert centres(points, "abcd", polygons=True).tolist() == expected


def test_characters_of_a_polygon_are_cut_to_whole_pixels():
    # One segment of 10 pixels in three: 0, int(3.33), int(6.67), 10.
    assert centres(outline(0, 0, 10, 4), "abc", polygons=True).tolist() == [
        [1.5, 2],
        [4.5, 2],
        [8, 2],
    ]
    # A triangle gets the fourth corner of a box; the odd point of five is the lower end's.
    assert centres([(0, 0), (10, 0), (10, 4)], "a", polygons=True).tolist() == [[5, 2]]
    five = [(0, 0), (10, 0), (10, 4), (5, 4), (0, 4)]
    assert centres(five, "a", polygons=True).tolist() == [[7.5 - 2.5, 2]]


@pytest.mark.parametrize(
    ("width", "length"), [(10, 2), (21, 3), (29, 3), (30, 3), (31, 4), (900, 10)]
)
def test_words_of_unknown_text_have_as_many_as_fit(width: int, length: int):
    assert len(centres(outline(0, 0, width, 10), None)) == length
    assert len(centres(outline(0, 0, 10, width), None)) == length
    # The text of ignored words does not matter.
    assert len(centres(outline(0, 0, width, 10), "###")) == length
    assert len(centres(outline(0, 0, width, 10), None, polygons=True)) == 10


def test_known_characters():
    truth, predictions = page([(outline(0, 0, 40, 10), "abcd")], [outline(0, 0, 12, 10)])
    assert judge_cleval(truth, predictions).found == 1
    known = [np.array([(2, 5), (6, 5), (10, 5)])]
    counts = judge_cleval(truth, predictions, char_centres=known)
    assert (counts.truth_chars, counts.found) == (3, 3)
    assert judge_cleval(truth, predictions, char_centres=[None]).truth_chars == 4
    with pytest.raises(ValueError, match="char_centres has 2 entries for 1 words"):
        judge_cleval(truth, predictions, char_centres=known * 2)


def test_a_split_word_loses_a_character_for_each_further_piece():
    pieces = [outline(0, 0, 20, 10), outline(20, 0, 40, 10)]
    counts = judge_cleval(*page([(outline(0, 0, 40, 10), "abcd")], pieces))
    assert counts == CLEvalCounts(4, 4, 4, splits=1, pieces=1)
    summary = summarize_cleval([counts])
    assert (summary["recall"], summary["precision"]) == (0.75, 1)
    assert summary["hmean"] == pytest.approx(2 * 0.75 / 1.75)
    assert summarize_cleval([counts], split_penalty=0.5)["recall"] == 0.875


def test_merged_words_cost_precision():
    words = [(outline(0, 0, 20, 10), "ab"), (outline(20, 0, 40, 10), "cd")]
    counts = judge_cleval(*page(words, [outline(0, 0, 40, 10)]))
    assert counts == CLEvalCounts(4, 4, 4, merges=1, members=1)
    summary = summarize_cleval([counts])
    assert (summary["recall"], summary["precision"]) == (1, 0.75)
    assert summarize_cleval([counts], merge_penalty=0)["precision"] == 1


def test_characters_found_twice_cost_precision():
    # The middle two of four characters lie in both predictions.
    pieces = [outline(0, 0, 30, 10), outline(10, 0, 40, 10)]
    counts = judge_cleval(*page([(outline(0, 0, 40, 10), "abcd")], pieces))
    assert counts == CLEvalCounts(4, 6, 4, splits=1, pieces=1, overlapped=2)
    assert summarize_cleval([counts])["precision"] == pytest.approx(4 / 6)


def test_a_prediction_must_lie_in_its_words():
    word = (outline(0, 0, 40, 10), "abcd")
    # 30 % of the prediction lies in the word: enough; 29 % is not.
    assert judge_cleval(*page([word], [outline(0, 0, 10, 10 / 0.3 + 1e-9)])).found == 0
    assert judge_cleval(*page([word], [outline(0, 0, 10, 33)])).found == 1
    assert judge_cleval(*page([word], [outline(0, 0, 10, 33)]), area_precision=0.31).found == 0
    # Two words that together have 30 % of it match, though neither would alone.
    words = [(outline(0, 0, 10, 20), "a"), (outline(20, 0, 30, 20), "b")]
    assert judge_cleval(*page(words, [outline(0, 0, 30, 40)])).found == 2
    assert judge_cleval(*page(words[:1], [outline(0, 0, 30, 40)])).found == 0


def test_false_predictions_count_the_more_characters_the_higher_they_are():
    shapes = [outline(0, 0, 30, 10), outline(0, 0, 10, 25), outline(0, 0, 1, 900)]
    for shape, length in zip(shapes, [1, 3, 10]):
        counts = judge_cleval(*page([], [shape]))
        assert counts == CLEvalCounts(0, length, false_chars=length)
        assert judge_cleval(*page([], [shape]), polygons=True).false_chars == 1


def test_ignored_words():
    ignored = (outline(0, 0, 40, 10), "###")
    assert judge_cleval(*page([ignored], [outline(0, 0, 40, 10)])) == CLEvalCounts()
    # 29 % of the prediction lies in it.
    assert judge_cleval(*page([ignored], [outline(0, 0, 40, 34)])).false_chars == 1
    # Two hold 20 % of it each, and their characters are in it.
    two = [(outline(0, 0, 10, 4), "###"), (outline(10, 0, 20, 4), "###")]
    assert judge_cleval(*page(two, [outline(0, 0, 50, 4)])) == CLEvalCounts()
    # The characters of the other one are above it.
    two[1] = (outline(10, -6, 20, 4), "###")
    assert judge_cleval(*page(two, [outline(0, 0, 50, 4)])).false_chars == 1
    # What another word shares with an ignored one is the other's.
    word = (outline(0, 0, 40, 10), "abcd")
    counts = judge_cleval(*page([ignored, word], [outline(0, 0, 40, 10)]))
    assert counts == CLEvalCounts(4, 4, 4)


def test_a_prediction_that_does_not_count_may_spoil_a_match():
    # The second one lies half in the word, half in the ignored one: it does not count, but the
    # first is no longer the only one on the word, nor one of several that count.
    words = [(outline(0, 0, 40, 10), "abcd"), (outline(40, 0, 80, 10), "###")]
    predicted = [outline(0, 0, 20, 10), outline(20, 0, 60, 10)]
    assert judge_cleval(*page(words, predicted)) == CLEvalCounts(4, 1, false_chars=1)
    assert judge_cleval(*page(words, predicted[:1])) == CLEvalCounts(4, 2, 2)


def test_other_shapes_need_polygons():
    triangle = [(0, 0), (10, 0), (10, 4)]
    with pytest.raises(ValueError, match=r"annotated word 0 has 3 points, not 4; .*polygons=True"):
        judge_cleval(*page([(triangle, "a")], []))
    with pytest.raises(ValueError, match="predicted word 0 has 3 points"):
        judge_cleval(*page([], [triangle]))
    counts = judge_cleval(*page([(triangle, "a")], [outline(0, 0, 10, 4)]), polygons=True)
    assert counts == CLEvalCounts(1, 1, 1)


@pytest.mark.parametrize("value", [0, 1.1, float("nan")])
def test_settings_out_of_range(value: float):
    with pytest.raises(ValueError, match=rf"area_precision is {value}; it must be in \(0, 1\]"):
        judge_cleval(*page([], []), area_precision=value)
    with pytest.raises(ValueError, match="split_penalty is -1; it must be 0 or more"):
        summarize_cleval([], split_penalty=-1)
    with pytest.raises(ValueError, match="merge_penalty is nan"):
        summarize_cleval([], merge_penalty=float("nan"))


@pytest.mark.parametrize("polygons", [False, True])
def test_empty_and_degenerate(polygons: bool):
    word, box = (outline(0, 0, 40, 10), "abcd"), outline(0, 0, 40, 10)
    assert judge_cleval(*page([], []), polygons=polygons) == CLEvalCounts()
    assert judge_cleval(*page([word], []), polygons=polygons) == CLEvalCounts(4)
    assert judge_cleval(*page([], [box]), polygons=polygons) == CLEvalCounts(0, 1, false_chars=1)
    broken = [(outline(0, 0, np.inf, 5), "ab"), (outline(0, 0, np.nan, 5), "###")]
    broken.append((outline(3, 3, 3, 3), "c"))
    counts = judge_cleval(*page([word, *broken], [box]), polygons=polygons)
    # The word without area is a character that the prediction holds, so two words are merged.
    assert counts == CLEvalCounts(7, 5, 5, merges=1, members=1)
    shapes = [points for points, _ in broken]
    assert judge_cleval(*page([word], shapes), polygons=polygons).found == 0
    if polygons:
        few = [([(0, 0), (9, 9)], "ab"), (np.empty((0, 2)), "c")]
        counts = judge_cleval(*page(few, [points for points, _ in few]), polygons=True)
        assert counts == CLEvalCounts(3, 2, false_chars=2)


def test_points_on_edges():
    square = [outline(0, 0, 10, 10)]
    points = np.array([(0, 5), (5, 0), (10, 5), (5, 10), (5, 5), (0, 0), (10, 10), (np.nan, 5)])
    assert points_inside(points, square, False)[0].tolist() == [0, 1, 4, 5]
    assert points_inside(points, square, True)[0].tolist() == [4]


def test_summary_adds_up_pages():
    counts = [CLEvalCounts(10, 8, 6, 1, 2, 1, 1, 1, 1), CLEvalCounts(10, 2, 1)]
    summary = summarize_cleval(counts)
    precision, recall = (7 - 1) / 10, (7 - 2) / 20
    hmean = pytest.approx(2 * precision * recall / (precision + recall))
    expected = dict(precision=precision, recall=recall, hmean=hmean)
    assert summary == expected | dict(splits=1, merges=1, overlapped=1, false_chars=1)
    # Penalties take no more than there is.
    assert summarize_cleval([CLEvalCounts(1, 1, 1, pieces=3)])["recall"] == 0
    assert summarize_cleval([])["hmean"] == 0
    assert pickle.loads(pickle.dumps(counts)) == counts


def literal_polygon_centres(points: list, count: int) -> list:
    """Points along a polygon, sample by sample."""
    if len(points) == 3:
        points = [*points, (points[0][0], points[2][1])]
    half = len(points) // 2
    samples = []
    for side in (points[:half], points[half:][::-1]):
        chain = []
        for (x0, y0), (x1, y1) in pairwise(side[:half]):
            for n in range(count):
                x, y = x0 + (x1 - x0) / count * n, y0 + (y1 - y0) / count * n
                chain.append((int(x), int(y)) if n else (x, y))
        samples.append([*chain, side[-1]])
    found = []
    for n in range(count):
        ends = [chain[k * (half - 1)] for chain in samples for k in (n, n + 1)]
        found.append(tuple(sum(end[k] for end in ends) / 4 for k in range(2)))
    return found


def literal(words: list, predicted: list, least: float, polygons: bool) -> CLEvalCounts:
    """The authors' rules, point by point and pair by pair."""

    def shape(points: np.ndarray) -> shapely.Geometry:
        polygon = shapely.Polygon(points)
        if polygon.is_valid:
            return polygon
        polygon = polygon.buffer(0)
        return polygon if polygon.geom_type == "Polygon" else polygon.convex_hull

    def aspect(points: list) -> float:
        top, right, bottom, left = (math.dist(points[k], points[(k + 1) % 4]) for k in range(4))
        return (top + bottom + 2e-5) / (right + left + 2e-5)

    def characters(points: list, text: str) -> list:
        if polygons:
            return literal_polygon_centres(points, 10 if text == "###" else len(text))
        ratio = aspect(points)
        count = min(round(0.5 + max(ratio, 1 / ratio)), 10) if text == "###" else len(text)
        a, b, c, d = points if ratio >= 0.5 else (points[3], *points[:3])
        start = [(a[k] + d[k]) / 2 for k in range(2)]
        step = [((b[k] + c[k]) / 2 - start[k]) / max(count, 1) for k in range(2)]
        return [tuple(start[k] + step[k] / 2 + step[k] * n for k in range(2)) for n in range(count)]

    def holds(points: list, x: float, y: float) -> bool:
        if polygons:
            return shape(points).contains(shapely.Point(x, y))
        inside = False
        for (x0, y0), (x1, y1) in zip(points, points[-1:] + points[:-1]):
            if (y0 <= y < y1 or y1 <= y < y0) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
                inside = not inside
        return inside

    chars = [characters(points, text) for points, text in words]
    shapes = [shape(points) for points, _ in words]
    ignored = {i for i, (_, text) in enumerate(words) if text == "###"}
    for i in ignored:
        for k in set(range(len(words))) - ignored:
            shapes[i] = shapes[i].difference(shapes[k])
    held, share = {}, {}
    for i in range(len(words)):
        for j, points in enumerate(predicted):
            held[i, j] = {n for n, (x, y) in enumerate(chars[i]) if holds(points, x, y)}
            area = shape(points).area
            share[i, j] = shapes[i].intersection(shape(points)).area / area if area else 0.0
    near = [value for value in share.values() if abs(value - least) < 1e-9]
    least -= 1e-6 if near else 0
    forgiven = {
        j
        for j in range(len(predicted))
        if any(share[i, j] >= least for i in ignored)
        or sum(share[i, j] for i in ignored if held[i, j]) >= least
    }
    truths = [i for i in range(len(words)) if i not in ignored]
    preds = [j for j in range(len(predicted)) if j not in forgiven]
    good = {key for key in held if held[key] and share[key] >= least}
    match = set()
    for i in truths:
        mine = [j for j in preds if (i, j) in good]
        for j in mine:
            rivals = sum(a == i for a, _ in good), sum(b == j for _, b in good)
            if rivals == (1, 1) or len(mine) >= 2:
                match.add((i, j))
    for j in preds:
        mine = [i for i in truths if held[i, j]]
        if len(mine) >= 2 and sum(share[i, j] for i in mine) >= least:
            match.update((i, j) for i in mine)
    hits = sum(len(held[key]) for key in match)
    found = len({(i, n) for i, j in match for n in held[i, j]})
    per_truth = [sum(a == i for a, _ in match) for i in truths]
    per_pred = [sum(b == j for _, b in match) for j in preds]
    false = sum(
        1 if polygons else min(round(0.5 + 1 / (1e-5 + aspect(predicted[j]))), 10)
        for j, count in zip(preds, per_pred)
        if not count
    )
    return CLEvalCounts(
        truth_chars=sum(len(chars[i]) for i in truths),
        pred_chars=hits + false,
        found=found,
        splits=sum(n > 1 for n in per_truth),
        pieces=sum(max(n - 1, 0) for n in per_truth),
        merges=sum(n > 1 for n in per_pred),
        members=sum(max(n - 1, 0) for n in per_pred),
        overlapped=hits - found,
        false_chars=false,
    )


BOX = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 12)] * 2).map(
    lambda b: [(b[0] + b[2] * x, b[1] + b[3] * y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
)
POINT = st.tuples(st.integers(0, 24), st.integers(0, 24))
# Points in any order: slanted, crossing, flat.
QUAD = st.one_of(BOX, BOX, BOX, st.lists(POINT, min_size=4, max_size=4))
POLYGON = st.one_of(BOX, BOX, st.lists(POINT, min_size=3, max_size=7))


@st.composite
def pages(draw: st.DrawFn, shape: st.SearchStrategy) -> tuple[list, list]:
    words = draw(st.lists(st.tuples(shape, st.sampled_from(["", "a", "abc", "###"])), max_size=6))
    near = st.sampled_from([points for points, _ in words]) if words else shape
    # Copies with their ends moved, which split, merge and miss.
    moved = st.tuples(near, st.integers(-3, 3), st.integers(-8, 8)).map(
        lambda m: [(x + (m[2] if k in (1, 2) else m[1]), y + m[1]) for k, (x, y) in enumerate(m[0])]
    )
    return words, draw(st.lists(st.one_of(near, moved, shape), max_size=6))


def check(drawn: tuple[list, list], least: float, polygons: bool) -> None:
    words, predicted = drawn
    expected = literal(words, predicted, least, polygons)
    counts, lower = (
        judge_cleval(*page(words, predicted), area_precision=share, polygons=polygons)
        for share in (least, least - 1e-6)
    )
    # Shares that are the threshold but for rounding may fall on either side of it.
    assert expected in (counts, lower)


SHARES = st.sampled_from([0.3, 0.5, 0.1, 1.0])


@settings(max_examples=200, deadline=None)
@given(pages(QUAD), SHARES)
def test_quads_equal_the_literal_implementation(drawn: tuple, least: float):
    check(drawn, least, polygons=False)


@settings(max_examples=150, deadline=None)
@given(pages(POLYGON), SHARES)
def test_polygons_equal_the_literal_implementation(drawn: tuple, least: float):
    check(drawn, least, polygons=True)
