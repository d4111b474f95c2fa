"""The commands of the page on labelling run as they stand, after the tutorial's first steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_examples import Reader

STEPS = """\
export TOKEN=$(lodestream token create --user admin)
export API=http://127.0.0.1:8000/api/v1
api() {
  curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" "$@"
}
api -X PUT $API/sources/DefaultProject/inbox -d '{"source": {}}'
ID=$(api $API/sources/DefaultProject/inbox | grep -o '"id":"[0-9a-f]*"' | cut -d'"' -f4)
DATASET="{\\"dataset\\": {\\"source_ids\\": [\\"$ID\\"]}}"
api -X PUT $API/datasets/DefaultProject/support -d "$DATASET"
api $API/sources/DefaultProject/inbox/sync -d '{"comments": [{"id": "mail-1", "messages": [
  {"body": {"text": "Money back"}}], "timestamp": "2024-02-01T08:00:00Z"}]}'
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    found = Reader(tmp_path)
    yield found
    found.stop()


def test_labelling_by_the_page(reader: Reader) -> None:
    reader.type("lodestream serve\n")
    reader.type(STEPS)
    reader.follow("docs/howto/labelling.md")
    assert '"Billing > Refund"' in reader.said('api "$DATASET/labellings')
    assert '"outcome":"changed"' in reader.said('api "$OURS/annotate')
    looked_back = reader.said('api "$OURS/history')
    assert looked_back.count('"before"') == 2
    assert '"utf16_byte_end":4' in reader.said('api "$API/datasets/DefaultProject/support" ')
