"""Ways into an IMAP server: TLS, STARTTLS, tokens."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pytest

from lodestream.connectors.imap import ImapMailbox
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.domain.integrations import ImapConnection, OAuth2, Password
from tests.connectors.targets import mailbox
from tests.dovecot import PASSWORD, Dovecot, dovecot


class Authority:
    """Gives tokens, and tells a mail server whose they are."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.status, self.retry_after = 200, ""
        self.answer: object = {"access_token": "good", "expires_in": 3600}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.forms.append({name: one[0] for name, one in parse_qs(body).items()})
                self._say(outer.status, outer.answer)

            def do_GET(self) -> None:
                token = parse_qs(urlsplit(self.path).query).get("access_token", [""])[0]
                known = {"good": {"email": "help@example.com"}}.get(token)
                self._say(200 if known else 401, known or {"error": "invalid_token"})

            def _say(self, status: int, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                if outer.retry_after:
                    self.send_header("retry-after", outer.retry_after)
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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NO OPENSSL: IMAP is not tested over TLS")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate", folder / "key"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    options += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run([openssl, "req", "-x509", *options], check=True, capture_output=True)
    return made, key


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    found = Authority()
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(certificate: tuple[Path, Path], authority: Authority) -> Iterator[Dovecot]:
    more = f"""
auth_mechanisms = plain login xoauth2
passdb {{
 driver = oauth2
 mechanisms = xoauth2
 args = {certificate[0].parent}/oauth2.conf
}}
"""
    told = f"tokeninfo_url = {authority.url}/?access_token=\nusername_attribute = email\n"
    configuration = certificate[0].parent / "oauth2.conf"
    configuration.write_text(told)
    with dovecot(tls=certificate, more=more, beside=[configuration]) as running:
        yield running


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_connection_is_secured_and_the_server_checked(
    server: Dovecot,
    certificate: tuple[Path, Path],
    security: Literal["tls", "starttls"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = server.tls_port if security == "tls" else server.port
    connection = ImapConnection("localhost", Password("x", PASSWORD), port, security)
    with pytest.raises(Temporary, match=r"(?i)certificate"):
        ImapMailbox(connection, mailbox()).folders()

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    one = ImapMailbox(connection, mailbox())

    assert [folder.path for folder in one.folders()] == [("INBOX",)]
    one.close()


def opened(server: Dovecot, authority: Authority, **more: str) -> ImapMailbox:
    access = OAuth2(f"{authority.url}/token", "client", client_secret="secret", **more)
    connection = ImapConnection("127.0.0.1", access, server.port, "none")
    return ImapMailbox(connection, mailbox("help@example.com"))


def test_the_application_signs_in_by_its_own_token(server: Dovecot, authority: Authority) -> None:
    authority.forms.clear()
    one = opened(server, authority, scope="S")

    assert [folder.path for folder in one.folders()] == [("INBOX",)]
    one.close()

    expected = {"grant_type": "client_credentials", "client_id": "client", "scope": "S"}
    assert authority.forms == [{**expected, "client_secret": "secret"}]


def test_a_user_signs_in_by_a_refresh_token(server: Dovecot, authority: Authority) -> None:
    authority.forms.clear()
    one = opened(server, authority, refresh_token="R", username="help@example.com")

    assert len(one.folders()) == 1
    one.close()

    assert authority.forms[0]["grant_type"] == "refresh_token"
    assert authority.forms[0]["refresh_token"] == "R"


def test_refusals_of_the_authority_and_of_the_mailbox_are_told_apart(
    server: Dovecot, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "answer", {"access_token": "of somebody else"})
    with pytest.raises(MailboxRefused) as of_mailbox:
        opened(server, authority).folders()
    monkeypatch.setattr(authority, "answer", {"error": "invalid_client"})
    monkeypatch.setattr(authority, "status", 400)
    with pytest.raises(MailboxRefused, match="invalid_client") as of_authority:
        opened(server, authority).folders()
    monkeypatch.setattr(authority, "status", 429)
    monkeypatch.setattr(authority, "retry_after", "9")
    with pytest.raises(Temporary) as busy:
        opened(server, authority).folders()

    assert of_mailbox.value.kind == "mailbox_access_denied"
    assert of_authority.value.kind == "invalid_exchange_credentials"
    assert busy.value.retry_after_s == 9
