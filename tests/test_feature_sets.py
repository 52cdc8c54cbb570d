"""Feature sets: what the searches find where it is known in closed form, what is stored, and whom it can train."""

import pytest
import torch
from conftest import Linear, grey_images
from torch import nn

import equipoise as eq
from equipoise.classifiers import Penultimate
from equipoise.images import Arrays, Subset, writing
from equipoise.store import arrays, connect, read_shards
from equipoise.training import Recipe, feature_folder, match_features, relabel, train_ladder

SHAPE = (1, 4, 4)


def eight_bit(images):
    return (images * 255).round() / 255


def grey_set(count=12, classes=3):
    pixels = eight_bit(grey_images(count, SHAPE, spread=0.3))
    labels = [i % classes for i in range(count)]
    return Arrays(pixels, labels, tuple("abcdefgh"[:classes]), [f"g{i}" for i in range(count)])


def linear_net(*layers):
    """A network of linear layers alone."""
    torch.manual_seed(0)
    return eq.wrap(nn.Sequential(nn.Flatten(), *layers).double())


def columns(folder):
    return arrays(read_shards(connect(), sorted((folder / "data").glob("*.parquet"))).order("id"))


def content(folder):
    """Everything that was stored, pixels as their bytes."""
    return {
        name: [v["bytes"] if isinstance(v, dict) else v for v in values.tolist()]
        for name, values in columns(folder).items()
    }


def small_digits(count=40):
    return eq.load_images("digits", "train").subset(count)


def test_matching_a_bare_linear_classifier_gives_the_image_itself(tmp_path):
    """Its representation is the image, so that ||g(x_r) - g(x)|| has one minimum: x."""
    data = grey_set()
    made = match_features(data, linear_net(nn.Linear(16, 3)), tmp_path / "set", device="cpu")
    assert len(made) == len(data)
    for found, wanted in zip(made, data, strict=True):
        assert (found.id, found.label) == (wanted.id, wanted.label)
        assert (found.image - wanted.image).abs().max() <= 1.01 / 255
    stored, by_id = columns(tmp_path / "set"), {example.id: example for example in data}
    for id, source, label, before, after in zip(
        *(stored[name] for name in ("id", "source_id", "source_label", "before", "after")),
        strict=True,
    ):
        assert source != id
        assert label == by_id[source].label
        distance = (by_id[source].image - by_id[id].image).norm().item()
        assert before == pytest.approx(distance, rel=1e-5)
        assert after < 0.02 * before


def test_matching_changes_only_what_the_representation_sees(tmp_path):
    """For g(x) = A x with fewer rows than pixels, the search ends in x0 + A^+ A (x - x0)."""
    data, net = grey_set(), linear_net(nn.Linear(16, 5), nn.Linear(5, 3))
    made = match_features(data, net, tmp_path / "set", steps=400, device="cpu")
    matrix = net.net[1].weight
    projection = torch.linalg.pinv(matrix) @ matrix
    by_id, rows = {example.id: example for example in data}, columns(tmp_path / "set")
    sources = dict(zip(rows["id"], rows["source_id"], strict=True))
    for found in made:
        x, x0 = (by_id[i].image.double().flatten() for i in (found.id, sources[found.id]))
        wanted = (x0 + projection @ (x - x0)).clamp(0, 1)
        assert (found.image.double().flatten() - wanted).abs().max() <= 1.5 / 255


@pytest.mark.parametrize("threat", [eq.L2(0.3), eq.Linf(8 / 255)], ids=str)
def test_relabelling_with_a_linear_classifier_takes_the_steepest_way(tmp_path, threat):
    """Between two classes the way is w_t - w_y for every image, and its end lies r along it."""
    data, net = grey_set(classes=2), linear_net(nn.Linear(16, 2))
    made = relabel(data, net, tmp_path / "set", threat=threat, device="cpu")
    weight = net.net[1].weight
    for found, x in zip(made, data, strict=True):
        assert found.label == 1 - x.label
        way = (weight[found.label] - weight[x.label]).view(1, *SHAPE)
        end = x.image + threat.radius * threat.steepest(way)[0]
        assert (found.image - end).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("threat", [eq.L2(1), eq.Linf(0.2), eq.L1(5), eq.L2(0)], ids=str)
@pytest.mark.parametrize("targets", ["random", "next"])
def test_relabelled_images_stay_within_the_threat_and_fool(tmp_path, trained, threat, targets):
    data = small_digits()
    made = relabel(
        data, trained, tmp_path / "set", threat=threat, targets=targets, steps=20, device="cpu"
    )
    found, own = made.batch(range(len(made))), data.batch(range(len(data)))
    assert found.ids == own.ids
    distances = threat.distance(found.images, eight_bit(own.images))
    assert distances.max() <= threat.radius * (1 + 1e-5)
    ahead = (found.labels - own.labels) % 10
    assert (ahead == 1).all() if targets == "next" else set(ahead.tolist()) == set(range(1, 10))
    rows = columns(tmp_path / "set")
    read = dict(zip(rows["id"], rows["prediction"], strict=True))
    answers = trained(found.images).argmax(1)
    assert answers.tolist() == [read[id] for id in found.ids]
    if threat.radius:
        assert distances.min() >= 0.95 * threat.radius
        assert (answers == found.labels).float().mean() > 0.3
        assert (rows["after"] < rows["before"]).all()
    else:
        assert torch.equal(found.images, eight_bit(own.images))


@pytest.mark.slow
@pytest.mark.parametrize("make", [match_features, relabel])
def test_neither_batches_nor_shards_matter(tmp_path, trained, make, monkeypatch):
    data = small_digits()
    make(data, trained, tmp_path / "one", device="cpu")
    monkeypatch.setattr(feature_folder, "ROWS", 13)
    make(data, trained, tmp_path / "many", batch=5, device="cpu")
    assert len(list((tmp_path / "many" / "data").iterdir())) == 4
    assert content(tmp_path / "one") == content(tmp_path / "many")
    make(data, trained, tmp_path / "seed", seed=1, device="cpu")
    assert content(tmp_path / "one") != content(tmp_path / "seed")


def test_company_does_not_matter_to_relabelled_images(tmp_path, trained):
    data = small_digits()
    relabel(data, trained, tmp_path / "all", steps=10, device="cpu")
    relabel(Subset(data, [7, 3, 30]), trained, tmp_path / "few", steps=10, device="cpu")
    every, few = (content(tmp_path / name) for name in ("all", "few"))
    rows = [every["id"].index(id) for id in few["id"]]
    assert few == {name: [values[row] for row in rows] for name, values in every.items()}


@pytest.mark.parametrize("make", [match_features, relabel])
def test_an_interrupted_set_ends_the_same(tmp_path, trained, make, monkeypatch):
    monkeypatch.setattr(feature_folder, "ROWS", 9)
    data, write = small_digits(), writing.write_shard
    make(data, trained, tmp_path / "whole", steps=5, device="cpu")

    def interrupted(path, *rest):
        if "00002-of" in path.name:
            raise KeyboardInterrupt
        write(path, *rest)

    monkeypatch.setattr(writing, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(data, trained, tmp_path / "cut", steps=5, device="cpu")
    assert '"status": "running"' in (tmp_path / "cut" / "features.json").read_text()
    monkeypatch.setattr(writing, "write_shard", write)
    first, second = sorted((tmp_path / "cut" / "data").iterdir())
    damaged = bytearray(second.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    second.write_bytes(bytes(damaged))
    kept = first.stat().st_mtime_ns
    make(data, trained, tmp_path / "cut", steps=5, device="cpu")
    assert first.stat().st_mtime_ns == kept
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert '"status": "complete"' in (tmp_path / "cut" / "features.json").read_text()


def test_a_finished_set_is_opened(tmp_path, trained, monkeypatch):
    data = small_digits()
    relabel(data, trained, tmp_path / "set", steps=5, device="cpu")
    monkeypatch.setattr(writing, "write_shard", None)
    again = relabel(data, trained, tmp_path / "set", steps=5, step=0.5, device="cpu")
    assert len(again) == len(data)
    with pytest.raises(eq.EquipoiseError, match=r"step is 0\.5 there and 0\.1 now"):
        relabel(data, trained, tmp_path / "set", steps=5, step=0.1, device="cpu")


def test_a_set_opens_as_images_and_trains(tmp_path, trained):
    data = small_digits(200)
    relabel(data, trained, tmp_path / "set", threat=eq.L2(1), device="cpu")
    made = eq.load_images(f"parquet:{tmp_path / 'set'}", "train")
    assert made.classes == data.classes
    assert made.shape == data.shape
    assert "path: data/train-*.parquet" in (tmp_path / "set" / "README.md").read_text()
    recipe = Recipe(net="mlp", widths=(64,), epochs=20, rate=1e-2)
    [pupil] = train_ladder(made, [eq.L2(0)], recipe, tmp_path / "pupil", accelerator="cpu")
    batch = made.batch(range(len(made)))
    assert (pupil(batch.images).argmax(1) == batch.labels).float().mean() > 0.5


class Odd(nn.Module):
    """A network with a linear layer where it is not looked for: in the middle, or never called."""

    def __init__(self, ends):
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(16, 5), nn.Linear(5, 3), nn.Linear(5, 3)
        self.ends = ends

    def forward(self, images):
        hidden = self.first(images.flatten(1))
        return self.last(hidden) if self.ends else hidden[:, :3]


def test_the_penultimate_layer_is_what_the_last_linear_layer_called_sees():
    images = grey_images(7, SHAPE)
    net = eq.wrap(Odd(True), mean=0.5, std=0.2)
    hidden = net.net.first((images.flatten(1) - 0.5) / 0.2)
    represent = Penultimate.of(net, SHAPE)
    assert torch.allclose(represent(images), hidden, atol=1e-6)
    assert torch.equal(represent(images)[:3], represent(images[:3]))
    bare = eq.wrap(Linear(torch.ones(3, 16), torch.zeros(3)), name="bare")
    with pytest.raises(eq.EquipoiseError, match=r"'bare': an nn\.Linear .* calls none\. Use"):
        Penultimate.of(bare, SHAPE)
    with pytest.raises(eq.EquipoiseError, match="last one it calls does not"):
        Penultimate.of(eq.wrap(Odd(False)), SHAPE)
    with pytest.raises(eq.EquipoiseError, match=r"images of shape \(1, 5, 5\)"):
        Penultimate.of(net, (1, 5, 5))


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (match_features, {"steps": 0}, "match features with steps=0"),
        (match_features, {"step": -1.0}, r"step=-1\.0"),
        (relabel, {"batch": 0}, "relabel with batch=0"),
        (relabel, {"threat": 0.5}, "within 0.5: give a threat"),
        (relabel, {"targets": "nxt"}, "'nxt' targets. Did you mean 'next'"),
    ],
)
def test_senseless_settings_are_refused(tmp_path, make, settings, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        make(grey_set(), linear_net(nn.Linear(16, 3)), tmp_path / "x", **settings)
    assert not (tmp_path / "x").exists()


class Detached(nn.Sequential):
    def forward(self, input):
        return super().forward(input.detach())


def test_what_does_not_fit_is_refused(tmp_path, trained):
    data, net = grey_set(), linear_net(nn.Linear(16, 3))
    with pytest.raises(eq.EquipoiseError, match=r"another one is where its search begins"):
        match_features(Subset(data, [0]), net, tmp_path / "x", device="cpu")
    with pytest.raises(eq.EquipoiseError, match=r"equipoise\.wrap"):
        relabel(data, net.net, tmp_path / "x", device="cpu")
    with pytest.raises(eq.EquipoiseError, match=r"2 outputs, but the data has 3 classes"):
        relabel(data, linear_net(nn.Linear(16, 2)), tmp_path / "x", device="cpu")
    with pytest.raises(eq.EquipoiseError, match="probabilities"):
        relabel(data, linear_net(nn.Linear(16, 3), nn.Softmax(1)), tmp_path / "x", device="cpu")
    with pytest.raises(eq.EquipoiseError, match="there is no other one"):
        relabel(grey_set(classes=1), net, tmp_path / "x", device="cpu")
    blocked = eq.wrap(Detached(nn.Flatten(), nn.Linear(16, 3)), name="blocked")
    for make in (match_features, relabel):
        with pytest.raises(eq.EquipoiseError, match="'blocked': no gradient"):
            make(data, blocked, tmp_path / make.__name__, device="cpu")


def test_a_call_that_made_nothing_leaves_the_folder_free(tmp_path):
    data, net = grey_set(), linear_net(nn.Linear(16, 3))
    blocked = eq.wrap(Detached(nn.Flatten(), nn.Linear(16, 3)))
    with pytest.raises(eq.EquipoiseError, match="no gradient"):
        relabel(data, blocked, tmp_path / "set", device="cpu")
    assert '"shards": {}' in (tmp_path / "set" / "features.json").read_text()
    assert len(relabel(data, net, tmp_path / "set", steps=3, device="cpu")) == len(data)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "features.json").write_text("{}")
    with pytest.raises(eq.EquipoiseError, match="of something else"):
        relabel(data, net, tmp_path / "mine", device="cpu")


def test_other_folders_are_refused(tmp_path):
    data, net = grey_set(), linear_net(nn.Linear(16, 3))
    relabel(data, net, tmp_path / "set", steps=3, device="cpu")
    with pytest.raises(eq.EquipoiseError, match=r"another set \(threat is 'l2:0.5' there"):
        relabel(data, net, tmp_path / "set", steps=3, threat=eq.L2(1), device="cpu")
    with pytest.raises(eq.EquipoiseError, match=r"another set \(of other images or another"):
        relabel(Subset(data, range(5)), net, tmp_path / "set", steps=3, device="cpu")
    with pytest.raises(eq.EquipoiseError, match=r"another set \(made by relabel\)"):
        match_features(data, net, tmp_path / "set", device="cpu")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(eq.EquipoiseError, match=r"other files, such as 'thesis\.tex'"):
        relabel(data, net, tmp_path / "mine", device="cpu")
    (tmp_path / "file").write_text("x")
    with pytest.raises(eq.EquipoiseError, match="it is a file"):
        relabel(data, net, tmp_path / "file", device="cpu")
