"""Files of rows over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest

from lodestream.store.db import Database
from tests.build import make_source, private_source_path, source_path
from tests.client import Client
from tests.conftest import grant_in, make_user

SNIFF = "/api/_private/sources/sniff-csv"
SYNC = private_source_path() + "/sync-csv"
COUNTS = ("new", "updated", "unchanged", "updated_properties_only", "updated_text_changed")
HEAD = "id,date,text,Team,NPS\n"


def upload(client: Client, text: str | bytes, **query: Any) -> Any:
    content = text.encode() if isinstance(text, str) else text
    return client.ok("PUT", f"{SYNC}?{urlencode(query, doseq=True)}", content)


def comment(client: Client, comment_id: str) -> Any:
    return client.ok("GET", f"{source_path()}/comments/{quote(comment_id)}")["comment"]


def test_a_file_is_sniffed(client: Client) -> None:
    reply = client.ok("PUT", SNIFF, (HEAD + "1,2020-01-09,Hello there,Red,7\n").encode("utf-16"))
    assert reply == {
        "status": "ok",
        "columns": ["id", "date", "text", "Team", "NPS"],
        "encoding": "utf-16",
        "delimiter": ",",
        "has_header": True,
        "roles": {
            "id": "id",
            "date": "timestamp",
            "text": "message",
            "Team": "string_property",
            "NPS": "number_property",
        },
        "timestamp_formats": ["iso"],
    }


def test_sniffing_needs_a_project_to_upload_to(client: Client, db: Database) -> None:
    user_id = make_user(db, "guest")
    guest = client.as_user("guest")
    assert guest.put(SNIFF, b"a,b\n1,2\n").status == 403
    grant_in(db, user_id, "acme", ("sources-add-comments",))
    assert guest.put(SNIFF, b"a,b\n1,2\n").status == 200


def test_rows_become_comments(client: Client) -> None:
    make_source(client)
    table = HEAD + '1,2020-01-09,"Hello, ""you""",Red,7\n2,2020-01-10,"two\nlines",,\n'
    reply = upload(client, table)
    assert [reply[name] for name in COUNTS] == [2, 0, 0, 0, 0]
    assert (reply["rejected"], reply["rejected_count"], reply["ignored_columns"]) == ([], 0, [])
    first, second = comment(client, "1"), comment(client, "2")
    assert first["messages"] == [{"body": {"text": 'Hello, "you"'}}]
    assert first["timestamp"] == "2020-01-09T00:00:00.000000Z"
    assert first["user_properties"] == {"string:Team": "Red", "number:NPS": 7}
    assert second["messages"] == [{"body": {"text": "two\nlines"}}]
    assert second["user_properties"] == {}
    again = upload(client, table.replace("Red", "Blue"))
    assert [again[name] for name in COUNTS] == [0, 1, 1, 1, 0]


def test_bad_rows_are_told_and_good_ones_go_in(client: Client) -> None:
    make_source(client)
    table = HEAD + (
        "1,2020-01-09,good,Red,7\n"
        "2,2020-01-09,too short\n"
        "\n"
        "3,yesterday,no date,Red,7\n"
        "4/4,2020-01-09,bad id,Red,7\n"
        "1,2020-01-09,again,Red,7\n"
        "5,2020-01-09,good,Red,7\n"
    )
    reply = upload(client, table)
    assert reply["new"] == 2
    assert reply["rejected_count"] == 4
    told = {one["line"]: one["reason"] for one in reply["rejected"]}
    assert list(told) == [3, 5, 6, 7]
    assert "3 cells" in told[3]
    assert "'date'" in told[5]
    assert "4/4" in told[6]
    assert "earlier row" in told[7]
    assert comment(client, "1")["messages"][0]["body"]["text"] == "good"


def test_named_columns_leave_out_the_others_and_tell_them(client: Client) -> None:
    make_source(client)
    table = "key,when,words,who,Team,NPS\n1,2020-01-09,Hello you,me,Red,7\n"
    reply = upload(
        client,
        table,
        id="key",
        timestamp="when",
        message="words",
        string_property=["who", "NPS"],
        **{"from": "Team"},
    )
    assert (reply["new"], reply["ignored_columns"]) == (1, [])
    found = comment(client, "1")
    assert found["messages"][0]["from"] == "Red"
    assert found["user_properties"] == {"string:who": "me", "string:NPS": "7"}
    reply = upload(client, table, id="key")
    assert reply["ignored_columns"] == ["who", "Team", "NPS"]


def test_more_rows_than_one_batch_go_in(client: Client) -> None:
    make_source(client)
    rows = [f"{number},2020-01-09,text {number},Red,1\n" for number in range(2500)]
    assert upload(client, HEAD + "".join(rows))["new"] == 2500
    source = client.ok("GET", f"{private_source_path()}/comments?limit=1")
    assert "continuation" in source


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_every_encoding_gives_the_same_comments(client: Client, codec: str) -> None:
    make_source(client)
    table = "id\tdate\ttext\n1\t31/01/2020\tÜber €5\n2\t01/02/2020\tx y\n"
    assert upload(client, table.encode(codec))["new"] == 2
    found = comment(client, "1")
    assert found["messages"][0]["body"]["text"] == "Über €5"
    assert comment(client, "2")["timestamp"] == "2020-02-01T00:00:00.000000Z"


def test_days_and_months_that_cannot_be_told_apart_are_asked_for(client: Client) -> None:
    make_source(client)
    table = "id,date,text\n1,02/01/2020,a b\n"
    answer = client.put(SYNC, table.encode())
    assert answer.status == 422
    assert "%d/%m/%Y or %m/%d/%Y" in answer.json["message"]
    assert upload(client, table, timestamp_format="%m/%d/%Y")["new"] == 1
    assert comment(client, "1")["timestamp"].startswith("2020-02-01")
    # One row far behind the sample decides.
    rows = "".join(f"{n},02/01/2020,a b\n" for n in range(2, 1500)) + "1500,30/01/2020,a b\n"
    upload(client, "id,date,text\n1,02/01/2020,a b\n" + rows)
    assert comment(client, "1")["timestamp"].startswith("2020-01-02")


@pytest.mark.parametrize(
    ("table", "query", "status"),
    [
        ("", "", 422),
        ("a,b\n1,2\n", "", 422),
        ("id,date,text,text\n1,2020-01-09,a,b\n", "", 422),
        (HEAD, "?message=nothing", 422),
        (HEAD + "1,soon,a,b,1\n", "", 422),
        (HEAD, "?encoding=nope", 400),
        (HEAD, "?delimiter=x", 400),
        ("odd", "?encoding=utf-16-le", 422),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    client: Client, table: str, query: str, status: int
) -> None:
    make_source(client)
    answer = client.put(SYNC + query, table.encode())
    assert answer.status == status, answer.content
    assert answer.json["status"] == "error"


def test_uploading_a_file_needs_both_permissions(client: Client, db: Database) -> None:
    make_source(client)
    for token, held in (
        ("adder", ("sources-add-comments",)),
        ("admin", ("sources-admin",)),
    ):
        grant_in(db, make_user(db, token), "acme", held)
        assert client.as_user(token).put(SYNC, HEAD.encode()).status == 403
