"""The pages on the connector and on IMAP, as they stand, with a real mail server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodestream.domain.secrets import new_key
from tests.docs import test_examples
from tests.docs.test_examples import Block, Reader
from tests.dovecot import Dovecot, dovecot, message, received


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dovecot]:
    """A mail server with two mails and one of junk, which stands for the host of the pages."""
    with dovecot() as running:
        with running.as_user("help@example.com") as client:
            for number in (1, 2):
                client.append("INBOX", message(number), (), received(9))
            client.create_folder("Junk")
            client.append("Junk", message(3), (), received(9))
        there = f'"host": "127.0.0.1", "port": {running.port}, "security": "none"'
        blocks_of = test_examples.blocks_of

        def local(page: str) -> list[Block]:
            found = blocks_of(page)
            host = '"host": "imap.example.com"'
            return [Block(one.language, one.file, one.text.replace(host, there)) for one in found]

        monkeypatch.setattr(test_examples, "blocks_of", local)
        yield running


def test_the_page_on_the_connector(tmp_path: Path, mails: Dovecot) -> None:
    reader = Reader(tmp_path)
    reader.environment["LODESTREAM_SECRET_KEY"] = new_key()
    try:
        reader.follow("docs/howto/self-hosted-connector.md")
        check_bucket(reader)
    finally:
        reader.stop()

    tried = reader.said("export CM_ENDPOINT").splitlines()[-1].split()
    assert tried == ["help@example.com", "2", "2", "0", "level"]
    assert reader.said("lodestream connect --once").splitlines()[-1].split() == tried
    # The second time the configuration came from the server, and nothing was new.
    again = reader.said("curl -sS --fail-with-body -X PUT").splitlines()[-1].split()
    assert again == ["help@example.com", "0", "0", "0", "level"]


def test_the_page_on_imap(tmp_path: Path, mails: Dovecot) -> None:
    reader = Reader(tmp_path)
    reader.environment["LODESTREAM_SECRET_KEY"] = new_key()
    try:
        reader.follow("docs/howto/imap.md")
        until(reader, "lodestream integration status DefaultProject/mailboxes --json", "up_to_date")
        check_bucket(reader)
        until(reader, "lodestream comment list DefaultProject/mailbox --json", "<2@example.com>")
    finally:
        reader.stop()

    said = reader.said("lodestream comment list").splitlines()
    assert len([json.loads(line) for line in said]) == 2


def check_bucket(reader: Reader) -> None:
    """Check that the bucket has the mails, and not the junk."""
    reader.type("lodestream bucket emails DefaultProject/mail --json\n")
    stored = reader.said("lodestream bucket emails")
    assert '"<1@example.com>"' in stored
    assert '"<2@example.com>"' in stored
    assert '"<3@example.com>"' not in stored


def until(reader: Reader, command: str, expected: str) -> None:
    """Repeat a command until it says what is expected."""
    for _ in range(40):
        reader.type(command + "\n")
        if expected in reader.said(command):
            return
        time.sleep(0.5)
    raise AssertionError(reader.said(command))
