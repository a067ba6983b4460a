"""All examples with the settings that ``make examples`` and the benchmarks use."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.ir.graph import LossKind, LossTarget

__all__ = ["EXAMPLES", "Example", "example"]


@dataclass(frozen=True, slots=True)
class Example:
    """One model and how it is planned by default."""

    name: str
    #: ``package.module:function``; returns (module, example inputs).
    factory: str
    batch: int = 2
    loss: LossKind = "cross_entropy"
    target: LossTarget = "labels"
    #: Budget = persistent bytes + this fraction of (baseline bytes - persistent bytes).
    budget_fraction: float = 0.6


EXAMPLES: tuple[Example, ...] = (
    Example("resnet8", "examples.mlperf_tiny:resnet8"),
    Example("ds-cnn", "examples.mlperf_tiny:ds_cnn"),
    Example("mobilenet-v1-0.25", "examples.mlperf_tiny:mobilenet_v1"),
    Example("autoencoder", "examples.mlperf_tiny:autoencoder", loss="mse", target="input"),
    Example("mcunet-5fps", "examples.mcunet:mcunet_5fps"),
    Example("mbv2-w0.35", "examples.mcunet:mobilenet_v2_035"),
    Example("proxyless-w0.3", "examples.mcunet:proxyless_03"),
    Example("mobilenet-v2", "examples.mobilenet_v2:mobilenet_v2"),
    Example("resnet18", "examples.resnet:resnet18"),
    Example("resnet50", "examples.resnet:resnet50"),
    Example("vgg11", "examples.vgg:vgg11"),
    Example("densenet121", "examples.densenet:densenet121"),
    Example("unet", "examples.unet:unet"),
    Example("bert-mini", "examples.bert:bert_mini"),
    Example("causal-transformer", "examples.causal_transformer:causal_transformer"),
)


def example(name: str) -> Example:
    """Return the example of this name.

    Raises:
        KeyError: there is none.
    """
    return {entry.name: entry for entry in EXAMPLES}[name]
