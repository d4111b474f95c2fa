"""nginx with the very bytes of a batch as a file: what a Python client could take at best."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import machine
from bench.client import TIMEOUT_S, loads
from bench.peers.peer import Peer, program
from bench.servers import run, scratch_folder, wait_for_port

_CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; root files; default_type application/json; }}
}}
"""


class _Nginx:
    """Files instead of a queue: there is nothing to acknowledge, and one request a batch."""

    def __init__(self, pid: int, folder: Path, connection: http.client.HTTPConnection) -> None:
        self._pid = pid
        self._folder = folder
        self._http = connection
        self._files = 0

    def pids(self) -> list[int]:
        return [self._pid]

    def clear(self) -> None:
        self._files = 0

    def publish(self, messages: Sequence[bytes]) -> None:
        """Store a batch as the file of the next number."""
        content = b'{"status":"ok","results":[%s]}' % b",".join(messages)
        (self._folder / str(self._files)).write_bytes(content)
        self._files += 1

    def consume(self, count: int, size: int) -> list[str]:
        """Take every file, as they are: `size` is the one they were published with."""
        seen: list[str] = []
        while len(seen) < count:
            self._http.request("GET", f"/{len(seen) // size}")
            results = loads(self._http.getresponse().read())["results"]
            seen += [result["comment"]["id"] for result in results]
        return seen


@contextlib.contextmanager
def running() -> Iterator[Peer]:
    """Run a server. Raises Skipped if it is missing."""
    server = program("nginx", "/usr/sbin/nginx")
    with scratch_folder() as folder:
        port, files = machine.free_port(), folder / "files"
        files.mkdir()
        # Started by root it reads the files as nobody.
        folder.chmod(0o755)
        (folder / "nginx.conf").write_text(_CONFIGURATION.format(port=port))
        command = [server, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
        with run(command, folder / "log") as process:
            wait_for_port(process, port, folder / "log")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            with contextlib.closing(connection):
                yield _Nginx(process.pid, files, connection)
