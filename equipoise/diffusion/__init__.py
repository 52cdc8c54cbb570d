"""Denoisers: what a clean image was, given a noisy one; and the solvers that turn noise into images with them."""

from equipoise.assets import find_asset
from equipoise.bounds import parse_path
from equipoise.diffusion.denoiser import (
    UNCONDITIONAL,
    Denoiser,
    from_network_units,
    to_network_units,
)
from equipoise.diffusion.folder import load_folder, save_denoiser
from equipoise.diffusion.guidance import Guided, guide
from equipoise.diffusion.loss import denoising_loss
from equipoise.diffusion.mixture import MixtureDenoiser
from equipoise.diffusion.preconditioned import Preconditioned
from equipoise.diffusion.solvers import corrected, heun, levels, multistep, reverse
from equipoise.diffusion.unet import UNet
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.specs import parse_spec, parse_whole_number

__all__ = [
    "Denoiser",
    "UNCONDITIONAL",
    "to_network_units",
    "from_network_units",
    "load_denoiser",
    "save_denoiser",
    "MixtureDenoiser",
    "Preconditioned",
    "UNet",
    "denoising_loss",
    "guide",
    "Guided",
    "levels",
    "multistep",
    "reverse",
    "corrected",
    "heun",
]


def load_denoiser(spec: str) -> Denoiser:
    """Loads the denoiser that `spec` names, on the CPU.

    =======================  ==============================================================================
    ``local:DIR``            a folder with denoiser.json and weights.safetensors, as training writes
    ``asset:NAME``           the same files, checked, from the folder of assets (`equipoise.assets`)
    ``edm:FILE.pkl``         a network of Karras et al., read without running what is in the file; with
                             ``?unconditional=FILE.pkl`` a second one, for guidance
    ``diffusers:FOLDER``     a UNet2DModel of diffusers; ``?null=10`` names its label for "none", if it has one
    =======================  ==============================================================================

    Raises:
        EquipoiseError: for a spec of no known kind, and for whatever keeps the denoiser from loading.
    """
    parsed = parse_spec(spec)
    if parsed.target and parsed.kind == "local":
        parsed.only()
        folder = parsed.path
        return load_folder(folder, folder.resolve().name)
    if parsed.target and parsed.kind == "asset":
        parsed.only()
        folder = find_asset(parsed.target, "denoiser")
        return load_folder(folder, folder.name)
    # What reads foreign formats is imported when one is asked for.
    if parsed.target and parsed.kind == "edm":
        from equipoise.diffusion.edm import load_edm  # noqa: PLC0415

        second = parsed.only("unconditional").get("unconditional")
        return load_edm(parsed.path, parse_path(second, spec) if second else None)
    if parsed.target and parsed.kind == "diffusers":
        from equipoise.diffusion.hugging_face import load_diffusers  # noqa: PLC0415

        null = parsed.only("null").get("null")
        label = None
        if null is not None:
            label = 0 if null == "0" else parse_whole_number(null, f"the label null of {spec!r}")
        return load_diffusers(parsed.path, label)
    kinds = ["local:DIR", "asset:NAME", "edm:FILE.pkl", "diffusers:FOLDER"]
    if parse_path(spec, spec).is_dir():
        raise EquipoiseError(f"Unknown denoiser spec {spec!r}. Did you mean 'local:{spec}'?")
    near = did_you_mean(f"{parsed.kind}:", [known.partition(":")[0] + ":" for known in kinds])
    hint = near if near.startswith("Did") else f"Write one of {', '.join(kinds)}."
    raise EquipoiseError(f"Unknown denoiser spec {spec!r}. {hint}")
