"""The typed operations, over a whole server on both databases."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest

from lodestream.client import (
    AsyncClient,
    Client,
    Conflict,
    Message,
    NewComment,
    NotFound,
    Synced,
    Text,
    Unauthorized,
    Unusable,
)
from lodestream.client.async_streams import AsyncStreamOf
from lodestream.client.streams import StreamOf
from lodestream.client.uploads import batches
from tests.client import Client as AppClient
from tests.client_library.carriers import AppTransport
from tests.models import add_model

SOURCE = "acme/inbox"
DATASET = "acme/support"


def comment(number: int, *, text: str = "Where is my claim?") -> NewComment:
    return NewComment(
        id=f"m{number:03}",
        timestamp=datetime(2024, 1, 1, 0, number, tzinfo=UTC),
        messages=[Message(body=Text(text=text), sender="ann@example.com")],
        user_properties={"string:Team": "Claims"},
    )


@pytest.fixture
def support(library: Client) -> Client:
    """A client of a server with five comments in a dataset with a stream."""
    source = library.create_source(SOURCE, title="Inbox")
    library.create_dataset(DATASET, source_ids=[source.id], has_sentiment=False)
    library.create_stream(DATASET, "all", title="All")
    library.sync_comments(SOURCE, map(comment, range(5)))
    return library


def test_sources(library: Client) -> None:
    made = library.create_source(SOURCE, title="Inbox", language="de")

    assert (made.full_name, made.title, made.language) == (SOURCE, "Inbox", "de")
    assert library.update_source(SOURCE, title="Post").title == "Post"
    assert library.source(SOURCE).title == "Post"
    assert [one.id for one in library.sources("acme")] == [made.id]
    assert library.sources("other") == []
    with pytest.raises(Conflict):
        library.create_source(SOURCE, title="Other")
    library.delete_source(made.id)
    with pytest.raises(NotFound):
        library.source(SOURCE)


def test_comments_go_in_and_come_back_equal(support: Client) -> None:
    sent, got = comment(1), support.comment(SOURCE, "m001")

    assert (got.timestamp, got.messages) == (sent.timestamp, sent.messages)
    assert got.user_properties == sent.user_properties
    assert got.uid == f"{got.source_id}.m001"


def test_batches_are_sent_one_after_the_other_and_told_of(support: Client) -> None:
    told: list[int] = []
    mixed = [comment(0), comment(4, text="Other"), {"id": "d", **plain()}, raw()]

    done = support.sync_comments(
        SOURCE, mixed, most=2, progress=lambda all_: told.append(all_.total)
    )

    assert done == Synced(new=2, updated=1, unchanged=1)
    assert told == [2, 4]


def plain() -> dict[str, object]:
    return {"timestamp": "2024-01-01T00:00:00Z", "messages": [{"body": {"text": "x"}}]}


def raw() -> bytes:
    return b'{"id":"r","timestamp":"2024-01-01T00:00:00Z","messages":[{"body":{"text":"x"}}]}'


@pytest.mark.parametrize(
    ("most", "most_bytes", "counts"),
    [(3, 10**6, [3, 3, 1]), (100, 10**6, [7]), (100, 1, [1] * 7), (100, 15 + 3 * 11, [3, 3, 1])],
)
def test_batches_keep_to_both_limits(most: int, most_bytes: int, counts: list[int]) -> None:
    made = list(batches([b'{"i":"%02d"}' % n for n in range(7)], most=most, most_bytes=most_bytes))

    assert [count for count, _ in made] == counts
    assert all(len(body) <= most_bytes or count == 1 for count, body in made)


def test_listing_goes_over_all_pages_within_both_ends(support: Client) -> None:
    start, end = comment(1).timestamp, comment(3).timestamp

    found = support.comments(SOURCE, from_timestamp=start, to_timestamp=end, limit=1)
    back = support.comments(SOURCE, direction="descending", limit=2)

    assert [one.id for one in found] == ["m001", "m002", "m003"]
    assert [one.id for one in back] == [f"m{n:03}" for n in (4, 3, 2, 1, 0)]


def test_any_number_of_comments_is_deleted(support: Client) -> None:
    support.delete_comments(SOURCE, ["m001", "m,?&", *(f"none{n}" for n in range(300)), "m003"])

    assert [one.id for one in support.comments(SOURCE)] == ["m000", "m002", "m004"]


def test_datasets(support: Client) -> None:
    assert support.update_dataset(DATASET, title="Help").title == "Help"
    assert support.dataset(DATASET).full_name == DATASET
    assert [one.name for one in support.datasets("acme")] == ["support"]
    support.delete_dataset(DATASET)
    assert support.datasets() == []


def test_a_stream_and_its_position(support: Client) -> None:
    stream = support.stream(f"{DATASET}/all")
    assert stream.get().title == "All"
    assert stream.update(title="Every").title == "Every"
    assert [one.name for one in support.streams(DATASET)] == ["all"]

    batch, with_fields = stream.fetch(2), stream.results(2)
    assert [one.id for one in batch.results] == ["m000", "m001"]
    assert batch.results[0].comment == with_fields.results[0].comment
    assert with_fields.sequence_id == batch.sequence_id
    assert with_fields.results[0].prediction is None
    assert not batch.is_end_sequence
    assert stream.advance(batch.sequence_id) == batch.sequence_id
    assert [one.id for one in stream.fetch().results] == ["m002", "m003", "m004"]
    stream.reset(datetime(2020, 1, 1, tzinfo=UTC))
    assert len(stream.fetch().results) == 5
    stream.tag([batch.results[0].uid], "Odd")
    stream.untag([batch.results[0].uid])
    stream.delete()
    with pytest.raises(NotFound):
        stream.get()


def test_labels_and_annotations(support: Client) -> None:
    source_id = support.source(SOURCE).id
    uids = [f"{source_id}.m{n:03}" for n in range(3)]
    support.put_labels(DATASET, ["Claim > Status", "Thanks"])
    support.annotate(DATASET, uids[0], assigned=["Claim > Status"], dismissed=["Thanks"])
    support.sync_annotations(DATASET, {uids[1]: ["Thanks"], uids[2]: ["Claim"]})

    names = [one.name for one in support.labels(DATASET)]
    first = support.annotated(DATASET, uids)[0].labelling[0]
    reviewed = {one.comment.uid: one for one in support.reviewed(DATASET, source_id, limit=2)}

    assert names == ["Claim", "Claim > Status", "Thanks"]
    assert [one.name for one in first.assigned] == ["Claim > Status"]
    assert [one.name for one in first.dismissed] == ["Thanks"]
    assert sorted(reviewed) == uids
    assert [one.name for one in reviewed[uids[1]].labelling[0].assigned] == ["Thanks"]


def test_users_and_what_they_may_do(support: Client, client: AppClient) -> None:
    ada = support.create_user("ada", "ada@example.com", project_permissions={"acme": ["voc"]})
    ada = support.update_user(ada.id, project_permissions={"other": ["voc-readonly"]})

    assert ada.organisation_permissions == {"acme": ["voc"], "other": ["voc-readonly"]}
    assert support.user(ada.id).email == "ada@example.com"
    assert {one.id for one in support.users()} == {ada.id, support.current_user().id}
    support.delete_user(ada.id)
    with pytest.raises(NotFound):
        support.user(ada.id)
    stranger = Client("http://test", "no-token-of-anybody", transport=AppTransport(client))
    with pytest.raises(Unauthorized):
        stranger.current_user()


def test_audit_events_over_pages(support: Client) -> None:
    whole = [one.event_id for one in support.audit_events()]

    assert len(whole) > 3
    assert [one.event_id for one in support.audit_events(limit=2)] == whole
    assert list(support.audit_events(maximum=datetime(2020, 1, 1, tzinfo=UTC))) == []


def test_projects(library: Client) -> None:
    assert library.create_project("new", title="New").title == "New"
    assert {"acme", "new", "other"} <= {one.name for one in library.projects()}
    assert library.update_project("new", title="Newer").title == "Newer"
    library.create_source("new/box")
    with pytest.raises(Conflict):
        library.delete_project("new")
    library.delete_project("new", force=True)
    with pytest.raises(NotFound):
        library.project("new")


def test_quotas_and_tokens(library: Client, client: AppClient) -> None:
    tenant = library.call("GET", "/api/_private/tenants")["tenants"][0]["tenant_id"]
    library.set_quota("sources", 7, tenant_id=tenant)
    limits = {one.quota_kind: one.hard_limit for one in library.quotas()}
    assert limits["sources"] == 7

    me = library.current_user().id
    made = library.create_token(me, "laptop")
    assert made.token.id in [one.id for one in library.tokens(me)]
    with Client("http://test", made.secret, transport=AppTransport(client)) as other:
        assert other.current_user().id == me
        library.delete_token(made.token.id)
        with pytest.raises(Unauthorized):
            other.current_user()


def test_buckets_and_their_emails(library: Client) -> None:
    made = library.create_bucket("acme/mail", title="Mail")
    assert library.update_bucket("acme/mail", title="Post").title == "Post"
    assert [one.full_name for one in library.buckets("acme")] == ["acme/mail"]
    assert library.bucket("acme/mail").id == made.id
    emails = [
        {
            "id": f"e{number}",
            "mailbox": "ann@example.com",
            "timestamp": "2024-01-01T00:00:00Z",
            "mime_content": "Subject: x\r\n\r\ny",
        }
        for number in range(3)
    ]
    library.call("PUT", "/api/_private/buckets/acme/mail/emails", {"emails": emails})
    assert library.count_emails("acme/mail") == 3
    assert [one.id for one in library.emails("acme/mail", limit=2)] == ["e0", "e1", "e2"]
    assert library.sync_states(made.id) == []
    library.delete_bucket(made.id)
    assert library.buckets() == []


def test_what_is_in_a_dataset(support: Client) -> None:
    later = {"timestamp": {"minimum": "2024-01-01T00:02:00Z"}}
    assert support.count_comments(SOURCE) == 5
    assert support.count_comments(SOURCE, later) == 3
    assert support.dataset_statistics(DATASET, comment_filter=later)["num_comments"] == 3
    found = support.query(DATASET, limit=2, filter=later, order={"kind": "recent"})
    assert [one.comment.id for one in found] == ["m004", "m003", "m002"]


def test_labels_change_and_changes_are_taken_back(support: Client) -> None:
    uid = f"{support.source(SOURCE).id}.m000"
    support.put_labels(DATASET, ["Claim", "Thanks"])
    support.annotate(DATASET, uid, assigned=["Claim"])
    support.annotate(DATASET, uid, assigned=["Claim", "Thanks"])
    history = support.annotation_history(DATASET, uid)
    assert len(history.events) == 2
    assert support.undo_annotation(DATASET, uid) > history.revision
    (one,) = support.annotated(DATASET, [uid])
    assert [label.name for label in one.labelling[0].assigned] == ["Claim"]
    assert support.update_label(DATASET, "Claim", name="Claims") == 1
    assert support.delete_label(DATASET, "Claims") == 1
    support.create_label_group(DATASET, "tone", instructions="How it sounds")
    groups = {one.name: one for one in support.label_groups(DATASET)}
    assert [one.name for one in groups["default"].label_defs] == ["Thanks"]
    assert groups["tone"].instructions == "How it sounds"
    support.delete_label_group(DATASET, "tone")
    assert [one.name for one in support.label_groups(DATASET)] == ["default"]


def test_the_content_of_an_attachment(support: Client, client: AppClient) -> None:
    content = b"\x00\xffpdf"
    path = f"/api/_private/sources/id:{support.source(SOURCE).id}/comments/a/attachments/0"
    uploaded = client.put(path, content).json["content_hash"]
    described = {"name": "a.pdf", "size": 5, "content_type": "application/pdf"}
    sent = {"id": "a", **plain(), "attachments": [described | {"content_hash": uploaded}]}
    support.sync_comments(SOURCE, [sent])
    (attachment,) = support.comment(SOURCE, "a").attachments or []
    assert attachment.attachment_reference is not None
    assert support.attachment(attachment.attachment_reference) == content


def test_any_other_call(support: Client) -> None:
    path = f"/api/v1/sources/{SOURCE}/statistics"

    assert support.call("post", path, {})["statistics"]["num_comments"] == 5


def test_models_predict_for_texts_comments_and_streams(support: Client, client: AppClient) -> None:
    version = add_model(client)
    support.pin_model(DATASET, version)
    assert support.tag_model(DATASET, version, "live").version == version
    assert [(one.version, one.pinned) for one in support.models(DATASET)] == [(version, True)]
    assert [one.name for one in support.model_tags(DATASET)] == ["live"]

    document = {"messages": [Message(body=Text(text="where is my claim"))]}
    predicted = support.predict(DATASET, "live", [document, plain()], threshold=0.0)
    uid = f"{support.source(SOURCE).id}.m000"
    (stored,) = support.predict_comments(DATASET, version, [uid], threshold=0.0)
    stream = support.stream(f"{DATASET}/all")
    stream.update(model={"version": version})
    fetched, with_fields = stream.fetch(1).results[0], stream.results(1).results[0]

    assert predicted.model is not None
    assert predicted.model.version == version
    assert "Claim > Status" in [one.full_name for one in predicted.labels[0]]
    assert len(predicted.labels) == 2
    names = [one.full_name for one in fetched.labels]
    assert names == [one.full_name for one in stored.labels]
    assert sorted(one.name for one in with_fields.labels) == sorted(names)
    with pytest.raises(Conflict):
        support.unpin_model(DATASET, version)


def test_without_a_model_lists_are_empty_and_predictions_refused(support: Client) -> None:
    assert support.models(DATASET) == []
    assert support.model_tags(DATASET) == []
    with pytest.raises(NotFound):
        support.predict(DATASET, "live", [plain()])
    with pytest.raises((NotFound, Unusable)):
        support.pin_model(DATASET, 1)


@pytest.mark.parametrize("name", ["acme", "acme/", "/a", "a/b/c", ""])
def test_a_name_that_is_not_whole_is_refused_before_anything_is_asked(
    library: Client, name: str
) -> None:
    with pytest.raises(ValueError, match="full name"):
        library.source(name)
    with pytest.raises(ValueError, match="expected"):
        library.stream(name if name != "a/b/c" else "a/b")


@pytest.mark.parametrize(
    ("blocking", "awaiting"), [(Client, AsyncClient), (StreamOf, AsyncStreamOf)]
)
def test_both_clients_have_the_same_methods(blocking: type, awaiting: type) -> None:
    def shape(kind: type) -> dict[str, list[tuple[str, object, object]]]:
        return {
            name: [(p.name, p.kind, p.default) for p in inspect.signature(one).parameters.values()]
            for name, one in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert shape(blocking) == shape(awaiting)
