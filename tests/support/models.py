"""Small models of many kinds, with random weights that give signals of sound size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.ir.graph import LossKind, LossTarget

__all__ = ["COUPLED", "DROPOUT", "MODELS", "TRANSFORMERS", "Case", "build", "randomise"]


@dataclass(frozen=True, slots=True)
class Case:
    """A module with example inputs, and the loss that suits it."""

    build: Callable[[], tuple[nn.Module, dict[str, Tensor]]]
    loss: LossKind = "cross_entropy"
    target: LossTarget = "labels"
    #: Number of classes where labels are drawn.
    classes: int = 10


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a random value of sound size."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.data = values * (1.4 / fan_in**0.5)
        elif name.endswith("weight") or "gamma" in name or "layer_scale" in name:
            parameter.data = 1 + 0.2 * values
        else:
            parameter.data = 0.2 * values
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module


def build(case: Case, batch: int = 2, double: bool = True) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the module in eval mode and example inputs of a batch."""
    torch.manual_seed(0)
    module, inputs = case.build()
    module = randomise(module).eval()
    generator = torch.Generator().manual_seed(1)
    drawn = {}
    for name, value in inputs.items():
        if value.dtype.is_floating_point:
            drawn[name] = torch.randn((batch, *value.shape[1:]), generator=generator)
        else:
            drawn[name] = torch.randint(0, 20, (batch, *value.shape[1:]), generator=generator)
    if double:
        module = module.double()
        drawn = {n: v.double() if v.dtype.is_floating_point else v for n, v in drawn.items()}
    return module, drawn


def image(size: int = 16, channels: int = 3) -> dict[str, Tensor]:
    return {"x": torch.zeros(2, channels, size, size)}


def tokens(length: int = 6) -> dict[str, Tensor]:
    return {"input_ids": torch.zeros(2, length, dtype=torch.int64)}


def conv_bn(i: int, o: int, k: int = 3, act: Any = nn.ReLU, **options: Any) -> list[nn.Module]:
    return [nn.Conv2d(i, o, k, padding=k // 2, bias=False, **options), nn.BatchNorm2d(o), act()]


def plain_cnn() -> Any:
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3),
            nn.LeakyReLU(0.1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(108, 10),
        ),
        image(),
    )  # fmt: skip


def bn_cnn() -> Any:
    return (
        nn.Sequential(
            *conv_bn(3, 8), *conv_bn(8, 16, stride=2, act=nn.SiLU), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.GELU(), nn.Linear(12, 10),
        ),
        image(),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if stride != 1 or width != out:
            self.down = nn.Sequential(
                nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.down is None else self.down(x)
        out: Tensor = self.relu(y)
        return out


def resnet() -> Any:
    return (
        nn.Sequential(
            *conv_bn(3, 8), Residual(8, 8, 1), Residual(8, 12, 2), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(12, 10),
        ),
        image(),
    )  # fmt: skip


class Inverted(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        wide = 4 * i
        self.layers = nn.Sequential(
            *conv_bn(i, wide, 1, nn.ReLU6),
            *conv_bn(wide, wide, 3, nn.ReLU6, stride=stride, groups=wide),
            nn.Conv2d(wide, o, 1, bias=False), nn.BatchNorm2d(o),
        )  # fmt: skip
        self.residual = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def mobilenet() -> Any:
    return (
        nn.Sequential(
            *conv_bn(3, 8, act=nn.ReLU6, stride=2), Inverted(8, 8, 1), Inverted(8, 12, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
        ),
        image(),
    )  # fmt: skip


class Dense(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, 2 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


def densenet() -> Any:
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), Dense(8, 4), Dense(12, 4),
            nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(16, 10),
        ),
        image(12),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.down1 = nn.Sequential(*conv_bn(3, 8))
        self.down2 = nn.Sequential(*conv_bn(8, 16))
        self.up: nn.Module
        if transposed:
            self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 2, stride=2), nn.BatchNorm2d(8))
        else:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(16, 8, 1)
            )
        self.last = nn.Sequential(*conv_bn(16, 8), nn.Conv2d(8, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        y: Tensor = self.last(torch.cat([a, self.up(b)], 1))
        return y


class Normed(nn.Module):
    """Group and instance norm, constant padding, a scalar parameter, a tensor sliced and set."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, dilation=2, bias=True)
        self.group = nn.GroupNorm(2, 8)
        self.grouped = nn.Conv2d(8, 8, 3, groups=4)
        self.instance = nn.InstanceNorm2d(8)
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.group(self.conv(F.pad(x, (1, 0, 1, 0)))))
        x = self.instance(torch.tanh(self.grouped(x))) * self.scale
        x = x.clone()
        x[:, 0] = x[:, 1] * 2
        y: Tensor = self.head(x.amax((2, 3)))
        return y


def autoencoder() -> Any:
    return (
        nn.Sequential(
            nn.Linear(24, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4), nn.Sigmoid(),
            nn.Linear(4, 16), nn.ELU(), nn.Linear(16, 24),
        ),
        {"x": torch.zeros(2, 24)},
    )  # fmt: skip


class Encoder(nn.Module):
    """torch's own encoder layers, a class token and position embeddings."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(torch.zeros(1, 7, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, 10)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y: Tensor = self.head(self.dropout(self.encoder(x)[:, 0]))
        return y


class Causal(nn.Module):
    """A causal transformer whose head is tied to its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.position = nn.Embedding(6, 16)
        self.norm1 = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48, bias=False)
        self.out = nn.Linear(16, 16)
        self.norm2 = nn.LayerNorm(16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU("tanh"), nn.Linear(32, 16))
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        n, t = input_ids.shape
        x = self.embedding(input_ids) + self.position(torch.arange(t))
        q, k, v = (
            part.view(n, t, 2, 8).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, 16))
        x = x + self.mlp(self.norm2(x))
        logits: Tensor = self.head(x)
        return logits


class Frozen(nn.Module):
    """A model of which only the end is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_bn(3, 8), *conv_bn(8, 8))
        self.body.requires_grad_(False)
        self.tail = nn.Conv2d(8, 8, 3)
        assert self.tail.bias is not None
        self.tail.weight.requires_grad_(False)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(F.relu(self.tail(self.body(x))).mean((2, 3)))
        return y


class Dropped(nn.Module):
    """Dropout of elements and of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.drop2d = nn.Dropout2d(0.3)
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop2d(F.relu(self.norm(self.conv(x)))).mean((2, 3))
        y: Tensor = self.head(self.drop(x))
        return y


class Coupled(nn.Module):
    """Subtracts the mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)
        self.b = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y: Tensor = self.b(torch.tanh(x - x.mean(0, keepdim=True)))
        return y


MODELS: dict[str, Case] = {
    "plain_cnn": Case(plain_cnn),
    "bn_cnn": Case(bn_cnn),
    "resnet": Case(resnet),
    "mobilenet": Case(mobilenet),
    "densenet": Case(densenet),
    "unet": Case(lambda: (UNet(True), image(8)), classes=4),
    "unet_upsample": Case(lambda: (UNet(False), image(8)), classes=4),
    "normed": Case(lambda: (Normed(), image())),
    "autoencoder": Case(autoencoder, loss="mse", target="input"),
    "encoder": Case(lambda: (Encoder(), tokens())),
    "causal": Case(lambda: (Causal(), tokens()), classes=20),
    "frozen": Case(lambda: (Frozen(), image(8))),
}
DROPOUT: dict[str, Case] = {
    "dropped": Case(lambda: (Dropped(), image(8))),
    "encoder_dropout": Case(lambda: (Encoder(0.2), tokens())),
}
COUPLED = Case(lambda: (Coupled(), {"x": torch.zeros(2, 6)}))


def _transformers(name: str, **options: Any) -> Callable[[], tuple[nn.Module, dict[str, Tensor]]]:
    def make() -> tuple[nn.Module, dict[str, Tensor]]:
        import transformers

        kind = options.pop("kind", "ForImageClassification")
        size = options.pop("pixels", 32)
        config = getattr(transformers, f"{name}Config")(num_labels=10, **options)
        options.update(kind=kind, pixels=size)
        module = getattr(transformers, f"{name}{kind}")(config)
        inputs = (
            tokens()
            if module.main_input_name != "pixel_values"
            else {"pixel_values": torch.zeros(2, 3, size, size)}
        )
        return module, inputs

    return make


#: A dropout that drops nothing in practice: its code runs, and its result can be compared.
RARE = 1e-12

TRANSFORMERS: dict[str, Case] = {
    "mobilevit": Case(_transformers(
        "MobileViT", image_size=32, pixels=32, hidden_sizes=[8, 12, 16],
        neck_hidden_sizes=[8, 8, 12, 16, 20, 24, 32], num_attention_heads=2, patch_size=1,
        hidden_dropout_prob=RARE, classifier_dropout_prob=RARE,
    )),
    "efficientnet": Case(_transformers(
        "EfficientNet", image_size=32, width_coefficient=0.25, depth_coefficient=0.25,
        hidden_dim=320, dropout_rate=RARE, drop_connect_rate=0.0,
    )),
    "convnext": Case(_transformers("ConvNext", hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 2, 1])),
    "regnet": Case(_transformers(
        "RegNet", embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1],
        groups_width=4, layer_type="y",
    )),
    "mobilenetv2": Case(_transformers(
        "MobileNetV2", image_size=32, depth_multiplier=0.25, classifier_dropout_prob=RARE,
    )),
    "distilbert": Case(_transformers(
        "DistilBert", kind="ForSequenceClassification", vocab_size=20, dim=16, hidden_dim=32,
        n_layers=2, n_heads=2, max_position_embeddings=16, dropout=RARE, attention_dropout=RARE,
        seq_classif_dropout=RARE,
    )),
    "gpt2": Case(_transformers(
        "GPT2", kind="LMHeadModel", vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=16,
        resid_pdrop=RARE, embd_pdrop=RARE, attn_pdrop=RARE, use_cache=False,
    ), classes=20),
    "vit": Case(_transformers(
        "ViT", image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32,
        hidden_dropout_prob=RARE, attention_probs_dropout_prob=RARE,
    )),
}  # fmt: skip
