"""The commands of the page on files of rows run as they stand, after the tutorial's first steps."""

from __future__ import annotations

import json
from pathlib import Path

from tests.docs.test_examples import Reader

STEPS = """\
export TOKEN=$(lodestream token create --user admin)
export API=http://127.0.0.1:8000/api/v1
api() {
  curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" "$@"
}
api -X PUT $API/sources/DefaultProject/inbox -d '{"source": {}}'
"""


def test_uploading_rows_by_the_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        reader.type("lodestream serve\n")
        reader.type(STEPS)
        reader.follow("docs/howto/csv.md")
    finally:
        reader.stop()
    sniffed = json.loads(reader.said('api "$FILES/sniff-csv'))
    assert sniffed["delimiter"] == ";"
    assert sniffed["roles"]["Description"] == "message"
    reply = json.loads(reader.said('api "$FILES/DefaultProject'))
    assert (reply["new"], reply["rejected_count"]) == (2, 1)
    reason = "column 'Opened at': no time in format %d/%m/%Y %H:%M"
    assert reply["rejected"] == [{"line": 4, "reason": reason}]
