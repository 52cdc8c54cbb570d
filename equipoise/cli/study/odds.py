"""Is robustness at odds with accuracy?"""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from equipoise.cli.study.app import Words, print_claims, study
from equipoise.cli.tracking import check_loggers, tell

__all__ = ["odds"]


@study.command
def odds(
    *,
    out: Path = Path("runs/odds"),
    data: str = "digits",
    radii: Words = None,
    linf_radii: Words = None,
    half_radii: Words = None,
    sizes: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    seeds: int = 3,
    net: Literal["mlp", "residual"] = "mlp",
    widths: Annotated[list[int], Parameter(consume_multiple=True)] = [],  # noqa: B006
    blocks: int = 1,
    batch: int = 128,
    rate: float = 1e-2,
    shift: int = 0,
    flip: bool = False,
    steps: int = 600,
    attack_steps: int = 7,
    far: str = "3",
    test: int = 0,
    attacked: int = 300,
    originals: int = 100,
    denoiser: str = "",
    pair: Words = None,
    linear_radii: Words = None,
    linear_radius: str = "0.2",
    feature_images: int = 0,
    feature_changes: str = "0.75",
    feature_radius: str = "0.25",
    seed: int = 0,
    device: str = "auto",
    log: list[str] | None = None,
) -> None:
    """Is robustness at odds with accuracy? arXiv 1805.12152.

    Without options on the embedded digits, in some minutes on two CPU cores.

    Parameters
    ----------
    out
        The study's folder.
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs. The splits train and test are used.
    radii
        Of L2 training, rising, in units of images in [0, 1]. [default: 0.5 1 1.5]
    linf_radii
        Of Linf training; 8/255 may be written so. [default: 0.1 0.2 0.3]
    half_radii
        Of L2 training where each image is natural half of the time. [default: 1 1.5]
    sizes
        Numbers of training images, rising; 0 for all of them. [default: 50 150 400 0]
    seeds
        Trainings of each kind and size.
    net
        mlp, or residual for images of 8x8 to 64x64 pixels.
    widths
        Of the network's layers or stages; the network's own when left out.
    blocks
        Residual blocks in each stage.
    batch
        Images in each training step.
    rate
        Peak learning rate.
    shift
        Random shifts by up to so many pixels.
    flip
        Mirror images at random.
    steps
        Of the optimiser in every training.
    attack_steps
        Of projected gradient ascent in each step of adversarial training.
    far
        L2 radius of adversarial examples, beyond any change of training.
    test
        At most so many test images, a random sample; 0 for all.
    attacked
        At most so many of them for all but standard accuracy, since attacks take long; 0 for all.
    originals
        Test images that get counterfactuals, which gradients are compared with; 0 for none.
    denoiser
        What draws them, instead of training one: local:DIR, edm:FILE.pkl?unconditional=FILE.pkl, diffusers:FOLDER.
    pair
        Two classes for the linear experiment. [default: 5 7, or the first two]
    linear_radii
        Linf radii that its rules are trained for, rising from 0. [default: 0 0.1 0.2 0.3]
    linear_radius
        Linf radius it is attacked with, one of them.
    feature_images
        Training images that feature sets are made of, a random sample; 0 for all.
    feature_changes
        L2 radius within which images are changed into other classes for the feature sets.
    feature_radius
        L2 radius of the attack on what was learnt from these sets.
    seed
        Of everything random.
    device
        auto, cpu, cuda or cuda:1.
    log
        Whom to tell the summary at the end, several times if you like: tensorboard[:FOLDER], wandb[:PROJECT] or
        mlflow[:URI].
    """
    check_loggers(log)
    from equipoise.studies import OddsSettings
    from equipoise.studies import odds as run_study
    from equipoise.training import Recipe

    given = {
        "radii": radii,
        "linf_radii": linf_radii,
        "half_radii": half_radii,
        "sizes": sizes,
        "pair": pair,
        "linear_radii": linear_radii,
    }
    recipe = Recipe(
        net=net,
        widths=tuple(widths),
        blocks=blocks,
        batch=batch,
        rate=rate,
        shift=shift,
        flip=flip,
    )
    chosen: dict[str, Any] = {k: tuple(v) for k, v in given.items() if v is not None}
    run, page = run_study(
        out,
        OddsSettings(
            data=data,
            seeds=seeds,
            recipe=recipe,
            steps=steps,
            attack_steps=attack_steps,
            far=far,
            test=test,
            attacked=attacked,
            originals=originals,
            denoiser=denoiser,
            linear_radius=linear_radius,
            feature_images=feature_images,
            feature_changes=feature_changes,
            feature_radius=feature_radius,
            seed=seed,
            device=device,
            **chosen,
        ),
    )
    tell(run, log)
    print_claims(run, page)
