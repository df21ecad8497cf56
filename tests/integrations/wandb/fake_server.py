"""A stand-in for W&B's server: it takes what W&B's own client sends, and can stop answering."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeServer:
    """As much of the protocol as one run's upload needs; what it was sent, in order."""

    def __init__(self):
        self.answering = threading.Event()
        self.answering.set()
        self.sent = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def take(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                server.answering.wait(60)
                with contextlib.suppress(ValueError):
                    server.sent.append((self.path, json.loads(body)))
                answer = json.dumps({"data": server.answer(body.decode(errors="replace"))}).encode()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            do_POST = do_GET = do_PUT = take

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def settings(self):
        """Environment of a client that is logged in here."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.http.server_port}", "WANDB_API_KEY": "x" * 40}

    def answer(self, asked):
        project = {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}}
        run = {
            "id": "r", "name": "abc", "displayName": "abc", "description": None, "config": None, "sweepName": None,
            "project": project, "historyLineCount": 0,
        }  # fmt: skip
        if "upsertBucket" in asked:
            return {"upsertBucket": {"bucket": run, "inserted": True}}
        if "bucket(" in asked or "RunResumeStatus" in asked:
            return {"model": {**project, "bucket": None}}
        if "viewer" in asked:
            viewer = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer, "serverInfo": {"features": []}}
        if "serverInfo" in asked:
            return {"serverInfo": {"features": [], "cliVersionInfo": {}, "latestLocalVersionInfo": None}}
        if "createRunFiles" in asked:
            names = json.loads(asked)["variables"]["files"]
            files = [{"name": name, "uploadUrl": f"{self.settings['WANDB_BASE_URL']}/storage/{name}"} for name in names]
            return {"createRunFiles": {"runID": "abc", "uploadHeaders": [], "files": files}}
        return {}

    def history(self):
        """Rows of all uploads, in the order in which they came."""
        rows = []
        for _, body in self.sent:
            files = body.get("files") if isinstance(body, dict) else None
            for line in (files or {}).get("wandb-history.jsonl", {}).get("content", []):
                rows.append(json.loads(line))
        return rows

    def close(self):
        self.answering.set()
        self.http.shutdown()
        self.http.server_close()
