"""A real IMAP server: Dovecot, with a configuration and mails of its own in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from imapclient import IMAPClient

from tests.processes import free_port

PASSWORD = "of-the-mailbox"
_PROGRAM = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def require_dovecot() -> str:
    """Return where the program is; skip the test, or on CI fail, if it is not installed."""
    if _PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("no Dovecot is installed; CI needs one")
        pytest.skip("NO DOVECOT: install dovecot-imapd to test IMAP against a real server")
    return _PROGRAM


class Dovecot:
    """A running server. Any user name is one, with `PASSWORD`; mailboxes are made when used."""

    def __init__(
        self, folder: Path, *, tls: tuple[Path, Path] | None = None, more: str = ""
    ) -> None:
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        user = pwd.getpwuid(os.getuid())
        # As root it would refuse to serve its own mails.
        self._user = pwd.getpwnam("dovecot") if user.pw_uid == 0 else user
        folder.chmod(0o755)
        (folder / "mails").mkdir()
        (folder / "run").mkdir()
        if tls is not None:
            # It has to be able to read them as the user it runs as.
            copies = [folder / "certificate", folder / "key"]
            for path, copy in zip(tls, copies, strict=True):
                shutil.copy(path, copy)
            tls = copies[0], copies[1]
        self.log = folder / "dovecot.log"
        self.configuration = folder / "dovecot.conf"
        self.configuration.write_text(self._configuration(tls, more))
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = require_dovecot()
        self._process = subprocess.Popen(
            [program, "-F", "-c", str(self.configuration)],
            user=self._user.pw_uid if os.getuid() == 0 else None,
            group=self._user.pw_gid if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
            stderr=subprocess.STDOUT,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(200):
            try:
                IMAPClient("127.0.0.1", self.port, ssl=False, timeout=5).shutdown()
            except OSError:
                assert self._process.poll() is None, self.tail()
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.tail())

    def stop(self) -> None:
        """End it at once, with all its sessions."""
        if self._process is not None:
            os.killpg(os.getpgid(self._process.pid), signal.SIGKILL)
            self._process.wait(20)
            self._process = None

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "(no log)"

    @contextlib.contextmanager
    def as_user(self, user: str) -> Iterator[IMAPClient]:
        """Log in as somebody who may change mails."""
        with IMAPClient("127.0.0.1", self.port, ssl=False, timeout=20) as client:
            client.login(user, PASSWORD)
            yield client

    def _configuration(self, tls: tuple[Path, Path] | None, more: str) -> str:
        name = self._user.pw_name
        secure = "ssl = no"
        if tls is not None:
            secure = f"ssl = yes\nssl_cert = <{tls[0]}\nssl_key = <{tls[1]}\nssl_dh ="
        listens = f"inet_listener imap {{\n address = 127.0.0.1\n port = {self.port}\n }}"
        with_tls = f"address = 127.0.0.1\n port = {self.tls_port}\n ssl = yes"
        without = "port = 0"
        return f"""
protocols = imap
listen = 127.0.0.1
base_dir = {self.folder}/run
state_dir = {self.folder}/run
log_path = {self.log}
default_internal_user = {name}
default_internal_group = {_group(self._user.pw_gid)}
default_login_user = {name}
{secure}
disable_plaintext_auth = no
mail_fsync = never
auth_failure_delay = 0
mail_max_userip_connections = 50
first_valid_uid = 1
mail_location = sdbox:{self.folder}/mails/%u
auth_mechanisms = plain login
service imap-login {{
 chroot =
 {listens}
 inet_listener imaps {{
 {with_tls if tls else without}
 }}
}}
service anvil {{
 chroot =
}}
passdb {{
 driver = static
 mechanisms = plain login
 args = password={PASSWORD}
}}
userdb {{
 driver = static
 args = uid={self._user.pw_uid} gid={self._user.pw_gid} home={self.folder}/mails/%u
}}
namespace inbox {{
 inbox = yes
 separator = /
 mailbox Drafts {{
  special_use = \\Drafts
  auto = create
 }}
}}
{more}
"""


def _group(gid: int) -> str:
    import grp

    return grp.getgrgid(gid).gr_name


@contextlib.contextmanager
def dovecot(
    *, tls: tuple[Path, Path] | None = None, more: str = "", beside: Sequence[Path] = ()
) -> Iterator[Dovecot]:
    """Run a server for as long as the context lasts."""
    require_dovecot()
    # Not in pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="dovecot-", ignore_cleanup_errors=True) as folder:
        for path in beside:
            # In a folder that it may enter; `more` names it by where it was.
            shutil.copy(path, folder)
            more = more.replace(str(path), f"{folder}/{path.name}")
        server = Dovecot(Path(folder), tls=tls, more=more)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def message(number: int, *, subject: str = "", text: str = "Hello", more: str = "") -> bytes:
    """Return a small e-mail of its own id."""
    return (
        f"Message-ID: <{number}@example.com>\r\nDate: Thu, 09 Jan 2020 16:34:45 +0000\r\n"
        f"From: Ann <ann@example.com>\r\nTo: help@example.org\r\n"
        f"Subject: {subject or f'Number {number}'}\r\n{more}\r\n{text} {number}\r\n"
    ).encode()


def received(day: int) -> datetime:
    """Return an instant in January 2020."""
    return datetime(2020, 1, day, 12, tzinfo=UTC)
