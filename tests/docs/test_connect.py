"""The page on the connector, as it stands, with a real mail server."""

from __future__ import annotations

from pathlib import Path

from tests.docs import test_examples
from tests.docs.test_examples import Block, Reader
from tests.dovecot import dovecot, message, received


def test_the_page_on_the_connector(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    reader = Reader(tmp_path)
    with dovecot() as mails:
        with mails.as_user("help@example.com") as client:
            for number in (1, 2):
                client.append("INBOX", message(number), (), received(9))
            client.create_folder("Junk")
            client.append("Junk", message(3), (), received(9))
        there = f'"host": "127.0.0.1", "port": {mails.port}, "security": "none"'
        blocks_of = test_examples.blocks_of

        def local(page: str) -> list[Block]:
            found = blocks_of(page)
            host = '"host": "imap.example.com"'
            return [Block(one.language, one.file, one.text.replace(host, there)) for one in found]

        monkeypatch.setattr(test_examples, "blocks_of", local)
        try:
            reader.follow("docs/howto/self-hosted-connector.md")
            reader.type("lodestream bucket emails DefaultProject/mail --json\n")
        finally:
            reader.stop()

    tried = reader.said("export CM_ENDPOINT").splitlines()[-1].split()
    assert tried == ["help@example.com", "2", "2", "0", "level"]
    assert reader.said("lodestream connect --once").splitlines()[-1].split() == tried
    stored = reader.said("lodestream bucket emails")
    assert '"<1@example.com>"' in stored
    assert '"<2@example.com>"' in stored
    assert '"<3@example.com>"' not in stored
