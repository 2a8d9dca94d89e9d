"""The page's server: nothing but the page and its own files leaves it, and requests that cost too much end early."""

import json
import threading

import pytest

pytest.importorskip("gradio", reason='the web page needs Gradio: pip install -e ".[demo]"')

from fastapi.testclient import TestClient

from segvit.web.analysis import PictureAnalyst
from segvit.web.page import Page
from segvit.web.request_limits import MAX_EVENT_BYTES
from segvit.web.server import build_app
from segvit.web.uploads import UploadLimits

# For a machine that does much else.
PATIENCE = 240


@pytest.fixture
def analyst(predictor):
    return PictureAnalyst(predictor, limits=UploadLimits(max_megabytes=0.1), seconds=1000)


@pytest.fixture
def visitor(analyst, tmp_path, monkeypatch):
    """A client of the page, whose folder is tmp_path/served."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with TestClient(build_app(analyst, host="127.0.0.1", max_waiting=2), base_url="http://127.0.0.1") as client:
        yield client


def upload(visitor, name, content):
    return visitor.post("/gradio_api/upload", files={"files": (name, content)})


def join(visitor, path, session="visitor"):
    """The answer to an upload's event, which names a file: whether it may wait."""
    events = visitor.get("/config").json()["dependencies"]
    (number,) = (event["id"] for event in events if event["targets"][0][1] == "upload")
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    event = {"data": [file, 0.5], "fn_index": number, "session_hash": session}
    return visitor.post("/gradio_api/queue/join", json=event)


def outcome(visitor, session="visitor"):
    """The last message about an event."""
    with visitor.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("no answer")


def test_the_page_and_its_upload(visitor, send_me):
    page = visitor.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    (path,) = upload(visitor, "a.png", send_me("plain").read_bytes()).json()
    assert join(visitor, path).status_code == 200
    answer = outcome(visitor)
    assert answer["success"] and "tokens kept" in answer["output"]["data"][1]
    overlay = answer["output"]["data"][3]["path"]
    assert visitor.get(f"/gradio_api/file={overlay}").headers["content-type"] == "image/jpeg"


def test_no_other_files(visitor, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    paths = ("/etc/passwd", secret, tmp_path / "served" / ".." / "secret.txt", tmp_path / "model.pth", __file__)
    for form in ("/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/gradio_api/file=../..{}", "/{}"):
        for path in paths:
            answer = visitor.get(form.format(path))
            assert answer.status_code in (400, 403, 404), (form, path)
            assert "secret" not in answer.text.replace("secret.txt", "") and "root:" not in answer.text


def test_links_out_of_the_folder_do_not_help(visitor, send_me, tmp_path):
    (path,) = upload(visitor, "../../escaped.png", send_me("plain").read_bytes()).json()
    assert path.startswith(str(tmp_path / "served"))
    assert not list(tmp_path.glob("*escaped*"))


def test_files_of_this_machine_are_no_uploads(visitor):
    for path in ("/etc/passwd", __file__):
        assert join(visitor, path, path).status_code == 200
        answer = outcome(visitor, path)
        assert answer["success"] is False and "root:" not in json.dumps(answer)


def test_nothing_is_fetched(visitor):
    for path in ("http://127.0.0.1:1/a.png", "https://example.com/a.png", "//example.com/a.png"):
        assert join(visitor, path).status_code == 403


def test_requests_that_are_too_large(visitor):
    assert upload(visitor, "a.png", b"0" * 200_000).status_code == 413
    large = visitor.post("/gradio_api/queue/join", content=b"[" * (MAX_EVENT_BYTES + 1))
    assert large.status_code == 413
    unannounced = visitor.post("/gradio_api/upload", content=iter([b"part"] * 3))
    assert unannounced.status_code == 411


def test_odd_events_do_no_harm(visitor):
    for body in (b"", b"[" * 60_000, b"\xff", b"null", b'{"path": 3}'):
        assert visitor.post("/gradio_api/queue/join", content=body).status_code in (400, 422)


def test_other_names_of_this_machine(visitor):
    """A page elsewhere may have its name resolved to 127.0.0.1."""
    assert visitor.get("/", headers={"host": "elsewhere.example"}).status_code == 400


def test_no_other_services(visitor):
    for path in ("/docs", "/openapi.json", "/monitoring", "/gradio_api/mcp/sse"):
        assert visitor.get(path).status_code in (403, 404), path


def test_pictures_wait_for_each_other_and_not_too_many(visitor, send_me, monkeypatch):
    """Two may wait here."""
    begun, may_end, at_once, most = threading.Event(), threading.Event(), [], []

    def slow(analyst, path):
        at_once.append(path)
        most.append(len(at_once))
        begun.set()
        assert may_end.wait(PATIENCE)
        at_once.remove(path)
        raise ValueError("after all this time")

    monkeypatch.setattr(PictureAnalyst, "__call__", slow)
    (path,) = upload(visitor, "a.png", send_me("plain").read_bytes()).json()
    try:
        assert join(visitor, path, "first").status_code == 200 and begun.wait(PATIENCE)
        assert [join(visitor, path, name).status_code for name in ("second", "third", "fourth")] == [200, 200, 503]
    finally:
        may_end.set()
    for name in ("first", "second", "third"):
        assert "after all this time" in outcome(visitor, name)["output"]["data"][1]
    assert most == [1, 1, 1]


def test_events_without_an_analysis(analyst, send_me):
    """A session may have been forgotten."""
    page = Page(analyst, max_waiting=1)
    assert page.redraw(None, 0.5) is None
    page.show_mask(None, 1)
    refused = page.analyse(send_me("text"), 0.5)
    assert refused[0] is None and "text.png is no picture" in refused[1]
    assert len(refused) == len(page.clear()) == len(page.analyse(send_me("plain"), 0.5))


def test_a_defect_is_logged_and_told_without_details(analyst, send_me, monkeypatch, caplog):
    monkeypatch.setattr(analyst.predictor.model, "forward", lambda inputs: 1 / 0)
    told = Page(analyst, max_waiting=1).analyse(send_me("plain"), 0.5)
    assert "broke the model" in told[1] and "division" not in told[1]
    assert "ZeroDivisionError" in caplog.text
