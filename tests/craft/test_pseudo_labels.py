"""The hook that fills in characters: with a teacher whose region score is known by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from mmengine.structures import InstanceData, PixelData
from mmocr.structures import TextDetDataSample
from torch import nn

from mmtextplug.craft import pseudo_labels
from mmtextplug.craft.loss import word_labels
from mmtextplug.craft.pseudo_labels import PseudoCharLabelHook
from mmtextplug.craft.targets import draw_score_maps
from mmtextplug.craft.word_labeller import WordLabeller


class Reader(nn.Module):
    """Its region score is the red channel, at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.det_head = nn.AvgPool2d(2)
        self.calls: list[tuple] = []

    def extract_feat(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(images.shape))
        return images * self.gain

    def data_preprocessor(self, data: dict, training: bool) -> dict:
        assert not training
        return {"inputs": torch.stack([image.float() / 255 for image in data["inputs"]])}


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def painted(words: list[np.ndarray], shape=(128, 256)) -> torch.Tensor:
    """An image whose red channel shows a Gaussian for each character of each word."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    red = np.zeros(shape)
    for chars in words:
        for quad in chars:
            (cx, cy), (w, h) = quad.mean(0), np.ptp(quad, axis=0)
            near = np.exp(-0.5 * (((x - cx) / (0.3 * w)) ** 2 + ((y - cy) / (0.3 * h)) ** 2))
            red = np.maximum(red, near)
    image = torch.zeros(3, *shape, dtype=torch.uint8)
    image[0] = torch.from_numpy((red * 255).astype(np.uint8))
    return image


def row(left: float, top: float, count: int, width: float = 20, height: float = 24) -> np.ndarray:
    return np.stack(
        [box(left + i * width, top, left + (i + 1) * width, top + height) for i in range(count)]
    )


def outline(chars: np.ndarray) -> np.ndarray:
    return box(*chars.reshape(-1, 2).min(0), *chars.reshape(-1, 2).max(0))


def sample(words: list[tuple], shape=(128, 256)) -> TextDetDataSample:
    """Each word: polygon, text, chars, ignored."""
    polygons, texts, chars, ignored = zip(*words) if words else ((), (), (), ())
    instances = InstanceData()
    instances.polygons = [np.ravel(p) for p in polygons]
    instances.texts, instances.chars = list(texts), list(chars)
    instances.char_confidence = np.array([float(c is not None) for c in chars], np.float32)
    instances.ignored = torch.tensor(ignored, dtype=torch.bool)
    return TextDetDataSample(gt_instances=instances, metainfo=dict(img_shape=shape))


def runner(model: nn.Module, hooks: tuple = (), **fields) -> SimpleNamespace:
    hub = MessageHub(f"test_{id(model)}")
    return SimpleNamespace(
        model=model, iter=0, message_hub=hub, optim_wrapper=None, hooks=list(hooks), **fields
    )


def started(
    model: nn.Module, log_interval: int = 1, **settings
) -> tuple[PseudoCharLabelHook, SimpleNamespace]:
    hook = HOOKS.build({"type": "PseudoCharLabelHook", "teacher": "frozen", **settings})
    run = runner(model, hooks=(LoggerHook(interval=log_interval),))
    hook.before_run(run)
    hook.before_train(run)
    return hook, run


def logged(run: SimpleNamespace) -> dict[str, float]:
    return {key: value.current() for key, value in run.message_hub.log_scalars.items()}


def test_characters_and_confidence_are_filled_in_where_they_are_unknown():
    first, second, third = row(10, 20, 5), row(30, 70, 3), row(20, 10, 4, width=16, height=20)
    known = row(150, 70, 2)
    batch = {
        "inputs": [painted([first, second, known]), painted([third])],
        "data_samples": [
            sample(
                [
                    (outline(first), "HOUSE", None, False),
                    (outline(known), "no", known, False),
                    (outline(second), "abcd", None, False),  # one character more than there is
                    (outline(second), "###", None, True),
                ]
            ),
            sample([(outline(third), "a bcd", None, False)]),
        ],
    }
    model = Reader().train()
    hook, run = started(model)
    hook.before_train_iter(run, 0, batch)
    one, two = (s.gt_instances for s in batch["data_samples"])
    np.testing.assert_allclose(one.chars[0], first, atol=1.5)
    assert one.chars[1] is known
    np.testing.assert_allclose(one.chars[2], second, atol=1.5)
    assert one.chars[3] is None
    np.testing.assert_allclose(two.chars[0], third, atol=1.5)
    np.testing.assert_allclose(one.char_confidence, [1, 1, 0.75, 0])
    np.testing.assert_allclose(two.char_confidence, [1])
    assert one.chars[0].dtype == np.float32
    # The network in training saw nothing of it.
    assert model.calls == []
    assert model.training
    assert model.gain.grad is None
    scalars = logged(run)
    assert scalars["train/pseudo_words"] == 3
    assert scalars["train/pseudo_confidence"] == pytest.approx(2.75 / 3)
    assert scalars["train/pseudo_length_error"] == pytest.approx(0.25 / 3)
    assert scalars["train/pseudo_equal_split"] == 0
    # The words are of two widths, and go through the teacher in as many batches.
    assert sum(shape[0] for shape in hook.teacher.module.calls) == 3
    # What comes out can be trained on.
    maps = draw_score_maps([word_labels(s, (64, 128)) for s in batch["data_samples"]], (64, 128))
    assert maps.skipped == 0
    # The ignored word is one of the others once more, and gives way to it.
    assert maps.confidence.unique().tolist() == pytest.approx([0.75, 1])


def test_a_batch_without_unknown_characters_costs_nothing():
    known = row(10, 20, 5)
    samples = [sample([(outline(known), "house", known, False)]), sample([])]
    hook, run = started(Reader())
    hook.before_train_iter(run, 0, {"inputs": None, "data_samples": samples})  # not even looked at
    assert hook.teacher.module.calls == []
    assert logged(run) == {"train/pseudo_words": 0, "train/pseudo_left_out": 0}


def test_what_the_teacher_does_not_see_is_cut_into_equal_parts_and_said(monkeypatch):
    lines = []
    monkeypatch.setattr(pseudo_labels, "print_log", lambda text, **_: lines.append(text))
    monkeypatch.setattr(pseudo_labels, "_WATCHED_BATCHES", 3)
    hook, run = started(Reader())
    for step in range(5):
        word = sample([(box(10, 20, 110, 40), "ab cd", None, False)])
        batch = {"inputs": [torch.zeros(3, 128, 256, dtype=torch.uint8)], "data_samples": [word]}
        hook.before_train_iter(run, step, batch)
        chars = word.gt_instances.chars[0]
        np.testing.assert_allclose(chars[:, 0, 0], [10, 30, 70, 90], atol=1e-3)
        np.testing.assert_allclose(chars[:, 2, 1], 40, atol=1e-3)
        np.testing.assert_allclose(word.gt_instances.char_confidence, [0.5])
        said = [line for line in lines if "in 3 of 3 words the teacher sees another number" in line]
        assert len(said) == (step >= 2)
    assert "cut into equal parts. If its scores stay below foreground=0.75, lower" in said[0]
    assert logged(run)["train/pseudo_equal_split"] == 1
    assert logged(run)["train/pseudo_length_error"] == 1


@pytest.mark.parametrize(("unread", "told"), [(1, False), (2, True)])
def test_a_teacher_that_sees_most_words_is_not_complained_of(monkeypatch, unread, told):
    lines = []
    monkeypatch.setattr(pseudo_labels, "print_log", lambda text, **_: lines.append(text))
    monkeypatch.setattr(pseudo_labels, "_WATCHED_BATCHES", 3)
    hook, run = started(Reader())
    for step in range(3):
        chars = row(10, 20, 5)
        text = "abcde" * 3 if step < unread else "abcde"
        word = sample([(outline(chars), text, None, False)])
        batch = {"inputs": [painted([chars])], "data_samples": [word]}
        hook.before_train_iter(run, step, batch)
    assert any("in 2 of 3 words the teacher sees" in line for line in lines) is told


def test_words_without_a_text_are_believed_as_far_as_configured():
    chars = row(10, 20, 5)
    word = sample([(outline(chars), None, None, False)])
    hook, run = started(Reader(), unknown_confidence=0.25)
    hook.before_train_iter(run, 0, {"inputs": [painted([chars])], "data_samples": [word]})
    np.testing.assert_allclose(word.gt_instances.chars[0], chars, atol=1.5)
    np.testing.assert_allclose(word.gt_instances.char_confidence, [0.25])
    assert "train/pseudo_length_error" not in logged(run)


def test_hundreds_of_hopeless_and_hopeful_words_do_no_harm():
    rng = np.random.default_rng(0)
    words = []
    for index in range(500):
        left, top = rng.uniform(-60, 250), rng.uniform(-40, 120)
        width, height = rng.choice([0, 0.5, 1, 7, 60, 900]), rng.choice([0, 1, 5, 30, 400])
        polygon = box(left, top, left + width, top + height)
        if index % 7 == 0:
            polygon = polygon[[0, 2, 1, 3]]  # crosses itself
        if index % 11 == 0:
            polygon = rng.uniform(-50, 300, (int(rng.integers(3, 12)), 2)).astype(np.float32)
        if index % 50 == 0:
            polygon[0] = [np.nan, np.inf][index % 100 // 50]
        text = ["", "x", "word", "m" * 300, None, "  "][index % 6]
        words.append((polygon, text, None, bool(index % 9 == 0)))
    word = sample(words)
    image = torch.randint(0, 256, (3, 128, 256), dtype=torch.uint8)
    hook, run = started(Reader(), crop_height=32)
    hook.before_train_iter(run, 0, {"inputs": [image], "data_samples": [word]})
    labelled = [c for c in word.gt_instances.chars if c is not None]
    assert 50 < len(labelled) < 500
    assert all(np.isfinite(chars).all() and chars.shape[1:] == (4, 2) for chars in labelled)
    assert np.isfinite(word.gt_instances.char_confidence).all()
    assert all(np.isfinite(value) for value in logged(run).values())
    maps = draw_score_maps([word_labels(word, (64, 128))], (64, 128))
    assert torch.isfinite(maps.region).all()
    assert torch.isfinite(maps.affinity).all()


def test_the_teacher_is_saved_and_resumed(tmp_path):
    model = Reader()
    hook, run = started(model, teacher="ema", momentum=0.5)
    model.gain.data.fill_(3.0)
    hook.after_train_iter(run, 0)
    assert hook.teacher.module.gain.item() == 2.0
    checkpoint: dict = {}
    hook.before_save_checkpoint(run, checkpoint)
    hook.after_train_iter(run, 1)
    assert hook.teacher.module.gain.item() == 2.5
    (saved,) = checkpoint.values()
    assert saved["gain"].item() == 2.0  # a copy, not a view
    # Resumed from, it wins over any other; the file is not even needed.
    again = PseudoCharLabelHook(momentum=0.5, checkpoint=str(tmp_path / "gone.pth"))
    other = runner(Reader(), _resume=True)
    again.after_load_checkpoint(other, checkpoint)
    again.before_train(other)
    assert again.teacher.module.gain.item() == 2.0
    # load_from gives the network its weights, not the teacher.
    again = PseudoCharLabelHook(momentum=0.5)
    other = runner(Reader(), _resume=False)
    other.model.gain.data.fill_(9.0)
    again.after_load_checkpoint(other, checkpoint)
    again.before_train(other)
    assert again.teacher.module.gain.item() == 9.0
    # Outside of training there is none, and nothing to save.
    idle: dict = {}
    PseudoCharLabelHook().before_save_checkpoint(run, idle)
    assert idle == {}


def test_a_resumed_teacher_of_another_model_is_named():
    hook = PseudoCharLabelHook()
    run = runner(Reader(), _resume=True)
    hook.after_load_checkpoint(run, {pseudo_labels.SAVED_AS: {"gain": torch.ones(2)}})
    with pytest.raises(ValueError, match="the teacher in the checkpoint: does not fit this model"):
        hook.before_train(run)


def test_resuming_without_a_teacher_is_said(monkeypatch):
    lines = []
    monkeypatch.setattr(pseudo_labels, "print_log", lambda text, **_: lines.append(text))
    hook, run = PseudoCharLabelHook(), runner(Reader(), _resume=True)
    run.iter = 500
    hook.after_load_checkpoint(run, {"state_dict": {}})
    hook.before_train(run)
    assert len(lines) == 1
    assert "no teacher in the checkpoint that was resumed from" in lines[0]


def test_it_starts_from_the_network_as_loaded_or_from_a_file(tmp_path):
    model = Reader()
    model.gain.data.fill_(7.0)  # load_from
    hook, _ = started(model)
    assert hook.teacher.module.gain.item() == 7.0
    torch.save({"gain": torch.full((1,), 4.0)}, tmp_path / "teacher.pth")
    hook, _ = started(model, checkpoint=str(tmp_path / "teacher.pth"))
    assert hook.teacher.module.gain.item() == 4.0


@pytest.mark.parametrize(
    ("teacher", "strong", "mixed", "warned"),
    [
        ("ema", (), (), 19),
        ("copy", (), (3,), 19),  # one in twenty
        ("ema", (), (3, 11), 23),  # a tenth, as long as both are among the last twenty
        ("ema", (3,), (11,), 23),  # given in a batch of their own
        ("ema", (), range(0, 60, 10), None),
        ("frozen", (), (), None),
    ],
)
def test_a_network_that_learns_from_itself_alone_is_warned_of(
    teacher, strong, mixed, warned, monkeypatch
):
    lines = []
    monkeypatch.setattr(pseudo_labels, "print_log", lambda text, **_: lines.append(text))
    monkeypatch.setattr(pseudo_labels, "_WATCHED_BATCHES", 20)
    chars = row(10, 20, 5)
    weak = (outline(chars), "house", None, False)
    given = (outline(chars), "house", chars, False)
    image = painted([chars])
    hook, run = started(Reader(), teacher=teacher)
    for step in range(60):
        words = [given] if step in strong else [weak, given] if step in mixed else [weak]
        for content in ([], words):  # batches without text are none
            hook.before_train_iter(
                run, step, {"inputs": [image], "data_samples": [sample(content)]}
            )
        assert len(lines) == (warned is not None and step >= warned)
    if warned is not None:
        held = 1 if mixed else 0
        assert f"only {held} of the last 20 batches held characters" in lines[0]


def test_the_log_has_means_over_the_steps_since_its_last_line():
    five, three = row(10, 20, 5), row(10, 70, 3)
    image = painted([five, three])
    words = [
        [(outline(five), "house", None, False), (outline(three), "abcd", None, False)],  # 1, 0.75
        [],
        [(box(150, 90, 200, 110), "ab", None, False)],  # nothing there: equal parts, 0.5
        [(outline(five), "house", five, False), (box(9, 9, 9, 9), "x", None, False)],
        [],
        [],
    ]
    expected = [
        {"words": 2, "left_out": 0, "confidence": 0.875, "equal_split": 0, "length_error": 0.125},
        {"words": 1, "left_out": 0, "confidence": 0.875, "equal_split": 0, "length_error": 0.125},
        {
            "words": 1,
            "left_out": 0,
            "confidence": 2.25 / 3,  # words count, not steps
            "equal_split": 1 / 3,
            "length_error": 1.25 / 3,
        },
        {"words": 1 / 3, "left_out": 1 / 3, "confidence": 0.5, "equal_split": 1, "length_error": 1},
        {"words": 1 / 3, "left_out": 1 / 3, "confidence": 0.5, "equal_split": 1, "length_error": 1},
        {"words": 0, "left_out": 1 / 3},  # nothing stale
    ]
    hook, run = started(Reader(), log_interval=3)
    for step, (content, means) in enumerate(zip(words, expected)):
        hook.before_train_iter(run, step, {"inputs": [image], "data_samples": [sample(content)]})
        assert logged(run) == pytest.approx(
            {f"train/pseudo_{name}": value for name, value in means.items()}
        )
    # A checkpoint does not name what is gone: MMEngine would complain when it is resumed from.
    state = run.message_hub.state_dict()
    assert list(state["resumed_keys"]) == list(state["log_scalars"]) == []


def test_without_a_logger_the_last_step_counts():
    chars = row(10, 20, 5)
    hook = PseudoCharLabelHook(teacher="frozen")
    run = runner(Reader())
    hook.before_run(run)
    hook.before_train(run)
    for content in ([(outline(chars), "house", None, False)], []):
        batch = {"inputs": [painted([chars])], "data_samples": [sample(content)]}
        hook.before_train_iter(run, 0, batch)
        assert logged(run)["train/pseudo_words"] == len(content)
        assert ("train/pseudo_confidence" in logged(run)) == bool(content)


def test_a_word_without_a_character_in_it_is_no_background():
    word = sample([(box(10, 20, 110, 40), None, None, False)])
    hook, run = started(Reader())
    image = torch.zeros(3, 128, 256, dtype=torch.uint8)
    hook.before_train_iter(run, 0, {"inputs": [image], "data_samples": [word]})
    assert len(word.gt_instances.chars[0]) == 0
    assert word.gt_instances.char_confidence[0] == 0
    maps = draw_score_maps([word_labels(word, (64, 128))], (64, 128))
    assert maps.confidence[0, 15, 30] == 0


def test_a_line_that_the_border_cuts_is_parted_where_its_space_is():
    chars = row(-56, 20, 7)  # "ab cdef": the space is a place, too
    line = np.delete(chars, 2, axis=0)
    word = sample([(outline(chars), "ab cdef", None, False)])
    hook, run = started(Reader())
    hook.before_train_iter(run, 0, {"inputs": [painted([line])], "data_samples": [word]})
    assert word.gt_instances.char_places == [[True, True, True, True]]
    np.testing.assert_allclose(word.gt_instances.chars[0], chars[3:], atol=2.5)
    labels = word_labels(word, (64, 128))
    assert labels.places == [[True] * 4]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"teacher": "best"}, ValueError, "teacher='best'"),
        ({"momentum": 2}, ValueError, "momentum=2"),
        ({"crop_height": 0}, ValueError, "crop_height=0"),
        ({"max_zoom": float("nan")}, ValueError, "max_zoom=nan"),
        ({"foreground": 0.01}, ValueError, r"background=0\.05.*foreground=0\.01"),
        ({"unknown_confidence": 2}, ValueError, "unknown_confidence=2"),
        ({"threads": 0}, ValueError, "threads=0"),
        ({"no_such": 1}, TypeError, "no_such"),
    ],
)
def test_wrong_settings_show_at_once(settings, error, message):
    with pytest.raises(error, match=message):
        PseudoCharLabelHook(**settings)


def test_before_the_training_starts_a_bad_teacher_is_named(tmp_path):
    hook = PseudoCharLabelHook(checkpoint=str(tmp_path / "none.pth"))
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file"):
        hook.before_train(runner(Reader()))
    torch.save({"other": torch.ones(1)}, tmp_path / "other.pth")
    hook = PseudoCharLabelHook(checkpoint=str(tmp_path / "other.pth"))
    with pytest.raises(ValueError, match=r"other\.pth: does not fit this model"):
        hook.before_train(runner(Reader()))
    with pytest.raises(ValueError, match="the model is a Linear, not a CRAFT"):
        PseudoCharLabelHook().before_train(runner(nn.Linear(1, 1)))


def test_labels_that_are_drawn_too_early_are_refused():
    word = sample([(box(10, 10, 50, 30), "word", None, False)])
    word.gt_score_maps = PixelData(data=torch.zeros(3, 64, 128))
    hook, run = started(Reader())
    with pytest.raises(ValueError, match="GaussianCharLabels has drawn"):
        hook.before_train_iter(run, 0, {"inputs": None, "data_samples": [word]})


def test_crops_go_through_in_bounded_batches():
    chars = [row(10, 10 + 30 * i, 4, width=16, height=20) for i in range(3)]
    word = sample([(outline(c), "abcd", None, False) for c in chars])
    hook, run = started(Reader(), crop_height=32, crop_pixels=2 * 32 * 128)
    hook.before_train_iter(run, 0, {"inputs": [painted(chars)], "data_samples": [word]})
    # 64 x 20 pixels become 102 x 32, padded to 128: two fit in, the third goes alone.
    assert [shape[0] for shape in hook.teacher.module.calls] == [2, 1]
    for found, expected in zip(word.gt_instances.chars, chars):
        np.testing.assert_allclose(found, expected, atol=1.5)


@pytest.mark.parametrize(
    ("height", "crop_height", "expected"),
    [(10, 64, 32), (16, 64, 32), (17, 64, 64), (30, 64, 64), (90, 64, 64), (40, 128, 96)],
)
def test_small_words_are_not_enlarged_without_need(height, crop_height, expected):
    word = sample([(box(10, 10, 110, 10 + height), "word", None, False)])
    hook, run = started(Reader(), crop_height=crop_height)
    image = torch.zeros(3, 128, 256, dtype=torch.uint8)
    hook.before_train_iter(run, 0, {"inputs": [image], "data_samples": [word]})
    ((_, _, rows, columns),) = hook.teacher.module.calls
    assert rows == expected
    assert columns == -(-round(100 * expected / height) // 32) * 32


def test_the_labeller_is_the_same_with_any_number_of_threads():
    chars = row(10, 20, 5)
    found = []
    for threads in (1, 4):
        word = sample([(outline(chars), "house", None, False)] * 6)
        hook, run = started(Reader(), threads=threads)
        hook.before_train_iter(run, 0, {"inputs": [painted([chars])], "data_samples": [word]})
        found.append(np.stack(word.gt_instances.chars))
    np.testing.assert_array_equal(*found)
    assert isinstance(hook.labeller, WordLabeller)
