"""Raw e-mails into a source over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.build import make_source, source_path
from tests.client import Client
from tests.conftest import ROOT_TOKEN, grant_in, make_user

PATH = source_path() + "/sync-raw-emails"
TAG = "generic.0.CONVKER5"


def email(message_id: str | None = "<m1@example.com>", **parsed: Any) -> dict[str, Any]:
    headers = {
        "Date": "Thu, 09 Jan 2020 16:34:45 +0000",
        "From": "Alice <Alice@Example.com>",
        "To": "bob@example.org, Carol <carol@example.net>",
        "Subject": "Figures",
        "Message-ID": message_id,
        **parsed,
    }
    sent = {name: value for name, value in headers.items() if value is not None}
    return {"raw_email": {"headers": {"parsed": sent}, "body": {"plain": "Hi Bob"}}}


def sync(client: Client, *documents: dict[str, Any], **more: Any) -> Any:
    return client.ok("POST", PATH, {"documents": list(documents), **more})


def test_an_email_becomes_a_comment_named_after_its_message_id(client: Client) -> None:
    source = make_source(client)
    document = email()
    document["user_properties"] = {"string:Team": "Finance", "number:Priority": 2}
    document["raw_email"]["attachments"] = [
        {"name": "q3.pdf", "size": 1000, "content_type": ".pdf"}
    ]
    counts = sync(client, document, transform_tag=TAG, include_comments=True)
    (comment,) = counts.pop("comments")
    assert counts == {
        "status": "ok",
        "new": 1,
        "updated": 0,
        "unchanged": 0,
        "updated_properties_only": 0,
        "updated_text_changed": 0,
    }
    comment_id = b"<m1@example.com>".hex()
    assert comment["uid"] == f"{source['id']}.{comment_id}"
    assert comment["timestamp"] == "2020-01-09T16:34:45.000000Z"
    (message,) = comment["messages"]
    assert message["from"] == "Alice <Alice@Example.com>"
    assert message["to"] == ["bob@example.org", "Carol <carol@example.net>"]
    assert (message["subject"]["text"], message["body"]["text"]) == ("Figures", "Hi Bob")
    assert comment["user_properties"] == {
        "string:Team": "Finance",
        "number:Priority": 2,
        "string:Message ID": "<m1@example.com>",
        "string:Sender": "alice@example.com",
        "string:Sender Domain": "example.com",
        "string:Recipient Domain": "example.org",
        "number:Recipient Count": 2,
        "string:Has Attachments": "Yes",
    }
    assert comment["attachments"][0]["name"] == "q3.pdf"
    stored = client.ok("GET", f"{source_path()}/comments/{comment_id}")["comment"]
    assert stored == comment


def test_repeating_an_upload_changes_nothing(client: Client) -> None:
    make_source(client)
    assert sync(client, email(), email("<m2@example.com>"))["new"] == 2
    again = sync(client, email(), email("<m2@example.com>"))
    assert (again["new"], again["unchanged"], again["updated"]) == (0, 2, 0)


def test_what_changed_is_told_apart(client: Client) -> None:
    make_source(client)
    sync(client, email(), email("<m2@example.com>"))
    reworded = email(Subject="Other figures")
    moved = email("<m2@example.com>") | {"user_properties": {"string:Folder": "Done"}}
    counts = sync(client, reworded, moved)
    assert (counts["updated"], counts["updated_text_changed"]) == (2, 1)
    assert counts["updated_properties_only"] == 1


def test_an_empty_batch_is_no_error(client: Client) -> None:
    make_source(client)
    reply = sync(client, include_comments=True)
    assert reply["new"] == 0
    assert reply["comments"] == []
    assert "comments" not in sync(client)


def test_of_one_id_the_last_email_counts(client: Client) -> None:
    make_source(client)
    reply = sync(client, email(), email(Subject="Last"), include_comments=True)
    assert reply["new"] == 1
    subjects = [one["messages"][0]["subject"]["text"] for one in reply["comments"]]
    assert subjects == ["Last", "Last"]


def test_the_id_that_is_given_wins(client: Client) -> None:
    make_source(client)
    reply = sync(client, email() | {"comment_id": "mine.1"}, include_comments=True)
    assert reply["comments"][0]["id"] == "mine.1"


def test_own_properties_win_where_the_caller_says_so(client: Client) -> None:
    make_source(client)
    own = {"string:Sender": "me", "string:Sender Domain": "mine"}
    document = email() | {"user_properties": own}
    reply = sync(
        client,
        document,
        override_user_properties=["string:Sender"],
        include_comments=True,
    )
    properties = reply["comments"][0]["user_properties"]
    assert properties["string:Sender"] == "me"
    assert properties["string:Sender Domain"] == "example.com"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (email(None), "Message-ID"),
        (email(Date=None), "date"),
        (email(Date="yesterday"), "date"),
    ],
)
def test_an_email_that_cannot_be_placed_refuses_the_whole_batch(
    client: Client, document: dict[str, Any], says: str
) -> None:
    make_source(client)
    answer = client.post(PATH, {"documents": [email(), document]})
    assert answer.status == 422
    assert answer.json["message"].startswith("documents[1]: ")
    assert says in answer.json["message"]
    assert client.get(f"{source_path()}/comments/{b'<m1@example.com>'.hex()}").status == 404


def test_a_property_of_no_known_kind_names_the_document(client: Client) -> None:
    make_source(client)
    document = email() | {"user_properties": {"Team": "Finance"}}
    answer = client.post(PATH, {"documents": [email(), document]})
    assert answer.status == 400
    assert answer.json["message"].startswith("documents[1]: ")


def test_an_unknown_transform_tag_is_refused(client: Client) -> None:
    make_source(client)
    for documents in ([], [email()]):
        answer = client.post(PATH, {"documents": documents, "transform_tag": "nope"})
        assert answer.status == 422
        assert answer.json["message"] == "The value 'nope' is not a valid transform tag."


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"documents": [{}]},
        {"documents": [{"raw_email": {"headers": {}, "body": {}}}]},
        {"documents": [{"raw_email": {"headers": {"raw": "x" * 65_537}, "body": {}}}]},
        {"documents": [{"raw_email": {"headers": {"raw": ""}, "body": {"plain": "x" * 65_537}}}]},
        {"documents": [email() | {"comment_id": "with space"}]},
        {"documents": [email() | {"more": 1}]},
        {"documents": [], "override_user_properties": ["x"] * 129},
        {"documents": [], "unknown": True},
    ],
)
def test_what_a_schema_can_refuse_is_400(client: Client, body: Any) -> None:
    make_source(client)
    answer = client.post(PATH, body)
    assert (answer.status, answer.json["status"]) == (400, "error")


def test_raw_headers_and_html_are_read(client: Client) -> None:
    make_source(client)
    raw = (
        "Date: Thu, 09 Jan 2020 16:34:45 +0000\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <j@example.com>\r\n"
        "Subject: long\r\n subject\r\nMessage-ID: <m9@example.com>\r\n"
        "References: <m0@example.com> <m1@example.com>\r\n"
    )
    document = {"raw_email": {"headers": {"raw": raw}, "body": {"html": "<p>Hello</p>"}}}
    (comment,) = sync(client, document, include_comments=True)["comments"]
    assert comment["thread_id"] == b"<m0@example.com>".hex()
    (message,) = comment["messages"]
    assert message["from"] == "Jürgen <j@example.com>"
    assert message["subject"]["text"] == "long subject"
    assert message["body"]["text"] == "Hello"


def test_a_tag_with_rich_text_keeps_the_markup(client: Client) -> None:
    make_source(client)
    info = client.ok("GET", "/api/_private/sources/email-transform/tag:" + TAG)
    tag = info["email_transform_tag_info"]["rich_text_upgrade_tag"]
    document = email()
    document["raw_email"]["body"] = {"plain": "no", "html": "<p>Hi <b>Bob</b></p>"}
    (comment,) = sync(client, document, transform_tag=tag, include_comments=True)["comments"]
    assert comment["text_format"] == "markdown"
    body = comment["messages"][0]["body"]
    assert body["text"] == "Hi Bob"
    (paragraph,) = body["text_markup"]
    assert [one["kind"] for one in paragraph["children"]] == ["text", "style"]
    path = "/api/_private/sources/acme/inbox/comments?include_markup="
    (seen,) = client.ok("GET", path + "true")["comments"]
    assert seen["messages"][0]["body"] == body
    (seen,) = client.ok("GET", path + "false")["comments"]
    assert seen["messages"][0]["body"] == {"text": "Hi Bob"}


def test_unknown_tags_are_the_default_where_the_operator_says_so(client: Client) -> None:
    client.app.service.any_transform_tag = True
    tag = "customer.3.ABCD1234"
    source = make_source(client, email_transform_tag=tag)
    assert source["email_transform_tag"] == tag
    (comment,) = sync(client, email(), transform_tag=tag, include_comments=True)["comments"]
    assert (comment["text_format"], comment["messages"][0]["body"]["text"]) == ("plain", "Hi Bob")
    assert sync(client, email())["unchanged"] == 1
    path = "/api/_private/sources/email-transform/tag:"
    assert client.ok("GET", path + tag)["email_transform_tag_info"]["text_format"] == "plain"
    for odd in ("nope", "a.b.c", "a.1"):
        assert client.get(path + odd).status == 422


def test_sensitive_properties_stay_hidden_in_the_answer(client: Client) -> None:
    make_source(client, sensitive_properties=["string:Team"])
    document = email() | {"user_properties": {"string:Team": "Finance"}}
    user_id = make_user(client.app.service.db, "uploader")
    grant_in(client.app.service.db, user_id, "acme", ("sources-add-comments",))
    for token, seen in (("uploader", False), (ROOT_TOKEN, True)):
        (comment,) = sync(client.as_user(token), document, include_comments=True)["comments"]
        assert ("string:Team" in comment["user_properties"]) is seen


def test_a_transform_tag_tells_its_text_format(client: Client) -> None:
    path = "/api/_private/sources/email-transform/tag:"
    reply = client.ok("GET", path + TAG)
    info = reply["email_transform_tag_info"]
    rich = info.pop("rich_text_upgrade_tag")
    assert info == {"text_format": "plain"}
    reply = client.ok("GET", path + rich)
    assert reply["email_transform_tag_info"] == {"text_format": "markdown"}
    answer = client.get(path + "nope")
    assert answer.status == 422
    assert answer.json["message"] == "The value 'nope' is not a valid transform tag."
