"""Assets: small weights that change no verdict, found by name, and never used once a byte has changed."""

import json
import re

import pytest
import torch
import yaml

import equipoise as eq
from equipoise.assets import asset_names, find_asset
from equipoise.classifiers import MLP, NearestImages, save_classifier
from equipoise.cli import main
from equipoise.diffusion import MixtureDenoiser, Preconditioned, UNet, save_denoiser
from equipoise.errors import EquipoiseError
from equipoise.images import Arrays
from equipoise.packing import compare_outputs, compare_verdicts, pack_classifier, pack_denoiser
from equipoise.packing.card import last_part
from equipoise.quality import assess

DIGITS = tuple(str(c) for c in range(10))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    probes = ["standard", "adversarial:l2:0.3?steps=5"]
    return eq.audit([trained], "digits", probes, folder, limit=20, pictures=0)


def small_denoiser(scale=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(shape=(1, 8, 8), classes=10, width=4)
    for parameter in net.parameters():
        parameter.data.add_(scale * 0.05 * torch.randn(parameter.shape, generator=stream()))
    return Preconditioned(net, sigma_data=0.5, shape=(1, 8, 8), classes=DIGITS, scale=4.0)


def stream():
    return torch.Generator().manual_seed(1)


def two_pixels(weight):
    """A network of two classes that looks at two pixels, and one image on which they tie but for `weight`."""
    net = MLP(shape=(1, 1, 2), classes=2, widths=())
    net.layers[1].weight.data = torch.tensor(weight)
    net.layers[1].bias.data.zero_()
    return eq.wrap(net, classes=("a", "b"), name="two")


ONE = Arrays(torch.tensor([[[[1.0, 0.0]]]]), [0], ("a", "b"))
QUICK = {"attacks": ["adversarial:linf:1?steps=2"], "device": "cpu"}
"""What is soon done: the other class lies within the threat."""


def test_a_classifier_is_packed_into_half_of_the_bytes_and_says_the_same(trained, run, root):
    images = eq.load_images("digits")
    packed = pack_classifier(
        trained, images, root / "digits/standard", run=run, licence="mit", device="cpu"
    )
    found = eq.load_classifier("asset:digits/standard")
    assert found.name == "standard" and found.classes == trained.classes
    batch = images.batch(range(len(images)))
    same = torch.equal(found(batch.images).argmax(1), trained(batch.images).argmax(1))
    assert same and packed.compared.same and packed.precision == "float16" and not packed.reason
    for ours, theirs in zip(found.parameters(), trained.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.half().float())
    whole = sum(p.numel() for p in trained.parameters()) * 4
    assert packed.size < 0.6 * whole
    assert trained.net.layers[1].weight.dtype == torch.float32
    verdicts = packed.compared
    assert verdicts.predictions.n == len(images) and verdicts.predictions.known == 20
    assert [found.probe for found in verdicts.attacks] == ["adversarial:l2:0.3?steps=5"]
    assert verdicts.attacks[0].n == verdicts.attacks[0].known == 20
    assert verdicts.attacks[0].against_run == 0


def test_the_card_says_where_it_comes_from(trained, run, root):
    pack_classifier(trained, eq.load_images("digits"), root / "d", run=run, licence="mit")
    text = (root / "d/README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "mit" and head["model-index"]
    assert text.index("## What was measured") < text.index("## This asset")
    assert text.index("## Files") < text.index("## References")
    manifest = json.loads((root / "d/asset.json").read_text())
    for name, sum in manifest["sha256"].items():
        assert f"`{name}`: SHA-256 `{sum}`" in text
    assert '"epochs": 20' in text and "Standard accuracy" in text


def test_float32_stays_where_rounding_changes_a_verdict_or_a_weight_does_not_fit(root):
    kept = pack_classifier(two_pixels([[1.0, 0.0], [1.0001, 1.0]]), ONE, root / "near", **QUICK)
    assert kept.compared.predictions.changed == 1
    assert (kept.precision, kept.reason) == (
        "float32",
        "rounding to it changes what the network says",
    )
    found = eq.load_classifier("asset:near")
    assert found(ONE[0].image[None]).argmax() == 1
    large = pack_classifier(two_pixels([[1e5, 0.0], [0.0, 1e5]]), ONE, root / "large", **QUICK)
    assert (large.precision, large.reason) == ("float32", "a weight is too large for it")
    assert "too large" in (root / "large/README.md").read_text()
    fine = pack_classifier(two_pixels([[2.0, 0.0], [0.0, 1.0]]), ONE, root / "fine", **QUICK)
    assert fine.precision == "float16"


def test_an_attack_that_turns_out_otherwise_counts():
    # At (1/2, 1/2), which is as far as 0.5 leads, the first one has changed its mind and the second has not.
    first, second = (two_pixels([[a, 0.0], [0.0, 1 - a]]) for a in (0.49, 0.51))
    found = compare_verdicts(first, second, ONE, ["adversarial:linf:0.5"], count=1)
    assert found.predictions.changed == 0 and found.attacks[0].changed == 1 and not found.same
    assert found.logit == pytest.approx(0.02, abs=1e-6)
    with pytest.raises(EquipoiseError, match="no attack"):
        compare_verdicts(first, second, ONE, ["standard"])


def test_whole_numbers_are_not_rounded(root):
    net = NearestImages(shape=(1, 1, 2), classes=2, count=1)
    net.know(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([1]))
    judge = eq.wrap(net, classes=("a", "b"), name="nearest")
    pack_classifier(judge, ONE, root / "nearest", **QUICK)
    assert eq.load_classifier("asset:nearest").net.labels.dtype == torch.int64


def test_a_denoiser_keeps_its_answers_within_the_tolerance(trained, root):
    images, whole = eq.load_images("digits"), small_denoiser()
    kept = assess(
        whole, trained, eq.load_images("digits", "train"), images, root, count=20, steps=3
    )
    packed = pack_denoiser(whole, images, root / "d", judge=trained, quality=kept)
    assert packed.precision == "float16" and 0 < packed.compared.largest < 0.02
    assert packed.compared.samples == 200 and packed.compared.alike >= 195
    found = eq.load_denoiser("asset:d")
    x = torch.rand(4, 1, 8, 8, generator=stream())
    assert (found(x, 0.5, 1) - whole(x, 0.5, 1)).abs().max() < 1e-2
    text = (root / "d/README.md").read_text()
    assert "Quality of its samples" in text and "published FIDs" in text
    with pytest.raises(EquipoiseError, match="only what equipoise denoise trained"):
        one = torch.ones(1)
        mixture = MixtureDenoiser(torch.zeros(1, 1, 8, 8), one, one, torch.zeros(1).long())
        pack_denoiser(mixture, images, root / "m")


def test_the_tolerance_is_a_share_of_the_error():
    images, first = eq.load_images("digits"), small_denoiser()
    assert compare_outputs(first, first, images, count=8).largest == 0
    second = small_denoiser(scale=2.0)
    found = compare_outputs(first, second, images, count=8)
    assert not found.same
    level = found.levels[4]
    sample = images.subset(8, 0)
    batch = sample.batch(range(8))
    x = torch.cat([2 * batch.images - 1] * 2)
    labels = torch.cat([batch.labels, torch.full((8,), -1)])
    from equipoise.streams import stream

    noisy = x + 0.5 * torch.randn(x.shape, generator=stream(0, "pack", 0.5))
    one, other = (d(noisy, 0.5, labels) for d in (first, second))
    assert level.sigma == 0.5
    assert level.error == pytest.approx((one - x).square().mean().sqrt().item(), rel=1e-5)
    assert level.difference == pytest.approx((one - other).square().mean().sqrt().item(), rel=1e-5)


def test_a_changed_asset_is_refused(root):
    pack_classifier(two_pixels([[2.0, 0.0], [0.0, 1.0]]), ONE, root / "set/two", **QUICK)
    folder = root / "set/two"
    assert asset_names() == asset_names("classifier") == ["set/two"] and not asset_names(
        "denoiser"
    )

    def refused(said):
        with pytest.raises(EquipoiseError, match=said):
            eq.load_classifier("asset:set/two")

    for name in ("weights.safetensors", "classifier.json"):
        honest = (folder / name).read_bytes()
        (folder / name).write_bytes(honest[:-1] + bytes([honest[-1] ^ 1]))
        refused(f"{name} is not as it was written")
        (folder / name).unlink()
        refused("Cannot read")
        (root / "elsewhere").write_bytes(honest)
        (folder / name).symlink_to(root / "elsewhere")
        refused("it is a link")
        (folder / name).unlink()
        (folder / name).write_bytes(honest)
    assert eq.load_classifier("asset:set/two").classes == ("a", "b")
    manifest = json.loads((folder / "asset.json").read_text())
    for change, said in (
        ({"format": 2}, "another format"),
        ({"kind": "denoiser"}, "no classifier but a 'denoiser'"),
        ({"sha256": None}, "not as it was written"),
        ({"sha256": {}}, "not as it was written"),
    ):
        (folder / "asset.json").write_text(json.dumps(manifest | change))
        refused(said)
    (folder / "asset.json").write_text("[]")
    refused("another format")


def test_names_that_there_are_not(root, monkeypatch):
    with pytest.raises(EquipoiseError, match="EQUIPOISE_ASSETS"):
        eq.load_classifier("asset:two")
    pack_classifier(two_pixels([[2.0, 0.0], [0.0, 1.0]]), ONE, root / "set/l2-0.5", **QUICK)
    with pytest.raises(EquipoiseError, match=r"Did you mean 'set/l2-0\.5'"):
        eq.load_classifier("asset:set/l2-05")
    with pytest.raises(EquipoiseError, match="No denoiser is there"):
        eq.load_denoiser("asset:set/l2-0.5x")
    with pytest.raises(EquipoiseError, match="no denoiser but a 'classifier'"):
        eq.load_denoiser("asset:set/l2-0.5")
    for name in ("../set/l2-0.5", "/etc", "set/../set/l2-0.5", "a\0b"):
        with pytest.raises(EquipoiseError):
            find_asset(name, "classifier")
    monkeypatch.delenv("EQUIPOISE_ASSETS")
    monkeypatch.chdir(root.parent)
    assert eq.load_classifier("asset:set/l2-0.5").name == "l2-0.5"


def test_something_else_in_the_folder_is_left_alone(root):
    (root / "x").mkdir(parents=True)
    (root / "x/thesis.txt").write_text("mine")
    with pytest.raises(EquipoiseError, match="something else is there"):
        pack_classifier(two_pixels([[2.0, 0.0], [0.0, 1.0]]), ONE, root / "x", **QUICK)
    for weight in (2.0, 3.0):
        pack_classifier(two_pixels([[weight, 0.0], [0.0, 1.0]]), ONE, root / "y", **QUICK)
    assert eq.load_classifier("asset:y").net.layers[1].weight[0, 0] == 3


def test_names_and_paths_are_text_on_the_card(root):
    clf = two_pixels([[2.0, 0.0], [0.0, 1.0]])
    clf.name = "---\nlicense: mit\n<script>alert(1)</script>"
    clf.facts = {"data": "parquet:/home/me/secret/cifar?size=8", "split": "```x", "n": "```\n# hi"}
    pack_classifier(clf, ONE, root / "c", **QUICK)
    text = (root / "c/README.md").read_text()
    assert "<script" not in text and "secret" not in text
    assert "license" not in yaml.safe_load(text.split("---\n")[1])
    fences = re.findall("^```", text, re.MULTILINE)
    assert len(fences) == 2
    assert "secret" not in (root / "c/classifier.json").read_text()
    assert last_part("folder:C:\\me\\photos") == "folder:photos"
    assert last_part("digits") == "digits"


def test_a_run_of_other_classifiers_is_refused(run, root):
    other = eq.wrap(MLP(shape=(1, 8, 8), classes=10), classes=DIGITS, name="other")
    with pytest.raises(EquipoiseError, match="did not judge"):
        pack_classifier(other, eq.load_images("digits"), root / "o", run=run)
    assert not (root / "o").exists()


def test_the_command_line_packs_both(trained, root, tmp_path, capsys):
    save_classifier(trained, tmp_path / "l2-0")
    save_denoiser(small_denoiser(), tmp_path / "denoiser")
    for name in ("l2-0", "denoiser"):
        asked = ["pack", f"local:{tmp_path / name}", "--data", "digits", "--device", "cpu"]
        main([*asked, "--out", str(root / "digits" / name), "--attacked", "4"])
    assert asset_names() == ["digits/denoiser", "digits/l2-0"]
    assert "MB in float16" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["pack", "timm:resnet18", "--data", "digits", "--out", str(root / "z")])
    assert "local:DIR" in capsys.readouterr().err
