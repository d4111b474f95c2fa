"""A small client of a running server, for the commands that work over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import click

from lodestream import __version__
from lodestream.cli.options import Failed, Unreachable

TIMEOUT_S: Final = 120.0
MOST_TRIES: Final = 6
LONGEST_WAIT_S: Final = 30.0

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Refused(Failed):
    """The server answered, but not with success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (HTTP {status})")
        self.status = status


def server_options(command: _Command) -> _Command:
    """Add the options that say which server a command talks to, and as whom."""
    url = click.option(
        "--url",
        envvar="LODESTREAM_URL",
        default="http://127.0.0.1:8000",
        show_default=True,
        help="Where the server is.  [LODESTREAM_URL]",
    )
    token = click.option(
        "--token",
        envvar="LODESTREAM_TOKEN",
        default="",
        help="Token to call with; better set in the environment.  [LODESTREAM_TOKEN]",
    )
    return url(token(command))


class Server:
    """A connection to a server, opened when it is needed and kept.

    A request that meets a busy or starting server (429, 503) is repeated after the time that the
    server asks for. Not for use by several threads.
    """

    def __init__(self, url: str, token: str, *, stop: threading.Event | None = None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(f"--url: {url!r} is not the URL of a server")
        try:
            token.encode("ascii")
            port = parts.port
        except (ValueError, UnicodeEncodeError) as error:
            raise click.UsageError(f"--url or --token cannot be used: {error}") from error
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self.url = url
        self._connection = kind(parts.hostname, port, timeout=TIMEOUT_S)
        self._prefix = parts.path.rstrip("/")
        self._stop = stop or threading.Event()
        self._headers = {
            "Content-Type": "application/json",
            "Connection": "keep-alive",
            "User-Agent": f"lodestream/{__version__}",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of a reply; `body` is sent as JSON, bytes as they are.

        Raises Refused if the server answers with an error, Unreachable if it does not answer.
        """
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        tries = 0
        while True:
            tries += 1
            status, headers, text = self._send(method, self._prefix + path, content)
            if status == 200:
                return self._parse(text)
            if status in (429, 503) and tries < MOST_TRIES and not self._stop.is_set():
                asked = headers.get("retry-after", "")
                wait_s = float(asked) if asked.isdigit() else 0.5 * 2**tries
                self._stop.wait(min(wait_s, LONGEST_WAIT_S))
                continue
            raise Refused(status, self._message(text))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(
        self, method: str, path: str, content: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        reused = self._connection.sock is not None
        try:
            return self._exchange(method, path, content)
        except (OSError, HTTPException) as error:
            self._connection.close()
            if not reused:
                raise self._unreachable(error) from error
        # The server may have closed a connection that was idle; every request of these commands
        # can be repeated.
        try:
            return self._exchange(method, path, content)
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from error

    def _exchange(
        self, method: str, path: str, content: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        self._connection.request(method, path, body=content, headers=self._headers)
        reply: HTTPResponse = self._connection.getresponse()
        text = reply.read()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, text

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unreachable(f"no answer from {self.url}: {reason}")

    def _parse(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise Failed(f"{self.url} answers with something else than JSON") from error

    @staticmethod
    def _message(text: bytes) -> str:
        try:
            found = json.loads(text)
        except ValueError:
            return "the server refused the request"
        message = found.get("message") if isinstance(found, dict) else None
        return message if isinstance(message, str) else "the server refused the request"


def full_name(text: str, *, what: str) -> str:
    """Return `PROJECT/NAME` as a part of a path. Raises UsageError for anything else."""
    owner, slash, name = text.partition("/")
    if not slash or not owner or not name or "/" in name:
        raise click.UsageError(f"{text!r} is no {what}: PROJECT/NAME expected")
    return f"{quote(owner, safe='')}/{quote(name, safe='')}"


def rate(done: int, since: float) -> float:
    """Return how many a second were done since an instant of `time.monotonic`."""
    return done / max(time.monotonic() - since, 1e-6)
