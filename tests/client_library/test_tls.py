"""Requests to a secure server, straight and through a proxy, by both clients."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lodestream.cli.main import main
from lodestream.client import AsyncClient, Client, Retries, Unreachable

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'
NEVER = Retries(most_tries=1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate for localhost, signed by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NO OPENSSL: the clients are not tested over TLS")
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key", folder / "certificate"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    options += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run([openssl, "req", "-x509", *options], check=True, capture_output=True)
    both = folder / "both"
    both.write_bytes(key.read_bytes() + made.read_bytes())
    return both


class SecureServer:
    """Answers every request over TLS; with `proxied`, a proxy's part comes first."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.proxied = False
        self.heads: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._speak(peer)
            except OSError:
                continue  # A client that does not trust the certificate goes away.
            finally:
                peer.close()

    def _speak(self, peer: socket.socket) -> None:
        if self.proxied:
            self.heads.append(_head(peer))
            peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self._context.wrap_socket(peer, server_side=True) as secure:
            while head := _head(secure):
                self.heads.append(head)
                secure.sendall(ANSWER)


def _head(peer: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        if not byte:
            return ""
        head += byte
    return head.decode()


@pytest.fixture
def server(certificate: Path) -> Iterator[SecureServer]:
    running = SecureServer(certificate)
    yield running
    running.close()


def ask_twice(mode: str, url: str, tls: ssl.SSLContext | None) -> None:
    """Make two calls, one after the other."""

    async def awaiting() -> None:
        async with AsyncClient(url, "secret", tls=tls, retries=NEVER) as client:
            for _ in range(2):
                await client.call("GET", "/api/v1/one")

    if mode == "awaiting":
        asyncio.run(awaiting())
        return
    with Client(url, "secret", tls=tls, retries=NEVER) as client:
        for _ in range(2):
            client.call("GET", "/api/v1/one")


@pytest.mark.parametrize("mode", ["blocking", "awaiting"])
@pytest.mark.parametrize("proxied", [False, True])
def test_two_calls_over_one_secure_connection(
    server: SecureServer,
    certificate: Path,
    mode: str,
    proxied: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.proxied = proxied
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.port}" if proxied else "")
    monkeypatch.setenv("no_proxy", "")
    trusting = ssl.create_default_context(cafile=str(certificate))

    ask_twice(mode, f"https://localhost:{server.port}", trusting)

    if proxied:
        assert server.heads.pop(0).startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n")
    assert len(server.heads) == 2
    assert all("Authorization: Bearer secret\r\n" in head for head in server.heads)
    assert all("Accept-Encoding: gzip\r\n" in head for head in server.heads)


def test_a_proxy_that_is_named_beats_the_environment(
    server: SecureServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.proxied = True
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    trusting = ssl.create_default_context(cafile=str(certificate))
    proxy = f"http://127.0.0.1:{server.port}"

    for url in ("https://localhost:443", "https://127.0.0.1"):
        trusting.check_hostname = False
        with Client(url, "secret", tls=trusting, retries=NEVER, proxy=proxy) as client:
            client.call("GET", "/api/v1/one")

    assert [head.split(" HTTP")[0] for head in server.heads[::2]] == [
        "CONNECT localhost:443",
        "CONNECT 127.0.0.1:443",
    ]


def test_the_command_line_trusts_anybody_only_if_told_to(
    server: SecureServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    command = ["model", "untag", "acme/support", "live", "--token", "secret"]
    where = ["--url", f"https://localhost:{server.port}"]
    runner = CliRunner(env={"LODESTREAM_CONTEXTS_FILE": str(tmp_path / "contexts.json")})

    refused = runner.invoke(main, [*command, *where])
    trusted = runner.invoke(main, [*command, *where, "--accept-invalid-certificates"])

    assert (refused.exit_code, "certificate" in refused.stderr.lower()) == (3, True)
    assert (trusted.exit_code, len(server.heads)) == (0, 1)
    # Something that answers "ok" and nothing else is no server of this kind.
    other = runner.invoke(main, ["source", "list", *where, "-k"])
    assert (other.exit_code, "not the answer expected" in other.stderr) == (1, True)


@pytest.mark.parametrize("mode", ["blocking", "awaiting"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: SecureServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")

    with pytest.raises(Unreachable, match=r"(?i)certificate") as error:
        ask_twice(mode, f"https://localhost:{server.port}", None)

    assert not error.value.maybe_done
    assert server.heads == []
