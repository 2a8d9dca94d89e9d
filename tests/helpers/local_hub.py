"""`LocalHub`: an HTTP server on this machine with the requests of the Hugging Face hub that models make."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = r"/api/models/(?P<name>[^/]+/[^/]+)"
REQUESTS = {
    ("POST", r"/api/repos/create"): "create",
    ("POST", r"/api/validate-yaml"): "accept",
    ("POST", REPOSITORY + r"/preupload/(?P<revision>.+)"): "preupload",
    ("POST", REPOSITORY + r"/commit/(?P<revision>.+)"): "commit",
    ("GET", REPOSITORY + r"/revision/(?P<revision>.+)"): "info",
    ("GET", REPOSITORY + r"/tree/(?P<revision>[^/]+)"): "tree",
    ("GET", r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)"): "file",
    ("HEAD", r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)"): "file",
}


class LocalHub:
    """A running hub.

    Attributes:
        url: what HF_ENDPOINT would name.
        revisions: {(repository, branch or commit): {file: content}}.
        received: method and path of each request.
    """

    def __init__(self):
        self.revisions, self.commits, self.received = {}, {}, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                path = self.path.partition("?")[0]
                hub.received.append(f"{self.command} {path}")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                for (method, pattern), name in REQUESTS.items():
                    found = re.fullmatch(pattern, path)
                    if method == self.command and found:
                        return getattr(hub, name)(self, body, **found.groupdict())
                return self.send_error(404)

            do_GET = do_HEAD = do_POST = answer

            def log_message(self, *_):
                """No lines on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def send(self, request, content, **headers):
        """Send bytes, or anything else as JSON."""
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(200)
        for name, value in {"Content-Length": len(content), **headers}.items():
            request.send_header(name.replace("_", "-"), str(value))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def create(self, request, body):
        asked = json.loads(body)
        self.send(request, {"url": f"{self.url}/{asked['organization']}/{asked['name']}"})

    def accept(self, request, body):
        self.send(request, {"errors": [], "warnings": []})

    def preupload(self, request, body, *, name, revision):
        paths = [file["path"] for file in json.loads(body)["files"]]
        files = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
        self.send(request, {"files": files})

    def commit(self, request, body, *, name, revision):
        entries = [json.loads(line) for line in body.splitlines()]
        files = {
            entry["value"]["path"]: base64.b64decode(entry["value"]["content"])
            for entry in entries
            if entry["key"] == "file"
        }
        commit = hashlib.sha1(b"".join(files.values())).hexdigest()
        self.revisions[name, revision] = self.revisions[name, commit] = files
        self.commits[name, revision] = self.commits[name, commit] = commit
        self.send(request, {"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def info(self, request, body, *, name, revision):
        if (name, revision) not in self.commits:
            return request.send_error(404)
        siblings = [{"rfilename": path} for path in self.revisions[name, revision]]
        return self.send(request, {"id": name, "sha": self.commits[name, revision], "siblings": siblings})

    def tree(self, request, body, *, name, revision):
        files = self.revisions[name, revision].items()
        self.send(request, [{"type": "file", "path": path, "size": len(it), "oid": tag_of(it)} for path, it in files])

    def file(self, request, body, *, name, revision, file):
        content = self.revisions[name, revision][file]
        headers = {"ETag": f'"{tag_of(content)}"', "X_Repo_Commit": self.commits[name, revision]}
        self.send(request, content, **headers)


def tag_of(content):
    """What tells contents of files apart."""
    return hashlib.sha1(content).hexdigest()
