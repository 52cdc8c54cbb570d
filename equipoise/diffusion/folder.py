"""Denoisers on disk: ``denoiser.json`` says what the network is, ``weights.safetensors`` holds its weights.

Neither file can run code. The JSON holds the format's version, the kind and settings of the network (the shape of the
images among them), sigma_data, the size of the data, the class names, whether labels may be left out, and facts for the
page.
"""

import math
from pathlib import Path

from equipoise.diffusion.preconditioned import Preconditioned
from equipoise.diffusion.unet import UNet
from equipoise.errors import EquipoiseError
from equipoise.files import write_json
from equipoise.weights import check_weights, load_weights, read_description, save_weights

__all__ = ["load_folder", "save_denoiser"]

FORMAT = 1
WEIGHTS = "weights.safetensors"
LARGEST_SIDE = 2**14
"""Pixels of an image that a network is made for."""


def save_denoiser(denoiser: Preconditioned, folder: Path) -> None:
    """Writes `denoiser`, whose network must be a `UNet`, as a folder that `load_folder` reads.

    Raises:
        EquipoiseError: for any other network, or when the folder cannot be written.
    """
    net = denoiser.net
    if not isinstance(net, UNet):
        raise EquipoiseError(
            f"Cannot save the denoiser {denoiser.name!r}: its network is a {type(net).__name__}, and only a UNet can "
            "be rebuilt from a file."
        )
    save_weights(net, folder / WEIGHTS)
    description = {
        "format": FORMAT,
        "net": {"kind": "unet", **net.settings},
        "sigma_data": denoiser.sigma_data,
        "scale": None if math.isnan(denoiser.scale) else denoiser.scale,
        "classes": list(denoiser.classes),
        "unconditional": denoiser.unconditional,
        "facts": denoiser.facts,
    }
    # Written last: a folder with this file is complete.
    write_json(folder / "denoiser.json", description)


def load_folder(folder: Path, name: str) -> Preconditioned:
    """Reads what `save_denoiser` wrote.

    Raises:
        EquipoiseError: for a missing or unreadable file, a newer format, or weights that do not fit the network.
    """
    description = read_description(folder, "denoiser", name, FORMAT)
    try:
        settings = dict(description["net"])
        kind, scale = settings.pop("kind"), description["scale"]
        if kind != "unet":
            raise EquipoiseError(
                f"Cannot load the denoiser {folder}: its network is a {kind!r}, this version of equipoise reads "
                "'unet'. Upgrade equipoise."
            )
        if not all(0 < side <= LARGEST_SIDE for side in settings["shape"]):
            raise EquipoiseError(
                f"Cannot load {folder / 'denoiser.json'}: its images of shape {str(settings['shape'])[:80]} are none."
            )
        check_weights(lambda: UNet(**settings), settings, folder / WEIGHTS)
        net = UNet(**settings)
        denoiser = Preconditioned(
            net,
            sigma_data=description["sigma_data"],
            shape=settings["shape"],
            classes=description["classes"],
            scale=math.nan if scale is None else scale,
            unconditional=description["unconditional"],
            name=name,
            facts=description["facts"],
        )
    except EquipoiseError:
        raise
    except KeyError as error:
        raise EquipoiseError(
            f"Cannot load {folder / 'denoiser.json'}: it lacks {error}."
        ) from None
    except (ArithmeticError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise EquipoiseError(f"Cannot load {folder / 'denoiser.json'}: {error}.") from error
    if len(denoiser.classes) != net.classes:
        raise EquipoiseError(
            f"Cannot load {folder / 'denoiser.json'}: it names {len(denoiser.classes)} classes for a network with "
            f"{net.classes}."
        )
    load_weights(net, folder / WEIGHTS)
    return denoiser
