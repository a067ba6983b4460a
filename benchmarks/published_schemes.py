"""The sparse updates that MCUNetV3 (Lin et al., 2022) was published with, as data.

Of github.com/mit-han-lab/tiny-training, commit 7bf8e05bbeebda76cbf2ea2dd596dedee7e3f343,
``compilation/mcu_ir_gen.py``.  The measured bytes are those of the paper's figure 10a: Tiny
Training Engine, sparse update and reordering, on an STM32F746.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MEASURED_KILOBYTES", "NETWORKS", "SCHEMES", "Scheme"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """What of a network is updated, beside its classifier.

    Attributes:
        network: name of the example.
        name: as published; the whole kilobytes of the authors' analytic rule, and "kb".
        biases: so many of the last convolutions have their biases updated.
        weights: convolution (from 0, in forward order) and the part of its weight's input
            channels that is updated; 0: none.
    """

    network: str
    name: str
    biases: int
    weights: tuple[tuple[int, float], ...]


def _scheme(
    network: str, name: str, biases: int, convolutions: tuple[int, ...], parts: tuple[float, ...]
) -> Scheme:
    return Scheme(network, name, biases, tuple(zip(convolutions, parts, strict=True)))


_MBV2 = (27, 30, 33, 36, 39, 42, 45, 48)
_PROXYLESS = (36, 39, 42, 45, 48, 51, 54, 57)

# fmt: off
SCHEMES: tuple[Scheme, ...] = (
    _scheme("mbv2-w0.35", "49kb", 16, (36, 39, 40, 41, 42, 45, 48, 49),
            (1, 1, 0, 1/4, 1/8, 1/8, 1/8, 1/8)),
    _scheme("mbv2-w0.35", "73kb", 20, (32, 33, 36, 39, 41, 42, 45, 48),
            (1/8, 1/2, 1/2, 1, 1/4, 1/8, 1/8, 1)),
    _scheme("mbv2-w0.35", "99kb", 25, _MBV2, (1, 1, 1, 1, 1, 1/8, 1/2, 1)),
    _scheme("mbv2-w0.35", "123kb", 31, _MBV2, (1, 1, 1, 1, 1, 1/2, 1, 1)),
    _scheme("mbv2-w0.35", "138kb", 34, _MBV2, (1, 1, 1, 1, 1, 1, 1, 1)),
    _scheme("proxyless-w0.3", "49kb", 21, (39, 42, 44, 45, 50, 51, 54, 57),
            (1/4, 1, 0, 1, 0, 1/8, 1/4, 1/4)),
    _scheme("proxyless-w0.3", "74kb", 28, (33, 36, 39, 42, 45, 51, 54, 57),
            (1/2, 1/4, 1, 1, 1, 1/2, 1/4, 1/2)),
    _scheme("proxyless-w0.3", "98kb", 25, _PROXYLESS, (1, 1/2, 1, 1, 1/4, 1/2, 1, 1)),
    _scheme("proxyless-w0.3", "120kb", 32, _PROXYLESS, (1, 1, 1, 1, 1/2, 1, 1, 1)),
    _scheme("proxyless-w0.3", "148kb", 45, _PROXYLESS, (1, 1, 1, 1, 1, 1, 1, 1)),
    _scheme("mcunet-5fps", "49kb", 20, (23, 24, 27, 30, 33, 39), (0, 1/4, 1/2, 1/2, 0, 0)),
    _scheme("mcunet-5fps", "74kb", 21, (21, 23, 24, 26, 27, 30), (1, 0, 1, 0, 1/2, 1)),
    _scheme("mcunet-5fps", "99kb", 22, (21, 24, 27, 30, 36, 39), (1, 1, 1, 1, 1/8, 1/4)),
    _scheme("mcunet-5fps", "124kb", 24, (21, 24, 27, 30, 33, 39), (1/4, 1, 1, 1, 1/2, 1/2)),
    _scheme("mcunet-5fps", "148kb", 23, (21, 24, 27, 30, 36, 39), (1, 1, 1, 1, 1, 1/2)),
)
# fmt: on

#: Example -> what builds it, in the order of the table.
NETWORKS = {
    "mbv2-w0.35": "examples.mcunet:mobilenet_v2_035",
    "proxyless-w0.3": "examples.mcunet:proxyless_03",
    "mcunet-5fps": "examples.mcunet:mcunet_5fps",
}

#: Peak SRAM that the authors measured; for which of the schemes they do not say.
MEASURED_KILOBYTES = {"mbv2-w0.35": 141, "proxyless-w0.3": 135, "mcunet-5fps": 173}
