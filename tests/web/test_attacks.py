"""Attacks on the web page: files outside the upload folder, costly images, requests of foreign pages, wrong values."""

import importlib.util
import json
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.costly_images import jpeg_of_many_scans, png_of_size
from helpers.page_client import TIMEOUT

# Gradio takes seconds to import: fixtures import it, so that collecting the tests stays fast.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason='the web page needs Gradio: pip install -e ".[demo]"'
)


@pytest.fixture
def secret(page_client):
    """An image beside the upload folder."""
    path = page_client.folder.parent / "secret.png"
    Image.fromarray(np.random.default_rng(7).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return path


def paths_to(secret, folder):
    """Ways to name the file: directly, with dots, by links inside the upload folder, and as a URL."""
    (folder / "link.png").symlink_to(secret)
    (folder / "folder").symlink_to(secret.parent)
    return [
        str(secret),
        f"{folder}/../{secret.name}",
        f"{folder}/link.png",
        f"{folder}/folder/{secret.name}",
        f"file://{secret}",
    ]


def assert_unseen(page, secret, outcome):
    """The outcome has no image, and no copy of the secret file is served."""
    assert not outcome["success"] or outcome["output"]["data"][3] is None, outcome
    copies = [path for path in page.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert secret.read_bytes() not in [path.read_bytes() for path in copies]


def test_images_outside_the_upload_folder_are_not_analysed(page_client, secret):
    for path in paths_to(secret, page_client.folder):
        assert_unseen(page_client, secret, page_client.analyze(path, opacity=0))


def test_images_outside_the_upload_folder_are_not_analysed_by_direct_calls(page_client, secret):
    for path in paths_to(secret, page_client.folder):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = page_client.post("/gradio_api/call/analyze", json={"data": [file, 0]})
        if call.status_code == 200:
            result = page_client.get(f"/gradio_api/call/analyze/{call.json()['event_id']}").text
            assert "event: error" in result or "image.jp" not in result
        for form in ("run", "api"):
            assert page_client.post(f"/gradio_api/{form}/analyze", json={"data": [file, 0]}).status_code >= 400


@pytest.mark.parametrize("event", ["redraw", "show_mask"])
def test_files_in_place_of_numbers_are_not_copied(page_client, secret, event):
    """Gradio looks for files in the values of all components, also of sliders and dropdowns."""
    for path in paths_to(secret, page_client.folder):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        outcome = page_client.trigger(event, [None, file])
        assert not outcome["success"]
        copies = [path for path in page_client.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        assert secret.read_bytes() not in [path.read_bytes() for path in copies]


def test_links_out_of_the_upload_folder_are_not_served(page_client, secret):
    for path in paths_to(secret, page_client.folder):
        assert page_client.get(f"/gradio_api/file={path}").status_code in (400, 403, 404), path


def test_examples_of_other_gradio_apps_are_not_served(page_client, tmp_path, monkeypatch):
    """By default Gradio serves `.gradio/cached_examples` of the folder in which it runs."""
    example = tmp_path / ".gradio" / "cached_examples" / "private.txt"
    example.parent.mkdir(parents=True)
    example.write_text("private")
    monkeypatch.chdir(tmp_path)
    assert page_client.get(f"/gradio_api/file={example}").status_code == 403


def test_urls_are_not_fetched(page_client):
    """Neither those of this machine nor public ones; Gradio would fetch the latter, of any size."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)
        here = f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
        for url in (here, "https://example.com/a.png", "//example.com/a.png"):
            assert not page_client.analyze(url)["success"], url
            assert not page_client.trigger("redraw", [None, {"path": url, "meta": {"_type": "gradio.FileData"}}])[
                "success"
            ]
            assert page_client.get(f"/gradio_api/file={url}").status_code == 403
        with pytest.raises(TimeoutError):
            listener.accept()
    assert "not a URL" in page_client.get("/gradio_api/file=https://example.com/a.png").text


def test_decoding_ends_at_its_time_limit(own_page_client):
    """A progressive JPEG of 200 kB that takes half a minute; the page answers meanwhile."""
    page_client = own_page_client(seconds=2)
    start = time.monotonic()
    outcome = page_client.upload_and_analyze("slow.jpg", jpeg_of_many_scans(4000))
    assert "slow.jpg" in outcome["output"]["data"][1] and "2 seconds" in outcome["output"]["data"][1]
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(("width", "height"), [(49_000_000, 1), (1, 49_000_000), (70_000, 10)])
def test_images_with_a_very_long_side_are_refused(page_client, width, height):
    outcome = page_client.upload_and_analyze("long.png", png_of_size(width, height, rows=1))
    assert f"{width} x {height}" in outcome["output"]["data"][1] and "side" in outcome["output"]["data"][1]


def test_images_with_the_longest_permitted_sides_are_drawn(page_client):
    for width, height in ((30_000, 1), (1, 30_000)):
        outcome = page_client.upload_and_analyze("long.png", png_of_size(width, height))
        assert outcome["success"] and outcome["output"]["data"][3], outcome["output"]["data"][1]


def test_what_is_left_of_broken_uploads_is_deleted_when_it_is_old(own_page_client, make_upload, monkeypatch):
    """Gradio deletes complete uploads only: 300 broken ones of a megabyte stayed on the disk."""
    from segvit.web import server

    monkeypatch.setattr(server, "CLEANUP_INTERVAL", 0.1)  # ten times a second
    page_client = own_page_client()
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 150000\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", page_client.port), timeout=TIMEOUT) as connection:
        connection.sendall((head + part).encode() + b"0" * 100_000)
        wait_until(lambda: sum(path.stat().st_size for path in page_client.folder.iterdir()) > 50_000)
    (recent,) = page_client.upload("a.png", make_upload("plain").read_bytes()).json()
    expired = [path for path in page_client.folder.iterdir() if path != Path(recent).parent]
    assert expired
    for path in expired:
        os.utime(path, (0, 0))
    wait_until(lambda: not any(path.exists() for path in expired))
    assert Path(recent).exists()


def wait_until(condition):
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


FOREIGN = [
    *("https://elsewhere.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.elsewhere.example"),
    *("http://[", "", "file://"),
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_requests_of_foreign_pages_are_refused(page_client, make_upload, origin):
    """A foreign page can send forms to 127.0.0.1; browsers name it as the Origin."""
    headers = {"origin": origin}
    content = make_upload("plain").read_bytes()
    before = sorted(page_client.folder.rglob("*"))
    assert (
        page_client.post("/gradio_api/upload", files={"files": ("a.png", content)}, headers=headers).status_code == 403
    )
    assert sorted(page_client.folder.rglob("*")) == before
    for path in ("/gradio_api/queue/join", "/gradio_api/call/analyze", "/gradio_api/cancel", "/gradio_api/reset"):
        assert page_client.post(path, content=b"{}", headers=headers).status_code == 403, path
    assert page_client.get("/config", headers=headers).status_code == 403


def test_requests_of_the_page_itself_are_accepted(page_client):
    for headers in (
        {"origin": page_client.address.rstrip("/")},
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a link to the page
    ):
        assert page_client.get("/config", headers=headers).status_code == 200, headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_of_foreign_pages_without_an_origin_are_refused(page_client, make_upload, site):
    """Browsers send no Origin for images, scripts and frames; another port is the same site."""
    (path,) = page_client.upload("a.png", make_upload("plain").read_bytes()).json()
    image = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert page_client.get(f"/gradio_api/file={path}", headers=image).status_code == 403
    form = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert page_client.post("/gradio_api/queue/join", content=b"{}", headers=form).status_code == 403


def test_half_sent_requests_block_nobody(own_page_client):
    page_client = own_page_client()
    address = ("127.0.0.1", page_client.port)
    sockets = []
    try:
        for _ in range(300):
            sockets.append(socket.create_connection(address, timeout=TIMEOUT))
            sockets[-1].sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert page_client.get("/config").status_code == 200
    finally:
        for one in sockets:
            one.close()


WRONG_NUMBERS = ([0, 1], [], {}, "0", True, -1, 5, 1.5, 1e400, -1e400)


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=repr)
def test_wrong_classes_are_refused_without_a_traceback(page_client, make_upload, capfd, value):
    assert page_client.upload_and_analyze("a.png", make_upload("plain").read_bytes())["success"]
    outcome = page_client.trigger("show_mask", [None, value])
    assert not outcome["success"]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("value", [[0.5], {}, "0.5", 2, -1, 1e400, None], ids=repr)
def test_wrong_opacities_are_refused_without_a_traceback(page_client, make_upload, capfd, value):
    assert page_client.upload_and_analyze("a.png", make_upload("plain").read_bytes())["success"]
    assert not page_client.trigger("redraw", [None, value])["success"]
    assert "Traceback" not in capfd.readouterr().err


WRONG_PATHS = (3, "\0", None, "\ud800", "a" * 5000)


@pytest.mark.parametrize("value", [3, "a.png", [], ["a.png"], *({"path": path} for path in WRONG_PATHS)], ids=ascii)
def test_wrong_files_are_refused_without_a_traceback(page_client, capfd, value):
    outcome = page_client.trigger("analyze", [value, 0.5])
    assert not outcome["success"] or outcome["output"]["data"][3] is None
    assert "Traceback" not in capfd.readouterr().err


def test_files_inside_other_fields_and_other_names_are_refused_without_a_traceback(page_client, make_upload, capfd):
    content = make_upload("plain").read_bytes()
    path, unnamed = (page_client.upload(name, content).json()[0] for name in ("a.png", "a"))
    meta = {"_type": "gradio.FileData"}
    nested = {"path": path, "size": {"path": path, "meta": meta}, "meta": meta}
    for value in (nested, {"path": unnamed, "meta": meta}):
        assert not page_client.trigger("analyze", [value, 0.5])["success"]
    for values in ([], [{"path": path, "meta": meta}], [{"path": path, "meta": meta}, 0.5, 0.5]):
        assert not page_client.trigger("analyze", values)["success"]
    assert "Traceback" not in capfd.readouterr().err


def test_requests_are_limited_before_they_are_read(page_client):
    one = ("files", ("a.png", b"0" * 90_000))
    assert page_client.post("/gradio_api/upload", files=[one]).status_code == 200
    assert page_client.post("/gradio_api/upload", files=[one] * 3).status_code == 413
    assert page_client.post("/gradio_api/queue/join", content=b"[" * 70_000).status_code == 413
    for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
        assert page_client.post(path, content=iter([b"part"] * 3)).status_code == 411, path
        # The chunks are what counts: a server ignores a Content-Length beside them.
        both = {"content-length": "2", "transfer-encoding": "chunked"}
        assert page_client.post(path, content=iter([b"part"] * 3), headers=both).status_code == 411, path
    assert json.loads(page_client.get("/config").text)
