"""What the study of counterfactuals can be asked, its picture of originals as every class, and other settings on the
page."""

from dataclasses import replace
from pathlib import Path

import altair
import numpy as np
import pytest
import torch
import yaml
from test_counterfactual_sets import brightness_oracle, grey_set, sampler

import equipoise as eq
from equipoise.audit import write_exhibits
from equipoise.cli import main
from equipoise.counterfactuals import draw_grid, make_set
from equipoise.counterfactuals.grid import ACCENT, EDGE, GAP, INK, LINE
from equipoise.norms import L2, Linf
from equipoise.report.reading import Reading
from equipoise.report.settings import lay_settings, over_settings
from equipoise.studies import Settings
from equipoise.studies.counterfactual_sets import denoiser_recipe

CONFIGS = Path(__file__).parent.parent / "docs" / "configs"
WHOLE = Settings(linf_radii=("0.1",), attacked=30, device="cpu")


@pytest.fixture(scope="module")
def train():
    return eq.load_images("digits", "train")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"radii": ("0.5", "1")}, "radii that rise from 0"),
        ({"linf_radii": ("0.2", "0.1")}, "linf_radii that rise from above 0"),
        ({"linf_radii": ("0",)}, "linf_radii that rise from above 0"),
        ({"linf_radii": ("8",)}, "linf:8/255"),
        ({"norm": "linf", "radii": ("0", "8/255")}, "trains for Linf at 0 8/255 already"),
        ({"other_widths": ("wide",)}, "'wide'"),
        ({"other_originals": 3}, "other_originals of at least 10, not 3"),
        ({"attacked": -1}, "attacked of at least 0, not -1"),
        ({"threats": ("l3:1",)}, "'l3'"),
        ({"threats": ("l2:0.5?budget=endless",)}, "budget"),
        ({"far": "1.5"}, "beyond every change of training, which reaches 1.5"),
        ({"device": "tpu"}, "'tpu'"),
    ],
)
def test_what_would_fail_after_hours_is_refused_at_once(train, wrong, said):
    with pytest.raises(eq.EquipoiseError, match=said):
        replace(WHOLE, **wrong).check(train, None)


def test_test_images_are_needed_where_some_are_attacked(train, tmp_path):
    import duckdb

    assert replace(WHOLE, attacked=0).check(train, None) is None
    assert len(WHOLE.check(train, None)) == 600
    folder = make_set(grey_set(3), sampler(), tmp_path / "set").folder / "data"
    file = str(next(folder.glob("test-*.parquet")))
    for name in ("train", "alone"):
        (tmp_path / name).mkdir()
        duckdb.sql(f"COPY '{file}' TO '{tmp_path / name / 'train.parquet'}' (FORMAT parquet)")
    for spec, said in (
        (f"parquet:{tmp_path / 'train'}", "it has train.*leave attacked at 0"),
        (f"parquet:{tmp_path / 'alone' / 'train.parquet'}", "are its training images"),
    ):
        asked = replace(WHOLE, data=spec)
        with pytest.raises(eq.EquipoiseError, match=said):
            asked.check(eq.load_images(spec, "train"), None)


def test_the_ladder_has_its_norms_one_after_the_other_and_attacks_of_each():
    asked = Settings(linf_radii=("4/255", "8/255"))
    assert asked.ladder() == [L2(r) for r in (0, 0.25, 0.5, 1, 1.5)] + [
        Linf(4 / 255),
        Linf(8 / 255),
    ]
    assert [str(probe) for probe in asked.attacks()] == [
        "adversarial:l2:0.5",
        "adversarial:linf:4/255",
    ]
    given = replace(asked, threats=("l2:1", "linf:8/255?budget=standard", "l2:1"))
    assert [str(probe) for probe in given.attacks()] == [
        "adversarial:l2:1",
        "adversarial:linf:8/255?budget=standard",
    ]
    # 8/255 in each of 3,072 values changes an image by 1.74 in L2, more than 1.5.
    assert asked.beyond((3, 32, 32)) == L2(3.5)
    assert asked.beyond((1, 8, 8)) == L2(3)


def test_other_settings_change_one_thing_each():
    asked = Settings(width="18%", other_widths=("12%", "18%"), other_guidances=(2.0, 1.5))
    assert asked.others() == {"width-12-percent": ("12%", 2.0), "guidance-1.5": ("18%", 1.5)}
    assert Settings().others() == {}


def test_the_denoiser_is_trained_for_as_long_as_was_asked(train):
    usual = denoiser_recipe(train, Settings(seed=3))
    assert (usual.steps, usual.seed) == (1000, 3)
    assert denoiser_recipe(train, Settings(seed=3, denoiser_steps=7)) == replace(usual, steps=7)


@pytest.mark.parametrize("name", ["small", "full"])
def test_the_configurations_in_the_docs_name_options_that_there_are(name, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "equipoise.studies.counterfactual",
        lambda out, settings: asked.append(settings) or (None, out),
    )
    monkeypatch.setattr("equipoise.cli.study.counterfactual.print_claims", lambda run, page: None)
    file = CONFIGS / f"counterfactual-cifar10-{name}.yaml"
    main(["study", "counterfactual", "--config", str(file)])
    given = yaml.safe_load(file.read_text())["study"]["counterfactual"]
    (settings,) = asked
    assert settings.data == "parquet:cifar10"
    assert settings.recipe.widths == tuple(given["widths"])
    assert settings.ladder() == [
        *(L2(r) for r in (0, 0.25, 0.5, 1, 2)),
        Linf(4 / 255),
        Linf(8 / 255),
    ]
    assert len(settings.others()) == len(given["other-widths"]) + len(given["other-guidances"])
    assert [f"adversarial:{threat}" for threat in given["threats"]] == [
        str(probe) for probe in settings.attacks()
    ]
    assert settings.beyond((3, 32, 32)).radius > 2
    assert settings.attacked > 0
    assert settings.denoiser == given.get("denoiser", "")
    assert settings.denoiser_steps == given.get("denoiser-steps")


# The picture of originals as every class


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid") / "set"
    return make_set(grey_set(9), sampler(steps=6), folder, oracles=[brightness_oracle()])


def test_every_cell_shows_its_counterfactual_and_a_tick_where_oracles_accept(made):
    some = grey_set(9).subset(4, seed=3)
    picture = draw_grid(made, some)
    pixels = np.asarray(picture)
    side, ids = 96, [example.id for example in some]
    across, down = side + GAP, side + LINE + GAP
    assert picture.size[0] == 2 * EDGE + 4 * across
    for split in ("test", "same"):
        rows = made.rows(split, ids)
        for image, *about in zip(
            rows.images,
            *(rows.columns[c] for c in ("source_id", "target", "number", "valid", "source_label")),
            strict=True,
        ):
            source, target, number, valid, own = about
            if number:
                continue
            left = EDGE + (1 + int(target)) * across
            top = EDGE + LINE + ids.index(source) * down
            shown = pixels[top : top + side, left : left + side]
            expected = image.mul(255).round().byte().numpy()[0]
            assert (shown[12::24, 12::24, 0] == expected).all()
            caption = pixels[top + side + 3 : top + down, left : left + side]
            green = np.array([int(ACCENT[k : k + 2], 16) for k in (1, 3, 5)])
            assert (caption == green).all(-1).any() == valid
            edge = pixels[top + side // 2, left - 3]
            framed = np.array([int(INK[k : k + 2], 16) for k in (1, 3, 5)])
            assert (edge == framed).all() == (split == "same") == (target == own)


def test_the_picture_bears_any_name_and_colour(tmp_path):
    grey = grey_set(3)
    batch = grey.batch(range(3))
    names = ("<b>" * 60, "a\nb", "\u202e\U0001f600")
    hostile = eq.images.Arrays(batch.images, batch.labels.tolist(), names, list(batch.ids))
    denoiser = replace(sampler(steps=4), denoiser=named(names))
    found = draw_grid(make_set(hostile, denoiser, tmp_path / "set"), hostile)
    assert found.mode == "RGB"
    with pytest.raises(eq.EquipoiseError, match="no counterfactuals of 'g3'"):
        draw_grid(make_set(hostile, denoiser, tmp_path / "set"), grey_set(4))


def named(classes):
    denoiser = sampler().denoiser
    denoiser.classes = classes
    return denoiser


# On the page


@pytest.fixture(scope="module")
def reading(made, tmp_path_factory):
    sharp, blunt = brightness_oracle(), brightness_oracle()
    blunt = eq.wrap(blunt.net, name="<i>blunt</i>")
    run = eq.audit([sharp, blunt], grey_set(9), ["standard"], tmp_path_factory.mktemp("run"))
    rows = []
    for width, sigma, guidance in (("18%", 0.7, 2.0), ("25%", 1.0, 2.0), ("18%", 0.7, 1.0)):
        for k, name in enumerate(("brightness", "<i>blunt</i>")):
            row = {"width": width, "sigma": sigma, "guidance": guidance, "classifier": name}
            row["images"] = 9
            for column, value in (
                ("accepted", sigma / 2),
                ("proximity", 2 * sigma),
                ("accuracy", sigma / 2 - 0.1 * k),
                ("same", 0.9),
                ("noise", 0.8),
                ("gap", None if k == 0 else 0.1),
                ("correlation", None if guidance == 1 else 0.2 - 0.4 * k),
            ):
                ends = (None, None) if value is None else (value - 0.05, value + 0.05)
                row |= {column: value, f"{column}_low": ends[0], f"{column}_high": ends[1]}
            rows.append(row)
    grid = [{"webp": '"><script>alert(1)</script>', "note": "<b>all</b>"}]
    write_exhibits(run.folder, "counterfactual", {"settings": rows, "grid": grid})
    return Reading(eq.Run(run.folder))


def test_other_settings_are_drawn_over_what_varies(reading):
    figures = over_settings(reading)
    assert [figure.title for figure in figures] == [
        "Read as their class, over the widths",
        "Proximity and confidence, over the widths",
        "Read as their class, over the guidances",
        "Proximity and confidence, over the guidances",
    ]
    for figure in figures:
        altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
        assert "nan" not in figure.alt
    rows = figures[0].spec["datasets"]["rows"]
    assert {(r["series"], r["sigma"]): r["share"] for r in rows} == pytest.approx(
        {
            (series, sigma): sigma / 2 - down
            for series, down in (
                ("accepted by the oracles", 0),
                ("brightness", 0),
                ("<i>blunt</i>", 0.1),
            )
            for sigma in (0.7, 1.0)
        }
    )
    # What is not known is left out.
    assert {r["guidance"] for r in figures[3].spec["datasets"]["rows"]} == {2.0}


def test_every_setting_has_a_row_and_names_are_text(reading, tmp_path):
    laid = lay_settings(reading)
    assert laid is not None and laid.heads == ["brightness", "<i>blunt</i>"]
    assert [name.replace("\u00a0", " ") for name, *_ in laid.sets] == [
        "width 18%, guidance 2",
        "width 25%, guidance 2",
        "width 18%, guidance 1",
    ]
    accepted, far = laid.sets[1][1:]
    assert (accepted.value, far.value) == ("50.0%", "2.000")
    gaps = dict(laid.tables)[
        "Standard classifier’s accuracy on them minus this one’s, as a share (H3)"
    ]
    assert [cell and cell.value for cell in gaps[0][1]] == [None, "0.10"]
    page = eq.report(reading.run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<h2 id="settings">' in page and '<h2 id="as-every-class">' in page
    assert "<script>alert" not in page and "<i>blunt" not in page and "<b>all" not in page


def test_a_run_without_other_settings_has_no_section(made, tmp_path):
    plain = eq.audit(brightness_oracle(), grey_set(9), ["standard"], tmp_path / "run")
    assert lay_settings(Reading(plain)) is None and over_settings(Reading(plain)) == []
    page = eq.report(plain, tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="settings"' not in page and 'id="as-every-class"' not in page


def test_larger_images_are_enlarged_smoothly(tmp_path):
    torch.manual_seed(0)
    images = torch.rand(1, 3, 32, 32).mul(255).round() / 255
    from equipoise.diffusion import MixtureDenoiser
    from equipoise.images import Arrays

    levels = torch.stack([torch.full((3, 32, 32), level) for level in (-0.5, 0.5)])
    denoiser = MixtureDenoiser(levels, torch.full((2,), 0.3), torch.ones(2), torch.arange(2))
    data = Arrays(images, [0], ("a", "b"), ["one"])
    asked = replace(sampler(steps=4), denoiser=denoiser)
    picture = draw_grid(make_set(data, asked, tmp_path / "set"), data)
    assert picture.size[0] == 2 * EDGE + 3 * (96 + GAP)
    shown = np.asarray(picture)[EDGE + LINE :, EDGE:][:96, :96]
    assert not (shown[0::3, 0::3] == shown[1::3, 1::3]).all()
