"""A folder of classifiers on tiny copies of the benchmarks, from end to end; and claims about classifiers whose
reliance on backgrounds is known."""

import shutil

import layouts
import layouts_ood
import numpy as np
import pytest
import torch
from conftest import Linear
from test_region_probes import Shown, left, photos

import equipoise as eq
from equipoise.classifiers import MLP, ResNet, save_classifier
from equipoise.cli import main
from equipoise.images.imagenet9 import FOLDERS
from equipoise.images.rival10 import SYNSETS
from equipoise.report.reading import Reading
from equipoise.studies import spurious_models, without_standard
from equipoise.studies.benchmark_claims import weigh_benchmark
from equipoise.studies.benchmarks import find_models, open_benchmarks

SIDE = 16
LADDER = (("l2", 0.0), ("l2", 0.5), ("l2", 1.0), ("l2", 3.0), ("linf", 8 / 255))


def facts(norm, radius):
    objective = {"name": "pgd" if radius else "standard"}
    return {"norm": norm if radius else None, "radius": radius, "objective": objective}


def write_models(folder, ladder=LADDER, classes=1000, side=SIDE, widths=(8,)):
    for k, (norm, radius) in enumerate(ladder):
        torch.manual_seed(k)
        net = MLP(shape=(3, side, side), classes=classes, widths=widths)
        save_classifier(eq.wrap(net, facts=facts(norm, radius)), folder / f"{norm}-{radius:.3g}")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """All five benchmarks, and a folder of small networks with ImageNet's outputs."""
    root = tmp_path_factory.mktemp("tiny")
    wnids = [wnid for synsets in SYNSETS.values() for wnid in synsets]
    layouts.write_rival10(root / "RIVAL10", wnids, 24, 24)
    layouts.write_imagenet9(root / "in9", FOLDERS, SIDE)
    layouts.write_mapping(root / "in9" / "in_to_in9.json")
    layouts.write_salient_imagenet(root / "salient", root / "ILSVRC")
    layouts_ood.waterbirds(root / "birds", each=4)
    layouts_ood.objectnet(root / "objects")
    layouts_ood.imagenet_val(root / "val", "outputs", each=2)
    write_models(root / "models")
    return root


SPECS = {
    "rival10": "rival10:{0}/RIVAL10?size=16",
    "salient-imagenet": "salient-imagenet:{0}/salient?images={0}/ILSVRC&size=16",
    "imagenet9": "imagenet9:{0}/in9",
    "waterbirds": "waterbirds:{0}/birds?size=16",
    "objectnet": "objectnet:{0}/objects?size=16&source={0}/val",
}

ASKED = {
    "rival10": ["standard", "regions:gaussian", "regions:l2", "saliency"],
    "salient-imagenet": ["standard", "regions:gaussian?levels=0.25&trials=5"],
    "imagenet9": ["backgrounds?limit=4&onto=imagenet9:{0}/in9%3Fvariant%3Donly_bg_t"],
    "waterbirds": ["groups:waterbirds:{0}/birds?size=16"],
    "objectnet": ["shift"],
}

CLAIMED = {
    "rival10": ["B2", "B2", "B3"],  # two kinds of noise; networks without places have no Grad-CAM
    "salient-imagenet": ["B2"],
    "imagenet9": ["B1"],
    "waterbirds": ["B4", "B4"],
    "objectnet": ["B5"] * 3,
}


@pytest.mark.parametrize("kind", list(SPECS))
def test_every_benchmark_from_end_to_end(kind, tiny, tmp_path):
    def study():
        spec = SPECS[kind].format(tiny)
        return spurious_models(
            tiny / "models", [spec], tmp_path, backgrounds=4, device="cpu", shown=False
        )

    ((run, page),) = study()
    assert page == tmp_path / kind / "report.html"
    assert run.folder == tmp_path / kind / "audit"
    assert run.record["status"] == "complete"
    assert run.classifiers == tuple(f"{norm}-{radius:.3g}" for norm, radius in LADDER)
    assert [str(probe) for probe in run.probes] == [text.format(tiny) for text in ASKED[kind]]
    text = page.read_text()
    assert "2209.07592" in text and 'id="claims"' in text
    # For each claim the adversarially trained ones in order, then the ladder of four rungs.
    claims = run.claims()
    one = [*run.classifiers[1:], "l2"]
    assert [c.id for c in claims] == [name for name in CLAIMED[kind] for _ in one]
    assert [c.classifier for c in claims] == one * len(CLAIMED[kind])
    assert all(c.verdict in ("holds", "fails", "undecided") and c.text for c in claims)
    assert run.study() == "spurious"
    pictured = len(run.images().filter("picture IS NOT NULL").fetchall())
    assert (pictured == 0) == (kind == "objectnet")  # as its licence asks
    heads = sorted(p.name for p in (tmp_path / kind).iterdir())
    assert heads == ["audit", *(["heads"] if kind == "waterbirds" else []), "report.html"]
    before = {
        p: p.stat().st_mtime_ns
        for p in tmp_path.rglob("*")
        if p.suffix in (".parquet", ".safetensors")
    }
    assert len(before) > 5
    ((again, _),) = study()
    assert again.claims() == claims
    assert page.read_text() == text
    assert before == {
        p: p.stat().st_mtime_ns
        for p in tmp_path.rglob("*")
        if p.suffix in (".parquet", ".safetensors")
    }


def test_waterbirds_get_heads_that_keep_their_place(tiny, tmp_path):
    spec = SPECS["waterbirds"].format(tiny)
    ((run, _),) = spurious_models(tiny / "models", [spec], tmp_path, device="cpu", shown=False)
    head = eq.load_classifier(f"local:{tmp_path}/waterbirds/heads/l2-3")
    assert head.classes == ("landbird", "waterbird")
    assert head.facts["split"] == "train"
    assert head.facts["radius"] == 3
    assert list(Reading(run).ladders) == ["l2", "linf"]


def test_claims_are_the_differences_of_what_was_measured(tiny, tmp_path):
    """Gaps counted from the table, and the drops of each rule."""
    specs = [SPECS[kind].format(tiny) for kind in ("imagenet9", "objectnet")]
    (run, _), (shifted, _) = spurious_models(
        tiny / "models", specs, tmp_path, device="cpu", shown=False
    )
    frame = run.table().df()
    share = frame.groupby(["classifier", "group"]).correct.mean().unstack()
    gap = share["mixed_same"] - share["mixed_rand"]
    claims = {c.classifier: c for c in run.claims()}
    for name in run.classifiers[1:]:
        assert claims[name].value == pytest.approx(gap[name] - gap["l2-0"])
        assert f"{gap[name]:.3f}".replace("-", "−") in claims[name].control
    rules = shifted.table().df()
    for rule in ("strict", "among", "pooled"):
        share = rules.groupby(["classifier", "group"])[rule].mean().unstack()
        drop = share["source"] - share["target"]
        found = {c.classifier: c for c in shifted.claims() if f"({rule})" in c.statistic}
        assert len(found) == len(LADDER)
        for name in run.classifiers[1:]:
            assert found[name].value == pytest.approx(drop[name] - drop["l2-0"], abs=1e-6)


def checkpoint(path, net):
    """A file of torch.save with the names of the robust ImageNet ResNets."""
    state = {f"module.model.{key}": value for key, value in net.state_dict().items()}
    shape = (3, 1, 1)
    state["module.normalizer.new_mean"] = torch.full(shape, 0.45)
    state["module.normalizer.new_std"] = torch.full(shape, 0.22)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state, "epoch": 9}, path)


def test_checkpoints_of_two_depths_are_compared_with_their_own(tiny, tmp_path):
    """Depth 18 and 34 beside a converted folder; the standard one of depth 34 is missing."""
    models = tmp_path / "models"
    for depth, name in ((18, "l2_eps0"), (18, "linf_eps4.0"), (34, "l2_eps3")):
        torch.manual_seed(depth)
        net = ResNet(shape=(3, 224, 224), classes=1000, depth=depth)
        checkpoint(models / f"resnet{depth}_{name}.ckpt", net)
    converted = eq.load_classifier(f"robust-imagenet:{models}/resnet18_linf_eps4.0.ckpt")
    (models / "resnet18_linf_eps4.0.ckpt").unlink()
    save_classifier(converted, models / "resnet18_linf_eps4.0")
    (models / "notes.txt").write_text("none of the classifiers")
    (models / "empty").mkdir()
    listed = find_models(models, shown=False)
    names = ["resnet18_l2_eps0", "resnet18_linf_eps4.0", "resnet34_l2_eps3"]
    assert [c.name for c in listed] == names
    assert [c.facts["network"] for c in listed] == ["resnet18", "resnet18", "resnet34"]
    spec = SPECS["imagenet9"].format(tiny)
    ((run, _),) = spurious_models(
        models, [spec], tmp_path / "out", limit=20, backgrounds=1, device="cpu", shown=False
    )
    assert [c.classifier for c in run.claims()] == ["resnet18_linf_eps4.0"]
    assert "resnet18_l2_eps0 " in run.claims()[0].control
    assert without_standard(run) == ["resnet34"]
    assert list(Reading(run).ladders) == ["linf, resnet18"]


def test_the_command_takes_the_whole_way_without_downloads(tmp_path, capsys):
    """Classifiers of digits on photographs; without a standard one it says so instead of a claim."""
    models = write_models(tmp_path / "models", LADDER[:2], classes=10, side=32)
    command = [
        *("study", "spurious", "--models", str(models), "--out", str(tmp_path / "out")),
        *("--benchmarks", "digits-on-photos", "--limit", "120", "--backgrounds", "2"),
        *("--device", "cpu"),
    ]
    main(command)
    said = capsys.readouterr().out
    assert "digits-on-photos?variant=all: 2 classifiers" in said
    assert "Adversarially trained classifiers lean on backgrounds more" in said
    assert f"Page: {tmp_path}/out/digits-on-photos/report.html" in said
    run = eq.Run(tmp_path / "out" / "digits-on-photos" / "audit")
    assert run.probes == ("backgrounds?limit=2&onto=digits-on-photos%3Fvariant%3Donly-bg",)
    assert {s.name for s in run.summary()} > {"background gap", "accuracy against backgrounds"}
    shutil.rmtree(models / "l2-0")
    command[5] = str(tmp_path / "other")
    main(command)
    said = capsys.readouterr().out
    assert "No claims: a standard classifier, of radius 0, is needed" in said
    assert "lean on backgrounds" not in said and "report.html" in said


def test_heads_may_be_asked_for_or_declined(tiny, tmp_path):
    models = write_models(tmp_path / "models", LADDER[:1], classes=7, side=32)
    with pytest.raises(eq.EquipoiseError, match=r"'l2-0' on .* 7 outputs, the images have 10 cl"):
        spurious_models(models, ["digits-on-photos"], tmp_path / "out", shown=False)
    ((run, _),) = spurious_models(
        models,
        ["digits-on-photos"],
        tmp_path / "out",
        heads=["digits-on-photos"],
        limit=50,
        backgrounds=1,
        device="cpu",
        shown=False,
    )
    head = eq.load_classifier(f"local:{tmp_path}/out/digits-on-photos/heads/l2-0")
    # Heads see photographs as they are, not every variant of them.
    assert (head.facts["data"], head.facts["images"]) == ("digits-on-photos", 1197)
    assert run.claims() == ()
    spec = SPECS["waterbirds"].format(tiny)
    with pytest.raises(eq.EquipoiseError, match=r"1,000 outputs.*2 classes.*--heads waterbirds"):
        spurious_models(tiny / "models", [spec], tmp_path / "out", heads=(), shown=False)
    with pytest.raises(
        eq.EquipoiseError, match=r"'waterbird': it is no kind .* mean 'waterbirds'"
    ):
        spurious_models(tiny / "models", [spec], tmp_path / "out", heads=["waterbird"])


def test_what_cannot_be_audited_is_refused(tiny, tmp_path):
    def refused(words, models=tiny / "models", specs=("digits-on-photos",)):
        with pytest.raises(eq.EquipoiseError, match=words):
            spurious_models(models, specs, tmp_path / "out", shown=False)

    refused("'digits' is none of the benchmarks rival10, .*use equipoise audit", specs=["digits"])
    refused("on no benchmark", specs=[])
    twice = [f"imagenet9:{tiny}/in9", f"imagenet9:{tiny}/in9?variant=original"]
    refused("is of the same kind. Give each its own --out", specs=twice)
    refused("there is no such folder", models=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    refused(r"holds no \*.ckpt and no folder with a classifier.json", models=tmp_path / "empty")
    models = tmp_path / "broken"
    models.mkdir()
    (models / "resnet18_l2_eps1.ckpt").write_bytes(b"not a checkpoint")
    refused(r"broken/resnet18_l2_eps1\.ckpt", models=models)
    shutil.copytree(tiny / "models" / "l2-1", models / "resnet18_l2_eps1")
    refused("resnet18_l2_eps1 and resnet18_l2_eps1.ckpt have one name", models=models)
    (models / "resnet18_l2_eps1.ckpt").unlink()
    (models / "resnet18_l2_eps1" / "classifier.json").write_text("{")
    refused("resnet18_l2_eps1/classifier.json", models=models)
    shutil.copytree(tiny / "in9" / "bg_challenge", tmp_path / "in9" / "bg_challenge")
    refused("1,000 outputs.*in_to_in9.json", specs=[f"imagenet9:{tmp_path}/in9"])
    assert not (tmp_path / "out").exists()


def test_options_need_each_other(capsys):
    for option, value, other in (
        ("--models", "here", "--benchmarks"),
        ("--benchmarks", "digits-on-photos", "--models"),
    ):
        with pytest.raises(SystemExit):
            main(["study", "spurious", option, value])
        assert f"The option {option} needs {other} too" in capsys.readouterr().err


def test_options_of_a_spec_are_kept(tiny):
    spec = f"imagenet9:{tiny}/in9?mapping={tiny}/in9/in_to_in9.json&size=8"
    (found,) = open_benchmarks([spec])
    assert found.spec == spec
    assert found.images.shape == (3, 8, 8)
    assert set(found.images.groups()) == {"original", "mixed_same", "mixed_rand", "only_bg_t"}
    (scenes,) = [eq.load_images(probe.backgrounds) for probe in found.probes]
    assert scenes.shape == (3, 8, 8)
    assert set(scenes.groups()) == {"only_bg_t"}
    (fewer,) = open_benchmarks([f"imagenet9:{tiny}/in9?variant=mixed_same,mixed_rand"])
    assert [str(probe) for probe in fewer.probes] == ["backgrounds"]
    (alone,) = open_benchmarks([f"objectnet:{tiny}/objects"])
    assert [str(probe) for probe in alone.probes] == ["standard"]


# --- claims about classifiers that are known


ROW = torch.tensor([1.0, 0, 0, 0, 0, 0]).view(1, 6, 1)


def half(name, radius, side):
    """Tells dark from light images by the first row of their left half, the object, or of the right one."""
    weight = ROW * (left() if side == "object" else 1 - left())
    weight = weight.expand(3, 6, 6).flatten()
    both = 40 * torch.stack([torch.zeros(108), weight])
    net = Linear(both, torch.tensor([0.0, -0.5 * float(both[1].sum())]))
    return eq.wrap(net, name=name, facts=facts("l2", radius))


def scene(count=480):
    """Dark or light on the left by the label, and on the right in originals and mixed-same; by chance in mixed-rand.
    Of these every fourth has the wrong object, of the others every tenth object and background are wrong."""
    rng = np.random.default_rng(0)
    images = photos(count, 0, 1)
    variant, turn = np.arange(count) % 3, np.arange(count) // 3
    truth = np.arange(count) // 2 % 2
    wrong = np.where(variant < 2, turn % 10 == 0, turn % 4 == 0)
    inside = truth ^ wrong
    behind = np.where(variant < 2, inside, rng.integers(2, size=count))
    labels, inside, behind = (
        torch.from_numpy(v.astype(np.int64)) for v in (truth, inside, behind)
    )
    noise = torch.from_numpy(rng.uniform(-0.1, 0.1, (count, 3, 6, 6)).astype(np.float32))
    halves = (0.25 + 0.5 * torch.stack([inside, behind], 1).float()).repeat_interleave(3, 1)
    pixels = halves.view(count, 1, 1, 6).expand(-1, 3, 6, -1) + noise
    images = type(images)(pixels, labels, ("dark", "light"))
    variants = ["original", "mixed-same", "mixed-rand"]
    return Shown(images, [left()] * count, [variants[k % 3] for k in range(count)])


@pytest.mark.parametrize("leans", ["background", "object"])
def test_the_verdict_is_what_the_classifiers_do(leans, tmp_path):
    sides = ("object", "background") if leans == "background" else ("background", "object")
    judged = [half("standard", 0.0, sides[0]), half("robust", 1.0, sides[1])]
    probes = ["backgrounds", "regions:gaussian", "regions:l2", "saliency", "groups"]
    run = eq.audit(judged, scene(), probes, tmp_path / "run", shown=False)
    claims = weigh_benchmark(run)
    assert [c.id for c in claims] == ["B1", "B2", "B2", "B3", "B4"]
    verdict, sign = ("holds", 1) if leans == "background" else ("fails", -1)
    assert [c.verdict for c in claims] == [verdict] * 5
    assert claims[0].value == pytest.approx(sign * 0.25, abs=0.05)
    assert claims[3].value == pytest.approx(sign)


def test_random_noise_is_no_adversarial_training(tmp_path):
    noisy = half("noisy", 1.0, "background")
    noisy.facts["objective"] = {"name": "random-noise"}
    rungs = [half("standard", 0.0, "object"), noisy]
    run = eq.audit(rungs, scene(30), ["backgrounds"], tmp_path / "run", shown=False)
    assert weigh_benchmark(run) == [] and without_standard(run) == []


def test_a_ladder_that_leans_more_and_more_has_a_trend(tmp_path):
    rungs = [half("0", 0.0, "object"), half("1", 1.0, "object"), half("2", 2.0, "object")]
    rungs += [half("3", 3.0, "background")]
    for k, rung in enumerate(rungs[:3]):
        other = 40 * (ROW * (1 - left())).expand(3, 6, 6).flatten() * (0.0, 0.75, 0.95)[k]
        rung.net.weight.data[1] += other
        rung.net.bias.data[1] -= 0.5 * other.sum()
    probes = ["backgrounds", "saliency"]
    run = eq.audit(rungs, scene(300), probes, tmp_path / "run", shown=False)
    trends = [c for c in weigh_benchmark(run) if c.classifier == "l2"]
    assert [c.id for c in trends] == ["B1", "B3"]
    assert all(c.source == "ours" and "One training at each" in c.control for c in trends)
    assert trends[1].value == pytest.approx(1.0) and trends[1].verdict == "holds"
    three = eq.audit(rungs[:3], scene(300), probes, tmp_path / "three", shown=False)
    assert [c.classifier for c in weigh_benchmark(three)] == ["1", "2"] * 2
