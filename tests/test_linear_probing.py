"""Linear heads on fixed features: the minimum of the stated loss, and nothing else about a classifier changes."""

import numpy as np
import pytest
import torch
from conftest import Linear
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

import equipoise as eq
from equipoise.classifiers import NETS, Penultimate, build_net
from equipoise.cli import main
from equipoise.images import Arrays
from equipoise.report.reading import _judged
from equipoise.training import fit_head, linear_probing, transfer

FACTS = {"norm": "l2", "radius": 0.5, "objective": {"name": "pgd"}, "network": "mlp", "images": 5}


def pixels(features=6, classes=3, seed=0):
    """A classifier whose features are the pixels."""
    torch.manual_seed(seed)
    return eq.wrap(nn.Sequential(nn.Flatten(), nn.Linear(features, classes)), mean=0.4, std=0.2)


def clouds(sizes, features=6, spread=0.2, seed=0):
    """Overlapping clouds of points in [0, 1], so many of each class, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((size,), k) for k, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centres = torch.rand(len(sizes), features, generator=generator)
    noise = spread * torch.randn(len(labels), features, generator=generator)
    points = (centres[labels] + noise).clamp(0, 1) * torch.linspace(0.1, 1, features)
    return Arrays(
        points.view(-1, 1, 2, features // 2),
        labels,
        tuple(f"class {k}" for k in range(len(sizes))),
    )


def everything(images):
    return images.batch(range(len(images)))


@pytest.mark.parametrize("sizes", [(40, 40, 40), (100, 15, 5), (50, 7)], ids=str)
@pytest.mark.parametrize("decay", [1.0, 0.01, 1e-4])
def test_the_head_is_the_one_that_scikit_learn_finds(sizes, decay):
    images = clouds(sizes)
    found = fit_head(pixels(), images, decays=[decay], shown=False)
    batch = everything(images)
    x, y = batch.images.flatten(1).double().numpy(), batch.labels.numpy()
    scaler = StandardScaler().fit((x - 0.4) / 0.2)
    z = scaler.transform((x - 0.4) / 0.2)
    if len(sizes) > 2:
        known = LogisticRegression(
            C=1 / (decay * len(y)), tol=1e-10, solver="newton-cg", max_iter=1000
        ).fit(z, y)
        expected = known.predict_log_proba(z)
    else:
        # One row of weights w stands for two of -w / 2 and w / 2, whose penalty is half as large.
        known = LogisticRegression(
            C=2 / (decay * len(y)), tol=1e-10, solver="newton-cg", max_iter=1000
        ).fit(z, y)
        expected = known.predict_log_proba(z)
    answers = found(batch.images).double().log_softmax(1).numpy()
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)
    assert found.facts["selected"] == {"decay": decay}


def test_labels_drawn_in_proportion_give_the_shares_of_the_classes():
    """Features that never change say nothing: the head answers with how common each class is."""
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    images = Arrays(torch.full((100, 1, 2, 3), 0.3), labels, ("a", "b", "c"))
    found = fit_head(pixels(), images, decays=[1e-4], shown=False)
    answers = found(everything(images).images).softmax(1)
    torch.testing.assert_close(answers[0], torch.tensor([0.6, 0.3, 0.1]), atol=1e-4, rtol=0)
    assert (found.net[1].weight == 0).all()


def test_held_out_images_choose_the_decay():
    noise = clouds((60, 60), seed=3)
    shuffled = torch.randint(0, 2, (120,), generator=torch.Generator().manual_seed(1))
    nothing = Arrays(noise.batch(range(120)).images, shuffled, ("a", "b"))
    strong = fit_head(pixels(), nothing, shown=False).facts["selected"]
    weak = fit_head(pixels(), clouds((60, 60), spread=0.02), shown=False).facts["selected"]
    assert strong["decay"] >= 0.1
    assert weak["decay"] <= 1e-3
    assert weak["held_out_accuracy"] == 1.0
    assert strong["held_out_accuracy"] < 0.8


def test_the_order_of_the_images_and_the_batch_change_nothing(trained):
    images = eq.load_images("digits", split="test").subset(150)
    decays = [1.0, 0.1]
    first = fit_head(trained, images, decays=decays, shown=False)
    again = fit_head(trained, images, decays=decays, batch=7, shown=False)
    assert torch.equal(first.net.layers[-1].weight, again.net.layers[-1].weight)
    batch, order = (
        everything(images),
        torch.randperm(150, generator=torch.Generator().manual_seed(0)),
    )
    mixed = Arrays(
        batch.images[order],
        batch.labels[order],
        images.classes,
        [batch.ids[k] for k in order.tolist()],
    )
    other = fit_head(trained, mixed, decays=decays, shown=False)
    assert other.facts["selected"]["decay"] == first.facts["selected"]["decay"]
    assert (
        other.facts["selected"]["held_out_accuracy"]
        == first.facts["selected"]["held_out_accuracy"]
    )
    torch.testing.assert_close(other(batch.images), first(batch.images), atol=1e-3, rtol=1e-3)


def test_digits_are_read_as_even_or_odd(trained):
    def parity(split):
        batch = everything(eq.load_images("digits", split=split))
        return Arrays(batch.images, batch.labels % 2, ("even", "odd"), batch.ids), batch

    (train, _), (_, test) = parity("train"), parity("test")
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    found = fit_head(trained, train, decays=[0.01, 1e-3], shown=False)
    assert found.classes == ("even", "odd")
    assert (found(test.images).argmax(1) == test.labels % 2).float().mean() > 0.93
    # Whatever classifier it came from is as it was, and so is what the new one sees.
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())
    assert trained(test.images).shape == (600, 10)
    old, new = (Penultimate.of(c, (1, 8, 8))(test.images) for c in (trained, found))
    assert torch.equal(old, new)
    head = "net.layers.3"
    kept = {k: v for k, v in found.state_dict().items() if not k.startswith(head)}
    assert kept
    assert all(torch.equal(value, before[key]) for key, value in kept.items())
    assert not any(p.requires_grad for p in found.parameters())


def test_facts_keep_the_place_on_the_ladder(trained):
    rung = eq.wrap(trained.net, classes=trained.classes, name="l2-0.5", facts=FACTS)
    images = eq.load_images("digits", split="test").subset(100)
    found = fit_head(rung, images, decays=[0.1], shown=False)
    judged = _judged("x", {"facts": found.facts})
    assert (judged.norm, judged.radius, judged.objective) == ("l2", 0.5, "pgd")
    assert judged.network == "mlp"
    assert found.facts["backbone"]["facts"] == FACTS
    assert found.facts["backbone"]["fingerprint"] == rung.fingerprint()
    assert found.facts["images"] == 100
    unknown = fit_head(trained, images, decays=[0.1], shown=False)
    assert unknown.facts["radius"] == 0.0


@pytest.mark.parametrize("kind", sorted(NETS.keys() - {"nearest"}))
def test_a_transfer_is_written_once(kind, tmp_path, monkeypatch):
    torch.manual_seed(0)
    classifier = eq.wrap(build_net(kind, {"shape": (1, 8, 8), "classes": 7}), mean=0.3, std=0.4)
    images = eq.load_images("digits", split="test").subset(80)
    found = transfer(classifier, images, tmp_path / "head", decays=[0.1], shown=False)
    batch = everything(images)
    assert found(batch.images).shape == (80, 10)
    assert found.name == "head"
    made = fit_head(classifier, images, decays=[0.1], shown=False)
    assert torch.equal(found(batch.images), made(batch.images))
    monkeypatch.setattr(linear_probing, "fit_head", lambda *_, **__: pytest.fail("fitted again"))
    again = transfer(classifier, images, tmp_path / "head", decays=[0.1], shown=False)
    assert again.fingerprint() == found.fingerprint()
    for others in ({"decays": [0.2]}, {"decays": [0.1], "seed": 1}):
        with pytest.raises(eq.EquipoiseError, match="Choose another --out"):
            transfer(classifier, images, tmp_path / "head", **others, shown=False)


def test_any_network_that_ends_in_a_linear_layer_will_do(tmp_path):
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
            self.top = nn.ModuleDict({"out": nn.Linear(16, 3, bias=False)})

        def forward(self, x):
            return self.top["out"](self.body(x))

    torch.manual_seed(0)
    classifier = eq.wrap(Nested())
    images = eq.load_images("digits", split="test").subset(200)
    found = fit_head(classifier, images, decays=[0.01], shown=False)
    batch = everything(images)
    assert (found(batch.images).argmax(1) == batch.labels).float().mean() > 0.8
    with pytest.raises(eq.EquipoiseError, match="its network is a Nested"):
        transfer(classifier, images, tmp_path, shown=False)


class Closed(Arrays):
    only_for_tests = "its licence forbids to fit anything to it"


@pytest.mark.parametrize(
    ("images", "settings", "words"),
    [
        (
            Closed(torch.zeros(4, 1, 2, 3), torch.tensor([0, 1, 0, 1]), "ab"),
            {},
            "its licence forbids",
        ),
        (clouds((10, 1)), {}, "fewer than two images of the class 'class 1', one of 1"),
        (clouds((10, 10, 0)), {}, "fewer than two images of the class 'class 2'"),
        (clouds((5, 5)), {"decays": []}, "one or more above 0"),
        (clouds((5, 5)), {"decays": [0.0]}, "one or more above 0"),
        (clouds((5, 5), features=8), {}, "does not take images"),
    ],
)
def test_what_cannot_be_fitted(images, settings, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        fit_head(pixels(), images, shown=False, **settings)


def test_other_ends_are_refused():
    with pytest.raises(eq.EquipoiseError, match="it calls none"):
        fit_head(eq.wrap(Linear(torch.eye(2, 6), torch.zeros(2))), clouds((5, 5)), shown=False)


def test_the_command_line(tmp_path, capsys):
    torch.manual_seed(0)
    net = build_net("mlp", {"shape": (1, 8, 8), "classes": 3})
    eq.classifiers.save_classifier(eq.wrap(net, facts=FACTS), tmp_path / "rung")
    command = ["transfer", f"local:{tmp_path / 'rung'}", "--data", "digits", "--limit", "200"]
    out = ["--out", str(tmp_path / "head"), "--device", "cpu"]
    main([*command, *out])
    shown = capsys.readouterr().out
    assert f"local:{tmp_path / 'head'}, fitted to 200 images with decay" in shown
    assert "accuracy on held-out images" in shown
    head = eq.load_classifier(f"local:{tmp_path / 'head'}")
    assert head.facts["split"] == "train"
    assert head.facts["radius"] == 0.5
    main([*command, *out])
    assert capsys.readouterr().out == shown
    with pytest.raises(SystemExit):
        main([*command, *out, "--decay", "0.1"])
    assert "Choose another --out" in capsys.readouterr().err
