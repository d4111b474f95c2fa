"""The examples of the page on the client run as they stand, in order, against a real server."""

from __future__ import annotations

from pathlib import Path

from tests.docs.test_examples import Reader


def test_the_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        reader.type("lodestream serve\n")
        reader.follow("docs/howto/python-client.md")
    finally:
        reader.stop()

    assert reader.said("python3 send.py") == "1024 sent\n2048 sent\n2500 sent\n2500 new\n"
    last = "mail-2499 Where is claim 2499?\n"
    assert reader.said("python3 consume_with_client.py") == last
    batches = "1000 in one go\n1000 in one go\n500 in one go\n"
    assert reader.said("python3 consume_batches.py") == batches
    assert reader.said("python3 consume_guarded.py") == "2500 handled\n"
    assert reader.said("python3 consume_async.py") == "2500 awaited\n"
    labelled = "mail-1 ['Claim > Status']\nmail-2 ['Claim']\nno model is live yet\n"
    assert reader.said("python3 label.py") == labelled
    assert reader.said("python3 any.py") == "2500\n"
