"""As much of Entra ID and Microsoft Graph as a mailbox needs, over HTTP, written for these tests.

Answers have the shapes of Microsoft's documentation; failures can be put in front of them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lodestream.connectors.http import Http, Reply

GRAPH = "https://graph.microsoft.com"
LOGIN = "https://login.microsoftonline.com"


class FakeGraph:
    """A tenant with one mailbox. Folders by id; each change of a folder has a number."""

    def __init__(self, *, page: int = 2) -> None:
        self.folders: dict[str, tuple[str | None, str]] = {"drafts": (None, "Entwürfe")}
        self.changes: dict[str, list[dict[str, Any]]] = {"drafts": []}
        self.mime: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.prefer: set[str] = set()
        self.failures: list[tuple[str, int, dict[str, str], object]] = []
        self.token = "token-1"
        self.oldest_link = 0  # links from before this number have expired
        self._page = page
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*outer._get(self.path, self.headers))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                outer.forms.append(form)
                self._answer(*outer._give_token(form))

            def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_folder(self, folder_id: str, name: str, parent: str | None = None) -> None:
        self.folders[folder_id] = (parent, name)
        self.changes[folder_id] = []

    def put(self, folder_id: str, message_id: str, mime: bytes, **more: Any) -> None:
        """Let a message come, or change."""
        self.mime[message_id] = mime
        shown = {"id": message_id, "receivedDateTime": "2020-01-09T12:00:00Z", "isRead": False}
        self.changes[folder_id].append({**shown, "isDraft": False, "categories": [], **more})

    def remove(self, folder_id: str, message_id: str) -> None:
        gone = {"id": message_id, "@removed": {"reason": "deleted"}}
        self.changes[folder_id].append(gone)

    def fail(self, part: str, status: int, body: object = None, **headers: str) -> None:
        """Let the next request whose path has `part` in it fail."""
        self.failures.append((part, status, headers, body or {}))

    def _give_token(self, form: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        wrong = form.get("client_secret", "secret") != "secret"
        if wrong or form.get("password", "password") != "password":
            return _json({"error": "invalid_client", "error_description": "AADSTS7000215"}, 401)
        return _json({"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"})

    def _get(self, target: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(target)
        for one in self.failures:
            if one[0] in target:
                self.failures.remove(one)
                return _json(one[3], one[1], one[2])
        parts = urlsplit(target)
        if parts.path.endswith("/openid-configuration"):
            end = f"{LOGIN}/tenant/oauth2/v2.0"
            found = {"authorization_endpoint": f"{end}/authorize", "token_endpoint": f"{end}/token"}
            return _json({**found, "issuer": f"{LOGIN}/tenant/v2.0"})
        if "/userrealm/" in parts.path:
            return _json({"account_type": "Managed"})
        if headers.get("authorization") != f"Bearer {self.token}":
            return _json({"error": {"code": "InvalidAuthenticationToken", "message": ""}}, 401)
        self.prefer.add(headers.get("prefer", ""))
        return self._graph(unquote(parts.path), parse_qs(parts.query))

    def _graph(self, path: str, query: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
        below = path.removeprefix("/v1.0/users/help@example.com/")
        match below.split("/"):
            case ["mailFolders"]:
                return _json({"value": self._below(None)})
            case ["mailFolders", "drafts"]:
                return _json({"id": "drafts"})
            case ["mailFolders", parent, "childFolders"]:
                return _json({"value": self._below(parent)})
            case ["mailFolders", folder, "messages", "delta"]:
                return self._delta(folder, path, query)
            case ["messages", message, "$value"] if message in self.mime:
                return 200, {"content-type": "text/plain"}, self.mime[message]
        return _json({"error": {"code": "ErrorItemNotFound", "message": "not found"}}, 404)

    def _below(self, parent: str | None) -> list[dict[str, Any]]:
        return [
            {
                "id": one,
                "displayName": name,
                "childFolderCount": sum(p == one for p, _ in self.folders.values()),
            }
            for one, (above, name) in self.folders.items()
            if above == parent
        ]

    def _delta(
        self, folder: str, path: str, query: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        token = query.get("$deltatoken", query.get("$skiptoken"))
        at = 0 if token is None else int(token[0])
        if token is not None and at < self.oldest_link:
            return _json({"error": {"code": "SyncStateNotFound", "message": "expired"}}, 410)
        value = self.changes[folder][at : at + self._page]
        upto = at + len(value)
        kind, name = ("nextLink", "$skiptoken"), "$skiptoken"
        if upto == len(self.changes[folder]):
            kind, name = ("deltaLink", ""), "$deltatoken"
        link = f"{GRAPH}{path}?{name}={upto}"
        return _json({"value": value, f"@odata.{kind[0]}": link})


def _json(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    more = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    return status, {"content-type": "application/json", **more}, json.dumps(body).encode()


class LocalHttp(Http):
    """Goes to a local server instead of Microsoft's."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(self, method: str, url: str, **more: Any) -> Reply:
        for host in (GRAPH, LOGIN):
            url = url.replace(host, self._url, 1) if url.startswith(host) else url
        assert url.startswith(self._url), url
        return super().send(method, url, **more)
