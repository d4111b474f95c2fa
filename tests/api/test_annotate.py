"""Single labels of comments, their history, and the way back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestream.store.db import Database
from tests.build import dataset_path, make_comment, make_source, sync
from tests.client import Client
from tests.conftest import grant_in, make_user

Json = dict[str, Any]
OURS = "/api/lodestream/v1/datasets/acme/support"
LABELLINGS = "/api/_private/datasets/acme/support/labellings"
LABELS = "/api/_private/datasets/acme/support/labels/default"


@pytest.fixture
def source(client: Client) -> str:
    source: str = make_source(client)["id"]
    sync(client, [make_comment(f"c{number}", f"Text {number}") for number in range(4)])
    definition = {"source_ids": [source], "has_sentiment": False}
    client.ok("PUT", dataset_path(), {"dataset": definition})
    return source


def change(source: str, comment: str, action: str, label: str, **more: Any) -> Json:
    return {"comment_uid": f"{source}.{comment}", "label": label, "action": action, **more}


def annotate(client: Client, *changes: Json) -> list[Json]:
    results: list[Json] = client.ok("POST", OURS + "/annotate", {"changes": changes})["results"]
    return results


def state(client: Client, source: str, comment: str = "c0") -> tuple[list[str], list[str]]:
    """The names of the assigned and of the dismissed labels."""
    found = client.ok("GET", f"{LABELLINGS}?id={source}.{comment}")["results"][0]["labelling"][0]
    assigned, dismissed = ([o["name"] for o in found[w]] for w in ("assigned", "dismissed"))
    return assigned, dismissed


def history(client: Client, source: str, comment: str = "c0", query: str = "") -> Json:
    found: Json = client.ok("GET", f"{OURS}/history?comment_uid={source}.{comment}{query}")
    return found


def undo(client: Client, source: str, comment: str = "c0", **more: Any) -> int:
    body = {"comment_uid": f"{source}.{comment}", **more}
    revision: int = client.ok("POST", OURS + "/undo", body)["revision"]
    return revision


def test_single_labels_of_many_comments_change_at_once(client: Client, source: str) -> None:
    results = annotate(
        client,
        change(source, "c0", "assign", "A > B"),
        change(source, "c0", "dismiss", "Z"),
        change(source, "c1", "assign", "Z"),
    )
    assert [one["outcome"] for one in results] == ["changed"] * 3
    assert results[0]["revision"] == results[1]["revision"] != results[2]["revision"]
    assert state(client, source, "c0") == (["A > B"], ["Z"])
    assert state(client, source, "c1") == (["Z"], [])
    results = annotate(
        client,
        change(source, "c0", "clear", "Z"),
        change(source, "c0", "clear", "Never heard of"),
        change(source, "c1", "assign", "Z"),
        change(source, "c1", "dismiss", "Z"),
    )
    outcomes = ["changed", "unchanged", "unchanged", "changed"]
    assert [one["outcome"] for one in results] == outcomes
    assert state(client, source, "c0") == (["A > B"], [])
    assert state(client, source, "c1") == ([], ["Z"])
    names = [one["name"] for one in client.ok("GET", dataset_path())["dataset"]["label_defs"]]
    assert set(names) == {"A", "A > B", "Z"}


def test_what_was_said_of_an_older_state_is_left_out_and_told(client: Client, source: str) -> None:
    first = annotate(client, change(source, "c0", "assign", "A"))[0]["revision"]
    second = annotate(client, change(source, "c0", "assign", "B", revision=first))[0]["revision"]
    results = annotate(
        client,
        change(source, "c0", "clear", "A", revision=first),
        change(source, "c0", "assign", "C"),
        change(source, "c1", "assign", "A", revision=0),
    )
    assert [one["outcome"] for one in results] == ["conflict", "changed", "changed"]
    assert results[0]["revision"] > second
    assert state(client, source) == (["A", "B", "C"], [])


BAD_CHANGES: list[tuple[Any, int]] = [
    ({"changes": 1}, 400),
    ({}, 400),
    ({"changes": [{}]}, 400),
    ({"changes": [{"comment_uid": "{s}.c0", "label": "A", "action": "remove"}]}, 400),
    ({"changes": [{"comment_uid": "{s}.c0", "label": "A ", "action": "assign"}]}, 400),
    ({"changes": [{"comment_uid": "{s}.c0", "label": "x" * 65, "action": "assign"}]}, 400),
    ({"changes": [{"comment_uid": "nonsense", "label": "A", "action": "assign"}]}, 400),
    ({"changes": [{"comment_uid": "{s}.gone", "label": "A", "action": "assign"}]}, 404),
    (
        {
            "changes": [
                {"comment_uid": "{s}.c0", "label": "A", "action": "assign", "sentiment": "negative"}
            ]
        },
        400,
    ),
    (
        {"changes": [{"comment_uid": "{s}.c0", "label": "A", "action": "assign", "revision": -1}]},
        400,
    ),
]


@pytest.mark.parametrize(("body", "status"), BAD_CHANGES)
def test_a_bad_change_is_refused_with_all_others(
    client: Client, source: str, body: Any, status: int
) -> None:
    good = change(source, "c1", "assign", "Good")
    changes = body.get("changes")
    if isinstance(changes, list):
        uids = {"comment_uid": changes[0].get("comment_uid", "").replace("{s}", source)}
        body = {"changes": [good, {**changes[0], **uids} if changes[0] else {}]}
    answer = client.post(OURS + "/annotate", body)
    assert (answer.status, answer.json["status"]) == (status, "error")
    assert state(client, source, "c1") == ([], [])


def test_history_tells_who_said_what_and_when(client: Client, db: Database, source: str) -> None:
    assert history(client, source) == {
        "comment_uid": f"{source}.c0",
        "revision": 0,
        "events": [],
        "status": "ok",
    }
    annotate(client, change(source, "c0", "assign", "A"))
    user = make_user(db, "second")
    grant_in(db, user, "acme")
    annotate(client.as_user("second"), change(source, "c0", "dismiss", "B"))
    found = history(client, source)
    last, first = found["events"]
    assert found["revision"] == last["revision"] > first["revision"]
    assert (last["user_id"], last["username"]) == (user, f"user-{user}")
    assert first["before"]["labelling"] == {"group": "default", "assigned": [], "dismissed": []}
    assert first["after"]["labelling"]["assigned"][0]["name"] == "A"
    assert last["before"] == first["after"]
    assert last["timestamp"] >= first["timestamp"]
    assert [one["name"] for one in last["after"]["labelling"]["dismissed"]] == ["B"]
    older = history(client, source, query=f"&older_than_revision={last['revision']}&limit=1")
    assert older["events"] == [first]


def test_a_bad_question_about_history_is_refused(client: Client, source: str) -> None:
    for query, status in [
        ("", 400),
        ("?comment_uid=nonsense", 400),
        (f"?comment_uid={source}.gone", 404),
        (f"?comment_uid={source}.c0&limit=0", 400),
        (f"?comment_uid={source}.c0&older_than_revision=x", 400),
    ]:
        assert client.get(f"{OURS}/history{query}").status == status, query


def test_the_last_change_is_taken_back_and_put_back(client: Client, source: str) -> None:
    annotate(client, change(source, "c0", "assign", "A"))
    annotate(client, change(source, "c0", "dismiss", "A"))
    undo(client, source)
    assert state(client, source) == (["A"], [])
    undo(client, source)
    assert state(client, source) == ([], ["A"])
    assert len(history(client, source)["events"]) == 4


def test_an_earlier_change_is_taken_back_if_nothing_touched_the_same(
    client: Client, source: str
) -> None:
    first = annotate(client, change(source, "c0", "assign", "A"))[0]["revision"]
    second = annotate(client, change(source, "c0", "assign", "B"))[0]["revision"]
    annotate(client, change(source, "c0", "dismiss", "B"))
    undo(client, source, revision=first)
    assert state(client, source) == ([], ["B"])
    answer = client.post(OURS + "/undo", {"comment_uid": f"{source}.c0", "revision": second})
    assert answer.status == 409
    assert state(client, source) == ([], ["B"])


def test_what_is_not_there_cannot_be_undone(client: Client, source: str) -> None:
    for body, status in [
        ({"comment_uid": f"{source}.c0"}, 404),
        ({"comment_uid": f"{source}.c0", "revision": 99}, 404),
        ({"comment_uid": f"{source}.gone"}, 404),
        ({"comment_uid": "nonsense"}, 400),
        ({}, 400),
    ]:
        assert client.post(OURS + "/undo", body).status == status, body


def test_undo_follows_labels_that_were_renamed_and_creates_those_that_are_gone(
    client: Client, source: str
) -> None:
    annotate(client, change(source, "c0", "assign", "A"), change(source, "c0", "assign", "B"))
    annotate(client, change(source, "c0", "clear", "A"))
    client.ok("POST", f"{LABELS}?label_name=A", {"label": {"name": "New"}})
    undo(client, source)
    assert state(client, source) == (["B", "New"], [])
    client.ok("DELETE", f"{LABELS}?label_name=New")
    assert state(client, source) == (["B"], [])
    undo(client, source)
    assert state(client, source) == (["B", "New"], [])


def test_fields_are_not_put_back_into_other_words(client: Client, source: str) -> None:
    types = [{"name": "word", "title": "", "inherits_from": [], "trainable": False}]
    client.ok("POST", dataset_path(), {"dataset": {"entity_defs": types}})
    span = {"content_part": "body", "message_index": 0, "char_start": 0, "char_end": 4}
    field = {"name": "word", "formatted_value": "Text", "span": span}
    client.ok("POST", f"{LABELLINGS}/{source}.c0", {"entities": {"assigned": [field]}})
    sync(client, [make_comment("c0", "Other words")])
    answer = client.post(OURS + "/undo", {"comment_uid": f"{source}.c0"})
    assert answer.status == 409
    assert "changed since" in answer.json["message"]


def test_32_people_label_at_once_without_conflict(client: Client, source: str) -> None:
    sync(client, [make_comment(f"p{number}") for number in range(32)])
    barrier = threading.Barrier(32)
    answers: list[int] = []

    def label(number: int) -> None:
        names = ["Shared", f"Own {number % 8}", f"Tree {number % 4} > Leaf {number % 8}"]
        assigned = [{"name": name, "sentiment": "positive"} for name in names]
        barrier.wait()
        path = f"{LABELLINGS}/{quote(f'{source}.p{number}', safe='')}"
        answers.append(client.post(path, {"labelling": [{"assigned": assigned}]}).status)
        together = change(source, "c0", "assign", f"Own {number % 8}")
        answers.append(client.post(OURS + "/annotate", {"changes": [together]}).status)

    threads = [threading.Thread(target=label, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 64
    for number in range(32):
        assigned, _ = state(client, source, f"p{number}")
        expected = {"Shared", f"Own {number % 8}", f"Tree {number % 4} > Leaf {number % 8}"}
        assert set(assigned) == expected
    assert state(client, source)[0] == [f"Own {number}" for number in range(8)]
    names = [one["name"] for one in client.ok("GET", dataset_path())["dataset"]["label_defs"]]
    assert len(names) == len(set(names)) == 1 + 8 + 4 + 8


ACTIONS = st.tuples(
    st.sampled_from(["assign", "dismiss", "clear"]),
    st.sampled_from(["A", "A > B", "A > B > C", "Z"]),
)


@pytest.fixture
def fresh(client: Client, source: str) -> Iterator[str]:
    """Names of new comments, one after the other, for tests that run many times."""

    def numbers() -> Iterator[str]:
        number = 0
        while True:
            number += 1
            sync(client, [make_comment(f"h{number}")])
            yield f"h{number}"

    return numbers()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(ACTIONS, min_size=1, max_size=4), min_size=1, max_size=5))
def test_undoing_every_change_gives_back_every_former_state(
    client: Client, source: str, fresh: Iterator[str], batches: list[list[tuple[str, str]]]
) -> None:
    comment = next(fresh)
    states, revisions = [state(client, source, comment)], [0]
    for batch in batches:
        changes = [change(source, comment, action, label) for action, label in batch]
        revision = annotate(client, *changes)[0]["revision"]
        if revision != revisions[-1]:
            revisions.append(revision)
            states.append(state(client, source, comment))
        else:
            assert state(client, source, comment) == states[-1]
    while len(revisions) > 1:
        assert state(client, source, comment) == states.pop()
        undo(client, source, comment, revision=revisions.pop())
        assert state(client, source, comment) == states[-1]
