"""Integrations: what is stored of them, who may set them up, and what is never shown."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.actions.integrations import Outside
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.domain.secrets import Keyring, new_key
from lodestream.store.db import Database
from lodestream.store.tables import audit_event, integration, mailbox
from tests.client import Client
from tests.conftest import grant_in, make_user
from tests.mailboxes import FakeMail, imap_settings

KEY = new_key()
SECRET = "hunter2-and-more"
HELP, SALES = "help@example.com", "sales@example.com"
ALL = "/api/_private/integrations"
PATH = ALL + "/acme/post"
OURS = "/api/lodestream/v1/integrations"
VALIDATE = "/api/_private/validate-exchange-credentials"


@pytest.fixture
def keyed(client: Client) -> Client:
    """A client of a server with a key for secrets."""
    client.app.service.outside = Outside(Keyring(KEY))
    return client


def box(email: str = HELP, bucket: str = "acme/mail", **more: Any) -> dict[str, Any]:
    project, _, name = bucket.partition("/")
    place = {"project_name": project, "name": name, "title": "Mail"}
    return {"email": email, "enabled": True, "bucket_specification": place, **more}


def service_user(**more: Any) -> dict[str, Any]:
    access = {"kind": "user_access", "username": "svc@example.com", "password": SECRET}
    application = {"kind": "custom", "tenant_id": "t", "client_id": "c"}
    return {"access": access, "application": application, **more}


def app_access(secret: str | None = SECRET) -> dict[str, Any]:
    application = {"kind": "custom", "tenant_id": "t", "client_id": "c"}
    if secret is not None:
        application["client_secret"] = secret
    api = {"kind": "graph"}
    return {"access": {"kind": "app_access"}, "application": application, "microsoft_api": api}


def body(*boxes: dict[str, Any], connection: Any = None, **more: Any) -> dict[str, Any]:
    configuration = {"connection": connection or service_user(), "mailboxes": list(boxes)}
    return {"integration": {"configuration": configuration, **more}}


def make(client: Client, *boxes: dict[str, Any], **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.ok("PUT", PATH, body(*boxes, **more))["integration"]
    return made


def without_password(configuration: dict[str, Any]) -> dict[str, Any]:
    bare = copy.deepcopy(configuration)
    for part in ("access", "application"):
        for name in ("password", "client_secret", "private_key"):
            bare["connection"][part].pop(name, None)
    return bare


def sealed_secrets(db: Database) -> dict[str, str]:
    with db.read() as tx:
        row = tx.execute(sa.select(integration.c.id, integration.c.sealed)).one()
    return Keyring(KEY).unseal(row.id, row.sealed)


def test_an_integration_is_returned_as_it_was_sent_but_for_its_secrets(keyed: Client) -> None:
    sent = body(
        box(folder_denylist=[["Inbox", "Old"]], start_timestamp="2026-01-01T00:00:00Z"),
        box(SALES, enabled=False),
        title="Shared",
    )
    made = keyed.ok("PUT", PATH, sent)["integration"]
    assert made == keyed.ok("GET", PATH)["integration"]
    assert made == keyed.ok("GET", f"{ALL}/id:{made['id']}")["integration"]
    assert [made] == keyed.ok("GET", ALL)["integrations"]
    assert [made] == keyed.ok("GET", f"{ALL}/acme")["integrations"]
    assert keyed.ok("GET", f"{ALL}/other")["integrations"] == []
    assert (made["owner"], made["name"], made["title"]) == ("acme", "post", "Shared")
    assert (made["type"], made["enabled"]) == ("exchange_online", True)
    wanted = without_password(sent["integration"]["configuration"])
    wanted["mailboxes"][0]["start_timestamp"] = "2026-01-01T00:00:00.000000Z"
    wanted["mailboxes"][1]["disabled_reason"] = "user"
    assert made["configuration"] == wanted
    # The buckets are there at once, so that a source can be made for them.
    assert keyed.ok("GET", "/api/_private/buckets/acme/mail")["bucket"]["title"] == "Mail"


def test_secrets_are_stored_encrypted_and_nowhere_else(keyed: Client, db: Database) -> None:
    make(keyed, box())
    with db.read() as tx:
        kept = [
            repr([tuple(row) for row in tx.execute(sa.select(table))])
            for table in (integration, mailbox, audit_event)
        ]
    assert not any(SECRET in text for text in kept)
    assert sealed_secrets(db) == {"access.password": SECRET}


def test_without_a_key_secrets_are_refused_and_nothing_is_stored(
    client: Client, db: Database
) -> None:
    answer = client.put(PATH, body(box()))
    assert answer.status == 422
    assert "lodestream secret new-key" in answer.json["message"]
    assert SECRET not in answer.json["message"]
    assert client.ok("GET", ALL)["integrations"] == []
    assert client.ok("GET", "/api/_private/buckets")["buckets"] == []
    # What holds no secret needs no key.
    assert client.put(PATH, body(box(), connection=app_access(None))).status == 200


def test_what_is_read_can_be_sent_back_and_keeps_the_secrets(keyed: Client, db: Database) -> None:
    made = make(keyed, box())
    configuration = made["configuration"]
    configuration["mailboxes"].append(box(SALES))
    changed = keyed.ok("POST", PATH, {"integration": {"configuration": configuration}})
    assert len(changed["integration"]["configuration"]["mailboxes"]) == 2
    assert changed["integration"]["updated_at"] > made["updated_at"]
    assert sealed_secrets(db) == {"access.password": SECRET}
    keyed.ok("POST", PATH, {"integration": {"title": "New"}})
    assert sealed_secrets(db) == {"access.password": SECRET}
    connection = service_user()
    connection["application"]["client_secret"] = "another"
    del connection["access"]["password"]
    keyed.ok("POST", PATH, body(box(), connection=connection))
    kept = {"access.password": SECRET, "application.client_secret": "another"}
    assert sealed_secrets(db) == kept
    # Of another kind of access, the former secret is forgotten.
    keyed.ok("POST", PATH, body(box(), connection=app_access("new")))
    assert sealed_secrets(db) == {"application.client_secret": "new"}


@pytest.mark.parametrize(
    "change",
    [
        {"ews_endpoint": "https://evil.example/EWS/Exchange.asmx"},
        {"authority": "https://evil.example"},
        {"microsoft_api": {"kind": "graph"}, "graph_endpoint": "https://evil.example/v1.0"},
    ],
)
def test_stored_secrets_are_not_sent_elsewhere(
    keyed: Client, db: Database, change: dict[str, Any]
) -> None:
    """Whoever may change an integration is not to learn its password."""
    made = make(keyed, box())
    evil = service_user(**change)
    del evil["access"]["password"]
    answer = keyed.post(PATH, body(box(), connection=evil))
    assert answer.status == 422
    assert "not sent to another host" in answer.json["message"]
    assert keyed.ok("GET", PATH)["integration"] == made
    asked = {"connection": evil, "integration_id": made["id"]}
    assert keyed.put(VALIDATE, asked).status == 422
    evil["access"]["password"] = "their own"
    keyed.ok("POST", PATH, body(box(), connection=evil))
    assert sealed_secrets(db) == {"access.password": "their own"}


@pytest.mark.parametrize("change", [{"host": "evil.example"}, {"port": 9993}, {"security": "none"}])
def test_an_imap_password_is_not_sent_to_another_server(
    keyed: Client, change: dict[str, Any]
) -> None:
    sent = imap_settings(HELP)
    keyed.ok("PUT", OURS + "/acme/imap", sent)
    connection = sent["integration"]["configuration"]["connection"]
    del connection["access"]["password"]
    assert keyed.post(OURS + "/acme/imap", sent).status == 200
    connection.update(change)
    assert keyed.post(OURS + "/acme/imap", sent).status == 422


def test_an_update_of_an_older_version_is_refused(keyed: Client) -> None:
    made = make(keyed, box())
    seen = {"integration": {"title": "Mine", "updated_at": made["updated_at"]}}
    keyed.ok("POST", PATH, {"integration": {"title": "Theirs"}})
    assert keyed.post(PATH, seen).status == 409
    found = keyed.ok("GET", PATH)["integration"]
    assert found["title"] == "Theirs"
    seen["integration"]["updated_at"] = found["updated_at"]
    assert keyed.ok("POST", PATH, seen)["integration"]["title"] == "Mine"


def test_who_disables_is_told_as_the_reason(keyed: Client) -> None:
    assert "disabled_reason" not in make(keyed, box())
    off = keyed.ok("POST", PATH, {"integration": {"enabled": False}})["integration"]
    assert (off["enabled"], off["disabled_reason"]) == (False, "user")
    still = keyed.ok("POST", PATH, {"integration": {"title": "T"}})["integration"]
    assert still["disabled_reason"] == "user"
    on = keyed.ok("POST", PATH, {"integration": {"enabled": True}})["integration"]
    assert "disabled_reason" not in on


def test_names_are_unique_in_a_project_and_bad_ones_are_refused(keyed: Client) -> None:
    make(keyed, box())
    assert keyed.put(PATH, body(box())).status == 409
    assert keyed.put(ALL + "/other/post", body(box(bucket="other/mail"))).status == 200
    assert keyed.put(ALL + "/acme/a%20b", body(box())).status == 400
    assert keyed.put(ALL + "/nowhere/post", body(box())).status == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"mailboxes": [box(), box(HELP.upper())]}, 422),
        ({"mailboxes": [box(bucket="nowhere/mail")]}, 422),
        ({"mailboxes": [box(bucket="acme/a b")]}, 400),
        ({"mailboxes": [box(start_timestamp="soon")]}, 400),
        ({"mailboxes": [{"email": HELP}]}, 400),
        ({"mailboxes": [box(surprise=1)]}, 400),
        ({"connection": {"access": {"kind": "spell"}, "application": {"kind": "ntlm"}}}, 400),
        ({"connection": service_user(ews_endpoint="ftp://a")}, 422),
        ({"connection": service_user(ews_endpoint="http://a.example/ews")}, 422),
        ({"connection": {**app_access(), "application": {"kind": "ntlm"}}}, 422),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_and_changes_nothing(
    keyed: Client, change: dict[str, Any], status: int
) -> None:
    made = make(keyed, box(SALES))
    sent = body(box())
    sent["integration"]["configuration"].update(change)
    answer = keyed.post(PATH, sent)
    assert answer.status == status, answer.content
    assert SECRET not in answer.json["message"]
    assert keyed.ok("GET", PATH)["integration"] == made
    assert keyed.put(ALL + "/acme/another", sent).status == status
    assert len(keyed.ok("GET", ALL)["integrations"]) == 1


def test_who_sets_up_a_mailbox_must_be_able_to_write_its_bucket(
    keyed: Client, db: Database
) -> None:
    make(keyed, box())
    user = make_user(db, "somebody")
    grant_in(db, user, "acme", ("integrations-write",))
    somebody = keyed.as_user("somebody")
    new = ALL + "/acme/mine"
    answer = somebody.put(new, body(box()))
    assert (answer.status, "buckets-write in acme" in answer.json["message"]) == (403, True)
    assert somebody.put(new, body(box(bucket="other/mail"))).status == 422
    grant_in(db, user, "other", ("buckets-read",))
    assert somebody.put(new, body(box(bucket="other/mail"))).status == 403
    grant_in(db, user, "other", ("buckets-write",))
    assert somebody.put(new, body(box(bucket="other/mail"))).status == 200
    # Of what is there already, nothing has to be allowed again.
    there = body(box(enabled=False))
    assert somebody.post(PATH, there).status == 200
    assert somebody.post(PATH, body(box(), box(SALES, bucket="acme/new"))).status == 403


def test_only_hosts_that_the_operator_lists_may_be_named(keyed: Client) -> None:
    keyed.app.service.outside = Outside(Keyring(KEY), ("*.microsoftonline.com", "mail.example.com"))
    answer = keyed.put(PATH, body(box()))
    assert answer.status == 422
    assert "LODESTREAM_OUTBOUND_HOSTS" in answer.json["message"]
    assert keyed.put(OURS + "/acme/imap", imap_settings(HELP)).status == 200
    sent = imap_settings(HELP)
    sent["integration"]["configuration"]["connection"]["host"] = "169.254.169.254"
    assert keyed.put(OURS + "/acme/other", sent).status == 422
    assert keyed.put(VALIDATE, {"connection": service_user()}).status == 422


def test_quotas_bound_integrations_and_their_mailboxes(keyed: Client) -> None:
    make(keyed, box())
    limit = "/api/_private/quotas/main/"
    keyed.ok("POST", limit + "mailboxes_per_integration", {"hard_limit": 1})
    assert keyed.post(PATH, body(box(), box(SALES))).status == 400
    keyed.ok("POST", limit + "integrations", {"hard_limit": 1})
    assert keyed.put(ALL + "/acme/two", body(box())).status == 400
    used = {
        one["quota_kind"]: one["current_max_usage"]
        for one in keyed.ok("GET", "/api/_private/quotas")["quotas"]
    }
    assert (used["integrations"], used["mailboxes_per_integration"]) == (1, 1)


def test_the_vendors_listing_never_shows_a_kind_that_its_clients_do_not_know(
    keyed: Client,
) -> None:
    made = keyed.ok("PUT", OURS + "/acme/imap", imap_settings(HELP))["integration"]
    assert made["configuration"]["connection"]["access"] == {"kind": "password", "username": "u"}
    assert keyed.ok("GET", ALL)["integrations"] == []
    assert keyed.ok("GET", ALL + "/acme")["integrations"] == []
    assert keyed.get(ALL + "/acme/imap").status == 404
    assert keyed.get(f"{ALL}/id:{made['id']}").status == 404
    assert keyed.post(ALL + "/acme/imap", body(box())).status == 404
    assert keyed.delete(f"{ALL}/id:{made['id']}").status == 404
    make(keyed, box(SALES))
    kinds = [one["type"] for one in keyed.ok("GET", OURS)["integrations"]]
    assert kinds == ["imap", "exchange_online"]
    assert [one["name"] for one in keyed.ok("GET", OURS + "/acme")["integrations"]] == [
        "imap",
        "post",
    ]
    exchange = {"integration": {"integration_type": "exchange_online"}}
    assert keyed.post(OURS + "/acme/imap", exchange).status == 422


def test_an_integration_is_deleted_alone_or_with_its_project(keyed: Client) -> None:
    made = make(keyed, box())
    keyed.ok("DELETE", f"{ALL}/id:{made['id']}")
    assert keyed.get(PATH).status == 404
    assert keyed.delete(f"{ALL}/id:{made['id']}").status == 404
    assert keyed.get("/api/_private/buckets/acme/mail").status == 200
    make(keyed, box())
    keyed.ok("PUT", "/api/_private/appliance-configs/acme/box", b"{}")
    project = "/api/_private/projects/acme"
    counts = keyed.ok("GET", project + "/resource_counts")
    assert counts["integrations"] == 1
    answer = keyed.delete(project)
    assert (answer.status, '"integrations": 1' in answer.json["message"]) == (409, True)
    keyed.ok("DELETE", project + "?force=true")
    assert keyed.ok("GET", OURS)["integrations"] == []


def test_a_mailbox_is_made_due_on_request(keyed: Client, db: Database) -> None:
    keyed.ok("PUT", OURS + "/acme/imap", imap_settings(HELP, SALES))
    with db.write(catalogue=False) as tx:
        tx.execute(sa.update(mailbox).values(due_us=1 << 60, failures=5))
    path = OURS + "/acme/imap/sync"
    assert keyed.ok("POST", path, {"mailbox": HELP.upper()})["mailboxes"] == 1
    with db.read() as tx:
        due = tx.execute(sa.select(mailbox.c.due_us).order_by(mailbox.c.place)).scalars().all()
    assert due[0] < 1 << 60 == due[1]
    assert keyed.ok("POST", path)["mailboxes"] == 2
    assert keyed.post(path, {"mailbox": "nobody@example.com"}).status == 404
    keyed.ok("POST", OURS + "/acme/imap/disable")
    assert keyed.post(path).status == 409
    states = keyed.ok("POST", OURS + "/acme/imap/enable")["integration"]["mailbox_states"]
    assert [(one["email"], one["status"]) for one in states] == [
        (HELP, "waiting"),
        (SALES, "waiting"),
    ]


def test_credentials_are_tried(keyed: Client) -> None:
    mail = FakeMail()
    keyed.app.service.opener = mail
    asked = {"connection": service_user()}
    assert keyed.ok("PUT", VALIDATE, asked)["result"] == "valid"
    assert mail.opened == [("svc@example.com", {"access.password": SECRET})]
    mail.raises[HELP] = MailboxRefused("invalid_exchange_credentials", "no")
    asked["test_mailbox"] = HELP
    assert keyed.ok("PUT", VALIDATE, asked)["result"] == "invalid"
    for error in (Temporary("busy"), MailboxRefused("unknown_forbidden_error", "EWS")):
        mail.raises[HELP] = error
        assert keyed.put(VALIDATE, asked).status == 422


def test_credentials_of_an_integration_are_tried_without_being_shown(
    keyed: Client, db: Database
) -> None:
    mail = FakeMail()
    keyed.app.service.opener = mail
    made = make(keyed, box())
    bare = without_password({"connection": service_user()})["connection"]
    asked = {"connection": bare, "integration_id": made["id"]}
    assert keyed.put(VALIDATE, {"connection": bare}).status == 400
    # The password is the integration's; it goes nowhere but where that goes.
    assert keyed.ok("PUT", VALIDATE, asked)["result"] == "valid"
    assert mail.opened == [("svc@example.com", {"access.password": SECRET})]
    bare["ews_endpoint"] = "https://evil.example/ews"
    assert keyed.put(VALIDATE, asked).status == 422
    assert len(mail.opened) == 1
    user = make_user(db, "somebody")
    grant_in(db, user, "other", ("integrations-write",))
    assert keyed.as_user("somebody").put(VALIDATE, asked).status == 404
    grant_in(db, user, "acme", ("integrations-read",))
    assert keyed.as_user("somebody").put(VALIDATE, asked).status == 403


@pytest.mark.parametrize(
    "connection",
    [
        app_access(),
        app_access(None),
        {
            "access": {"kind": "user_access", "username": "a\\b", "password": "p"},
            "application": {"kind": "ntlm"},
            "ews_endpoint": "https://mail.example.com/ews",
        },
    ],
)
def test_credentials_that_are_not_complete_are_refused(keyed: Client, connection: Any) -> None:
    assert keyed.put(VALIDATE, {"connection": connection}).status == 400


def test_salesforce_is_refused_and_nothing_is_made(keyed: Client) -> None:
    answer = keyed.put(PATH, {"integration": {"integration_type": "salesforce"}})
    assert (answer.status, "Salesforce" in answer.json["message"]) == (422, True)
    assert keyed.ok("GET", OURS)["integrations"] == []
    make(keyed, box())
    assert keyed.get(PATH + "/oauth2/authenticate").status == 403
    back = {"state": "s", "code": "c"}
    assert keyed.put("/api/_private/salesforce/oauth2/callback", back).status == 403


CONFIG = "/api/_private/appliance-configs/acme/exchange"


def test_a_connectors_configuration_comes_back_byte_for_byte(keyed: Client, db: Database) -> None:
    first = b'{ "host": "a", "auth_oauth_client_secret": "hunter2", "port": 443}'
    assert keyed.get(CONFIG).status == 404
    changes = keyed.ok("PUT", CONFIG, first)["changes"]
    assert changes["added"] == ["auth_oauth_client_secret", "host", "port"]
    assert keyed.get(CONFIG).content == first
    second = b'{"host": "b", "port": 443, "mailboxes": {}}'
    assert keyed.ok("PUT", CONFIG, second)["changes"] == {
        "added": ["mailboxes"],
        "removed": ["auth_oauth_client_secret"],
        "modified": ["host"],
    }
    assert keyed.get(CONFIG).content == second
    with db.read() as tx:
        kept = repr(list(tx.execute(sa.text("SELECT * FROM appliance_config"))))
    assert '"host"' not in kept


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_configuration_is_refused(keyed: Client, content: bytes) -> None:
    assert keyed.put(CONFIG, content).status == 400
    assert keyed.get(CONFIG).status == 404


def test_a_configuration_needs_a_key_to_be_kept(client: Client) -> None:
    assert client.put(CONFIG, b"{}").status == 422
