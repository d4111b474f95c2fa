"""Statistics, summaries, user properties and exports over HTTP."""

from __future__ import annotations

from typing import Any

from lodestream.store.audit import list_events
from lodestream.store.db import Database
from tests.client import Client
from tests.conftest import grant_in, make_user

DATASET = "/api/v1/datasets/acme/support"
PRIVATE = "/api/_private/datasets/acme/support"
CLI_FILTER = {"timestamp": {}, "messages": {}}


def make_source(client: Client, full_name: str = "acme/inbox", **settings: object) -> str:
    answer = client.ok("PUT", f"/api/v1/sources/{full_name}", {"source": settings})
    source_id: str = answer["source"]["id"]
    return source_id


def make_dataset(client: Client, *source_ids: str, **more: object) -> Any:
    body = {"dataset": {"source_ids": source_ids, "has_sentiment": False, **more}}
    return client.ok("PUT", DATASET, body)["dataset"]


def comment(comment_id: str, day: str = "2024-02-01", **more: object) -> dict[str, Any]:
    return {
        "id": comment_id,
        "timestamp": f"{day}T08:00:00Z",
        "messages": [{"body": {"text": f"Text of {comment_id}"}}],
        **more,
    }


def sync(client: Client, *comments: object, source: str = "acme/inbox") -> None:
    client.ok("POST", f"/api/v1/sources/{source}/sync", {"comments": comments})


def team(name: str) -> dict[str, Any]:
    return {"user_properties": {"string:Team": name}}


def statistics(client: Client, **request: object) -> Any:
    return client.ok("POST", PRIVATE + "/statistics", request)["statistics"]


def count(client: Client, **request: object) -> float:
    number: float = statistics(client, **request)["num_comments"]
    return number


# Statistics of a dataset


def test_an_empty_dataset_counts_nothing(client: Client) -> None:
    make_dataset(client)
    assert statistics(client) == {
        "num_comments": 0,
        "label_counts": {},
        "min_timestamp": None,
        "max_timestamp": None,
        "thread_mode": False,
        "by_labels": [],
        "by_label_properties": [],
        "string_user_property_counts": [],
        "email_property_counts": {},
        "thread_histogram_counts": {},
        "timezone": "UTC",
    }


def test_comments_of_every_source_count_with_the_ends_of_their_time(client: Client) -> None:
    a, b, c = (make_source(client, f"acme/{name}") for name in "abc")
    make_source(client, "acme/elsewhere")
    make_dataset(client, a, b, c)
    sync(client, comment("1", "2024-03-01"), comment("2", "2024-01-01"), source="acme/a")
    sync(client, comment("1", "2024-02-01"), source="acme/b")
    sync(client, comment("1", "2023-01-01"), source="acme/elsewhere")
    found = statistics(client, comment_filter={}, label_timeseries=False)
    assert found["num_comments"] == 3
    assert found["min_timestamp"] == "2024-01-01T08:00:00.000000Z"
    assert found["max_timestamp"] == "2024-03-01T08:00:00.000000Z"


def test_the_filter_of_the_vendors_command_line_is_read(client: Client) -> None:
    inbox, other = make_source(client), make_source(client, "acme/other")
    make_dataset(client, inbox, other)
    sync(client, comment("1"), comment("2", "2024-05-01"))
    sync(client, comment("1"), source="acme/other")
    request = {"label_property_timeseries": False, "label_timeseries": False}
    assert count(client, comment_filter=CLI_FILTER, **request) == 3
    assert count(client, comment_filter={**CLI_FILTER, "sources": [inbox]}) == 2
    assert count(client, comment_filter={**CLI_FILTER, "sources": ["0" * 16]}) == 0
    until = {"timestamp": {"maximum": "2024-02-01T08:00:00Z"}}
    found = statistics(client, comment_filter=until)
    assert found["num_comments"] == 2
    assert found["max_timestamp"] == "2024-02-01T08:00:00.000000Z"


def test_no_comment_is_reviewed_as_yet(client: Client) -> None:
    make_dataset(client, make_source(client))
    sync(client, comment("1"))
    assert count(client, comment_filter={"reviewed": "only_reviewed"}) == 0
    assert count(client, comment_filter={"reviewed": "only_unreviewed"}) == 1
    assert count(client, label_filter=["A"]) == 0


def test_deleted_comments_vanish_from_the_counts(client: Client) -> None:
    make_dataset(client, make_source(client))
    sync(client, comment("1"), comment("2", "2024-05-01"))
    client.ok("DELETE", "/api/v1/sources/acme/inbox/comments?id=2")
    found = statistics(client)
    assert found["num_comments"] == 1
    assert found["max_timestamp"] == "2024-02-01T08:00:00.000000Z"


def test_a_bad_filter_is_refused_with_its_path(client: Client) -> None:
    make_dataset(client)
    answer = client.post(PRIVATE + "/statistics", {"comment_filter": {"sources": 1}})
    assert answer.status == 400
    assert answer.json["message"].startswith("comment_filter.sources")


IMPOSSIBLE_REQUESTS: list[dict[str, Any]] = [
    {"surprise": 1},
    {"by_labels": {}},
    {"by_label_properties": ["3"]},
    {"time_resolution": "hour"},
    {"string_user_property_counts": [{"group_by": "number:NPS"}]},
    {"attribute_filters": [{"attribute": "nope", "filter": {"kind": "number_range"}}]},
    {"attribute_filters": [{"attribute": "labels", "filter": {"kind": "number_range"}}]},
    {"attribute_filters": [{"attribute": "labels", "filter": {"kind": "nope"}}]},
]


def test_a_request_that_cannot_be_is_refused(client: Client) -> None:
    make_dataset(client)
    for request_body in IMPOSSIBLE_REQUESTS:
        answer = client.post(PRIVATE + "/statistics", request_body)
        assert answer.status == 400, request_body


def test_an_unknown_time_zone_is_refused(client: Client) -> None:
    make_dataset(client)
    for zone in ("Europe/Atlantis", "", "/etc/passwd", "x" * 128, "../UTC"):
        assert client.post(PRIVATE + "/statistics", {"timezone": zone}).status == 422


PDF = {"name": "Offer.PDF", "size": 10, "content_type": "application/pdf"}
PNG = {"name": "logo.png", "size": 5, "content_type": "image/png"}


ATTRIBUTE_TESTS: list[tuple[str, dict[str, Any], int]] = [
    ("labels", {"kind": "string_any_of", "any_of": ["A"]}, 0),
    ("labels", {"kind": "string_none_of", "none_of": ["A"]}, 3),
    ("num_attachments", {"kind": "number_range", "minimum": 1, "maximum": None}, 2),
    ("num_attachments", {"kind": "number_range", "maximum": 0}, 1),
    ("num_attachments", {"kind": "number_range"}, 3),
    ("num_attachments_with_contents", {"kind": "number_range", "minimum": 1}, 0),
    ("types", {"kind": "string_any_of", "any_of": ["application/pdf"]}, 1),
    ("types", {"kind": "string_none_of", "none_of": ["application/pdf"]}, 2),
    ("extensions", {"kind": "string_any_of", "any_of": [".pdf", "gif"]}, 1),
    ("names", {"kind": "string_search", "query": "LOGO"}, 2),
    ("size", {"kind": "number_range", "minimum": 6, "maximum": 10}, 1),
    ("total_size", {"kind": "number_range", "minimum": 15}, 1),
]


def test_attribute_filters(client: Client) -> None:
    make_dataset(client, make_source(client))
    sync(
        client,
        comment("none"),
        comment("one", attachments=[PNG]),
        comment("two", attachments=[PDF, PNG]),
    )
    for attribute, test, expected in ATTRIBUTE_TESTS:
        name = attribute if attribute == "labels" else f"attachment_property_{attribute}"
        found = count(client, attribute_filters=[{"attribute": name, "filter": test}])
        assert found == expected, (attribute, test)


def test_attribute_filters_hold_together_with_the_comment_filter(client: Client) -> None:
    inbox = make_source(client)
    make_dataset(client, inbox)
    sync(client, comment("1", attachments=[PDF]), comment("2", attachments=[PDF], **team("A")))
    found = statistics(
        client,
        comment_filter={"user_properties": {"string:Team": {"one_of": ["a"]}}},
        attribute_filters=[
            {
                "attribute": "attachment_property_num_attachments",
                "filter": {"kind": "number_range", "minimum": 1},
            }
        ],
        source_counts={},
        string_user_property_counts=[{"group_by": "string:Team"}],
    )
    assert found["num_comments"] == 1
    assert found["source_counts"]["num_comments"] == [1]
    assert found["string_user_property_counts"][0]["values"] == ["A"]


def test_counts_by_the_values_of_a_property(client: Client) -> None:
    make_dataset(client, make_source(client))
    sync(
        client,
        comment("1", **team("Claims")),
        comment("2", **team("CLAIMS")),
        comment("3", **team("Sales")),
        comment("4"),
        comment("5", user_properties={"string:Other": "x", "number:Team": 1}),
    )
    settings = [
        {"group_by": "string:Team"},
        {"group_by": "string:Team", "limit": 1},
        {"group_by": "string:Team", "values": ["sales", "nobody"]},
        {"group_by": "string:Nothing"},
    ]
    found = statistics(
        client,
        string_user_property_counts=settings,
        by_labels={"include": {"include_labels": ["A", "B"]}},
    )
    assert found["by_labels"] == ["A", "B"]
    by_team, first, chosen, nothing = found["string_user_property_counts"]
    assert by_team == {
        "settings": {"group_by": "string:Team"},
        "values": ["Claims", "Sales"],
        "labels": ["A", "B"],
        "num_comments": [2, 1],
        "num_labels": [[0.0, 0.0], [0.0, 0.0]],
    }
    assert first["values"] == ["Claims"]
    assert (chosen["values"], chosen["num_comments"]) == (["sales", "nobody"], [1, 0])
    assert (nothing["values"], nothing["num_comments"]) == ([], [])


def test_counts_by_source(client: Client) -> None:
    a, b, c = (make_source(client, f"acme/{name}") for name in "abc")
    make_dataset(client, a, b, c)
    sync(client, comment("1"), source="acme/a")
    sync(client, comment("1", **team("A")), comment("2"), source="acme/b")
    found = statistics(client, source_counts={})["source_counts"]
    assert (found["values"], found["num_comments"]) == ([b, a, c], [2, 1, 0])
    only_a = {"user_properties": {"string:Team": {"one_of": ["A"]}}}
    found = statistics(client, source_counts={"limit": 2}, comment_filter=only_a)["source_counts"]
    assert (found["values"], found["num_comments"]) == ([b, a], [1, 0])
    found = statistics(client, source_counts={"values": [a, "0" * 16]})["source_counts"]
    assert (found["values"], found["num_comments"]) == ([a, "0" * 16], [1, 0])


SERIES = [
    ("day", [("1960-05-05", 1), ("2024-02-29", 1), ("2024-03-01", 2)]),
    ("week", [("1960-05-02", 1), ("2024-02-26", 3)]),
    ("month", [("1960-05-01", 1), ("2024-02-01", 1), ("2024-03-01", 2)]),
    ("year", [("1960-01-01", 1), ("2024-01-01", 3)]),
]


def test_the_time_series_counts_in_the_zone_that_is_asked_for(client: Client) -> None:
    make_dataset(client, make_source(client), _timezone="Europe/Berlin")
    moments = (
        "2024-02-29T22:59:59.999999Z",
        "2024-02-29T23:00:00Z",  # midnight in Berlin
        "2024-03-01T12:00:00Z",
        "1960-05-05T12:00:00.5Z",
    )
    sync(client, *({**comment(str(n)), "timestamp": t} for n, t in enumerate(moments)))
    for resolution, expected in SERIES:
        found = statistics(client, label_timeseries=True, time_resolution=resolution)
        assert found["timezone"] == "Europe/Berlin"
        rows = found["label_timeseries"]
        counts = {row["timestamp_str"]: row["expected_count_any"] for row in rows}
        assert [(day, count) for day, count in counts.items() if count] == expected
        assert len(counts) > len(expected) or resolution == "day"


def test_the_time_series_reaches_the_ends_of_the_calendar(client: Client) -> None:
    make_dataset(client, make_source(client))
    moments = ("1400-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
    sync(client, *({**comment(str(n)), "timestamp": t} for n, t in enumerate(moments)))
    for zone in ("Pacific/Auckland", "America/New_York"):
        rows = statistics(client, label_timeseries=True, timezone=zone)["label_timeseries"]
        assert len(rows) == 2


# Who may see what


def test_only_sources_that_the_caller_may_read_are_counted(client: Client, db: Database) -> None:
    inbox, secret = make_source(client), make_source(client, "other/secret")
    make_dataset(client, inbox, secret)
    sync(client, comment("1", **team("Open")))
    sync(client, comment("2", **team("Hidden")), source="other/secret")
    grant_in(db, make_user(db, "analyst"), "acme")
    analyst = client.as_user("analyst")
    assert count(client) == 2
    assert count(analyst) == 1
    exported = analyst.ok("POST", DATASET + "/export", {})["comments"]
    assert [one["comment"]["id"] for one in exported] == ["1"]
    summary = analyst.ok("POST", PRIVATE + "/summary", {})["summary"]
    assert summary["source_names"] == ["inbox"]
    assert summary["user_properties"]["string"][0]["values"] == [{"value": "Open"}]


def test_sensitive_properties_stay_hidden_without_the_permission(
    client: Client, db: Database
) -> None:
    private = make_source(client, sensitive_properties=["Team", "number:Age"])
    public = make_source(client, "acme/public")
    make_dataset(client, private, public)
    properties = {"string:Team": "Secret", "string:City": "Bonn", "number:Age": 7}
    sync(client, comment("1", user_properties=properties))
    sync(client, comment("1", **team("Known")), source="acme/public")
    names = ("sources-read", "voc-readonly", "datasets-export")
    grant_in(db, make_user(db, "viewer"), "acme", names)
    viewer = client.as_user("viewer")

    summary = viewer.ok("POST", PRIVATE + "/summary", {})["summary"]["user_properties"]
    assert summary["number"] == []
    shown = {one["full_name"]: one["values"] for one in summary["string"]}
    assert shown == {"string:City": [{"value": "Bonn"}], "string:Team": [{"value": "Known"}]}

    listed = viewer.ok("GET", PRIVATE + "/user-properties")["user_properties"]
    assert listed["number"] == []
    assert [one["count"] for one in listed["string"]] == [1, 1]
    values = viewer.ok("POST", PRIVATE + "/user-properties/values?full_name=string:Team", {})
    assert values["user_property"]["values"] == [{"value": "Known", "count": 1}]

    groups = [{"group_by": "string:Team"}, {"group_by": "string:Team", "values": ["Secret"]}]
    found = statistics(viewer, string_user_property_counts=groups)["string_user_property_counts"]
    assert [one["num_comments"] for one in found] == [[1], [0]]

    exported = viewer.ok("POST", DATASET + "/export", {})["comments"]
    found = {one["comment"]["source_id"]: one["comment"]["user_properties"] for one in exported}
    assert found == {private: {"string:City": "Bonn"}, public: {"string:Team": "Known"}}
    assert b"Secret" in client.post(DATASET + "/export", {}).content


def test_a_filter_cannot_probe_sensitive_properties(client: Client, db: Database) -> None:
    make_dataset(client, make_source(client, sensitive_properties=["Team"]))
    sync(client, comment("1", **team("Secret")))
    grant_in(db, make_user(db, "viewer"), "acme", ("sources-read", "voc-readonly"))
    viewer = client.as_user("viewer")
    probe = {"user_properties": {"string:Team": {"one_of": ["Secret"]}}}
    values = PRIVATE + "/user-properties/values?full_name=string:City"
    for path, body in (
        (PRIVATE + "/statistics", {"comment_filter": probe}),
        (PRIVATE + "/summary", {"filter": probe}),
        (values, {"filter": {"comment_filter": probe}}),
        ("/api/v1/sources/acme/inbox/statistics", {"comment_filter": probe}),
    ):
        assert viewer.post(path, body).status == 403
        assert client.post(path, body).status == 200


# Statistics and threads of a source


def test_a_source_counts_its_comments(client: Client) -> None:
    inbox = make_source(client)
    path = "/api/v1/sources/acme/inbox/statistics"
    assert client.ok("POST", path)["statistics"] == {"num_comments": 0}
    sync(client, comment("1", **team("A")), comment("2"))

    def number(**comment_filter: object) -> int:
        body = {"comment_filter": comment_filter}
        found: int = client.ok("POST", path, body)["statistics"]["num_comments"]
        return found

    assert number() == number(**CLI_FILTER) == number(sources=[inbox]) == 2
    assert number(sources=["0" * 16]) == 0
    assert number(user_properties={"string:Team": {"one_of": ["a"]}}) == 1
    assert number(reviewed="only_reviewed") == 0
    assert number(reviewed="only_unreviewed") == 2
    assert number(annotations={}, trigger_exceptions={}, entities={}) == 2


DATASET_ONLY: list[dict[str, Any]] = [
    {"annotations": {"labels": {"one_of": ["A"]}}},
    {"trigger_exceptions": {"all": {"one_of": ["x"]}}},
    {"entities": {"presence": [{"kind": "date", "rule": "present"}]}},
]


def test_what_needs_a_dataset_cannot_be_asked_of_a_source(client: Client) -> None:
    make_source(client)
    path = "/api/v1/sources/acme/inbox/statistics"
    for comment_filter in DATASET_ONLY:
        answer = client.post(path, {"comment_filter": comment_filter})
        assert answer.status == 422, comment_filter


def test_threads_of_a_source(client: Client) -> None:
    inbox = make_source(client)
    sync(
        client,
        comment("late", "2024-02-02", thread_id="t1"),
        comment("early", "2024-02-01", thread_id="t1"),
        comment("alone", thread_id="t0"),
        comment("none"),
    )
    assert client.ok("GET", "/api/v1/sources/acme/inbox/threads")["threads"] == [
        {"thread_id": "t0", "comments": [f"{inbox}.alone"]},
        {"thread_id": "t1", "comments": [f"{inbox}.early", f"{inbox}.late"]},
    ]


# Status, summary and user properties


def test_the_status_of_a_dataset_without_a_model(client: Client) -> None:
    dataset = make_dataset(client, make_source(client))
    sync(client, comment("1"))
    assert client.ok("GET", PRIVATE + "/labellers/status")["dataset_status"] == {
        "training_complete": None,
        "validation_complete": None,
        "training_completion_time": dataset["created"],
        "inference_complete": 1.0,
        "total_comments_with_text": 1,
        "inference_stats_by_version": {},
        "inference_stuck": False,
        "operation": None,
    }


def test_a_summary_tells_by_what_comments_can_be_filtered(client: Client) -> None:
    chat = make_source(client, "acme/chat", _kind="chat")
    dataset = make_dataset(
        client,
        make_source(client),
        chat,
        label_defs=[{"name": "A", "title": "An A"}],
        entity_kinds=["date"],
    )
    name = 'Te%am "x"'
    sync(
        client,
        comment("1", user_properties={f"string:{name}": "Zwölf", "number:NPS": 7}),
        comment("2", user_properties={f"string:{name}": "ZWÖLF", "number:NPS": 7.5}),
    )
    sync(client, comment("1", user_properties={f"string:{name}": "b"}), source="acme/chat")
    assert client.ok("POST", PRIVATE + "/summary", {"filter": {}})["summary"] == {
        "user_properties": {
            "string": [
                {
                    "full_name": f"string:{name}",
                    "too_many_values": False,
                    "values": [{"value": "Zwölf"}, {"value": "b"}],
                }
            ],
            "number": [{"full_name": "number:NPS"}],
        },
        "labels": [
            {
                "name": "A",
                "title": "An A",
                "unfiltered_assigned": {"positive": 0, "negative": 0},
                "filtered": {"positive": 0.0, "negative": 0.0},
            }
        ],
        "entity_defs": [{"id": dataset["entity_defs"][0]["id"], "unfiltered_assigned": 0}],
        "label_properties": [],
        "source_kinds": ["chat", "unknown"],
        "source_names": ["inbox", "chat"],
        "annotation_metadata": {},
        "attachments_common_types_extensions": {},
        "attachments_file_extensions": {},
    }
    only_chat = client.ok("POST", PRIVATE + "/summary", {"filter": {"sources": [chat]}})
    assert only_chat["summary"]["user_properties"]["number"] == []


def test_a_property_with_many_values_shows_the_most_frequent(client: Client) -> None:
    make_dataset(client, make_source(client))
    sync(client, *(comment(f"c{n}", **team(f"v{n:03}")) for n in range(300)))
    sync(client, comment("again", **team("v299")))
    shown = client.ok("POST", PRIVATE + "/summary", {})["summary"]["user_properties"]["string"][0]
    assert shown["too_many_values"] is True
    assert len(shown["values"]) == 256
    assert shown["values"][0] == {"value": "v299"}
    listed = client.ok("GET", PRIVATE + "/user-properties")["user_properties"]["string"][0]
    assert (listed["count"], listed["cardinality"]) == (301, 300)
    assert listed["values"][0] == {"value": "v299", "count": 2}


def test_user_properties_and_the_values_of_one(client: Client) -> None:
    make_dataset(client, make_source(client))
    sync(
        client,
        comment("1", user_properties={"string:Team": "A", "number:NPS": 1}),
        comment("2", user_properties={"string:Team": "B", "string:City": "Bonn"}),
        comment("3", user_properties={"string:Team": "B"}),
    )
    assert client.ok("GET", PRIVATE + "/user-properties")["user_properties"] == {
        "number": [{"full_name": "number:NPS", "count": 1}],
        "string": [
            {
                "full_name": "string:City",
                "count": 1,
                "cardinality": 1,
                "values": [{"value": "Bonn", "count": 1}],
            },
            {
                "full_name": "string:Team",
                "count": 3,
                "cardinality": 2,
                "values": [{"value": "B", "count": 2}, {"value": "A", "count": 1}],
            },
        ],
    }
    path = PRIVATE + "/user-properties/values?full_name=string:Team"
    one = client.ok("POST", path, {"limit": 1})["user_property"]
    assert (one["cardinality"], one["values"]) == (2, [{"value": "B", "count": 2}])
    chosen = {"comment_filter": {"user_properties": {"string:City": {"one_of": ["bonn"]}}}}
    one = client.ok("POST", path, {"filter": chosen})["user_property"]
    assert (one["count"], one["values"]) == (1, [{"value": "B", "count": 1}])
    none = client.ok("POST", path.replace("Team", "None"), {})["user_property"]
    assert none == {"full_name": "string:None", "count": 0, "cardinality": 0, "values": []}
    assert client.post(PRIVATE + "/user-properties/values", {}).status == 400


# Export


def exported_ids(client: Client, **request: object) -> list[str]:
    """Export page by page to the end; return the ids."""
    found: list[str] = []
    while True:
        page = client.ok("POST", DATASET + "/export", request)
        found += [one["comment"]["id"] for one in page["comments"]]
        if "continuation" not in page:
            return found
        assert page["comments"]
        request["continuation"] = page["continuation"]


def test_an_exported_comment_has_no_annotations_as_yet(client: Client) -> None:
    inbox = make_source(client)
    make_dataset(client, inbox)
    sync(client, comment("1", thread_id="t", **team("A")))
    assert client.ok("POST", DATASET + "/export")["comments"] == [
        {
            "comment": {
                **client.ok("GET", "/api/v1/sources/acme/inbox/comments/1")["comment"],
            },
            "annotations": {"labels": {"assigned": []}},
            "predictions": {"labels": []},
            "thread_properties": {
                "duration": 0.0,
                "response_time": None,
                "num_messages": 1,
                "num_participants": 0,
                "first_sender": None,
                "thread_position": 1,
            },
        }
    ]


def test_sentiment_shows_where_the_dataset_has_it(client: Client) -> None:
    make_dataset(client, make_source(client), has_sentiment=True)
    sync(client, comment("1"))
    one = client.ok("POST", DATASET + "/export", {})["comments"][0]
    assert one["annotations"]["sentiment"] == one["predictions"]["sentiment"] == {"total": 0.0}


def test_pages_merge_the_sources_in_order(client: Client) -> None:
    make_dataset(client, make_source(client, "acme/a"), make_source(client, "acme/b"))
    sync(client, comment("a1", "2024-02-01"), comment("a2", "2024-03-01"), source="acme/a")
    sync(client, comment("b1", "2024-02-01"), comment("b2", "2024-01-01"), source="acme/b")
    for limit in (1, 2, 3, 1024):
        by_timestamp = exported_ids(client, order_by="timestamp", limit=limit)
        by_creation = exported_ids(client, order_by="created_at", limit=limit)
        assert by_timestamp == ["b2", "a1", "b1", "a2"]
        assert by_creation == ["a1", "a2", "b1", "b2"]


def test_an_export_can_be_limited_by_time_source_and_uid(client: Client) -> None:
    a, b = make_source(client, "acme/a"), make_source(client, "acme/b")
    make_dataset(client, a, b)
    sync(client, comment("a1", "2024-02-01"), comment("a2", "2024-03-01"), source="acme/a")
    sync(client, comment("b1", "2024-02-01"), source="acme/b")
    assert exported_ids(client, source_ids=[b]) == ["b1"]
    assert exported_ids(client, source_ids=[]) == []
    start, end = "2024-02-01T08:00:00Z", "2024-03-01T08:00:00Z"
    assert exported_ids(client, **{"from": start, "to": end}) == ["a1", "b1"]
    assert exported_ids(client, **{"from": end}) == ["a2"]
    uids = [f"{b}.b1", f"{a}.a2", f"{a}.gone", f"{'0' * 16}.a1"]
    assert exported_ids(client, comment_uids=uids) == ["b1", "a2"]
    created = client.ok("GET", "/api/v1/sources/acme/b/comments/b1")["comment"]["created_at"]
    by_creation = {"order_by": "created_at"}
    assert exported_ids(client, **by_creation, **{"from": created}) == ["b1"]
    assert exported_ids(client, **by_creation, to=created) == ["a1", "a2"]


IMPOSSIBLE_EXPORTS: list[dict[str, Any]] = [
    {"limit": 0},
    {"limit": 1025},
    {"order_by": "size"},
    {"from": "yesterday"},
    {"comment_uids": ["nonsense"]},
    {"source_ids": ["nonsense"]},
    {"continuation": "nonsense"},
    {"continuation": "bm9uc2Vuc2U="},
    {"surprise": 1},
]


def test_an_export_that_cannot_be_is_refused(client: Client) -> None:
    make_dataset(client)
    for request_body in IMPOSSIBLE_EXPORTS:
        answer = client.post(DATASET + "/export", request_body)
        assert answer.status == 400, request_body


def test_a_continuation_holds_for_its_order_only(client: Client) -> None:
    make_dataset(client, make_source(client))
    sync(client, comment("1"), comment("2"))
    page = client.ok("POST", DATASET + "/export", {"limit": 1})
    other = {"order_by": "created_at", "continuation": page["continuation"]}
    assert client.post(DATASET + "/export", other).status == 400


def test_an_export_is_in_the_audit_log_once(client: Client, db: Database) -> None:
    make_dataset(client, make_source(client))
    sync(client, comment("1"), comment("2"), comment("3"))
    exported_ids(client, limit=1)
    with db.read() as tx:
        events = list_events(tx, minimum_us=None, maximum_us=None, after=None, limit=100)
    assert [event.type for event in events].count("export_dataset") == 1


def test_an_export_needs_its_own_permission(client: Client, db: Database) -> None:
    make_dataset(client)
    grant_in(db, make_user(db, "viewer"), "acme", ("voc-readonly", "sources-read"))
    assert client.as_user("viewer").post(DATASET + "/export", {}).status == 403
