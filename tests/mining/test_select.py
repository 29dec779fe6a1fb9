"""hard_select against a plain-Python reading of its docstring."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.mining import select
from mmtextplug.mining.select import hard_select

NAN, INF = float("nan"), float("inf")


def literal(score, group, candidate, forced, k, ratio, min_k, max_k, pool) -> list[bool]:
    """The definition, example by example; `group` tells the group of each flat index."""
    quotas = {}
    for g in sorted(set(group)):
        positives = sum(f for f, h in zip(forced, group, strict=False) if h == g)
        if k is not None:
            quota = k[g] if isinstance(k, list) else k
        elif ratio is not None:
            quota = math.floor(Fraction(str(ratio)) * positives)
        else:
            quota = len(score)
        quota = max(quota, min_k)
        quotas[g] = quota if max_k is None else min(quota, max_k)
    eligible = [
        i for i in range(len(score)) if math.isfinite(score[i]) and candidate[i] and not forced[i]
    ]
    eligible.sort(key=lambda i: (-score[i], i))
    if pool == "all":
        chosen = eligible[: sum(quotas.values())]
    else:
        chosen = [
            i for g, quota in quotas.items() for i in [j for j in eligible if group[j] == g][:quota]
        ]
    return [f or i in chosen for i, f in enumerate(forced)]


SCORES = st.sampled_from([0.0, 1.0, 1.0, 2.0, -1.0, 0.5, NAN, INF, -INF])


@st.composite
def problems(draw: st.DrawFn) -> dict:
    kind = draw(st.sampled_from(["plain", "rows", "groups"]))
    rows, columns = (draw(st.integers(1, 4)), draw(st.integers(0, 9))) if kind == "rows" else (1, 0)
    count = rows * columns if kind == "rows" else draw(st.integers(0, 16))
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    problem = {
        "kind": kind,
        "shape": (rows, columns) if kind == "rows" else (count,),
        "score": draw(st.lists(SCORES, min_size=count, max_size=count)),
        "candidate": draw(st.none() | flags),
        "forced": draw(st.none() | flags),
        "min_k": draw(st.sampled_from([0, 0, 1, 3])),
        "max_k": draw(st.sampled_from([None, None, 3, 5])),
        "pool": draw(st.sampled_from(["group", "all"])),
        "k": None,
        "ratio": None,
    }
    if kind == "groups":
        # Ids need not be dense nor sorted.
        problem["group"] = draw(
            st.lists(st.sampled_from([0, 2, 5]), min_size=count, max_size=count)
        )
    elif kind == "rows":
        problem["group"] = [i // columns for i in range(count)]
    else:
        problem["group"] = [0] * count
    quota = draw(st.sampled_from(["none", "number", "scalar", "tensor", "ratio"]))
    if quota in ("number", "scalar"):
        problem["k"] = draw(st.integers(0, 6))
    elif quota == "tensor":
        length = {"plain": 1, "rows": rows, "groups": 6}[kind]
        problem["k"] = draw(st.lists(st.integers(0, 6), min_size=length, max_size=length))
    elif quota == "ratio":
        problem["ratio"] = draw(st.sampled_from([0.0, 0.3, 0.5, 1.0, 3.0]))
    problem["scalar"] = quota == "scalar"
    return problem


@pytest.mark.parametrize("long_row", [0, 10**9])
@settings(max_examples=400, deadline=None)
@given(problem=problems())
def test_equals_the_definition(long_row, problem):
    # Rows of any length in the form for long ones, and in the other.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "_LONG_ROW", long_row)
        check_against_the_definition(problem)


def check_against_the_definition(problem: dict) -> None:
    shape, count = problem["shape"], len(problem["score"])
    k = problem["k"]
    if isinstance(k, list) or problem["scalar"]:
        k = torch.tensor(k)

    def mask(name):
        values = problem[name]
        return None if values is None else torch.tensor(values, dtype=torch.bool).view(shape)

    arguments = {
        "candidate": mask("candidate"),
        "forced": mask("forced"),
        "k": k,
        "ratio": problem["ratio"],
        "min_k": problem["min_k"],
        "max_k": problem["max_k"],
        "pool": problem["pool"],
    }
    if problem["kind"] == "groups":
        arguments["group"] = torch.tensor(problem["group"], dtype=torch.long)
    score = torch.tensor(problem["score"]).view(shape)
    kept = {n: v.clone() for n, v in arguments.items() if isinstance(v, torch.Tensor)}
    selected = hard_select(score, **arguments)
    assert selected.dtype == torch.bool
    assert selected.shape == score.shape
    expected = literal(
        problem["score"],
        problem["group"],
        problem["candidate"] or [True] * count,
        problem["forced"] or [False] * count,
        problem["k"],
        problem["ratio"],
        problem["min_k"],
        problem["max_k"],
        problem["pool"],
    )
    assert selected.flatten().tolist() == expected
    for name, value in kept.items():
        assert torch.equal(arguments[name], value), f"{name} was changed"


def test_one_to_three_by_hand():
    score = torch.tensor([[0.9, 0.1, 0.8, 0.7, 0.6, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    positive = torch.zeros(2, 6, dtype=torch.bool)
    positive[0, 1] = True
    chosen = hard_select(score, forced=positive, ratio=3, min_k=2)
    # Row 0: its positive, and three of the five negatives. Row 1 has none: the floor of two.
    assert chosen.int().tolist() == [[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    pooled = hard_select(score, forced=positive, ratio=3, min_k=2, pool="all")
    # Five of all: 0.9 0.8 0.7 0.6 and, of the two with 0.6, the other as well.
    assert pooled.int().tolist() == [[1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]]


def test_forced_examples_never_fill_the_quota():
    score = torch.tensor([9.0, 8.0, 1.0, 0.5])
    forced = torch.tensor([True, True, False, False])
    assert hard_select(score, forced=forced, k=1).tolist() == [True, True, True, False]
    # Not even those that are no candidates, or have no score, are left out.
    score[0] = NAN
    chosen = hard_select(score, forced=forced, candidate=~forced, k=0)
    assert chosen.tolist() == [True, True, False, False]


def test_non_candidates_never_fill_the_quota():
    # MMOCR's PAN miner lets ignored pixels eat it.
    score = torch.tensor([9.0, 8.0, 7.0, 1.0])
    candidate = torch.tensor([False, False, True, True])
    assert hard_select(score, candidate=candidate, k=2).tolist() == [False, False, True, True]


def test_a_product_that_binary_fractions_round_down_is_not_lost():
    forced = torch.arange(400) < 100
    for ratio, mined in ((0.29, 29), (0.57, 57), (1.15, 115)):
        assert int(ratio * 100) == mined - 1  # what plain arithmetic makes of it
        assert int(hard_select(torch.zeros(400), forced=forced, ratio=ratio).sum()) == 100 + mined


def test_ties_go_by_index_also_in_large_maps():
    score = torch.zeros(3, 5000)
    chosen = hard_select(score, k=torch.tensor([0, 17, 4000]))
    for row, quota in zip(chosen, (0, 17, 4000), strict=False):
        assert torch.equal(row, torch.arange(5000) < quota)
    group = torch.arange(5000) % 3
    chosen = hard_select(torch.zeros(5000), group=group, k=10)
    assert chosen.nonzero()[:, 0].tolist() == list(range(30))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]
)
def test_every_dtype(dtype):
    score = torch.tensor([1, 4, 3, 2]).to(dtype)
    assert hard_select(score, k=2).tolist() == [False, True, True, False]


def test_float64_scores_keep_their_precision():
    score = torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert hard_select(score, k=1).tolist() == [False, True]


def test_views_with_strides():
    score = torch.arange(24.0).view(4, 6).t()[::2]  # (3, 4), neither dimension contiguous
    forced = torch.zeros(4, 6, dtype=torch.bool).t()[::2]
    chosen = hard_select(score, forced=forced, k=1)
    assert chosen.tolist() == [[False, False, False, True]] * 3
    line = torch.arange(10.0)[::2]
    assert hard_select(line, k=2).tolist() == [False, False, False, True, True]


def test_no_gradient_passes_and_none_is_needed():
    score = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    chosen = hard_select(score * 2, k=1)
    assert not chosen.requires_grad
    (score * chosen).sum().backward()
    assert score.grad.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0)])
@pytest.mark.parametrize("pool", ["group", "all"])
def test_nothing_to_select_from(shape, pool):
    score = torch.zeros(shape)
    forced = torch.zeros(shape, dtype=torch.bool)
    chosen = hard_select(score, forced=forced, ratio=3.0, min_k=2, pool=pool)
    assert chosen.shape == shape
    assert chosen.dtype == torch.bool
    assert chosen is not forced


def test_the_result_is_the_callers_own():
    forced = torch.tensor([True, False])
    chosen = hard_select(torch.zeros(2), forced=forced, k=0)
    chosen[1] = True
    assert forced.tolist() == [True, False]


@pytest.mark.parametrize(
    ("score", "arguments", "match"),
    [
        ((3,), {"k": 1, "ratio": 3.0}, "k or ratio"),
        ((3,), {"pool": "batch"}, "pool.*'batch'"),
        ((2, 3, 4), {}, r"\(2, 3, 4\)"),
        ((), {}, r"\(\)"),
        ((2, 3), {"group": torch.zeros(2, 3, dtype=torch.long)}, "without group"),
        ((3,), {"group": torch.zeros(2, dtype=torch.long)}, "group has shape"),
        ((2, 3), {"candidate": torch.ones(3, dtype=torch.bool)}, "candidate has shape"),
        ((2, 3), {"forced": torch.ones(3, 2, dtype=torch.bool)}, "forced has shape"),
        ((2, 3), {"k": torch.ones(3, dtype=torch.long)}, r"k has shape \(3,\)"),
        ((3,), {"k": torch.ones(3, dtype=torch.long)}, r"k has shape \(3,\)"),
        ((2, 3), {"k": torch.ones(2, 1, dtype=torch.long)}, r"k has shape \(2, 1\)"),
        ((3,), {"min_k": 5, "max_k": 2}, "min_k"),
    ],
)
def test_contradictions_are_told(score, arguments, match):
    with pytest.raises(ValueError, match=match):
        hard_select(torch.zeros(score), **arguments)
