"""The human check: agreement is what the literature says it is, browsers learn nothing of what they show, and no answer
is lost."""

import asyncio
import json
import re
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from io import BytesIO

import krippendorff
import numpy as np
import pytest
import torch
from conftest import Linear
from PIL import Image
from scipy.stats import beta, binom, t
from starlette.applications import Starlette
from starlette.routing import Mount
from test_counterfactual_sets import brightness_oracle, grey_set, sampler

import equipoise as eq
from equipoise.audit.agreement import gap, reliability, share
from equipoise.audit.claims import write_claims
from equipoise.audit.human import human, human_claims
from equipoise.audit.intervals import Estimate
from equipoise.audit.people import CANNOT_TELL, Seen, create, read_people
from equipoise.audit.statistics import across_trainings
from equipoise.counterfactuals import make_set
from equipoise.errors import EquipoiseError
from equipoise.images import Arrays
from equipoise.report.page import render
from equipoise.report.people import lay_people
from equipoise.report.reading import Reading
from equipoise.view.answers import Asking
from equipoise.view.people import keys, routes
from equipoise.view.questions import choose

HOSTILE = "</script><script>alert(1)</script>"
CLASSES = (HOSTILE, "\"'&", "light")


def rows_of(matrix):
    """The answers of a people-by-images matrix, None where there is none, as answer, person, image."""
    given = [
        (value, i, j)
        for i, answers in enumerate(matrix)
        for j, value in enumerate(answers)
        if value is not None
    ]
    return [np.array(column) for column in zip(*given, strict=True)]


def read(text):
    return [[None if c == "." else c for c in line.split()] for line in text.split("\n")]


# Krippendorff's alpha


@pytest.mark.parametrize(
    "text, alpha",
    [
        ("0 1 0 0 0 0 0 0 1 0\n1 1 1 0 0 1 0 0 0 0", 0.095),
        ("a a b b d c c c e d d a\nb a b b b c c c e d d d", 0.692),
        (
            "1 2 3 3 2 1 4 1 2 . . .\n1 2 3 3 2 2 4 1 2 5 . 3\n. 3 3 3 2 3 4 2 2 5 1 .\n1 2 3 3 2 4 4 1 2 5 1 .",
            0.743,
        ),
    ],
    ids=["binary", "two people", "four people, missing answers"],
)
def test_alpha_of_the_published_examples(text, alpha):
    found = reliability(*rows_of(read(text)))
    assert round(found.value, 3) == alpha
    assert found.low < found.value < found.high and not found.reason


def test_an_image_that_one_person_saw_adds_nothing_to_alpha():
    text = "1 2 3 3 2 1 4 1 2 . . .\n1 2 3 3 2 2 4 1 2 5 . 3\n. 3 3 3 2 3 4 2 2 5 1 .\n1 2 3 3 2 4 4 1 2 5 1 ."
    with_last = reliability(*rows_of(read(text)))
    without = reliability(*rows_of([line[:11] for line in read(text)]))
    assert with_last.value == without.value and with_last.images == without.images == 11
    assert with_last.people == 4


@pytest.mark.parametrize("seed", range(5))
def test_alpha_agrees_with_an_independent_library(seed):
    rng = np.random.default_rng(seed)
    matrix = np.where(
        rng.random((4, 25)) < 0.6, rng.integers(0, 3, 25), rng.integers(0, 3, (4, 25))
    )
    matrix = np.where(rng.random((4, 25)) < 0.2, np.nan, matrix.astype(float))
    theirs = krippendorff.alpha(reliability_data=matrix, level_of_measurement="nominal")
    listed = [[None if np.isnan(v) else v for v in line] for line in matrix]
    assert reliability(*rows_of(listed)).value == pytest.approx(theirs, abs=1e-12)


def test_alpha_says_why_it_is_undefined():
    alone = reliability(*rows_of([[0, 1, 2]]))
    assert np.isnan([alone.value, alone.low, alone.high]).all()
    assert alone.reason == "no image has answers of two people" and alone.images == 0
    nothing = reliability(np.array([]), np.array([]), np.array([]))
    assert np.isnan(nothing.value) and nothing.people == 0
    constant = reliability(*rows_of([[1, 1], [1, 1]]))
    assert np.isnan(constant.value) and "every answer is the same" in constant.reason
    perfect = reliability(*rows_of([[0, 1, 2], [0, 1, 2]]))
    assert perfect.value == 1 and np.isnan(perfect.low) and "nobody disagreed" in perfect.reason
    opposite = reliability(*rows_of([[0, 1] * 5, [1, 0] * 5]))
    # D_o = 1, D_e = n / 2 / (n - 1) with n = 20.
    assert opposite.value == pytest.approx(1 - 19 / 10)


# Shares


def clopper_pearson(p, n):
    return beta.ppf(0.025, p * n, n - p * n + 1), beta.ppf(0.975, p * n + 1, n - p * n)


def test_a_share_takes_people_and_images_as_drawn():
    hit, person, image = rows_of([[1, 1, 0, 1, 1, 0], [1, 0, 0, 1, 1, 1], [0, 0, 0, 1, None, 1]])
    p, n = hit.mean(), len(hit)
    parts = []
    for member in (person, image):
        sums = [sum(hit[member == m] - p) for m in set(member.tolist())]
        parts.append((len(sums) / (len(sums) - 1) * sum(s**2 for s in sums) / n**2, len(sums) - 1))
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / df for v, df in parts)
    size = p * (1 - p) / variance * (t.ppf(0.975, n - 1) / t.ppf(0.975, freedom)) ** 2
    found = share(hit, person, image)
    assert (found.value, found.n) == (p, 6)
    assert (found.low, found.high) == pytest.approx(clopper_pearson(p, size))


def test_the_variance_of_a_full_table_is_that_of_trainings_and_images():
    table = (np.random.default_rng(0).random((5, 40)) < 0.6).astype(float)
    hit, person, image = rows_of(table.tolist())
    both = across_trainings(table)
    ours = share(hit, person, image)
    assert ours.value == pytest.approx(both.value)
    # The same variance, but Student's quantile once for both parts instead of once for each.
    assert 0.6 < (ours.high - ours.low) / (both.high - both.low) < 1


def test_the_interval_of_unanimous_people_is_that_of_their_images():
    hit, person, image = rows_of([[1] * 20] * 3)
    found = share(hit, person, image)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 20))


def test_one_person_has_an_interval_over_images_and_nobody_has_none():
    hit, person, image = rows_of([[1] * 15 + [0] * 5])
    found = share(hit, person, image)
    assert (found.low, found.high) == pytest.approx(clopper_pearson(0.75, 19))
    assert found.method.endswith("over images")
    none = share(np.array([]), np.array([]), np.array([]))
    assert np.isnan([none.value, none.low, none.high]).all() and none.n == 0


def test_few_people_who_differ_make_wide_intervals():
    few = rows_of([[1] * 30, [1] * 10 + [0] * 20])
    many = rows_of(([[1] * 30, [1] * 10 + [0] * 20]) * 5)
    assert share(*few).high - share(*few).low > 0.8
    assert share(*many).high - share(*many).low < 0.6


@pytest.mark.parametrize("people, spread", [(2, 1.0), (4, 0.5), (10, 0.0)])
def test_the_interval_covers_the_share_of_all_people_and_images(people, spread):
    rng, hits = np.random.default_rng(0), 0
    grid = rng.normal(0, np.hypot(spread, 1), 200_000)
    truth = (1 / (1 + np.exp(-(1.5 + grid)))).mean()
    for _ in range(200):
        ease = 1.5 + rng.normal(0, spread, (people, 1)) + rng.normal(0, 1, 30)
        hit, person, image = rows_of(
            (rng.random((people, 30)) < 1 / (1 + np.exp(-ease))).astype(int).tolist()
        )
        found = share(hit, person, image)
        hits += found.low <= truth <= found.high
    assert hits >= binom.ppf(0.001, 200, 0.95)


def test_a_gap_adds_the_distances_like_sides_of_a_right_angle():
    one, other = Estimate(0.7, 0.6, 0.75, 30, ""), Estimate(0.9, 0.8, 0.94, 28, "")
    found = gap(one, other)
    assert (found.value, found.low, found.high) == pytest.approx(
        (-0.2, -0.2 - np.hypot(0.1, 0.04), -0.2 + np.hypot(0.05, 0.1))
    )
    assert found.n == 28
    certain = gap(Estimate(1, 0.9, 1, 30, ""), Estimate(1, 0.9, 1, 30, ""))
    assert (certain.low, certain.high) == pytest.approx((-0.1, 0.1))


# Questions


def rung(name, shift):
    levels = torch.tensor([0.2, 0.5, 0.8])
    net = Linear(40 * levels[:, None].expand(3, 16) / 16, -20 * levels**2 + shift)
    return eq.wrap(net, name=name)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A run of images that are dark, grey or light, with counterfactuals and adversarial images."""
    folder = tmp_path_factory.mktemp("people")
    greys = Arrays(
        grey_set(30).batch(range(30)).images,
        [k % 3 for k in range(30)],
        CLASSES,
        [f"grey{k}" for k in range(30)],
    )
    make_set(greys, sampler(steps=6), folder / "ces", oracles=[brightness_oracle()])
    probes = ["standard", "adversarial:linf:0.3?steps=5", f"counterfactual:{folder / 'ces'}"]
    rungs = [rung(HOSTILE, torch.zeros(3)), rung("other", torch.tensor([0.0, 0.2, 0.0]))]
    return eq.audit(rungs, greys, probes, folder / "run", pictures=24)


@pytest.fixture
def run(audited, tmp_path):
    """The same run, without answers, in a folder of its own."""
    import shutil

    return eq.Run(shutil.copytree(audited.folder, tmp_path / "run"))


def test_questions_are_balanced_and_come_from_different_images(run):
    questions = choose(run, per_kind=6)
    assert Counter(q.kind for q in questions) == dict.fromkeys(
        ("original", "same", "counterfactual", "adversarial"), 6
    )
    assert len({q.image for q in questions}) == 24
    for kind in ("original", "same", "counterfactual"):
        assert Counter(q.target for q in questions if q.kind == kind) == {0: 2, 1: 2, 2: 2}
    assert len({q.made_by for q in questions if q.kind == "adversarial"}) == 2
    apart = {
        q.kind: {p.label != p.target for p in questions if p.kind == q.kind} for q in questions
    }
    assert apart == {
        "original": {False},
        "same": {False},
        "counterfactual": {True},
        "adversarial": {True},
    }
    assert questions == choose(run, per_kind=6) != choose(run, per_kind=6, seed=1)


def test_pictures_are_those_of_the_run_and_of_its_set(run):
    originals = dict(run.images().select("id", "picture").fetchall())
    made = eq.counterfactuals.CounterfactualSet(run.probes[2].partition(":")[2])
    rows = made.rows("test")
    for q in choose(run, per_kind=5):
        pixels = np.asarray(Image.open(BytesIO(q.picture)))
        if q.kind == "original":
            assert (pixels == np.asarray(Image.open(BytesIO(originals[q.image])))).all()
        if q.kind == "counterfactual":
            mine = (rows.columns["source_id"] == q.image) & (rows.columns["target"] == q.target)
            theirs = (rows.images[torch.from_numpy(mine)] * 255).round().byte().numpy()[:, 0]
            assert any((pixels == other).all() for other in theirs)


def test_without_the_set_the_pictures_of_the_run_are_asked_about(run, tmp_path):
    spec = run.probes[2]
    text = (run.folder / "run.json").read_text().replace(spec, f"counterfactual:{tmp_path}/gone")
    (run.folder / "run.json").write_text(text)
    moved = eq.Run(run.folder)
    questions = choose(moved, per_kind=5)
    strips = {
        name: (classes, np.asarray(Image.open(BytesIO(picture))))
        for name, classes, picture in moved.pictures(moved.probes[2])
        .select("id", "strip", "picture")
        .fetchall()
    }
    drawn = [q for q in questions if q.kind in ("same", "counterfactual")]
    assert Counter(q.kind for q in drawn) == {"same": 5, "counterfactual": 5}
    for q in drawn:
        classes, strip = strips[q.image]
        place = classes.index(q.target)
        tile = np.asarray(Image.open(BytesIO(q.picture)))
        assert (tile == strip[:, 4 * place : 4 * place + 4]).all()


def test_an_unfinished_run_or_one_without_pictures_asks_nothing(run, tmp_path):
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(record | {"status": "running"}))
    with pytest.raises(EquipoiseError, match="has not finished"):
        choose(eq.Run(run.folder))
    bare = eq.audit(
        [rung("a", torch.zeros(3))], grey_set(6), ["standard"], tmp_path / "b", pictures=0
    )
    with pytest.raises(EquipoiseError, match="keeps no pictures"):
        choose(bare)


# Pages


class Browser:
    """Speaks to the routes as a browser does, and remembers every answer."""

    def __init__(self, folder):
        self.app = Starlette(routes=[Mount("/people", routes=routes(folder, per_kind=6))])
        self.heard = []

    def __call__(self, method, path, body=b"", **headers):
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in ({"host": "here"} | headers).items()],
            "server": ("here", 80),
            "client": ("here", 1),
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        found = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in sent[1:])
        self.heard.append((path, found, content))
        return sent[0]["status"], found, content

    def post(self, path, sent):
        body = json.dumps(sent).encode()
        status, _, content = self("POST", path, body, **{"content-type": "application/json"})
        text = content.decode()
        return status, json.loads(text) if text.startswith("{") else text

    def join(self, name, *, same=False):
        status, told = self.post("/people/", {"name": name, "same": same})
        return told.get("at", (status, told))

    def turn(self, place, query=""):
        return json.loads(self("GET", f"{place}/turn{query}")[2])

    def answer(self, place, token, seen, sureness, seconds=1.5):
        sent = {"token": token, "seen": seen, "sureness": sureness, "seconds": seconds}
        return self.post(f"{place}/turn", sent)


@pytest.fixture
def browser(run):
    return Browser(run.folder)


def test_nothing_that_a_browser_gets_tells_what_it_shows(run, browser):
    place = browser.join("Ada")
    turn = browser.turn(place)
    browser("GET", "/people/")
    browser("GET", place)
    sizes, headers = set(), set()
    while turn["token"]:
        assert set(turn) == {"token", "place", "of", "answered", "back", "answer"}
        _, found, picture = browser("GET", f"/people/picture/{turn['token']}")
        with Image.open(BytesIO(picture)) as image:
            assert (image.format, image.mode, image.info) == ("PNG", "L", {})
        sizes.add(len(picture))
        headers.add(tuple(sorted(found.items())))
        _, turn = browser.answer(place, turn["token"], 0, 4)
    assert len(sizes) == 1 and len(headers) == 1
    # Every header is the same for all pictures, so that none of them can tell.
    assert "etag" not in dict(next(iter(headers)))
    told = " ".join(
        f"{path} {found} {content!r}" for path, found, content in browser.heard
    ).lower()
    hidden = {q.image for q in choose(run, per_kind=6)} | {
        *("original", "same-class", "counterfactual", "adversarial", "linf", "target"),
        *("accepted", "made_by", "label_", "kind"),
    }
    assert not [word for word in hidden if word in told]


def test_each_person_has_an_order_of_their_own_with_some_pictures_twice(run, browser):
    for name in ("Ada", "Bob"):
        browser.join(name)
    with sqlite3.connect(run.folder / "people.sqlite") as connection:
        asked = connection.execute(
            "SELECT person, question, again FROM asked ORDER BY place"
        ).fetchall()
        tokens = [token for (token,) in connection.execute("SELECT token FROM asked")]
    connection.close()
    orders = [[(q, again) for p, q, again in asked if p == person] for person in (1, 2)]
    assert orders[0] != orders[1] and len(set(tokens)) == len(tokens) == 2 * 25
    for order in orders:
        assert sorted(q for q, again in order if not again) == list(range(1, 25))
        (twice,) = [place for place, (_, again) in enumerate(order) if again]
        first = [q for q, _ in order].index(order[twice][0])
        assert first < 8 and twice >= 16


def test_two_people_side_by_side_do_not_meet(run, browser):
    ada, bob = browser.join("Ada"), browser.join("Bob")
    for k in range(5):
        first = browser.turn(ada)["token"]
        assert browser.answer(ada, first, 0, 1)[1]["answered"] == k + 1
        assert browser.answer(bob, browser.turn(bob)["token"], 1, 2)[1]["answered"] == k + 1
    seen = run.people()
    assert Counter(zip(seen.person.tolist(), seen.answer.tolist(), strict=True)) == {
        (1, 0): 5,
        (2, 1): 5,
    }
    # A question belongs to one person.
    status, error = browser.answer(bob, browser.turn(ada)["token"], 1, 2)
    assert status == 400 and "Cannot find this question" in error["error"]


def test_an_answer_can_be_taken_back_and_the_earlier_one_is_kept(run, browser):
    place = browser.join("Ada")
    token = browser.turn(place)["token"]
    _, turn = browser.answer(place, token, 1, 4, seconds=2)
    assert turn["back"] == token and turn["place"] == 2
    assert browser.turn(place, f"?token={token}")["answer"] == [1, 4]
    assert browser.answer(place, token, 1, 4)[1] == turn
    browser.answer(place, token, CANNOT_TELL, None, seconds=3)
    assert browser.turn(place, f"?token={token}")["answer"] == [CANNOT_TELL, None]
    seen = run.people()
    assert (seen.answer.tolist(), seen.seconds.tolist()) == ([CANNOT_TELL], [3])
    assert np.isnan(seen.sureness).all()
    connection = sqlite3.connect(run.folder / "people.sqlite")
    kept = connection.execute(
        "SELECT class, sureness, seconds FROM answers ORDER BY number"
    ).fetchall()
    connection.close()
    # The repeated post changed nothing.
    assert kept == [(1, 4, 2), (None, None, 3)]


@pytest.mark.parametrize(
    "seen, sureness, seconds",
    [
        (3, 1, 1),
        (-2, 1, 1),
        (0, 5, 1),
        (0, None, 1),
        (-1, 2, 1),
        (0, 1, -1),
        ("0", 1, 1),
        (0, True, 1),
    ],
)
def test_answers_that_there_are_not_are_refused(run, browser, seen, sureness, seconds):
    place = browser.join("Ada")
    status, _ = browser.answer(place, browser.turn(place)["token"], seen, sureness, seconds)
    assert status == 400
    assert len(run.people()) == 0


def test_whoever_comes_back_goes_on(browser):
    place = browser.join("Ada  Lovelace ")
    browser.answer(place, browser.turn(place)["token"], 0, 3)
    assert browser.join("ada lovelace") == (200, {"answered": 1})
    assert browser.join("ada lovelace", same=True) == place
    assert browser.turn(place)["answered"] == 1


@pytest.mark.parametrize(
    "name", [HOSTILE, "'); DROP TABLE people; --", "\u202eabc", '\U0001f98a&"<b>', "{{ 7 * 7 }}"]
)
def test_names_are_text(run, browser, name):
    place = browser.join(name)
    # Keys are random, and one may have 49 in it.
    page = browser("GET", place)[2].decode().replace(place.rpartition("/")[2], "")
    assert "<script>alert" not in page and "49" not in page and "<b>" not in page
    browser.answer(place, browser.turn(place)["token"], 0, 3)
    connection = sqlite3.connect(run.folder / "people.sqlite")
    assert connection.execute("SELECT name FROM people").fetchall() == [(name,)]
    connection.close()


@pytest.mark.parametrize("name", ["", "  \n", "\x00", "x" * 41])
def test_no_name_or_a_long_one_is_refused_with_a_remedy(browser, name):
    status, told = browser.join(name)
    assert status == 400 and "give your initials" in told["error"]


def test_only_short_json_of_the_right_form_is_read(run, browser):
    # Pages of other sites can send forms and plain text, but no JSON.
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        body = b'{"name": "Ada", "same": false}'
        assert browser("POST", "/people/", body, **{"content-type": kind})[0] == 415
    assert browser.post("/people/", {"name": "x" * 20_000, "same": False})[0] == 413
    for sent in ({}, [], {"name": "Ada"}, {"name": 1, "same": False}, {"name": "Ada", "same": 1}):
        assert browser.post("/people/", sent) == (400, "Send name, same.")
    assert browser("POST", "/people/", b"{", **{"content-type": "application/json"})[0] == 400
    assert run.people() is None


def test_wrong_addresses_are_told_so(browser):
    assert browser("GET", "/people/at/nobody")[0] == 404
    assert browser("GET", "/people/picture/none")[0] == 404
    browser.join("Ada")
    assert browser("GET", "/people/at/nobody")[0] == 404
    assert browser("GET", "/people/at/nobody/turn")[0] == 400
    assert browser("GET", "/people/picture/none")[0] == 404


def test_a_run_that_cannot_be_asked_about_says_why(run, browser):
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(record | {"status": "running"}))
    status, told = browser.join("Ada")
    assert status == 400 and "its audit has not finished" in told["error"]


def test_a_study_is_asked_about_by_its_audit(run):
    run.folder.rename(run.folder.parent / "audit")
    browser = Browser(run.folder.parent)
    place = browser.join("Ada")
    assert browser.turn(place)["of"] == 25
    assert (run.folder.parent / "audit" / "people.sqlite").is_file()
    nowhere = Browser(run.folder.parent / "other").join("Ada")
    assert nowhere[0] == 400 and "no run.json" in nowhere[1]["error"]


@pytest.mark.parametrize(
    "classes, expected",
    [
        (["0", "1", "2"], ["0", "1", "2"]),
        (["B", "a"], ["b", "a"]),
        (["cat", "dog"], ["1", "2"]),
        (["a", "A"], ["1", "2"]),
        ([f"c{k}" for k in range(12)], list("1234567890ab")),
        ([f"c{k}" for k in range(40)], [""] * 40),
    ],
)
def test_keys(classes, expected):
    assert keys(classes) == expected


SERVER = """
import sys, uvicorn
from pathlib import Path
from starlette.applications import Starlette
from equipoise.view.people import routes
app = Starlette(routes=routes(Path(sys.argv[1]), per_kind=6))
uvicorn.run(app, fd=int(sys.argv[2]), log_level="error")
"""


def test_what_was_answered_survives_a_killed_server(run):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        number = listening.fileno()
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(run.folder), str(number)], pass_fds=[number]
        )
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def ask(path, sent=None):
            body = sent and json.dumps(sent).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(base + path, body, headers)
            with opener.open(request, timeout=60) as found:
                return json.load(found)

        try:
            place = ask("/", {"name": "Ada", "same": False})["at"]
            for k in range(3):
                token = ask(f"{place}/turn")["token"]
                sent = {"token": token, "seen": k, "sureness": k + 1, "seconds": 0.5}
                assert ask(f"{place}/turn", sent)["answered"] == k + 1
        finally:
            server.kill()
            server.wait()
    again = Browser(run.folder)
    back = again.join("Ada", same=True)
    assert back.rpartition("/")[2] == place.rpartition("/")[2]
    assert again.turn(back)["answered"] == 3 and again.turn(back)["place"] == 4
    seen = eq.Run(run.folder).people()
    assert seen is not None
    assert (seen.answer.tolist(), seen.sureness.tolist()) == ([0, 1, 2], [1, 2, 3])


# The file


def test_files_of_something_else_are_refused(run):
    path = run.folder / "people.sqlite"
    path.write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(EquipoiseError, match="not a database"):
        run.people()
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    with pytest.raises(EquipoiseError, match="something else"):
        run.people()
    with pytest.raises(EquipoiseError, match="something else"):
        create(path, CLASSES, 0, [])
    connection.close()
    path.unlink()
    create(path, CLASSES, 0, [])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(EquipoiseError, match="schema is 7"):
        run.people()
    with pytest.raises(EquipoiseError, match="schema is 7"):
        Asking(path).join("Ada")


def test_questions_are_written_once(run):
    path = run.folder / "people.sqlite"
    assert run.people() is None
    path.touch()
    assert read_people(run.folder) is None
    create(path, CLASSES, 0, [("original", "grey0", 0, 0, "", None, b"png")])
    create(path, CLASSES, 1, [("same", "grey1", 1, 1, "set", True, b"other")])
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT kind, picture FROM questions").fetchall() == [
        ("original", b"png")
    ]
    connection.close()
    assert len(run.people()) == 0 and run.people().classes == CLASSES


# The report


def answers(*rows):
    """Seen of rows (person, question, kind, label, target, accepted, again, answer, sureness)."""
    person, question, kind, label, target, accepted, again, answer, sureness = zip(
        *rows, strict=True
    )
    return Seen(
        CLASSES,
        np.array(person),
        np.array(question),
        np.array(kind, dtype=object),
        np.array([f"i{q}" for q in question], dtype=object),
        np.array(label),
        np.array(target),
        np.array([""] * len(rows), dtype=object),
        np.array(accepted, dtype=float),
        np.array(again, dtype=bool),
        np.array(answer),
        np.array(sureness, dtype=float),
        np.ones(len(rows)),
    )


NONE = float("nan")
MADE, PLAIN = "counterfactual", "same"
SEEN = answers(
    (1, 1, MADE, 0, 1, 1, False, 1, 4),
    (1, 2, MADE, 0, 2, 0, False, 0, 2),
    (1, 3, PLAIN, 1, 1, 1, False, 1, 4),
    (1, 4, PLAIN, 2, 2, 1, False, 2, 3),
    (2, 1, MADE, 0, 1, 1, False, 1, 3),
    (2, 2, MADE, 0, 2, 0, False, CANNOT_TELL, NONE),
    (2, 3, PLAIN, 1, 1, 1, False, 1, 4),
    (2, 4, PLAIN, 2, 2, 1, False, 1, 1),
    (1, 1, MADE, 0, 1, 1, True, 1, 4),
    (2, 1, MADE, 0, 1, 1, True, 2, 1),
)


def test_shares_by_kind_are_counted_by_hand():
    found = human(SEEN)
    made, accepted, same = (found.of(kind) for kind in (MADE, "accepted", PLAIN))
    assert made and accepted and same and found.change
    assert [group.kind for group in found.groups] == [PLAIN, MADE, "accepted"]
    shares = [s.value for s in (made.original, made.target, made.other, made.untold)]
    assert shares == [0.25, 0.5, 0, 0.25]
    assert (made.people, made.pictures, made.answers, made.sureness) == (2, 2, 4, 3)
    assert (accepted.target.value, accepted.answers) == (1, 2)
    shares = [s.value for s in (same.original, same.target, same.other, same.untold)]
    assert shares == [0.75, 0.75, 0.25, 0]
    assert found.change.value == pytest.approx(-0.25)
    assert (found.people, found.repeated, found.steady) == (2, 2, 0.5)
    # Pairs (1,1), (0,?), (1,1), (2,1): of 8 answers 5 are 1, and one each 0, 2 and "cannot tell".
    assert found.alpha.value == pytest.approx(1 - 7 * 4 / (64 - 25 - 3))


def test_the_claim_follows_from_the_interval():
    (claim,) = human_claims(SEEN)
    assert (claim.id, claim.value, claim.verdict, claim.n) == ("P1", 0.5, "undecided", 2)
    assert "2 people, 2 pictures" in claim.control.lower()
    many = [(p, q, MADE, 0, 1, 1, False, 1, 4) for p in range(3) for q in range(30)]
    assert human_claims(answers(*many))[0].verdict == "holds"
    assert human_claims(SEEN.where(SEEN.kind == PLAIN)) == ()


def answer_all(run, name, see):
    """Has a person answer every question; `see` gives the class for (kind, label, target)."""
    browser = Browser(run.folder)
    place = browser.join(name)
    connection = sqlite3.connect(run.folder / "people.sqlite")
    turn = browser.turn(place)
    while turn["token"]:
        about = connection.execute(
            "SELECT kind, label, target FROM asked JOIN questions ON number = question WHERE token = ?",
            (turn["token"],),
        ).fetchone()
        seen = see(*about)
        turn = browser.answer(place, turn["token"], seen, None if seen < 0 else 3)[1]
    connection.close()


def test_the_page_shows_what_people_saw(run):
    assert lay_people(Reading(run)) is None
    assert "What people see" not in render(Reading(run))
    answer_all(run, HOSTILE, lambda kind, label, target: target if kind == MADE else label)
    answer_all(run, "Bob", lambda kind, label, target: label if kind != "adversarial" else -1)
    reading = Reading(run)
    laid = lay_people(reading)
    assert laid
    rows = {row.name: row for row in laid.rows}
    made = rows["Counterfactuals"]
    assert made.target
    assert (made.original.value, made.target.value, made.answers) == ("50.0%", "50.0%", "12")
    assert rows["Adversarial images"].untold.value == "50.0%"
    assert rows["Same-class controls"].original.value == "100.0%"
    assert rows["Same-class controls"].target is None
    assert rows["Originals"].alpha.value == "1.00"
    assert [round(width) for width, _, _ in made.parts] == [50, 50]
    assert "In counterfactuals people see the target class in 50.0% of answers" in laid.sentence
    page = render(reading)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "2 people looked at 24 pictures" in text and laid.sentence in text
    # Nobody is named.
    assert "Bob" not in page


def test_one_person_is_said_to_be_one(run):
    answer_all(run, "Ada", lambda kind, label, target: target)
    laid = lay_people(Reading(run))
    assert laid
    assert "Whether people agree cannot be said: no image has answers of two people." in laid.intro
    assert laid.intro.startswith("One person looked at 24 pictures")
    assert any("One person answered" in note for note in laid.notes)
    assert {row.alpha.value for row in laid.rows} == {"–"}


def test_the_study_of_counterfactuals_has_a_claim_about_people(run):
    answer_all(run, "Ada", lambda kind, label, target: target)
    assert run.claims() == ()
    write_claims(run.folder, "odds", [])
    assert run.claims() == ()
    write_claims(run.folder, "counterfactual", [])
    (claim,) = run.claims()
    assert (claim.id, claim.verdict, claim.value) == ("P1", "holds", 1)
    assert "People see the target class in most counterfactuals." in render(Reading(run))
