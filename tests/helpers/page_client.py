"""`PageClient`: an HTTP client of the web page that sends its events."""

import json
import secrets
from urllib.parse import urlsplit

import httpx

# Seconds; long enough for a busy machine.
TIMEOUT = 240


class PageClient(httpx.Client):
    """Requests to a running page.

    Args:
        address: the page's URL.
        folder: its upload folder.
    """

    def __init__(self, address, folder):
        super().__init__(base_url=address, timeout=TIMEOUT, trust_env=False)
        self.address, self.folder, self.port = address, folder, urlsplit(address).port
        self.session = secrets.token_hex(8)

    def upload(self, name, content):
        return self.post("/gradio_api/upload", files={"files": (name, content)})

    def join(self, event, data, session=None):
        """Queue an event of the page by the name of its function; the response tells whether it may wait."""
        dependencies = self.get("/config").json()["dependencies"]
        (number,) = (item["id"] for item in dependencies if item["api_name"] == event)
        content = json.dumps({"data": data, "fn_index": number, "session_hash": session or self.session})
        return self.post("/gradio_api/queue/join", content=content, headers={"content-type": "application/json"})

    def outcome(self, session=None):
        """The final message of a queued event."""
        with self.stream("GET", "/gradio_api/queue/data", params={"session_hash": session or self.session}) as response:
            for line in response.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    return message
        raise AssertionError("the stream ended without a result")

    def trigger(self, event, data, session=None):
        """The final message of an event; also of one that is refused at once."""
        response = self.join(event, data, session)
        if response.status_code != 200:
            return {"success": False, "output": {"error": response.text}}
        return self.outcome(session)

    def analyze(self, path, *, opacity=0.5, session=None):
        """The final message of the event that follows an upload."""
        return self.trigger("analyze", [{"path": str(path), "meta": {"_type": "gradio.FileData"}}, opacity], session)

    def upload_and_analyze(self, name, content):
        (path,) = self.upload(name, content).json()
        return self.analyze(path)
