"""The residual networks of ImageNet, under the parameter names that published weights use.

Notation. A stem (7x7 convolution, stride 2, then 3x3 maximum, stride 2) is followed by four stages of blocks
x -> relu(s(x) + h(x)); stage k = 0, ..., 3 has 64 2^k channels and, for k > 0, stride 2 in its first block. s is the
identity, or a 1x1 convolution where the shape changes. With depth 18 or 34, h is two 3x3 convolutions; with depth 50 it
is 1x1, 3x3, 1x1, of which the last has four times the channels and the 3x3 has the stride, as in nearly all published
weights (the paper has it in the first 1x1). `width` multiplies the channels of the inner two. Every convolution is
followed by batch normalisation, with running statistics in a classifier; the mean over places goes to a linear layer.

Names and shapes of all weights are those of torchvision's resnet18, resnet34, resnet50 and wide_resnet50_2.

References:
    Deep residual learning for image recognition (He et al., 2015), https://arxiv.org/abs/1512.03385
    Wide residual networks (Zagoruyko and Komodakis, 2016), https://arxiv.org/abs/1605.07146
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from equipoise.errors import EquipoiseError

__all__ = ["BLOCKS", "ResNet"]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Blocks in each stage, by depth."""

BOTTLENECK = 50
"""From this depth on a block has three convolutions."""


class Shortcut(nn.Module):
    """What the two kinds of block share: s(x)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.downsample = (
            nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))
            if stride > 1 or channels != out
            else None
        )

    def shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class Basic(Shortcut):
    """Two 3x3 convolutions."""

    def __init__(self, channels: int, inner: int, out: int, stride: int) -> None:
        super().__init__(channels, out, stride)
        self.conv1, self.bn1 = _conv(channels, inner, 3, stride), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = _conv(inner, out, 3), nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class Bottleneck(Shortcut):
    """1x1, 3x3 and 1x1 convolutions."""

    def __init__(self, channels: int, inner: int, out: int, stride: int) -> None:
        super().__init__(channels, out, stride)
        self.conv1, self.bn1 = _conv(channels, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = _conv(inner, inner, 3, stride), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = _conv(inner, out, 1), nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(h)) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network for images of about 224x224 pixels.

    Arguments:
        shape: (C, H, W) of the images; any H and W do.
        classes: number of logits K.
        depth: 18, 34 or 50.
        width: 1, or a whole number more for a wide network of depth 50.

    Raises:
        EquipoiseError: for another depth or width.
    """

    def __init__(
        self, *, shape: Sequence[int], classes: int, depth: int = 18, width: int = 1
    ) -> None:
        super().__init__()
        deep = depth >= BOTTLENECK
        if depth not in BLOCKS or width < 1 or (width > 1 and not deep):
            raise EquipoiseError(
                f"Cannot build a ResNet of depth {depth} and width {width}: the depth is 18, 34 or 50, and only with "
                "50 may the width be more than 1."
            )
        self.settings = {
            "shape": list(shape),
            "classes": classes,
            "depth": depth,
            "width": width,
        }
        self.conv1, self.bn1 = _conv(shape[0], 64, 7, 2), nn.BatchNorm2d(64)
        channels = 64
        for stage, blocks in enumerate(BLOCKS[depth]):
            planes, layers = 64 * 2**stage, []
            out = 4 * planes if deep else planes
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                kind = Bottleneck if deep else Basic
                layers.append(kind(channels, planes * width, out, stride))
                channels = out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits with shape (B, K) of images with shape (B, C, H, W)."""
        h = F.relu(self.bn1(self.conv1(images)))
        h = F.max_pool2d(h, 3, stride=2, padding=1)
        for stage in range(1, 5):
            h = self.get_submodule(f"layer{stage}")(h)
        return self.fc(h.mean((2, 3)))


def _conv(channels: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
