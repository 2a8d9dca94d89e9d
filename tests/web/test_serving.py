"""The web server serves the page and its own files only, one image at a time. Attacks are in test_attacks.py."""

import importlib.util
import json
import threading

import numpy as np
import pytest
from PIL import Image

from helpers.page_client import TIMEOUT
from segvit.errors import UserError
from segvit.web.analysis import ImageAnalyzer
from segvit.web.limits import UploadLimits

# Gradio and FastAPI take seconds to import: fixtures import them, so that collecting the tests stays fast.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason='the web page needs Gradio: pip install -e ".[demo]"'
)


@pytest.fixture
def page(predictor, tmp_path, monkeypatch):
    from segvit.web.page import Page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return Page(ImageAnalyzer(predictor, limits=UploadLimits(seconds=TIMEOUT)), folder=tmp_path, max_waiting=1)


def test_an_uploaded_image_is_segmented(page_client, make_upload):
    page = page_client.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    (path,) = page_client.upload("a.png", make_upload("plain").read_bytes()).json()
    response = page_client.analyze(path)
    assert response["success"] and "tokens kept" in response["output"]["data"][1]
    overlay = response["output"]["data"][3]["path"]
    assert page_client.get(f"/gradio_api/file={overlay}").headers["content-type"] == "image/jpeg"


def test_a_visitor_sees_why_a_deep_image_is_black(page_client, tmp_path):
    """Its labels look like those of any image."""
    Image.fromarray(np.full((40, 50), 4000, np.uint16)).save(tmp_path / "deep.png")
    status = page_client.upload_and_analyze("deep.png", (tmp_path / "deep.png").read_bytes())["output"]["data"][1]
    assert "deep.png" in status and "4000" in status and "INPUT.MAX_LEVEL" in status


def test_other_files_are_not_served(page_client):
    outside = page_client.folder.parent
    secret = outside / "secret.txt"
    secret.write_text("the secret")
    paths = ("/etc/passwd", secret, page_client.folder / ".." / "secret.txt", outside / "model.pth", __file__)
    for form in ("/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/gradio_api/file=../..{}", "/{}"):
        for path in paths:
            response = page_client.get(form.format(path))
            assert response.status_code in (400, 403, 404), (form, path)
            assert "secret" not in response.text.replace("secret.txt", "") and "root:" not in response.text


def test_uploads_stay_inside_the_folder(page_client, make_upload):
    (path,) = page_client.upload("../../escaped.png", make_upload("plain").read_bytes()).json()
    assert path.startswith(str(page_client.folder))
    assert not list(page_client.folder.parent.glob("*escaped*"))


def test_local_files_are_not_accepted_as_uploads(page_client):
    for path in ("/etc/passwd", __file__):
        response = page_client.analyze(path, session=path)
        assert response["success"] is False and "root:" not in json.dumps(response)


def test_malformed_events_are_refused(page_client):
    for body in (b"", b"[" * 60_000, b"\xff", b"null", b'{"path": 3}'):
        assert page_client.post("/gradio_api/queue/join", content=body).status_code in (400, 411, 422), body[:9]


def test_foreign_host_names_are_refused(page_client):
    """DNS rebinding: a foreign page resolves its own name to 127.0.0.1."""
    assert page_client.get("/", headers={"host": "elsewhere.example"}).status_code == 400


def test_other_services_are_off(page_client):
    for path in ("/docs", "/openapi.json", "/monitoring", "/gradio_api/mcp/sse"):
        assert page_client.get(path).status_code in (403, 404), path


def test_images_are_segmented_one_at_a_time_and_at_most_two_wait(page_client, make_upload, monkeypatch):
    started, may_finish = threading.Event(), threading.Event()
    running, counts = [], []

    def slow(analyzer, path):
        running.append(path)
        counts.append(len(running))
        started.set()
        assert may_finish.wait(TIMEOUT)
        running.remove(path)
        raise UserError("refused at last")

    monkeypatch.setattr(ImageAnalyzer, "__call__", slow)
    (path,) = page_client.upload("a.png", make_upload("plain").read_bytes()).json()

    def join(session):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        return page_client.join("analyze", [file, 0.5], session)

    try:
        assert join("first").status_code == 200 and started.wait(TIMEOUT)
        assert [join(name).status_code for name in ("second", "third", "fourth")] == [200, 200, 503]
    finally:
        may_finish.set()
    for name in ("first", "second", "third"):
        assert "refused at last" in page_client.outcome(name)["output"]["data"][1]
    assert counts == [1, 1, 1]


def test_events_of_an_expired_analysis_give_empty_outputs(page, make_upload):
    assert page.redraw(None, 0.5) is None
    page.show_mask(None, 1)
    refused = page.analyze(str(make_upload("text")), 0.5)
    assert refused[0] is None and "text.png" in refused[1]
    assert len(refused) == len(page.clear()) == len(page.analyze(str(make_upload("plain")), 0.5))


def test_a_crash_is_logged_and_its_details_stay_private(page, make_upload, monkeypatch, caplog):
    monkeypatch.setattr(page.analyzer.predictor.model, "forward", lambda inputs: 1 / 0)
    outputs = page.analyze(str(make_upload("plain")), 0.5)
    assert "see the server log" in outputs.status and "division" not in outputs.status
    assert "ZeroDivisionError" in caplog.text
