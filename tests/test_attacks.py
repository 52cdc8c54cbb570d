"""Attacks: exact on linear models, inside ball and box, the same for an image in any batch, honest about passes."""

import pytest
import torch
from conftest import Linear, grey_images, linear
from torch import nn

import equipoise as eq
from equipoise.attacks import APGD, BPDA, FAB, PGD, MinimumNorm, Square
from equipoise.attacks.apgd import checkpoints
from equipoise.attacks.losses import choose_loss, margin
from equipoise.classifiers import ResidualNet

ATTACKS = [
    PGD(steps=10),
    PGD(steps=5, restarts=2, loss="margin"),
    APGD(steps=15),
    APGD(steps=10, loss="dlr"),
    APGD(steps=8, loss="ce", targeted=True),
    MinimumNorm(steps=15),
    FAB(steps=4, targets=3),
    FAB(steps=2, restarts=3, targets=2),
    Square(queries=25),
    BPDA(steps=3, draws=2, targets=2),
]
SMALLEST = (MinimumNorm, FAB)
"""Attacks that look for the smallest change, and report the distance inf where they found none."""
THREATS = [eq.L1(2.0), eq.L2(0.4), eq.Linf(0.06)]
attacks = pytest.mark.parametrize("attack", ATTACKS, ids=repr)
threats = pytest.mark.parametrize("threat", THREATS, ids=str)
kinds = pytest.mark.parametrize("kind", [eq.L1, eq.L2, eq.Linf], ids=lambda k: k.__name__)


def small_net(seed=0, classes=5):
    torch.manual_seed(seed)
    net = ResidualNet(shape=(3, 8, 8), classes=classes, widths=(8, 16))
    nn.init.normal_(net.head.weight, std=0.5)
    return eq.wrap(net, name="residual")


def some_images(count=12, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 8, 8, generator=generator)


@attacks
@threats
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_results_stay_in_ball_and_box_and_say_the_truth(attack, threat, classes):
    classifier, images = small_net(classes=classes), some_images()
    labels = classifier(images).argmax(1)
    labels[0] = (labels[0] + 1) % classes
    result = attack(classifier, images, labels, threat)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    distance = threat.distance(images.double(), result.images.double())
    assert (distance <= threat.radius + 1e-6).all()
    finite = result.distance.isfinite()
    assert torch.equal(finite, result.success) if isinstance(attack, SMALLEST) else finite.all()
    assert torch.allclose(distance[finite], result.distance[finite].double(), atol=1e-5)
    assert torch.equal(classifier(result.images).argmax(1) != labels, result.success)
    assert result.success[0]
    assert result.distance[0] == 0
    assert result.passes[0] == 1
    assert torch.equal(result.images[0], images[0])
    assert not result.images.requires_grad


@attacks
@threats
def test_an_image_gets_the_same_answer_in_any_batch(attack, threat):
    classifier, images = small_net(), some_images(24)
    labels = classifier(images).argmax(1)
    # Wrong from the start and never searched: rows of the search are not those of the batch.
    labels[0] = (labels[0] + 1) % 5
    whole = attack(classifier, images, labels, threat, seed=5)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    for rows in [*order.split(7), torch.tensor([3])]:
        part = attack(classifier, images[rows], labels[rows], threat, seed=5)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.success, whole.success[rows])
        assert torch.equal(part.distance, whole.distance[rows])
        assert torch.equal(part.passes, whole.passes[rows])


@attacks
def test_seed_and_ids_name_the_streams(attack):
    classifier, images = small_net(), some_images(8)
    labels = classifier(images).argmax(1)
    ids = [f"image {k}" for k in range(8)]
    before = torch.random.get_rng_state()
    first, again, other = (
        attack(classifier, images, labels, eq.L2(0.9), seed=seed, ids=ids) for seed in (1, 1, 2)
    )
    assert torch.equal(first.images, again.images)
    assert torch.equal(before, torch.random.get_rng_state())
    # These start at the image itself, FAB until it starts again.
    steady = isinstance(attack, SMALLEST) and getattr(attack, "restarts", 1) == 1
    assert torch.equal(first.images, other.images) == steady


def exact_radius(classifier, images, labels, threat):
    """min over j != y of (z_y - z_j) / ||w_y - w_j||_q, the distance to the boundary of a linear classifier."""
    logits, weight = classifier(images), classifier.net.weight
    rows = []
    for z, y in zip(logits, labels, strict=True):
        others = [j for j in range(len(weight)) if j != y]
        slopes = threat.dual(torch.stack([weight[j] - weight[y] for j in others]))
        rows.append(min(((z[y] - z[j]) / s).item() for j, s in zip(others, slopes, strict=True)))
    return torch.tensor(rows)


@pytest.mark.parametrize(
    ("attack", "rtol"),
    # A step of FAB overshoots by a share.
    [(MinimumNorm(steps=100), 5e-3), (FAB(steps=20), 1e-2)],
    ids=["MinimumNorm", "FAB"],
)
@pytest.mark.parametrize("classes", [2, 3, 10])
@kinds
def test_the_smallest_change_is_exact_on_linear_classifiers(kind, classes, attack, rtol):
    classifier = linear(classes, (1, 5, 5))
    images = grey_images(40, (1, 5, 5))
    labels = classifier(images).argmax(1)
    exact = exact_radius(classifier, images, labels, kind(1.0))
    if kind is eq.L1:  # one pixel carries the whole change: only there is the box inactive
        inside = exact < 0.44
        images, labels, exact = images[inside], labels[inside], exact[inside]
    assert len(images) > 10
    result = attack(classifier, images, labels, kind(20.0))
    assert result.success.all()
    assert (result.distance >= exact * (1 - 1e-4) - 1e-6).all()
    assert torch.allclose(result.distance, exact, rtol=rtol, atol=1e-5)
    radius = exact.median().item()
    bounded = attack(classifier, images, labels, kind(radius))
    clear = (exact / radius - 1).abs() > 0.015
    assert torch.equal(bounded.success[clear], (exact < radius)[clear])
    assert torch.equal(bounded.success, bounded.distance.isfinite())
    assert torch.equal(bounded.images[~bounded.success], images[~bounded.success])


@pytest.mark.parametrize(
    "attack",
    [PGD(steps=40), APGD(steps=40), APGD(steps=40, loss="margin")],
    ids=repr,
)
@kinds
def test_fixed_radius_attacks_break_exactly_what_can_be_broken(kind, attack):
    """On a linear classifier with two classes an image can be broken just when the radius exceeds the margin."""
    classifier = linear(2, (1, 4, 4))
    images = grey_images(40, (1, 4, 4))
    labels = classifier(images).argmax(1)
    exact = exact_radius(classifier, images, labels, kind(1.0))
    radius = exact.median().item()
    result = attack(classifier, images, labels, kind(radius))
    clear = (exact / radius - 1).abs() > 0.01
    assert torch.equal(result.success[clear], (exact < radius)[clear])


@pytest.mark.parametrize("loss", ["ce", "dlr", "margin"])
def test_restarts_are_the_union_of_single_runs(loss, trained, digits):
    """Image by image: k restarts succeed exactly where one of the first k runs does, so more never raise accuracy."""
    images, labels, _ = (part[:64] for part in digits)
    threat = eq.Linf(0.13)
    success = [
        PGD(steps=2, restarts=k, loss=loss)(trained, images, labels, threat).success
        for k in (1, 2, 4)
    ]
    assert (success[0] <= success[1]).all()
    assert (success[1] <= success[2]).all()
    assert success[2].sum() > success[0].sum()


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (PGD(steps=7), 1 + 7 + 1, 7),
        (PGD(steps=4, restarts=2), 1 + 2 * (4 + 1), 2 * 4),
        (APGD(steps=7), 1 + 1 + 7, 7),
        (MinimumNorm(steps=7), 1 + 1 + 7, 9 + 7),
        (FAB(steps=7), 1 + 9 * (7 + 1), 9 * 7),
        (FAB(steps=7, targets=3, restarts=2), 1 + 6 * (7 + 1), 6 * 7),
        (Square(queries=7), 1 + 7, 0),
    ],
    ids=repr,
)
def test_a_classifier_that_nothing_breaks_costs_every_pass(attack, forwards, backwards):
    # Sixteen images: calls are filled up to multiples of sixteen.
    images, labels = grey_images(16, (1, 8, 8)), torch.zeros(16, dtype=torch.int64)
    bias = torch.tensor([100.0, *[0.0] * 9])
    steady = Linear(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)) * 1e-3, bias)
    seen = []
    steady.register_forward_hook(lambda *call: seen.append(len(call[2])))
    result = attack(steady, images, labels, eq.L2(0.1))
    assert not result.success.any()
    assert result.distance.isinf().all() == isinstance(attack, SMALLEST)
    assert result.forwards.tolist() == [forwards] * 16
    assert result.backwards.tolist() == [backwards] * 16
    assert sum(seen) == 16 * forwards


@attacks
def test_the_box_protects_and_wrong_answers_cost_one_pass(attack):
    images, labels = grey_images(9, (1, 4, 4)), torch.zeros(9, dtype=torch.int64)
    fragile = eq.wrap(
        Linear(torch.stack([torch.ones(16), -torch.ones(16)]) * 1e-3, torch.tensor([0.0, 0.0]))
    )
    # Only pixels below 0 would change the answer.
    assert not attack(fragile, images * 0.01, labels, eq.Linf(0.1)).success.any()
    assert attack(fragile, images, 1 - labels, eq.Linf(0.1)).passes.tolist() == [1] * 9


def test_broken_images_are_dropped(trained, digits):
    images, labels, _ = (part[:64] for part in digits)
    result = PGD(steps=30)(trained, images, labels, eq.Linf(0.2))
    broken = result.success & (result.distance > 0)
    assert broken.sum() > 20
    assert result.passes[broken].double().mean() < 0.5 * (2 * 30 + 2)
    if not result.success.all():
        assert (result.passes[~result.success] == 2 * 30 + 2).all()


@pytest.mark.parametrize(
    ("attack", "scale"),
    [
        (PGD(steps=20), 100.0),
        (APGD(steps=20), 100.0),
        (PGD(steps=20, loss="margin"), 0.01),
        (APGD(steps=20, loss="margin"), 0.01),
        (APGD(steps=20, loss="dlr"), 100.0),
        (MinimumNorm(steps=20), 0.01),
        (MinimumNorm(steps=20), 100.0),
    ],
    ids=repr,
)
def test_the_scale_of_the_logits_does_not_hide_anything(attack, scale, trained, digits):
    """Cross-entropy's gradient underflows on logits times 100; peers then call the classifier robust. (On logits times
    0.01 cross-entropy itself is another function, with another direction of ascent: there the margin is scale-free.)"""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = trained

        def forward(self, images):
            return scale * self.net(images)

    images, labels, _ = (part[:128] for part in digits)
    threat = eq.L2(0.5)
    robust = [
        (attack(c, images, labels, threat).distance.nan_to_num(posinf=9) > 0.499)
        .double()
        .mean()
        .item()
        if isinstance(attack, MinimumNorm)
        else 1 - attack(c, images, labels, threat).success.double().mean().item()
        for c in (trained, Scaled())
    ]
    assert 0.1 < robust[0] < 0.9
    assert abs(robust[1] - robust[0]) <= 3 / 128


@pytest.mark.parametrize(
    ("classes", "targeted", "note"),
    [
        (2, False, "DLR needs 3 classes and there are 2: the margin loss was used"),
        (3, True, "targeted DLR needs 4 classes and there are 3: the margin loss was used"),
        (3, False, None),
        (4, True, None),
    ],
)
def test_dlr_gives_way_where_it_is_undefined_and_says_so(classes, targeted, note):
    classifier = linear(classes, (1, 4, 4))
    images = grey_images(8, (1, 4, 4))
    labels = classifier(images).argmax(1)
    attack = APGD(loss="dlr", targeted=targeted, steps=5)
    result = attack(classifier, images, labels, eq.L2(0.3))
    assert result.notes == (() if note is None else (note,))


def test_losses_by_hand():
    logits = torch.tensor([[2.0, 0.5, 1.0, -1.0]])
    label, target = torch.tensor([0]), torch.tensor([1])
    assert margin(logits, label).item() == pytest.approx(-1.0)
    assert margin(logits, label, target).item() == pytest.approx(-1.5)
    dlr, _ = choose_loss("dlr", 4, targeted=False)
    assert dlr(logits, label, None).item() == pytest.approx(-1.0 / 1.5)
    targeted, _ = choose_loss("dlr", 4, targeted=True)
    assert targeted(logits, label, target).item() == pytest.approx(-1.5 / (2.0 - (0.5 - 1.0) / 2))
    ce, _ = choose_loss("ce", 4, targeted=False)
    entropy = nn.functional.cross_entropy(logits, label)
    assert torch.log1p(ce(logits, label, None).exp()).item() == pytest.approx(
        entropy.item(), rel=1e-5
    )
    towards = nn.functional.cross_entropy(logits, target)
    assert torch.log1p((-ce(logits, label, target)).exp()).item() == pytest.approx(
        towards.item(), rel=1e-5
    )
    with pytest.raises(eq.EquipoiseError, match="Did you mean 'margin'"):
        choose_loss("margins", 4, targeted=False)  # type: ignore[arg-type]


def test_checkpoints_are_the_published_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


@attacks
def test_the_classifier_is_left_as_it_was(attack):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5)
    )
    net.train()
    net[1].eval()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    images, labels = some_images(8), torch.arange(8) % 5
    kept = images.clone()
    attack(net, images, labels, eq.L2(0.3))
    assert [m.training for m in net] == [True, False, True, True, True]
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(images, kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@attacks
def test_classifiers_of_other_precisions(attack, dtype):
    net = small_net().net.to(dtype)
    images = some_images(8)
    labels = net(images.to(dtype)).argmax(1)
    result = attack(net, images, labels, eq.L2(0.5))
    assert result.images.dtype == torch.float32
    assert (eq.L2(1).distance(images, result.images) <= 0.5 + 1e-6).all()


@attacks
def test_no_images_and_no_radius(attack):
    classifier, images = small_net(), some_images(6)
    labels = classifier(images).argmax(1)
    assert len(attack(classifier, images[:0], labels[:0], eq.L2(1)).images) == 0
    result = attack(classifier, images, labels, eq.Linf(0))
    assert not result.success.any()
    assert isinstance(attack, SMALLEST) or result.forwards.tolist() == [1] * 6


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (
            torch.full((2, 1, 4, 4), 255.0),
            [0, 0],
            r"span \[255, 255\].*Divide 8-bit images by 255",
        ),
        (torch.full((2, 1, 4, 4), torch.nan), [0, 0], "needs images in"),
        (torch.zeros(2, 1, 4, 4), [0, 9], "label 9 .* 3 classes: labels run from 0 to 2"),
        (torch.zeros(2, 16), [0, 0], r"needs images \(B, C, H, W\)"),
        (torch.zeros(2, 1, 4, 4), [0], r"labels \(B,\)"),
    ],
)
def test_wrong_input_is_refused(images, labels, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        PGD(steps=2)(linear(3, (1, 4, 4)), images, torch.tensor(labels), eq.L2(0.1))


def test_rounding_outside_the_box_is_forgiven():
    classifier, images = linear(3, (1, 4, 4)), torch.full((2, 1, 4, 4), -3e-8)
    result = PGD(steps=2)(classifier, images, torch.zeros(2, dtype=torch.int64), eq.L2(0.1))
    assert result.images.min() >= 0


def test_broken_weights_are_refused():
    net = Linear(torch.full((3, 16), torch.nan), torch.zeros(3))
    with pytest.raises(eq.EquipoiseError, match="NaN or infinite"):
        PGD(steps=2)(net, grey_images(2, (1, 4, 4)), torch.zeros(2, dtype=torch.int64), eq.L2(0.1))


@attacks
@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_gradients_and_answers_that_are_no_numbers_do_no_harm(attack, odd):
    """sqrt has an infinite gradient at 0, where clamping brings pixels: the attack says so and goes on. Where all
    logits are low, the first is no number: that is no answer."""

    class Breaking(Linear):
        def forward(self, images):
            logits = super().forward(images.sqrt())
            low = logits.amax(1, keepdim=True) < 1
            return torch.where(low, logits + torch.tensor([odd, 0, 0]), logits)

    generator = torch.Generator().manual_seed(0)
    net = eq.wrap(Breaking(torch.randn(3, 16, generator=generator), torch.zeros(3)))
    images = 0.3 + 0.5 * torch.rand(40, 1, 4, 4, generator=generator)
    images = images[net(images).isfinite().all(1)]
    labels = net(images).argmax(1)
    result = attack(net, images, labels, eq.L2(4.0))
    assert result.images.isfinite().all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert net(result.images).isfinite().all()
    assert torch.equal(net(result.images).argmax(1) != labels, result.success)
    assert result.success.any()
    # Square asks for no gradients.
    assert isinstance(attack, Square) or any("NaN or infinite" in n for n in result.notes)


def test_minimum_norm_reports_infinity_where_a_random_classifier_slips_away():
    class Noisy(Linear):
        def forward(self, images):
            logits = super().forward(images)
            return logits + 0.3 * torch.randn(logits.shape)

    torch.manual_seed(0)
    net = Noisy(torch.randn(3, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(3))
    images = grey_images(60, (1, 4, 4))
    labels = (images.flatten(1) @ net.weight.T).argmax(1)
    result = MinimumNorm(steps=10)(net, images, labels, eq.L2(2.0))
    assert torch.equal(result.success, result.distance.isfinite())


@pytest.mark.parametrize(
    "make",
    [
        lambda: PGD(steps=0),
        lambda: PGD(restarts=0),
        lambda: PGD(step=-0.1),
        lambda: APGD(steps=0),
        lambda: APGD(targets=0),
        lambda: MinimumNorm(steps=-1),
        lambda: MinimumNorm(first_step=0.0),
        lambda: FAB(steps=0),
        lambda: FAB(targets=0),
        lambda: FAB(beta=-0.1),
        lambda: Square(queries=0),
        lambda: Square(p=0.0),
    ],
)
def test_senseless_settings_are_refused(make):
    with pytest.raises(eq.EquipoiseError, match="Cannot build"):
        make()
