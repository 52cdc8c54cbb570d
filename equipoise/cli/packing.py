"""The verb that makes an asset of a trained network."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from equipoise.cli.app import app, say
from equipoise.errors import EquipoiseError

__all__ = ["pack"]


@app.command
def pack(
    model: str,
    *,
    data: str,
    out: Path,
    split: str = "test",
    run: str | None = None,
    attack: list[str] | None = None,
    attacked: int = 64,
    judge: str | None = None,
    licence: Annotated[str | None, Parameter(name=["--license", "--licence"])] = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Make an asset of a trained network: small weights, its description and a model card, found by name.

    Weights are kept in half precision where no verdict changes: the classes of all images of --data, and attacks on a
    sample of them; of a denoiser, its answers at ten noise levels. OUT below a folder of assets (the environment
    variable EQUIPOISE_ASSETS, or assets) opens as asset:NAME.

    Parameters
    ----------
    model
        local:DIR, a classifier or a denoiser that was trained here.
    data
        Images to compare on: digits, folder:PATH or parquet:PATH, best those that it was measured on.
    out
        Folder of the asset; one that is there is replaced.
    split
        Which part of the images.
    run
        The run that measured the classifier: for the card, and for which attacks to repeat.
    attack
        An attack to repeat, several times if you like: adversarial:l2:0.5. Without it and a run, the threat of the
        training.
    attacked
        Images that attacks are repeated on, a random sample.
    judge
        A classifier that reads samples of a denoiser before and after.
    licence
        Of the weights, for the card: apache-2.0, mit, ...
    seed
        Of samples and noise.
    device
        auto, cpu, cuda or cuda:1.
    """
    kind, _, target = model.partition(":")
    if kind != "local" or not target:
        raise EquipoiseError(
            f"Cannot make an asset of {model!r}: give local:DIR with the folder that equipoise train or denoise wrote."
        )
    from equipoise.audit import Run
    from equipoise.classifiers import load_classifier
    from equipoise.diffusion import load_denoiser
    from equipoise.images import load_images
    from equipoise.packing import pack_classifier, pack_denoiser
    from equipoise.quality import read_quality

    images = load_images(data, split)
    shared = {"licence": licence, "seed": seed, "device": device}
    folder = Path(target).expanduser()
    if (folder / "denoiser.json").is_file():
        reader = None if judge is None else load_classifier(judge)
        packed = pack_denoiser(
            load_denoiser(model), images, out, judge=reader, quality=read_quality(folder), **shared
        )
    else:
        packed = pack_classifier(
            load_classifier(model),
            images,
            out,
            run=None if run is None else Run(run),
            attacks=attack or (),
            count=attacked,
            **shared,
        )
    why = f" ({packed.reason})" if packed.reason else ""
    say(f"Asset: {packed.folder}, {packed.size / 1e6:.2f} MB in {packed.precision}{why}")
    say(f"Model card: {packed.folder / 'README.md'}")
