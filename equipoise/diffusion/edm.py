"""Denoisers from the files of NVlabs/edm.

Such a file holds one network F, which `equipoise.diffusion.preconditioned` makes a denoiser. NVIDIA trained its
conditional networks without ever dropping the label, so they know nothing of images without one: guidance needs the
unconditional network beside the conditional one.

NVIDIA publishes code and weights of EDM under CC BY-NC-SA 4.0, not for commercial use. Users bring the files; this
package holds none of the code.

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), arXiv 2206.00364
"""

import contextlib
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.diffusion.adm_unet import AdmUNet
from equipoise.diffusion.denoiser import UNCONDITIONAL, Denoiser
from equipoise.diffusion.edm_pickles import (
    ForeignNet,
    load_converted,
    read_pickle,
    save_converted,
)
from equipoise.diffusion.preconditioned import Preconditioned
from equipoise.diffusion.song_unet import FourierAngles, PositionalAngles, SongUNet
from equipoise.errors import EquipoiseError

__all__ = ["Paired", "load_edm"]

MOST_LABELS = 100_000

LICENCE = "CC BY-NC-SA 4.0"

_CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

_LEFT_OUT = {
    # The state of a module, and what only training and sampling use.
    *("training", "dropout", "augment_dim", "label_dropout"),
    *("use_fp16", "sigma_min", "sigma_max"),
}


class Paired(Denoiser):
    """A conditional and an unconditional denoiser as one: rows without a label go to the second.

    Arguments:
        conditional: gives the pair its shape, classes and scale.
        unconditional: for the same images.
        name, facts: as every denoiser has them.
    """

    def __init__(
        self,
        conditional: Denoiser,
        unconditional: Denoiser,
        *,
        name: str,
        facts: Mapping[str, Any],
    ) -> None:
        super().__init__(
            shape=conditional.shape,
            classes=conditional.classes,
            scale=conditional.scale,
            name=name,
            facts=facts,
        )
        self.labelled, self.unlabelled = conditional, unconditional

    def denoise(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        result = torch.empty_like(x)
        free = label == UNCONDITIONAL
        for part, rows in ((self.labelled, ~free), (self.unlabelled, free)):
            if rows.any():
                result[rows] = part.denoise(x[rows], sigma[rows], label[rows])
        return result


def load_edm(
    path: Path, unconditional: Path | None = None, *, cache: Path | None = None
) -> Denoiser:
    """The denoiser of one EDM pickle, or of a conditional and an unconditional one, on the CPU.

    The pickles are read without running anything in them, converted once to safetensors, and from then on only hashed.
    The licence goes to stderr and into the denoiser's facts.

    Arguments:
        path: a conditional network, or an unconditional one alone.
        unconditional: a network without labels for rows without one; without it a conditional network refuses them,
            unless it was trained with label dropout.
        cache: folder for the converted files; beside the pickles when None. If it cannot be written, none are kept.

    Raises:
        EquipoiseError: for a file that is refused or that holds another kind of network, and for two that do not fit.
    """
    denoiser = _load(path, cache)
    if unconditional is not None:
        other = _load(unconditional, cache)
        if not denoiser.classes or other.classes or other.shape != denoiser.shape:
            raise EquipoiseError(
                f"Cannot pair the networks {path} and {unconditional}: they have {len(denoiser.classes)} and "
                f"{len(other.classes)} labels, and images of shape {denoiser.shape} and {other.shape}. Give a "
                "conditional network first, then an unconditional one for the same images."
            )
        facts = {**denoiser.facts, "unconditional": other.facts}
        denoiser = Paired(denoiser, other, name=denoiser.name, facts=facts)
    print(
        f"{path.name}: NVIDIA's EDM networks are under {LICENCE}, not for commercial use.",
        file=sys.stderr,
    )
    return denoiser


def _load(path: Path, cache: Path | None) -> Preconditioned:
    converted = load_converted(path, cache)
    found = converted or read_pickle(path)
    try:
        denoiser = _build(found, path)
    except EquipoiseError as error:
        raise EquipoiseError(f"Cannot build the network of {path}: {error}") from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise EquipoiseError(
            f"Cannot build the network of {path} from its settings {str(found.settings)[:1000]}: {error}."
        ) from None
    if converted is None:
        # A folder that cannot be written costs the conversion, not the network.
        with contextlib.suppress(EquipoiseError):
            save_converted(found, path, cache)
    return denoiser


def _build(found: ForeignNet, path: Path) -> Preconditioned:
    settings = {key: value for key, value in found.settings.items() if key not in _LEFT_OUT}
    sigma_data, kind = settings.pop("sigma_data", None), settings.pop("model_type", "DhariwalUNet")
    if found.class_name != "EDMPrecond" or kind not in _BUILDERS:
        raise EquipoiseError(
            f"it is {found.class_name} around {kind}. Supported is EDMPrecond, as in edm-cifar10-32x32-cond-vp.pkl, "
            f"around {' or '.join(_BUILDERS)}; the files named baseline-* hold other kinds."
        )
    labels, size = settings["label_dim"], settings["img_resolution"]
    if not 0 <= labels <= MOST_LABELS:
        raise EquipoiseError(f"its {labels} labels are more than {MOST_LABELS}.")
    levels = len(settings.get("channel_mult", ()))
    if size < 1 or size % 2 ** max(levels - 1, 0):
        raise EquipoiseError(f"its images of {size} pixels cannot be halved {levels - 1} times.")
    # What asks for more levels and blocks than there are weights is damaged, and would take forever to build.
    if settings.get("num_blocks", 0) * levels > len(found.weights):
        raise EquipoiseError(f"it has only {len(found.weights)} weights for {settings}.")
    # Without memory or initial values, until the shapes are known to be those of the file.
    with torch.device("meta"):
        net = _BUILDERS[kind](settings)
    # The weights for augmentation labels serve in training only; there is no such label here.
    weights = {
        key.removeprefix("model."): value.float()
        for key, value in found.weights.items()
        if key != "model.map_augment.weight"
    }
    shapes, expected = ({k: v.shape for k, v in d.items()} for d in (weights, net.state_dict()))
    if shapes != expected:
        wrong = sorted(key for key, _ in shapes.items() ^ expected.items())
        raise EquipoiseError(
            f"its weights are not those of its settings {settings}: {wrong[0]!r} is missing, too many or of another "
            f"shape, one of {len(set(wrong))}."
        )
    net.load_state_dict(weights, assign=True)
    cifar10 = labels == len(_CIFAR10) and "cifar10" in Path(found.data).name
    return Preconditioned(
        net,
        sigma_data=sigma_data,
        shape=(settings["img_channels"], size, size),
        classes=_CIFAR10 if cifar10 else [str(label) for label in range(labels)],
        scale=math.nan,
        # Without label dropout a conditional network has never seen an image without a label.
        unconditional=not labels or bool(found.settings.get("label_dropout")),
        name=path.stem,
        facts={
            "source": "NVlabs/edm",
            "licence": LICENCE,
            "file": path.name,
            "sha256": found.sha256,
        },
    )


def _song(settings: dict[str, Any]) -> nn.Module:
    width = settings.get("model_channels", 128)
    noise = width * settings.pop("channel_mult_noise", 1)
    fourier = _choice(settings, "embedding_type", "positional", "fourier")
    beside = _choice(settings, "encoder_type", "standard", "residual")
    _choice(settings, "decoder_type", "standard")
    return SongUNet(
        angles=FourierAngles(noise) if fourier else PositionalAngles(noise, last=noise // 2 - 1),
        image_beside=beside,
        **_renamed(settings, {**_NAMES, "resample_filter": "taps"}),
    )


def _adm(settings: dict[str, Any]) -> nn.Module:
    return AdmUNet(**_renamed(settings, _NAMES))


_BUILDERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "SongUNet": _song,
    "DhariwalUNet": _adm,
}

_NAMES = {
    "img_resolution": "size",
    "img_channels": "channels",
    "label_dim": "labels",
    "model_channels": "width",
    "channel_mult": "widths",
    "channel_mult_emb": "embedding",
    "num_blocks": "blocks",
    "attn_resolutions": "attention",
}


def _choice(settings: dict[str, Any], name: str, usual: str, other: str | None = None) -> bool:
    """Whether the setting, taken out of `settings`, is the other one of the two that are supported."""
    value = settings.pop(name, usual)
    if value not in (usual, other):
        raise EquipoiseError(f"its {name} is {value!r}, which is not supported.")
    return value != usual


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    unknown = settings.keys() - names.keys()
    if unknown:
        raise EquipoiseError(f"it has the unknown settings {sorted(unknown)}.")
    return {names[key]: value for key, value in settings.items()}
