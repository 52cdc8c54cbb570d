"""How good a denoiser is by itself: against laws that are known, and a denoiser that only copies."""

import json

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import quality
from equipoise.audit import write_exhibits
from equipoise.cli import main
from equipoise.diffusion import MixtureDenoiser, to_network_units
from equipoise.errors import EquipoiseError
from equipoise.images import Arrays
from equipoise.quality import (
    assess,
    draw_samples,
    find_nearest,
    measure_denoiser,
    measure_distances,
    neighbours,
    read_quality,
)
from equipoise.report.denoiser import lay_denoiser
from equipoise.report.reading import Reading
from equipoise.studies.denoiser_quality import _rows

SHAPE, CLASSES = (1, 4, 4), 3
GENERATOR = torch.Generator().manual_seed(0)
MEANS = 0.5 * torch.randn(CLASSES, *SHAPE, generator=GENERATOR).clamp(-1.5, 1.5)
STD = 0.1
LAW = MixtureDenoiser(
    MEANS, torch.full((CLASSES,), STD), torch.ones(CLASSES), torch.arange(CLASSES)
)


def drawn(count, seed):
    """Images of the law, as many of each class, in 8 bits."""
    labels = torch.arange(count) % CLASSES
    x = LAW.sample(labels, torch.Generator().manual_seed(seed))
    pixels = (((x + 1) / 2).clamp(0, 1) * 255).round() / 255
    return Arrays(pixels.float(), labels.tolist(), ("0", "1", "2"), spec=f"law-{seed}")


def bayes():
    """The best classifier of the law: its penultimate features are the pixels themselves."""
    layer = nn.Linear(16, CLASSES)
    centres = (MEANS.flatten(1) + 1) / 2
    layer.weight.data, layer.bias.data = 2 * centres, -centres.square().sum(1)
    return eq.wrap(nn.Sequential(nn.Flatten(), layer), name="bayes")


TRAIN, HELD_OUT, JUDGE = drawn(300, 1), drawn(240, 2), bayes()


def memoriser():
    """Its law is a narrow bump at each training image."""
    batch = TRAIN.batch(range(len(TRAIN)))
    return MixtureDenoiser(
        to_network_units(batch.images),
        torch.full((len(TRAIN),), 0.003),
        torch.ones(len(TRAIN)),
        batch.labels,
    )


@pytest.fixture(scope="module")
def found():
    return measure_denoiser(LAW, JUDGE, TRAIN, HELD_OUT, count=300, device="cpu")


def test_samples_of_the_law_itself_are_as_good_as_real_images(found):
    assert found.excess.low <= 0 <= found.excess.high
    assert found.distance.n == found.floor.n == 120
    assert found.read.n == 300 and found.read_held_out.n == 240
    assert found.read.low <= found.read_held_out.value
    assert found.copied.value == found.copied_held_out.value == 0
    assert 0.4 < found.nearer.value < 0.6
    assert found.nearer.low < 0.55
    assert [share.n for share in found.by_class] == [100] * 3


def test_a_denoiser_that_copies_is_found_out_where_the_distance_of_frechet_sees_nothing():
    found = measure_denoiser(memoriser(), JUDGE, TRAIN, HELD_OUT, count=90, device="cpu")
    assert found.excess.low <= 0
    assert found.copied.value > 0.95
    assert found.copied_held_out.value < 0.05
    assert found.nearer.value > 0.99 and found.nearer_features.value > 0.99
    assert found.pairs[0].distance < 0.03 < found.pairs_held_out[0].distance


def test_samples_of_a_wrong_law_are_farther_than_the_floor():
    moved = MixtureDenoiser(
        MEANS + 0.3, torch.full((3,), STD), torch.ones(3), torch.arange(CLASSES)
    )
    found = measure_denoiser(moved, JUDGE, TRAIN, HELD_OUT, count=120, device="cpu")
    # 0.3 in [-1, 1] is 0.15 in each of 16 pixels, less what is cut off at 0 and 1.
    assert found.excess.low > 0.15
    assert found.excess.value < 16 * 0.15**2 + 0.1


def test_nothing_depends_on_the_batch(found):
    again = measure_denoiser(LAW, JUDGE, TRAIN, HELD_OUT, count=300, batch=37, device="cpu")
    assert again == found
    labels = torch.tensor([2, 0, 1, 1])
    few = draw_samples(LAW, labels[:2], batch=1)
    assert torch.equal(few, draw_samples(LAW, labels)[:2])
    assert not torch.equal(few, draw_samples(LAW, labels[:2], seed=1))


def test_samples_have_the_law_of_their_class():
    labels = torch.arange(600) % CLASSES
    x = to_network_units(draw_samples(LAW, labels))
    for c in range(CLASSES):
        mine, inside = x[labels == c], MEANS[c].abs() < 0.6
        assert (mine.mean(0) - MEANS[c])[inside].abs().max() < 4 * STD / 200**0.5
        assert mine.std(0)[inside].mean().item() == pytest.approx(STD, rel=0.05)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_excess_is_right_on_average_and_its_interval_covers_it(shift):
    covered, values = 0, []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        a, b, c = torch.randn(3, 150, 4, generator=generator, dtype=torch.float64)
        a[:, 0] += shift
        excess = measure_distances(a, b, c).excess
        covered += excess.low <= shift**2 <= excess.high
        values.append(excess.value)
    assert sum(values) / 20 == pytest.approx(shift**2, abs=0.15)
    assert covered >= 17


def test_distances_of_laws_that_are_known_exactly():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    raw -= raw.mean(0)
    white = raw @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(raw.T)).T)
    found = measure_distances(3 * white + 2, white, white.flip(0))
    assert found.distance.value == pytest.approx(3 * 2**2 + 3 * (3 - 1) ** 2, rel=1e-9)
    assert found.floor.value == pytest.approx(0, abs=1e-9)
    with pytest.raises(EquipoiseError, match="three sets of one size"):
        measure_distances(white, white, white[:10])


def test_nearest_images_are_those_of_a_full_search(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    monkeypatch.setattr(neighbours, "AT_ONCE", 100)
    images = HELD_OUT.batch(range(20)).images
    images[3] = TRAIN[200].image
    known = TRAIN.batch(range(len(TRAIN))).images
    (pixels, half) = find_nearest(
        images, TRAIN, [lambda x: x.flatten(1), lambda x: x.flatten(1)[:, :8]]
    )
    for found, width in ((pixels, 16), (half, 8)):
        full = torch.cdist(
            images.flatten(1)[:, :width].double(), known.flatten(1)[:, :width].double()
        )
        expected, row = full.topk(2, largest=False)
        assert torch.allclose(found.distance.double(), expected, atol=1e-6)
        assert torch.equal(found.row[:, 0], row[:, 0])
    assert pixels.distance[3, 0] == 0 and pixels.row[3, 0] == 200
    lonely = find_nearest(images[:2], TRAIN.subset(1), [lambda x: x.flatten(1)])[0]
    assert lonely.distance[:, 1].isinf().all() and (lonely.row[:, 1] == -1).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": 5}, "give 6 or more"),
        ({"held_out": drawn(9, 3)}, "four of each"),
        ({"held_out": eq.load_images("digits")}, "shape"),
        ({"judge": eq.wrap(bayes().net, classes=("a", "b"))}, "classes are not the same"),
        ({"judge": eq.wrap(nn.Sequential(nn.Flatten(), nn.Linear(5, 3)))}, "does not take"),
        ({"steps": 1}, "at least 2 steps"),
        ({"guidance": -1.0}, "0 or more"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    asked = {"denoiser": LAW, "judge": JUDGE, "train": TRAIN, "held_out": HELD_OUT, "count": 30}
    with pytest.raises(EquipoiseError, match=said):
        measure_denoiser(**asked | changes, device="cpu")


def test_what_was_found_is_kept_and_read(tmp_path, monkeypatch):
    asked = {"count": 30, "device": "cpu"}
    first = assess(LAW, JUDGE, TRAIN, HELD_OUT, tmp_path, **asked)
    assert first == read_quality(tmp_path)
    assert (tmp_path / "samples/nearest.png").read_bytes() == first.quality.picture

    def never(*_, **__):
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(quality.keeping, "measure_denoiser", never)
        assert assess(LAW, JUDGE, TRAIN, HELD_OUT, tmp_path, **asked) == first
        with pytest.raises(AssertionError, match="again"):
            assess(LAW, JUDGE, TRAIN, HELD_OUT, tmp_path, **asked, seed=1)
    path = tmp_path / "quality.json"
    content = json.loads(path.read_text())
    for spoilt in ({"quality": {}}, {"about": 3}, {"quality": content["quality"] | {"read": 1}}):
        path.write_text(json.dumps(content | spoilt))
        with pytest.raises(EquipoiseError, match="measure again"):
            read_quality(tmp_path)


def test_the_command_line_looks_a_denoiser_over(trained, tmp_path, capsys):
    from equipoise.classifiers import save_classifier
    from equipoise.diffusion import Preconditioned, UNet, save_denoiser

    save_classifier(trained, tmp_path / "judge")
    net = UNet(shape=(1, 8, 8), classes=10, width=4)
    made = Preconditioned(
        net, sigma_data=0.5, shape=(1, 8, 8), classes=[str(c) for c in range(10)], scale=4.0
    )
    save_denoiser(made, tmp_path / "denoiser")
    asked = ["check", f"local:{tmp_path / 'denoiser'}", "--data", "digits", "--samples", "20"]
    main([*asked, "--judge", f"local:{tmp_path / 'judge'}", "--steps", "3", "--device", "cpu"])
    said = " ".join(capsys.readouterr().out.split())
    assert "read as their class" in said and "published FIDs" in said
    assert (tmp_path / "denoiser/samples/nearest.png").is_file()


def test_the_page_shows_it_and_names_stay_names(tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    judge = replace_name(bayes(), hostile)
    kept = assess(LAW, judge, TRAIN, HELD_OUT, tmp_path / "kept", count=30, device="cpu")
    run = eq.audit([bayes()], HELD_OUT.subset(12), ["standard"], tmp_path / "run", pictures=0)
    write_exhibits(run.folder, "counterfactual", _rows(kept))
    page = eq.report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The denoiser by itself" in page and "published FIDs" in page
    assert hostile not in page and "&lt;img src=x" in page
    rows = _rows(kept)
    for spoilt in ({"denoiser_about": [{"picture": "AAAA"}]}, {"denoiser": [{"measure": "read"}]}):
        write_exhibits(run.folder, "counterfactual", rows | spoilt)
        with pytest.raises(EquipoiseError):
            lay_denoiser(Reading(eq.Run(run.folder)))
    write_exhibits(run.folder, "counterfactual", {})
    assert lay_denoiser(Reading(eq.Run(run.folder))) is None


def replace_name(classifier, name):
    classifier.name = name
    return classifier
