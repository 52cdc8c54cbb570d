"""Do counterfactual examples complicate adversarial training?"""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from equipoise.cli.app import say
from equipoise.cli.study.app import Words, print_claims, study
from equipoise.cli.tracking import check_loggers, tell

__all__ = ["counterfactual"]


@study.command
def counterfactual(
    *,
    out: Path = Path("runs/counterfactual"),
    data: str = "digits",
    norm: Literal["l2", "linf"] = "l2",
    radii: Words = None,
    linf_radii: Words = None,
    net: Literal["mlp", "residual"] = "mlp",
    widths: Annotated[list[int], Parameter(consume_multiple=True)] = [],  # noqa: B006
    blocks: int = 1,
    epochs: int = 100,
    batch: int = 128,
    rate: float = 4e-3,
    shift: int = 0,
    flip: bool = False,
    limit: int = 0,
    held_out: float = 0.15,
    judgements: int = 50,
    precision: Literal["float32", "bf16"] = "float32",
    attack_steps: int = 7,
    denoiser: str = "",
    denoiser_steps: int | None = None,
    samples: int = 1000,
    width: str = "18%",
    guidance: float = 2.0,
    originals: int = 300,
    published_originals: int = 100,
    other_widths: Words = None,
    other_guidances: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    other_originals: int = 100,
    per_class: int = 2,
    attacked: int = 0,
    threats: Words = None,
    far: str = "",
    test_originals: int = 100,
    seed: int = 0,
    device: str = "auto",
    log: list[str] | None = None,
) -> None:
    """Do counterfactual examples complicate adversarial training? arXiv 2404.10588.

    Without options on the embedded digits, in a few minutes on two CPU cores.

    Parameters
    ----------
    out
        The study's folder.
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs. The split train is used, and test with --attacked.
    norm
        Of the adversary.
    radii
        One classifier each, rising from 0, in units of images in [0, 1]; 8/255 may be written so. [default: 0 0.25
        0.5 1 1.5]
    linf_radii
        Of further classifiers, trained for Linf beside the norm l2, rising; 8/255 may be written so. [default: none]
    net
        mlp, or residual for images of 8x8 to 64x64 pixels.
    widths
        Of the network's layers or stages; the network's own when left out.
    blocks
        Residual blocks in each stage.
    epochs
        Passes over the training images.
    batch
        Images in each training step.
    rate
        Peak learning rate.
    shift
        Random shifts by up to so many pixels.
    flip
        Mirror images at random.
    limit
        Train classifiers on at most so many images, a random sample; 0 for all.
    held_out
        Share of these kept for choosing the checkpoint.
    judgements
        How many times they are asked, at most.
    precision
        bf16 for classifiers trained in mixed precision, where the device has instructions for it.
    attack_steps
        Of projected gradient descent in each step of adversarial training.
    denoiser
        A denoiser to use instead of training one: local:DIR, edm:FILE.pkl?unconditional=FILE.pkl, diffusers:FOLDER.
    denoiser_steps
        Steps of the denoiser's training; what suits the size of the images when left out.
    samples
        Of the denoiser, which say how good it is by itself.
    width
        Of the neighbourhoods: 0.3 for images in [-1, 1], or 18%, a share of the data's own L2 size.
    guidance
        Of the sampler.
    originals
        How many images get counterfactuals.
    published_originals
        How many of them also with the published sampler, which takes five times as many passes.
    other_widths
        Widths at which counterfactuals of some originals are drawn again, with the usual guidance. [default: none]
    other_guidances
        Likewise, at the usual width. [default: none]
    other_originals
        How many of the originals for each of these.
    per_class
        Counterfactuals of each image and class.
    attacked
        Measure the whole trade-off on so many test images, a random sample, and write a second page, trade-off.html; 0
        for none.
    threats
        That these are attacked within: l2:0.5, linf:4/255, or l2:0.5?budget=standard to quote AutoAttack's schedule.
        [default: the middle radius and the smallest of --linf-radii]
    far
        L2 radius of adversarial examples beyond any change of training; twice the largest when left out.
    test_originals
        How many of the attacked test images get counterfactuals.
    seed
        Of everything random.
    device
        auto, cpu, cuda or cuda:1.
    log
        Whom to tell the summary at the end, several times if you like: tensorboard[:FOLDER], wandb[:PROJECT] or
        mlflow[:URI].
    """
    check_loggers(log)
    from equipoise.studies import Settings
    from equipoise.studies import counterfactual as run_study
    from equipoise.training import Recipe

    recipe = Recipe(
        net=net,
        widths=tuple(widths),
        blocks=blocks,
        epochs=epochs,
        batch=batch,
        rate=rate,
        shift=shift,
        flip=flip,
        limit=limit,
        held_out=held_out,
        judgements=judgements,
        seed=seed,
        precision=precision,
    )
    given = {
        "radii": radii,
        "linf_radii": linf_radii,
        "other_widths": other_widths,
        "other_guidances": other_guidances,
        "threats": threats,
    }
    chosen: dict[str, Any] = {k: tuple(v) for k, v in given.items() if v is not None}
    run, page = run_study(
        out,
        Settings(
            data=data,
            norm=norm,
            recipe=recipe,
            attack_steps=attack_steps,
            denoiser=denoiser,
            denoiser_steps=denoiser_steps,
            samples=samples,
            width=width,
            guidance=guidance,
            originals=originals,
            published_originals=published_originals,
            other_originals=other_originals,
            per_class=per_class,
            attacked=attacked,
            far=far,
            test_originals=test_originals,
            seed=seed,
            device=device,
            **chosen,
        ),
    )
    tell(run, log)
    print_claims(run, page)
    if attacked:
        say(f"Page of the training images: {out / 'report.html'}")
    say(f"Originals as every class: {out / 'grid.png'}")
