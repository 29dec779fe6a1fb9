"""The network against an independent statement of the published one, and on other backbones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import load_checkpoint, load_state_dict
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample
from torch import nn
from torch.nn.functional import interpolate

from mmtextplug.craft.decoder import CRAFTDecoder
from mmtextplug.craft.head import CRAFTHead
from mmtextplug.craft.vgg import CRAFTVGG16BN
from mmtextplug.craft.weights import load_craft_weights

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "craft"


@pytest.fixture(scope="module", autouse=True)
def mmocr_scope():
    """The scope that the configs run in."""
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


# --- the published network, restated -----------------------------------------------------------


class Slice(nn.Sequential):
    """Layers under the indices that torchvision's `vgg16_bn.features` gives them."""

    def __init__(self, start: int, channels: int, plan: str, widths: list[int]) -> None:
        super().__init__()
        widths = iter(widths)
        for index, kind in enumerate(plan, start):
            if kind == "c":
                width = next(widths)
                layer, channels = nn.Conv2d(channels, width, 3, padding=1), width
            else:
                # In place: the first layer of a slice overwrites what the slice before returned.
                layer = {
                    "b": nn.BatchNorm2d(channels),
                    "r": nn.ReLU(inplace=True),
                    "p": nn.MaxPool2d(2, 2),
                }[kind]
            self.add_module(str(index), layer)


class Basenet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slice1 = Slice(0, 3, "cbrcbrpcbrcb", [64, 64, 128, 128])  # 0 to 11
        self.slice2 = Slice(12, 128, "rpcbrcb", [256, 256])  # to 18
        self.slice3 = Slice(19, 256, "rcbrpcbrcb", [256, 512, 512])  # to 28
        self.slice4 = Slice(29, 512, "rcbrpcbrcb", [512, 512, 512])  # to 38
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            nn.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6),
            nn.Conv2d(1024, 1024, kernel_size=1),
        )

    def forward(self, x):
        kept = []
        for part in (self.slice1, self.slice2, self.slice3, self.slice4, self.slice5):
            x = part(x)
            kept.append(x)  # an alias, not a copy: the next ReLU changes it
        return kept[::-1]


class DoubleConv(nn.Module):
    def __init__(self, channels: int, skip: int, middle: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels + skip, middle, 1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, out, 3, padding=1),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.conv(x)


class Published(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.basenet = Basenet()
        self.upconv1 = DoubleConv(1024, 512, 512, 256)
        self.upconv2 = DoubleConv(512, 256, 256, 128)
        self.upconv3 = DoubleConv(256, 128, 128, 64)
        self.upconv4 = DoubleConv(128, 64, 64, 32)
        head, last = [], 32
        for size, width in ((3, 32), (3, 32), (3, 16), (1, 16), (1, 2)):
            head += [nn.Conv2d(last, width, size, padding=size // 2), nn.ReLU(inplace=True)]
            last = width
        self.conv_cls = nn.Sequential(*head[:-1])

    def forward(self, image):
        fc7, *skips = self.basenet(image)
        x = self.upconv1(torch.cat([fc7, skips[0]], 1))
        for skip, up in zip(skips[1:], (self.upconv2, self.upconv3, self.upconv4), strict=False):
            x = interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = up(torch.cat([x, skip], 1))
        return self.conv_cls(x).permute(0, 2, 3, 1)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def trained_like(module: nn.Module) -> nn.Module:
    """Random weights that keep signals alive, statistics that a batch norm must not ignore."""
    generator = torch.Generator().manual_seed(0)

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                reach = (6 / layer.weight[0].numel()) ** 0.5
                uniform(layer.weight, -reach, reach)
                uniform(layer.bias, -0.2, 0.2)
            elif isinstance(layer, nn.BatchNorm2d):
                uniform(layer.weight, 0.5, 1.5)
                uniform(layer.bias, -0.5, 0.5)
                uniform(layer.running_mean, -0.5, 0.5)
                uniform(layer.running_var, 0.3, 1.5)
                layer.num_batches_tracked += 7
    return module.eval()


@pytest.fixture(scope="module")
def published() -> Published:
    return trained_like(Published())


@pytest.fixture(scope="module")
def craft():
    cfg = Config.fromfile(CONFIGS / "_base_craft_vgg16bn.py")
    return MODELS.build(cfg.model).eval()


@pytest.fixture(scope="module")
def equipped(published, craft, tmp_path_factory):
    """Ours with the weights of the published one, through a file as it is published."""
    path = tmp_path_factory.mktemp("weights") / "craft.pth"
    torch.save({f"module.{k}": v for k, v in published.state_dict().items()}, path)
    load_craft_weights(craft, path)
    path.unlink()
    return craft


# --- the official architecture -----------------------------------------------------------------


def test_parameters_of_the_whole_and_of_each_part(craft, published):
    assert count(craft) == 20_770_466 == count(published)
    assert count(craft.backbone.features) == 12_362_304
    assert count(craft.backbone.slice5) == 5_769_216
    assert [count(b) for b in craft.neck.blocks] == [1_968_384, 492_672, 123_456, 31_008]
    assert count(craft.det_head) == 23_426
    norms = [m for m in craft.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (len(norms), sum(m.num_features for m in norms)) == (20, 5152)
    assert len(craft.state_dict()) == 154
    assert all(p.requires_grad for p in craft.parameters())


def test_vgg_keeps_torchvisions_indices_and_shapes(craft):
    shapes = {k: tuple(v.shape) for k, v in craft.backbone.features.state_dict().items()}
    convolutions = {0: (64, 3), 3: (64, 64), 7: (128, 64), 10: (128, 128), 14: (256, 128),
                    17: (256, 256), 20: (256, 256), 24: (512, 256), 27: (512, 512),
                    30: (512, 512), 34: (512, 512), 37: (512, 512)}  # fmt: skip
    assert {int(k[:-7]): v[:2] for k, v in shapes.items() if len(v) == 4} == convolutions
    assert len(craft.backbone.features) == 39


@pytest.mark.parametrize("size", [(64, 96), (70, 90)])
def test_scores_equal_those_of_the_published_network(equipped, published, size):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = published(image.clone())
        found = equipped(image.clone(), mode="tensor")
    assert found.shape == (2, 2, size[0] // 2, size[1] // 2)
    assert expected.std() > 0.05
    torch.testing.assert_close(found.permute(0, 2, 3, 1), expected, atol=1e-4, rtol=1e-4)


def test_levels_three_rectified_one_signed_one_without_activation(equipped, published):
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        levels = equipped.backbone(image)
        expected = published.basenet(image)[::-1]
    assert [level.shape[1] for level in levels] == list(CRAFTVGG16BN.out_channels)
    assert [64 // level.shape[2] for level in levels] == [2, 4, 8, 16, 16]
    assert [bool((level < 0).any()) for level in levels] == [False, False, False, True, True]
    for mine, theirs in zip(levels, expected, strict=False):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_nothing_depends_on_layers_working_in_place(equipped):
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    relus = [layer for layer in equipped.modules() if isinstance(layer, nn.ReLU)]
    assert len(relus) == 11 + 8 + 4
    with torch.no_grad():
        expected = equipped(image.clone(), mode="tensor")
        for layer in relus:
            layer.inplace = False
        found = equipped(image.clone(), mode="tensor")
        for layer in relus:
            layer.inplace = True
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_scores_are_not_forced_into_a_range(equipped):
    with torch.no_grad():
        scores = equipped(10 * torch.randn(1, 3, 64, 64), mode="tensor")
    assert scores.min() < 0 or scores.max() > 1


def test_official_names_load_by_mmengine_too(published, craft, tmp_path):
    state = published.state_dict()
    path = tmp_path / "official.pth"
    torch.save({"state_dict": {f"module.{k}": v + 0 for k, v in state.items()}}, path)
    own = craft.state_dict()
    with torch.no_grad():
        for value in own.values():
            value.zero_()
    load_checkpoint(craft, str(path), strict=True)
    assert torch.equal(own["neck.blocks.1.0.weight"],
                       state["upconv2.conv.0.weight"])  # fmt: skip
    assert torch.equal(own["backbone.features.30.bias"], state["basenet.slice4.30.bias"])
    assert all(bool(v.any()) for v in own.values())
    # As part of something larger, such as a distributed wrapper or an average of weights.
    wrapper = nn.ModuleDict({"module": craft})
    wrapped = {f"module.{k}": v for k, v in state.items()}
    with torch.no_grad():
        for value in own.values():
            value.zero_()
    load_state_dict(wrapper, wrapped, strict=True)
    assert all(bool(v.any()) for v in own.values())
    assert sorted(wrapped) == sorted(f"module.{k}" for k in state)  # the caller's dict is whole


def test_fresh_weights_are_xavier_uniform_without_bias():
    torch.manual_seed(0)
    decoder = CRAFTDecoder((8, 16, 32), (16, 8))
    decoder.init_weights()
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            size = module.weight[0, 0].numel()
            bound = (6 / (size * (module.in_channels + module.out_channels))) ** 0.5
            assert 0.9 * bound < module.weight.abs().max().item() <= bound
            assert (module.bias == 0).all()
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


# --- decoder and head on other pyramids --------------------------------------------------------


def test_decoder_joins_each_level_at_its_own_size():
    decoder = CRAFTDecoder((4, 6, 8, 10), (12, 8, 6)).eval()
    sizes = ((33, 47), (17, 23), (8, 11), (3, 5))
    levels = [torch.randn(2, c, *s) for c, s in zip((4, 6, 8, 10), sizes, strict=False)]
    kept = [level.clone() for level in levels]
    with torch.no_grad():
        assert decoder(levels).shape == (2, 6, 33, 47)
    assert all(torch.equal(a, b) for a, b in zip(levels, kept, strict=False))
    assert [b[0].in_channels for b in decoder.blocks] == [18, 18, 12]
    assert [b[0].out_channels for b in decoder.blocks] == [24, 16, 12]


def test_decoder_puts_the_deeper_map_first():
    decoder = CRAFTDecoder((1, 1), (1,)).eval()
    with torch.no_grad():
        first = decoder.blocks[0][0]
        first.weight.zero_()
        first.weight[:, 0] = 1.0
        first.bias.zero_()
        deep, fine = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 8, 8)
        changed = torch.rand(1, 1, 8, 8)
        assert torch.equal(decoder([fine, deep]), decoder([changed, deep]))


def test_steps_beyond_the_levels_double_the_size():
    decoder = CRAFTDecoder((4, 8), (16, 8, 4)).eval()
    with torch.no_grad():
        assert decoder([torch.randn(1, 4, 10, 12), torch.randn(1, 8, 5, 6)]).shape == (1, 4, 40, 48)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match=r"3 levels need at least 2 steps.*names 1"):
        CRAFTDecoder((4, 8, 16), (8,))


def test_head_of_another_width():
    head = CRAFTHead(
        module_loss={"type": "CRAFTModuleLoss"},
        postprocessor={"type": "CRAFTPostprocessor"},
        in_channels=12,
    )
    assert head(torch.randn(2, 12, 5, 7)).shape == (2, 2, 5, 7)
    assert [m.out_channels for m in head.conv_cls if isinstance(m, nn.Conv2d)] == [12, 12, 6, 6, 2]


@pytest.fixture(scope="module")
def light():
    cfg = Config.fromfile(CONFIGS / "craft_resnet18_demo.py")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return revert_sync_batchnorm(model)


def training_sample(size: tuple[int, int]) -> TextDetDataSample:
    lefts = np.array([8, 22, 36], np.float32)
    corners = np.array([[0, 0], [12, 0], [12, 20], [0, 20]], np.float32)
    chars = corners[None] + np.stack([lefts, np.full(3, 10)], 1)[:, None]
    sample = TextDetDataSample(
        metainfo={
            "img_shape": size,
            "ori_shape": size,
            "scale_factor": (1.0, 1.0),
            "img_path": "a.png",
        }
    )
    sample.gt_instances = InstanceData()
    sample.gt_instances.polygons = [np.array([8, 10, 48, 10, 48, 30, 8, 30], np.float32)]
    sample.gt_instances.chars = [chars.astype(np.float32)]
    sample.gt_instances.char_confidence = np.ones(1, np.float32)
    return sample


def test_a_resnet_from_a_config_trains(light):
    data = light.data_preprocessor(
        {
            "inputs": [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8),
                    torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)],
            "data_samples": [training_sample((64, 96)), training_sample((50, 70))],
        },
        training=True,
    )  # fmt: skip
    light.train()
    assert light(data["inputs"], mode="tensor").shape == (2, 2, 32, 48)
    losses = light(**data, mode="loss")
    loss, logged = light.parse_losses(losses)
    assert loss.item() == pytest.approx(
        (losses["loss_region"] + losses["loss_affinity"]).item()
    )  # what was skipped is logged, not learned
    assert "skipped_chars" in logged
    light.zero_grad()
    loss.backward()
    without = [n for n, p in light.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in light.parameters() if p.grad is not None)
    light.zero_grad()


def test_a_resnet_from_a_config_learns_one_image():
    cfg = Config.fromfile(CONFIGS / "craft_resnet18_demo.py")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    image = torch.full((1, 3, 64, 64), -1.0)
    sample = training_sample((64, 64))
    for left in (8, 22, 36):
        image[..., 12:28, left + 3 : left + 9] = 1.0
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        loss, _ = model.parse_losses(model(image, [sample], mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert losses[-1] < 0.1


def test_prediction_gives_words_in_pixels_of_the_image(light):
    light.eval()
    with torch.no_grad():
        found = light(torch.zeros(1, 3, 64, 96), [training_sample((64, 96))], mode="predict")
    assert len(found) == 1
    assert len(found[0].pred_instances.polygons) == len(found[0].pred_instances.scores)


def test_a_pyramid_of_four_levels_of_any_width():
    cfg = Config.fromfile(CONFIGS / "craft_resnet18_demo.py").model
    cfg.backbone = {
        "type": "mmdet.ResNet",
        "depth": 18,
        "base_channels": 16,
        "norm_cfg": {"type": "BN"},
        "norm_eval": False,
    }
    cfg.neck.update(in_channels=[16, 32, 64, 128], out_channels=[64, 48, 40, 20])
    cfg.det_head.in_channels = 20
    model = MODELS.build(cfg).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 96), mode="tensor").shape == (1, 2, 32, 48)
