"""The U-Nets of score-based diffusion, DDPM++ and NCSN++, under the weight names of EDM's files.

Notation. Each level halves the resolution of the one before. A block, given features x and an embedding e of noise
level and label, computes

    h  = conv1(silu(norm1(conv0(silu(norm0(x))) + affine(e)))),
    x' = (skip(x) + h) / sqrt(2),                   and, where it attends, x'' = (x' + attend(x')) / sqrt(2).

With c = ln(sigma) / 4, a label y (one-hot of length K, or zeros) and frequencies f,

    u = [sin(c f), cos(c f)] + W (sqrt(K) y) + b,                             e = silu(layer1(silu(layer0(u))));

f falls geometrically from 1 to 1/10000 in DDPM++ and is drawn once from a normal distribution in NCSN++, which also
carries the image itself down beside the encoder and adds it at every level. These networks are for inference: there is
no dropout, and nothing for the augmentation labels with which EDM trains and which it then leaves out.

References:
    Score-based generative modeling through stochastic differential equations (Song et al., 2021), arXiv 2011.13456
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), arXiv 2206.00364
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Block",
    "Conv",
    "FourierAngles",
    "GrowingConv",
    "Linear",
    "Norm",
    "PositionalAngles",
    "ShrinkingConv",
    "SongUNet",
    "grow",
    "one_hot",
    "resample_filter",
    "shrink",
]

_HALVED = math.sqrt(0.5)


def resample_filter(taps: Sequence[float]) -> Tensor:
    """The separable filter f f^T / (sum f)^2, with shape (1, 1, n, n)."""
    f = torch.tensor(taps, dtype=torch.float32)
    return (f.outer(f) / f.sum() ** 2)[None, None]


def one_hot(label: Tensor, labels: int) -> Tensor:
    """Booleans with shape (B, K); a row -1 agrees with no label."""
    return label[:, None] == torch.arange(labels, device=label.device)


def shrink(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Every second pixel of the filtered features."""
    channels = x.shape[1]
    kernel = kernel.expand(channels, -1, -1, -1)
    return F.conv2d(x, kernel, stride=2, padding=padding, groups=channels)


def grow(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """The features with zeros between them, filtered, and four times as large for that."""
    channels = x.shape[1]
    kernel = (4 * kernel).expand(channels, -1, -1, -1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=padding, groups=channels)


class Linear(nn.Linear):
    """A linear layer that treats each row on its own."""

    def forward(self, input: Tensor) -> Tensor:
        # Taken together, 8 rows and 16 rows of some hundred numbers round differently on a CPU.
        weight = self.weight.T.expand(len(input), -1, -1)
        result = torch.bmm(input[:, None], weight)[:, 0]
        return result if self.bias is None else result + self.bias


class Conv(nn.Conv2d):
    """A convolution that keeps the resolution."""

    def __init__(self, channels: int, out: int, size: int) -> None:
        super().__init__(channels, out, size, padding=size // 2)

    def forward(self, input: Tensor) -> Tensor:
        if self.kernel_size != (1, 1) or self.bias is None:
            return super().forward(input)
        # As a convolution it would round differently in batches of 8 and 16; here each image is on its own.
        weight = self.weight.flatten(1).expand(len(input), -1, -1)
        pixels = torch.baddbmm(self.bias[:, None], weight, input.flatten(2))
        return pixels.unflatten(2, input.shape[2:])


class ResamplingConv(Conv):
    """A convolution that changes the resolution as well."""

    resample_filter: Tensor

    def __init__(self, channels: int, out: int, size: int, taps: Sequence[float]) -> None:
        super().__init__(channels, out, size)
        self.register_buffer("resample_filter", resample_filter(taps))
        self.reach = (len(taps) - 1) // 2


class ShrinkingConv(ResamplingConv):
    """Half the resolution, then the convolution."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(shrink(input, self.resample_filter, self.reach))


class GrowingConv(ResamplingConv):
    """Twice the resolution, then the convolution."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(grow(input, self.resample_filter, self.reach))


class ImageConv(ResamplingConv):
    """The convolution, then half the resolution: what carries NCSN++'s image down.

    Its borders differ from those of `ShrinkingConv`: the image is padded once, for the filter as well.
    """

    def forward(self, input: Tensor) -> Tensor:
        wide = self.kernel_size[0] // 2 + self.reach
        h = F.conv2d(input, self.weight, self.bias, padding=wide)
        return shrink(h, self.resample_filter, 0)


class Norm(nn.GroupNorm):
    """Group normalisation in up to 32 groups of at least 4 channels."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(min(32, channels // 4), channels, eps)


class Block(nn.Module):
    """The residual block of the notation above.

    Arguments:
        conv0: its first convolution, 3x3.
        skip: takes the features to the shape that `conv0` gives them; None where that is their shape.
        embedding: length of e.
        heads: of its attention; 0 for none.
    """

    gain = _HALVED
    eps = 1e-6
    modulations = 1  # numbers that the embedding gives for each channel

    def __init__(
        self, conv0: nn.Conv2d, skip: nn.Module | None, embedding: int, heads: int
    ) -> None:
        super().__init__()
        self.channels, self.heads = conv0.in_channels, heads
        out = conv0.out_channels
        self.norm0 = Norm(self.channels, self.eps)
        self.conv0 = conv0
        self.affine = Linear(embedding, out * self.modulations)
        self.norm1 = Norm(out, self.eps)
        self.conv1 = Conv(out, out, 3)
        self.skip = skip
        if heads:
            self.norm2 = Norm(out, self.eps)
            self.qkv = Conv(out, 3 * out, 1)
            self.proj = Conv(out, out, 1)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.modulate(self.conv0(F.silu(self.norm0(x))), self.affine(e)[:, :, None, None])
        h = self.conv1(F.silu(h))
        x = self.gain * (h + (x if self.skip is None else self.skip(x)))
        return self.gain * (x + self.attend(x)) if self.heads else x

    def modulate(self, h: Tensor, given: Tensor) -> Tensor:
        return self.norm1(h + given)

    def attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # Query, key and value lie beside each other, channel by channel.
        shape = (batch, self.heads, channels // self.heads, 3, height * width)
        q, k, v = (part.mT for part in self.qkv(self.norm2(x)).reshape(shape).unbind(3))
        return self.proj(F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape))


class PositionalAngles(nn.Module):
    """c f with f_i = 10000^(-i / last), i < width / 2."""

    def __init__(self, width: int, last: int) -> None:
        super().__init__()
        self.width, self.last = width, last

    def forward(self, c: Tensor) -> Tensor:
        i = torch.arange(self.width // 2, dtype=torch.float32, device=c.device)
        return c[:, None] * (1 / 10000) ** (i / self.last)

    def extra_repr(self) -> str:
        return f"{self.width}, {self.last}"


class FourierAngles(nn.Module):
    """2 pi c f with f normal."""

    freqs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("freqs", 16 * torch.randn(width // 2))

    def forward(self, c: Tensor) -> Tensor:
        return c[:, None] * (2 * math.pi * self.freqs)


class SongUNet(nn.Module):
    """DDPM++ with `PositionalAngles`, NCSN++ with `FourierAngles` and `image_beside`.

    Arguments:
        size: height and width of the images.
        channels: of the images.
        labels: K, 0 for a network without labels.
        angles: c times the frequencies f, as many as half its `width`.
        width: channels of the first convolution.
        widths: channels of each level, in multiples of `width`.
        embedding: length of e, in multiples of `width`.
        blocks: in each level of the encoder; the decoder has one more.
        attention: resolutions at which blocks attend.
        taps: f of the filter that changes the resolution.
        image_beside: whether the image is carried down beside the encoder.
    """

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        labels: int,
        angles: PositionalAngles | FourierAngles,
        width: int = 128,
        widths: Sequence[int] = (1, 2, 2, 2),
        embedding: int = 4,
        blocks: int = 4,
        attention: Sequence[int] = (16,),
        taps: Sequence[float] = (1, 1),
        image_beside: bool = False,
    ) -> None:
        super().__init__()
        length = embedding * width
        self.map_noise = angles
        self.map_label = Linear(labels, angles.width) if labels else None
        self.map_layer0 = Linear(angles.width, length)
        self.map_layer1 = Linear(length, length)

        def block(
            entering: int,
            out: int,
            attends: bool = False,
            conv: Callable[[int, int, int], nn.Conv2d] = Conv,
        ) -> Block:
            changes = entering != out or conv is not Conv
            skip = conv(entering, out, 1) if changes else None
            return Block(conv(entering, out, 3), skip, length, heads=int(attends))

        shrinking, growing = partial(ShrinkingConv, taps=taps), partial(GrowingConv, taps=taps)
        now, beside, levels = width, channels, list(enumerate(widths))
        kept = [width]
        self.enc = nn.ModuleDict({f"{size}x{size}_conv": Conv(channels, width, 3)})
        for level, multiple in levels:
            r = size >> level
            if level:
                self.enc[f"{r}x{r}_down"] = block(now, now, conv=shrinking)
                kept.append(now)
                if image_beside:
                    self.enc[f"{r}x{r}_aux_residual"] = ImageConv(beside, now, 3, taps)
                    beside = now
            for i in range(blocks):
                self.enc[f"{r}x{r}_block{i}"] = block(now, multiple * width, r in attention)
                now = multiple * width
                kept.append(now)
        self.dec = nn.ModuleDict()
        for level, multiple in reversed(levels):
            r = size >> level
            if level == len(levels) - 1:
                self.dec[f"{r}x{r}_in0"] = block(now, now, attends=True)
                self.dec[f"{r}x{r}_in1"] = block(now, now)
            else:
                self.dec[f"{r}x{r}_up"] = block(now, now, conv=growing)
            for i in range(blocks + 1):
                attends = i == blocks and r in attention
                self.dec[f"{r}x{r}_block{i}"] = block(now + kept.pop(), multiple * width, attends)
                now = multiple * width
        self.dec[f"{size}x{size}_aux_norm"] = Norm(now, Block.eps)
        self.dec[f"{size}x{size}_aux_conv"] = Conv(now, channels, 3)

    def forward(self, x: Tensor, c: Tensor, label: Tensor) -> Tensor:
        """The network's raw output, with the shape of `x`.

        Arguments:
            x: with shape (B, C, H, W).
            c: ln(sigma) / 4, with shape (B,).
            label: int64 with shape (B,), -1 for none; without meaning for a network without labels.
        """
        angles = self.map_noise(c)
        u = torch.cat([angles.sin(), angles.cos()], 1)
        if self.map_label is not None:
            y = one_hot(label, self.map_label.in_features)
            u = u + self.map_label(math.sqrt(y.shape[1]) * y.to(u.dtype))
        e = F.silu(self.map_layer1(F.silu(self.map_layer0(u))))
        kept, beside = [], x
        for layer in self.enc.values():
            if isinstance(layer, ImageConv):
                kept.pop()
                x = beside = _HALVED * (x + layer(beside))
            else:
                x = layer(x, e) if isinstance(layer, Block) else layer(x)
            kept.append(x)
        *blocks, norm, conv = self.dec.values()
        for layer in blocks:
            if x.shape[1] != layer.channels:
                x = torch.cat([x, kept.pop()], 1)
            x = layer(x, e)
        return conv(F.silu(norm(x)))
