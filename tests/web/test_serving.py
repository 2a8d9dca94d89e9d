"""The web server: it serves the page and its own files only, and refuses oversized requests early."""

import importlib.util
import json
import threading

import pytest

from segvit.web.analysis import ImageAnalyzer
from segvit.web.uploads import UploadLimits

# Gradio and FastAPI take seconds to import: fixtures import them, so that collecting the tests stays fast.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason='the web page needs Gradio: pip install -e ".[demo]"'
)

# Seconds; long enough for a busy machine.
TIMEOUT = 240


@pytest.fixture
def analyzer(predictor):
    return ImageAnalyzer(predictor, limits=UploadLimits(max_megabytes=0.1), seconds=1000)


@pytest.fixture
def client(analyzer, tmp_path, monkeypatch):
    """An HTTP client of the page, which stores its files in tmp_path/served."""
    from fastapi.testclient import TestClient

    from segvit.web.server import build_app

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with TestClient(build_app(analyzer, host="127.0.0.1", max_waiting=2), base_url="http://127.0.0.1") as test_client:
        yield test_client


@pytest.fixture
def page(analyzer):
    from segvit.web.page import Page

    return Page(analyzer, max_waiting=1)


def upload(client, name, content):
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def join(client, path, session="client"):
    """Queue the event that follows an upload; the response tells whether it may wait."""
    events = client.get("/config").json()["dependencies"]
    (number,) = (event["id"] for event in events if event["targets"][0][1] == "upload")
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    event = {"data": [file, 0.5], "fn_index": number, "session_hash": session}
    return client.post("/gradio_api/queue/join", json=event)


def outcome(client, session="client"):
    """The final message of a queued event."""
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as response:
        for line in response.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the stream ended without a result")


def test_an_uploaded_image_is_segmented(client, make_upload):
    page = client.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    (path,) = upload(client, "a.png", make_upload("plain").read_bytes()).json()
    assert join(client, path).status_code == 200
    response = outcome(client)
    assert response["success"] and "tokens kept" in response["output"]["data"][1]
    overlay = response["output"]["data"][3]["path"]
    assert client.get(f"/gradio_api/file={overlay}").headers["content-type"] == "image/jpeg"


def test_other_files_are_not_served(client, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    paths = ("/etc/passwd", secret, tmp_path / "served" / ".." / "secret.txt", tmp_path / "model.pth", __file__)
    for form in ("/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/gradio_api/file=../..{}", "/{}"):
        for path in paths:
            response = client.get(form.format(path))
            assert response.status_code in (400, 403, 404), (form, path)
            assert "secret" not in response.text.replace("secret.txt", "") and "root:" not in response.text


def test_uploads_stay_inside_the_folder(client, make_upload, tmp_path):
    (path,) = upload(client, "../../escaped.png", make_upload("plain").read_bytes()).json()
    assert path.startswith(str(tmp_path / "served"))
    assert not list(tmp_path.glob("*escaped*"))


def test_local_files_are_not_accepted_as_uploads(client):
    for path in ("/etc/passwd", __file__):
        assert join(client, path, path).status_code == 200
        response = outcome(client, path)
        assert response["success"] is False and "root:" not in json.dumps(response)


def test_urls_are_not_fetched(client):
    for path in ("http://127.0.0.1:1/a.png", "https://example.com/a.png", "//example.com/a.png"):
        assert join(client, path).status_code == 403


def test_oversized_requests_are_refused(client):
    from segvit.web.request_limits import MAX_EVENT_BYTES

    assert upload(client, "a.png", b"0" * 200_000).status_code == 413
    large = client.post("/gradio_api/queue/join", content=b"[" * (MAX_EVENT_BYTES + 1))
    assert large.status_code == 413
    without_length = client.post("/gradio_api/upload", content=iter([b"part"] * 3))
    assert without_length.status_code == 411


def test_malformed_events_are_refused(client):
    for body in (b"", b"[" * 60_000, b"\xff", b"null", b'{"path": 3}'):
        assert client.post("/gradio_api/queue/join", content=body).status_code in (400, 422)


def test_foreign_host_names_are_refused(client):
    """DNS rebinding: a foreign page resolves its own name to 127.0.0.1."""
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 400


def test_other_services_are_off(client):
    for path in ("/docs", "/openapi.json", "/monitoring", "/gradio_api/mcp/sse"):
        assert client.get(path).status_code in (403, 404), path


def test_images_are_segmented_one_at_a_time_and_at_most_two_wait(client, make_upload, monkeypatch):
    started, may_finish = threading.Event(), threading.Event()
    running, counts = [], []

    def slow(analyzer, path):
        running.append(path)
        counts.append(len(running))
        started.set()
        assert may_finish.wait(TIMEOUT)
        running.remove(path)
        raise ValueError("refused at last")

    monkeypatch.setattr(ImageAnalyzer, "__call__", slow)
    (path,) = upload(client, "a.png", make_upload("plain").read_bytes()).json()
    try:
        assert join(client, path, "first").status_code == 200 and started.wait(TIMEOUT)
        assert [join(client, path, name).status_code for name in ("second", "third", "fourth")] == [200, 200, 503]
    finally:
        may_finish.set()
    for name in ("first", "second", "third"):
        assert "refused at last" in outcome(client, name)["output"]["data"][1]
    assert counts == [1, 1, 1]


def test_events_of_an_expired_analysis_give_empty_outputs(page, make_upload):
    assert page.redraw(None, 0.5) is None
    page.show_mask(None, 1)
    refused = page.analyze(make_upload("text"), 0.5)
    assert refused[0] is None and "text.png" in refused[1]
    assert len(refused) == len(page.clear()) == len(page.analyze(make_upload("plain"), 0.5))


def test_a_crash_is_logged_and_its_details_stay_private(page, make_upload, monkeypatch, caplog):
    monkeypatch.setattr(page.analyzer.predictor.model, "forward", lambda inputs: 1 / 0)
    outputs = page.analyze(make_upload("plain"), 0.5)
    assert "see the server log" in outputs.status and "division" not in outputs.status
    assert "ZeroDivisionError" in caplog.text
