"""scikit-learn's digits, enlarged, and who sees which of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

__all__ = [
    "ADAPTATION_IMAGES",
    "CLASSES",
    "IMAGE_SIZE",
    "OLD_CLASSES",
    "Digits",
    "Split",
    "digits",
    "order",
    "split",
]

CLASSES = 10
#: Classes below this are known before the adaptation; the others are held back until then.
OLD_CLASSES = 5
#: Images of 8x8 are enlarged to this many rows and columns.
IMAGE_SIZE = 32
#: The adaptation sees so many of each class.
ADAPTATION_IMAGES = 60

#: Parts of each class; the rest is for the test.
_TRAINING, _VALIDATION = 0.6, 0.15


@dataclass(frozen=True, slots=True)
class Digits:
    """All images and their labels.

    Attributes:
        images: (1797, 1, IMAGE_SIZE, IMAGE_SIZE), float32 in [-1, 1].
        labels: (1797,), int64 from 0 to 9.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def of(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and labels by their indices."""
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of images; those of validation and test are in no other part.

    Attributes:
        pretraining: of old classes.
        adaptation: of all classes; those of old classes were in the pre-training, too.
        validation: of all classes: learning rates are chosen by these.
        test: of all classes: reported accuracies are of these.
    """

    pretraining: torch.Tensor
    adaptation: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor


def digits() -> Digits:
    """Return the data set that ships with scikit-learn, enlarged bilinearly."""
    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    size = (IMAGE_SIZE, IMAGE_SIZE)
    images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return Digits(images, torch.tensor(raw.target, dtype=torch.int64))


def split(labels: torch.Tensor, seed: int) -> Split:
    """Divide the images, class by class."""
    generator = torch.Generator().manual_seed(seed)
    pretraining, adaptation, validation, test = ([] for _ in range(4))
    for label in range(CLASSES):
        indices = torch.nonzero(labels == label).flatten()
        indices = indices[torch.randperm(len(indices), generator=generator)]
        first, second = (int(len(indices) * part) for part in (_TRAINING, _TRAINING + _VALIDATION))
        if label < OLD_CLASSES:
            pretraining.append(indices[:first])
        adaptation.append(indices[: min(first, ADAPTATION_IMAGES)])
        validation.append(indices[first:second])
        test.append(indices[second:])
    return Split(*(torch.cat(part) for part in (pretraining, adaptation, validation, test)))


def order(indices: torch.Tensor, epochs: int, seed: int) -> list[int]:
    """Return the images of an adaptation one after the other, shuffled anew in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = [indices[torch.randperm(len(indices), generator=generator)] for _ in range(epochs)]
    return [int(index) for index in torch.cat(shuffled)]
