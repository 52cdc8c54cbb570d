"""A compact class-conditional U-Net for images of 8x8 to 64x64 pixels: the network inside a preconditioned denoiser.

Level l has width * multipliers[l] channels on maps of 1 / (patch 2^l) of the image's size, rounded up. With GN group
normalisation, e an embedding of noise level and label, and (a, b) a linear map of e, a block is

    h = conv(SiLU(GN(x))),        x' = skip(x) + conv(dropout(SiLU((1 + a) GN(h) + b))),

followed, at the chosen sizes and in the middle, by one head of self-attention. The decoder mirrors the encoder block by
block, and each of its blocks also sees what the encoder's block gave.

References:
    Diffusion models beat GANs on image synthesis (Dhariwal and Nichol, 2021), arXiv 2105.05233
    Simple diffusion: end-to-end diffusion for high resolution images (Hoogeboom et al., 2023), arXiv 2301.11093
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equipoise.errors import EquipoiseError

__all__ = ["UNet"]

FREQUENCIES = 16


def _groups(channels: int) -> int:
    """Groups of about four channels, at most 32 of them."""
    most = min(32, max(1, channels // 4))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_groups(channels), channels)


def _zero(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """`layer`, silent until it is trained."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Attention(nn.Module):
    """Adds to each pixel what its query finds among the pixels of its image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = _zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        q, k, v = self.qkv(pixels)[:, None].chunk(3, -1)
        found = self.out(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + found.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block whose second normalisation is scaled and shifted by the embedding."""

    def __init__(
        self, channels: int, out: int, embedding: int, dropout: float, attention: bool
    ) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * out)
        self.norm2 = nn.GroupNorm(_groups(out), out, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _zero(nn.Conv2d(out, out, 3, padding=1))
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        self.attention = Attention(out) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        a, b = self.modulate(embedding)[:, :, None, None].chunk(2, 1)
        h = F.silu(torch.addcmul(b, self.norm2(h), 1 + a))
        return self.attention(self.skip(x) + self.conv2(self.dropout(h)))


class UNet(nn.Module):
    """Maps images, a number that tells their noise, and labels, to images; gives zero until it is trained.

    Arguments:
        shape: (C, H, W) of the images.
        classes: number of labels K; there is one more embedding for images without one.
        width: channels at the first level.
        multipliers: of the width, one for each level; every level has half the resolution of the one before.
        blocks: in each level, on the way down and again on the way up.
        attention: sizes of feature maps (the smaller side) at which all blocks attend; the middle always does.
        dropout: share of activations dropped in training.
        patch: side of the squares of pixels that become channels at the entrance and pixels again at the exit; 2 or
            more makes images of 28x28 and larger affordable on a CPU.

    Raises:
        EquipoiseError: for settings out of range, sizes that `patch` does not divide, or attention at a size that no
            feature map has.
    """

    frequencies: Tensor

    def __init__(
        self,
        *,
        shape: Sequence[int],
        classes: int,
        width: int = 16,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        attention: Sequence[int] = (),
        dropout: float = 0.0,
        patch: int = 1,
    ) -> None:
        super().__init__()
        channels, height, across = shape
        if min(width, blocks, patch, len(multipliers), *multipliers) < 1 or not 0 <= dropout < 1:
            raise EquipoiseError(
                f"Cannot build a U-Net with width={width}, multipliers={tuple(multipliers)}, blocks={blocks}, "
                f"patch={patch} and dropout={dropout}: all are at least 1, but dropout is a share below 1."
            )
        if height % patch or across % patch:
            raise EquipoiseError(
                f"Cannot build a U-Net with patch={patch} for images of {height}x{across} pixels: it must divide both. "
                "Choose another patch or resize the images."
            )
        self.settings = {
            "shape": list(shape),
            "classes": classes,
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "attention": list(attention),
            "dropout": dropout,
            "patch": patch,
        }
        self.classes, self.patch = classes, patch
        embedding = 4 * width
        frequencies = 2 ** torch.linspace(-1, 5, FREQUENCIES)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.noise = nn.Linear(2 * FREQUENCIES, embedding)
        self.label = nn.Embedding(classes + 1, embedding)
        self.embed = nn.Linear(embedding, embedding)

        self.stem = nn.Conv2d(channels * patch**2, width, 3, padding=1)
        now, size, kept = width, min(height, across) // patch, []
        self.encoder, self.shrink, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        sizes = []
        for level, multiplier in enumerate(multipliers):
            if level:
                self.shrink.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                size = (size + 1) // 2
            stage = nn.ModuleList()
            for _ in range(blocks):
                out = width * multiplier
                stage.append(Block(now, out, embedding, dropout, size in attention))
                now = out
                kept.append(now)
            self.encoder.append(stage)
            sizes.append(size)
        self.middle = nn.ModuleList(
            [Block(now, now, embedding, dropout, attends) for attends in (True, False)]
        )
        for multiplier, size in zip(reversed(multipliers), reversed(sizes), strict=True):
            stage = nn.ModuleList()
            for _ in range(blocks):
                out = width * multiplier
                stage.append(Block(now + kept.pop(), out, embedding, dropout, size in attention))
                now = out
            self.decoder.append(stage)
        if not set(attention) <= set(sizes):
            raise EquipoiseError(
                f"Cannot build a U-Net that attends at {tuple(attention)}: its feature maps have the sizes "
                f"{tuple(sizes)}. Choose from these."
            )
        self.norm = _norm(now)
        self.out = _zero(nn.Conv2d(now, channels * patch**2, 3, padding=1))

    def forward(self, x: Tensor, noise: Tensor, label: Tensor) -> Tensor:
        """An image for each image.

        Arguments:
            x: with shape (B, C, H, W), of about unit variance.
            noise: with shape (B,), of the order of 1.
            label: int64 with shape (B,), -1 for none.
        """
        angle = noise[:, None] * self.frequencies
        e = self.noise(torch.cat([angle.cos(), angle.sin()], 1))
        e = e + self.label(label.remainder(self.classes + 1))
        e = F.silu(self.embed(F.silu(e)))

        # With channels innermost in memory, convolutions of so few of them take half the time on a CPU. Of a single
        # channel nobody can tell where it lies, hence only after the stem.
        x = self.stem(F.pixel_unshuffle(x, self.patch))
        x = x.contiguous(memory_format=torch.channels_last)
        kept = []
        for level, stage in enumerate(self.encoder):
            if level:
                x = self.shrink[level - 1](x)
            for block in stage.children():
                x = block(x, e)
                kept.append(x)
        for block in self.middle:
            x = block(x, e)
        for stage in self.decoder:
            x = F.interpolate(x, size=kept[-1].shape[2:])
            for block in stage.children():
                x = block(torch.cat([x, kept.pop()], 1), e)
        return F.pixel_shuffle(self.out(F.silu(self.norm(x))), self.patch)
