"""The U-Net of ADM, EDM's choice for ImageNet, under the weight names of EDM's files.

Its notation is that of `equipoise.diffusion.song_unet`, with five differences: a block scales and shifts,

    h  = conv1(silu((1 + a) norm1(conv0(silu(norm0(x)))) + b)),                            [a, b] = affine(e),
    x' = skip(x) + h,                               and, where it attends, x'' = x' + attend(x'),

with a head for every 64 channels; all blocks of a level attend, in the decoder too; the label enters after the layers
of the embedding, e = silu(layer1(silu(layer0([cos(c f), sin(c f)]))) + W y); and f ends one step before 1/10000.

References:
    Diffusion models beat GANs on image synthesis (Dhariwal and Nichol, 2021), arXiv 2105.05233
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equipoise.diffusion.song_unet import (
    Block,
    Conv,
    GrowingConv,
    Linear,
    Norm,
    PositionalAngles,
    ShrinkingConv,
    grow,
    one_hot,
    resample_filter,
    shrink,
)

__all__ = ["AdmUNet"]

_TAPS = (1, 1)


class Resampling(nn.Module):
    """A change of the resolution, and of nothing else."""

    resample_filter: Tensor

    def __init__(self, change: Callable[[Tensor, Tensor, int], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.register_buffer("resample_filter", resample_filter(_TAPS))

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x, self.resample_filter, 0)


class AdmBlock(Block):
    """The block of the notation above."""

    gain = 1.0
    eps = 1e-5
    modulations = 2

    def modulate(self, h: Tensor, given: Tensor) -> Tensor:
        a, b = given.chunk(2, dim=1)
        return torch.addcmul(b, self.norm1(h), 1 + a)


class AdmUNet(nn.Module):
    """ADM's network.

    Arguments:
        size: height and width of the images.
        channels: of the images.
        labels: K, 0 for a network without labels.
        width: what `widths` multiplies; also how many numbers describe the noise level.
        widths: channels of each level, in multiples of `width`.
        embedding: length of e, in multiples of `width`.
        blocks: in each level of the encoder; the decoder has one more.
        attention: resolutions at which blocks attend.
    """

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        labels: int,
        width: int = 192,
        widths: Sequence[int] = (1, 2, 3, 4),
        embedding: int = 4,
        blocks: int = 3,
        attention: Sequence[int] = (32, 16, 8),
    ) -> None:
        super().__init__()
        length = embedding * width
        self.map_noise = PositionalAngles(width, last=width // 2)
        self.map_layer0 = Linear(width, length)
        self.map_layer1 = Linear(length, length)
        self.map_label = Linear(labels, length, bias=False) if labels else None

        def block(entering: int, out: int, attends: bool) -> AdmBlock:
            skip = Conv(entering, out, 1) if entering != out else None
            return AdmBlock(
                Conv(entering, out, 3), skip, length, heads=out // 64 if attends else 0
            )

        def resampling(
            width: int, conv: type[ShrinkingConv | GrowingConv], change: Callable[..., Tensor]
        ) -> AdmBlock:
            return AdmBlock(conv(width, width, 3, _TAPS), Resampling(change), length, heads=0)

        shrinking = partial(resampling, conv=ShrinkingConv, change=shrink)
        growing = partial(resampling, conv=GrowingConv, change=grow)
        levels = list(enumerate(widths))
        now = width * widths[0]
        kept = [now]
        self.enc = nn.ModuleDict({f"{size}x{size}_conv": Conv(channels, now, 3)})
        for level, multiple in levels:
            r = size >> level
            if level:
                self.enc[f"{r}x{r}_down"] = shrinking(now)
                kept.append(now)
            for i in range(blocks):
                self.enc[f"{r}x{r}_block{i}"] = block(now, multiple * width, r in attention)
                now = multiple * width
                kept.append(now)
        self.dec = nn.ModuleDict()
        for level, multiple in reversed(levels):
            r = size >> level
            if level == len(levels) - 1:
                self.dec[f"{r}x{r}_in0"] = block(now, now, attends=True)
                self.dec[f"{r}x{r}_in1"] = block(now, now, attends=False)
            else:
                self.dec[f"{r}x{r}_up"] = growing(now)
            for i in range(blocks + 1):
                out = multiple * width
                self.dec[f"{r}x{r}_block{i}"] = block(now + kept.pop(), out, r in attention)
                now = out
        self.out_norm = Norm(now, AdmBlock.eps)
        self.out_conv = Conv(now, channels, 3)

    def forward(self, x: Tensor, c: Tensor, label: Tensor) -> Tensor:
        """The network's raw output, with the shape of `x`.

        Arguments:
            x: with shape (B, C, H, W).
            c: ln(sigma) / 4, with shape (B,).
            label: int64 with shape (B,), -1 for none; without meaning for a network without labels.
        """
        angles = self.map_noise(c)
        e = self.map_layer1(F.silu(self.map_layer0(torch.cat([angles.cos(), angles.sin()], 1))))
        if self.map_label is not None:
            e = e + self.map_label(one_hot(label, self.map_label.in_features).to(e.dtype))
        e = F.silu(e)
        kept = []
        for layer in self.enc.values():
            x = layer(x, e) if isinstance(layer, Block) else layer(x)
            kept.append(x)
        for layer in self.dec.values():
            if x.shape[1] != layer.channels:
                x = torch.cat([x, kept.pop()], 1)
            x = layer(x, e)
        return self.out_conv(F.silu(self.out_norm(x)))
