"""The server: progress by hand, pages live and equal to the report's, and nobody else's requests answered."""

import base64
import hashlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import linear
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import equipoise as eq
from equipoise.audit.plan import SCHEMA
from equipoise.cli import main
from equipoise.errors import EquipoiseError
from equipoise.report.findings import progress
from equipoise.report.reading import Reading
from equipoise.store import write_shard
from equipoise.view import application
from equipoise.view.pages import Pages
from equipoise.view.progress import Watch, roughly
from equipoise.view.security import HEADERS
from equipoise.view.server import ASK
from equipoise.view.serving import bind, serve

HOSTILE = "</script><script>alert(1)</script>"
NAMES = [HOSTILE, "\"'&\u2028\U0001f98a \u202e\u05e9\u05dc"]
HERE = "http://127.0.0.1:8321"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    judged = [
        eq.wrap(linear(10, (1, 8, 8), seed=k).net, name=name) for k, name in enumerate(NAMES)
    ]
    out = tmp_path_factory.mktemp("run") / "run"
    command = f"equipoise {HOSTILE} \udcff"
    probes = ["standard", "adversarial:l2:0.5?steps=2"]
    return eq.audit(judged, "digits", probes, out, limit=12, pictures=3, command=command)


@pytest.fixture
def begun(run, tmp_path):
    """The run as it was when its audit had begun, and the files of its shards in order."""
    folder = tmp_path / "begun"
    folder.mkdir()
    record = run.record | {"status": "running", "finished": None}
    (folder / "run.json").write_text(json.dumps(record))
    return folder, [shard["file"] for shard in record["shards"]]


def add(run, folder, file):
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run.folder / file, folder / file)


def client(folder, *routes):
    served = application(folder)
    served.router.routes[:0] = routes
    return TestClient(served, base_url=HERE)


def settled(served):
    """What /progress says once the newest page is of all that is there."""
    for _ in range(3000):
        said = served.get("/progress").json()
        if said["page"] == said["mark"] or said["trouble"]:
            return said
        time.sleep(0.02)
    raise AssertionError("no page came")


# How far an audit is


class Audit:
    """A run by hand: two classifiers, one probe, images 0..99 and 100..149."""

    def __init__(self, folder, probes=("p",)):
        self.folder, self.shards = folder, []
        for first, last in ((0, 100), (100, 150)):
            asked = [(None, "images"), *((c, p) for c in "ab" for p in probes)]
            for classifier, probe in asked:
                file = f"shards/{len(self.shards)}.parquet"
                shard = {"classifier": classifier, "probe": probe, "first": first, "last": last}
                self.shards.append(shard | {"file": file})
        self.write("running")

    def write(self, status):
        blank = {"created": "", "seed": 0, "data": {}, "probes": {}, "classifiers": {}}
        record = {"schema": SCHEMA, "status": status, "command": "c", "shards": self.shards}
        (self.folder / "run.json").write_text(json.dumps(blank | record))

    def finish(self, k, seconds):
        path = self.folder / self.shards[k]["file"]
        write_shard(path, {"id": "INTEGER"}, {"id": np.arange(2)}, {"seconds": seconds})
        return path.stat().st_mtime


def test_the_estimate_is_rates_times_the_images_left(tmp_path):
    audit = Audit(tmp_path)
    watch = Watch(tmp_path)
    assert watch.look().left is None
    audit.finish(0, 1.0)
    last = audit.finish(1, 10.0)
    # b is unmeasured: a's 0.1 s per image. b0, images, a1 and b1 take 10 + 0.5 + 5 + 5 s, and 4 s have passed.
    seen = watch.look(last + 4)
    assert (seen.done, seen.total, seen.state) == (2, 6, "running")
    assert seen.left == pytest.approx(16.5) and seen.silent == pytest.approx(4)
    # What should be there by now can still take a moment: no less than what follows it.
    assert watch.look(last + 25).left == pytest.approx(10.5)
    last = audit.finish(2, 30.0)
    assert watch.look(last).left == pytest.approx(0.5 + 5 + 15)
    counts = [(p.classifier, p.probe, p.done, p.total) for p in watch.look().parts]
    assert counts == [("a", "p", 1, 2), ("b", "p", 1, 2)]
    for k in (3, 4, 5):
        last = audit.finish(k, 1.0)
    assert (watch.look(last).left, watch.look(last).state) == (0, "running")
    audit.write("complete")
    assert watch.look().state == "complete"
    (tmp_path / audit.shards[4]["file"]).unlink()
    assert watch.look().state == "stopped"


def test_no_estimate_while_a_probe_was_never_measured(tmp_path):
    audit = Audit(tmp_path, probes=("p", "q"))
    for k in (0, 1):
        last = audit.finish(k, 1.0)
    assert Watch(tmp_path).look(last).left is None
    last = audit.finish(2, 1.0)
    assert Watch(tmp_path).look(last).left == pytest.approx(2 + 0.5 + 2)


@pytest.mark.parametrize("seconds, patience", [(1.0, 60), (100.0, 300)])
def test_an_audit_without_a_shard_for_long_is_taken_for_stopped(tmp_path, seconds, patience):
    audit, watch = Audit(tmp_path), Watch(tmp_path)
    began = (tmp_path / "run.json").stat().st_mtime
    assert watch.look(began + 599).state == "running"
    assert watch.look(began + 601).state == "stopped"
    audit.finish(0, 1.0)
    last = audit.finish(1, seconds)
    assert watch.look(last + patience - 1).state == "running"
    seen = watch.look(last + patience + 1)
    assert seen.state == "stopped" and seen.command == "c"
    assert seen.silent == pytest.approx(patience + 1)


def test_half_a_file_is_no_shard_and_only_news_change_the_mark(tmp_path):
    audit, watch = Audit(tmp_path), Watch(tmp_path)
    audit.finish(0, 1.0)
    first = watch.look()
    (tmp_path / "report.html").write_text("page")
    (tmp_path / audit.shards[1]["file"]).write_bytes(b"PAR1 and half of it")
    assert watch.look().mark == first.mark and watch.look().done == 1
    audit.finish(1, 1.0)
    second = watch.look()
    (tmp_path / "claims.json").write_text("{}")
    assert len({first.mark, second.mark, watch.look().mark}) == 3


def test_the_run_of_a_study_is_found_below_it(tmp_path):
    watch = Watch(tmp_path)
    assert watch.look().state == "waiting" and watch.folder == tmp_path
    (tmp_path / "audit").mkdir()
    Audit(tmp_path / "audit")
    assert watch.look().state == "running" and watch.folder == tmp_path / "audit"


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "less than a minute left"),
        (50, "about 1 min left"),
        (239, "about 4 min left"),
        (5300, "about 88 min left"),
        (7700, "about 2 h 10 min left"),
        (7100, "about 2 h left"),
        (50_000, "about 14 h left"),
    ],
)
def test_times_are_said_as_roughly_as_they_are_known(seconds, words):
    assert roughly(seconds) == words


def test_a_run_is_the_shards_that_were_there_when_it_was_read(run, begun):
    folder, files = begun
    for file in files[:3]:
        add(run, folder, file)
    reading = Reading(eq.Run(folder))
    assert progress(reading.run) == (3, 5)
    for file in files[3:]:
        add(run, folder, file)
    assert progress(reading.run) == (3, 5)
    assert len(reading.run.facts()) == sum(len(f) for f in reading.facts.values()) == 2
    assert progress(eq.Run(folder)) == (5, 5)


# Pages


def test_the_page_is_the_reports_and_its_live_additions(run, tmp_path):
    written = eq.report(run, tmp_path / "page.html").read_bytes()
    served = client(run.folder)
    assert served.get("/page").content == written
    live = served.get("/").text
    bar = re.search(r'<aside class="live".*?</aside>\n', live, re.S)
    assert bar
    live = live.replace(bar[0], "", 1)
    assert ASK in live
    live = live.replace(ASK, "", 1)
    assert "/progress" in live.rpartition("<script>")[2]
    for tag, end in (("<style>", "</style>\n"), ("<script>", "</script>\n")):
        before, _, rest = live.rpartition(tag)
        live = before + rest.partition(end)[2]
    policy = re.search(rb'<meta http-equiv="Content-Security-Policy"[^>]*>\n', written)
    assert policy and live.encode() == written.replace(policy[0], b"")
    assert b"/progress" not in written


def test_results_come_as_shards_do(run, begun, monkeypatch):
    monkeypatch.setattr("equipoise.view.pages.APART", 0)
    folder, files = begun
    served, marks = client(folder), set()
    for done, file in enumerate(files):
        said = settled(served)
        marks.add(said["mark"])
        assert (said["done"], said["total"], said["state"]) == (done, 5, "running")
        assert f"Unfinished: {done} of 5 shards" in served.get("/page").text
        add(run, folder, file)
    shutil.copyfile(run.folder / "run.json", folder / "run.json")
    said = settled(served)
    assert (said["done"], said["state"], said["left"]) == (5, "complete", "")
    assert len(marks | {said["mark"]}) == 6
    assert "Unfinished" not in served.get("/").text
    assert [part[2:] for part in said["parts"]] == [[1, 1]] * 4


def test_names_are_text_in_the_bar(run, begun):
    folder, _ = begun
    said = client(folder).get("/progress").json()
    assert {part[0] for part in said["parts"]} == set(NAMES)
    page = client(folder).get("/").text
    attribute = re.search(r'data-progress="([^"]*)"', page)
    assert attribute and HOSTILE not in attribute[1]
    shown = json.loads(unescape(attribute[1]))
    assert shown["parts"] == said["parts"]
    assert shown["command"] == f"equipoise {HOSTILE} \udcff" and shown["shown"] == shown["page"]


def test_a_folder_without_a_run_waits_for_it(run, tmp_path):
    folder = tmp_path / "a <b>folder"
    folder.mkdir()
    served = client(folder)
    page = served.get("/")
    assert page.status_code == 200 and "Waiting for an audit" in page.text
    assert "a &lt;b&gt;folder" in page.text and "<b>" not in page.text
    assert 'href="/people/"' not in page.text
    assert served.get("/progress").json()["state"] == "waiting"
    assert served.get("/page").status_code == 404
    shutil.copytree(run.folder, folder, dirs_exist_ok=True)
    assert settled(served)["state"] == "complete"
    assert "What robustness costs" in (made := served.get("/").text)
    assert 'href="/people/"' in made


def test_a_page_that_cannot_be_made_is_said_and_the_last_one_stays(
    run, begun, monkeypatch, caplog
):
    monkeypatch.setattr("equipoise.view.pages.APART", 0)
    folder, files = begun
    served = client(folder)
    before = settled(served)["page"]

    def fail(reading):
        raise KeyError("broken")

    monkeypatch.setattr("equipoise.view.pages.render", fail)
    add(run, folder, files[0])
    said = settled(served)
    assert said["page"] == before and "terminal says why" in said["trouble"]
    assert "KeyError: 'broken'" in caplog.text
    assert "Unfinished: 0 of 5" in served.get("/").text
    (folder / "run.json").write_text("{")
    assert "is not JSON" in served.get("/progress").json()["trouble"]
    assert served.get("/").status_code == 200


def test_one_page_at_a_time_and_none_too_soon(begun, monkeypatch):
    folder, _ = begun
    begin, made = threading.Event(), []

    def render(reading):
        begin.wait(60)
        made.append(len(made))
        return f"page {made[-1]}"

    monkeypatch.setattr("equipoise.view.pages.render", render)
    now = [100.0]
    monkeypatch.setattr("equipoise.view.pages.time", SimpleNamespace(monotonic=lambda: now[0]))
    pages = Pages()

    def finish():
        begin.set()
        while pages.busy:
            time.sleep(0.01)
        begin.clear()

    pages.refresh(folder, "a")
    pages.refresh(folder, "b")
    assert pages.busy and pages.newest is None
    now[0] = 102.0
    finish()
    # It took 2 s, so the next may begin 10 s later.
    assert made == [0] and pages.newest is not None and pages.newest.mark == "a"
    pages.refresh(folder, "a")
    now[0] = 111.9
    pages.refresh(folder, "b")
    assert not pages.busy
    now[0] = 112.1
    pages.refresh(folder, "b")
    assert pages.busy
    now[0] = 114.0
    finish()
    pages.refresh(folder, "c")
    assert not pages.busy
    pages.refresh(folder, "c", complete=True)
    assert pages.busy
    now[0] = 115.0
    finish()
    pages.refresh(folder, "d", complete=True)
    assert made == [0, 1, 2] and not pages.busy


# Whom the server answers


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8321", "127.0.0.1", "127.0.0.1:80", "localhost:8322", ""],
)
def test_another_host_is_refused(run, host):
    answer = client(run.folder).get("/progress", headers={"host": host})
    assert answer.status_code == 421 and "shards" not in answer.text


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8321", "localhost:8321", "LOCALHOST:8321", "[::1]:8321"]
)
def test_this_host_is_answered(run, host):
    assert client(run.folder).get("/progress", headers={"host": host}).status_code == 200


async def echo(request):
    return JSONResponse(await request.json())


async def accept(socket):
    await socket.accept()


def test_only_own_pages_may_write(run):
    served = client(run.folder, Route("/people/answer", echo, methods=["POST"]))
    right = {"origin": HERE, "content-type": "application/json; charset=utf-8"}
    for changed, code in (
        ({}, 200),
        ({"origin": None}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8322"}, 403),
        ({"origin": "https://127.0.0.1:8321"}, 403),
        ({"origin": "http://localhost:8321"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": None}, 415),
        ({"host": "evil.example:8321", "origin": "http://evil.example:8321"}, 421),
    ):
        headers = {name: value for name, value in (right | changed).items() if value is not None}
        answer = served.post("/people/answer", content=b'{"seen": 3}', headers=headers)
        assert answer.status_code == code, changed
        assert ("seen" in answer.text) == (code == 200)
    assert served.post("/progress", json={}, headers=right).status_code == 405


def test_no_other_sites_page_may_ask(run):
    """A picture, a script or a frame of another site would have the server work for it; a link may lead here."""
    served = client(run.folder)
    for site, mode, code in (
        ("cross-site", "no-cors", 403),
        ("cross-site", "cors", 403),
        ("same-site", "no-cors", 403),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
        assert served.get("/progress", headers=headers).status_code == code, (site, mode)
    assert served.get("/progress").status_code == 200


def test_websockets_are_refused(run):
    served = client(run.folder, WebSocketRoute("/people/live", accept))
    with pytest.raises(WebSocketDisconnect), served.websocket_connect(f"ws{HERE[4:]}/people/live"):
        pass


@pytest.mark.parametrize(
    "path, code",
    [("/", 200), ("/page", 200), ("/progress", 200), ("/run.json", 404), ("/../run.json", 404)]
    + [(f"/{dots}run.json", 404) for dots in ("%2e%2e/", "..%2f", "page/%2e%2e/")],
)
def test_every_answer_has_the_guards_headers_and_no_file_is_served(run, path, code):
    answer = client(run.folder).get(path)
    assert answer.status_code == code
    for name, value in HEADERS.items():
        assert name == "content-security-policy" or answer.headers[name] == value
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    refused = client(run.folder).get(path, headers={"host": "evil.example"})
    assert refused.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/page"])
def test_the_policy_runs_the_pages_own_scripts_only(run, tmp_path, path):
    for folder in (run.folder, tmp_path):
        answer = client(folder).get(path)
        if answer.status_code == 404:
            continue
        policy = dict(
            p.split(" ", 1) for p in answer.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["connect-src"] == "'self'" and "unsafe-inline" not in policy["script-src"]
        scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.S)
        assert len(scripts) >= 1
        for script in scripts:
            known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{known}'" in policy["script-src"]
        # Handlers in attributes would be blocked.
        assert not re.search(r"<[a-z][^>]*\son\w+=", answer.text.partition("<script")[0])
        assert ("http-equiv" in answer.text) == (path == "/page")


# Serving


def test_a_taken_port_is_said_and_the_next_one_taken_when_none_was_given(monkeypatch, tmp_path):
    with bind(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            EquipoiseError, match=rf"port {port}: something else .* another --port"
        ):
            serve(tmp_path, port=port, browser=False, say=print)
        monkeypatch.setattr("equipoise.view.serving.PORT", port)
        with bind(None) as other:
            assert other.getsockname()[0] == "127.0.0.1" and other.getsockname()[1] != port
    with pytest.raises(EquipoiseError, match="port 70000"):
        bind(70000)


def test_a_folder_that_does_not_exist_is_one_line(tmp_path, capsys):
    for name, why in (("nowhere", "no such folder"), ("file", "it is a file")):
        (tmp_path / "file").write_text("")
        with pytest.raises(SystemExit) as stop:
            main(["view", str(tmp_path / name)])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.count("\n") == 1
        assert why in error and "Give the folder that an audit writes" in error


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_extra_names_the_command(tmp_path, capsys, monkeypatch, missing):
    for module in [m for m in sys.modules if m.startswith("equipoise.view")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as stop:
        main(["view", str(tmp_path)])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "pip install 'equipoise[view]'" in error and missing in error


def test_the_verb_serves_until_ctrl_c(run):
    command = [
        sys.executable,
        "-m",
        "equipoise",
        "view",
        str(run.folder),
        "--port=0",
        "--no-browser",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout and server.stderr
            said = re.match(r"Page: http://127\.0\.0\.1:(\d+)/", server.stdout.readline())
            assert said
            port = int(said[1])
            for host, code in ((f"localhost:{port}", 200), ("evil.example", 421)):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("GET", "/progress", headers={"Host": host})
                answer = connection.getresponse()
                assert answer.status == code
                assert ("shards" in answer.read().decode()) == (code == 200)
                connection.close()
            # Two hosts at once, as no browser sends them.
            with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
                raw.sendall(
                    f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil\r\n\r\n".encode()
                )
                assert raw.recv(64).split()[1] in (b"400", b"421")
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
            assert server.stderr.read() == ""
        finally:
            server.kill()
