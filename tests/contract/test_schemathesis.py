"""The whole API against its own description, by generated requests.

A token that may do everything sends what the description allows and what it forbids, to things
that exist and to things that do not. There must be no 5xx, and every answer must be one that the
description promises.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from schemathesis import engine
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from lodestream.api.openapi import document
from lodestream.api.protocol import LodestreamProtocol
from lodestream.api.routes import ROUTES
from lodestream.server import make_app
from lodestream.settings import Settings
from lodestream.store import migrate, models
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from tests.build import make_comment
from tests.conftest import ROOT_TOKEN, make_user
from tests.models import make_head, publish, validate_model

load_all_checks()
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
HEAD = make_head()
KNOWN = {
    "owner": ["acme"],
    "name": ["acme", "spare"],
    "source_name": ["inbox", "spare"],
    "dataset_name": ["support", "spare"],
    "stream_name": ["all", "spare"],
    "trigger_name": ["all", "spare"],
    "sink_name": ["out", "spare"],
    "comment_id": ["c1"],
    "label_group_name": ["default"],
    "quota_kind": ["comments", "sources"],
    "model_version": ["1", "2", "3", "live", "latest"],
    "tag_name": ["live", "staging"],
}


THINGS = [
    ("PUT", "/api/_private/projects/acme", {"project": {}}),
    ("PUT", "/api/v1/sources/acme/inbox", {"source": {}}),
    (
        "POST",
        "/api/v1/sources/acme/inbox/sync",
        {"comments": [make_comment("c1"), make_comment("c2")]},
    ),
    ("PUT", "/api/v1/datasets/acme/support", {"dataset": {"source_ids": []}}),
    ("PUT", "/api/v1/datasets/acme/support/streams", {"stream": {"name": "all"}}),
    (
        "PUT",
        "/api/lodestream/v1/datasets/acme/support/streams/all/sinks",
        {
            "sink": {
                "name": "out",
                "configuration": {"kind": "elasticsearch", "url": "http://[::1]:1", "index": "a"},
            }
        },
    ),
]


def described() -> Any:
    """The description, but for the names in paths: those of real things, and of none."""
    description = msgspec.json.decode(msgspec.json.encode(document(ROUTES)))
    for methods in description["paths"].values():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                known = KNOWN.get(parameter["name"])
                if parameter["in"] == "path" and known:
                    parameter["schema"] = {"enum": known}
    return description


SCHEMA = schemathesis.openapi.from_dict(
    described(),
    config=SchemathesisConfig.from_dict(
        {
            "generation": {"mode": "all", "allow-x00": True},
            "phases": {"examples": {"enabled": False}, "coverage": {"enabled": False}},
        }
    ),
)
IDS: dict[str, str] = {}
"""Ids of things that exist just now, for the paths of the next requests."""


@SCHEMA.hook
def map_path_parameters(_context: Any, path_parameters: Any) -> Any:
    """Put the id of something that exists in place of every other that was made up."""
    for name in IDS.keys() & (path_parameters or {}).keys():
        if len(str(path_parameters[name])) % 2 == 0:
            path_parameters[name] = IDS[name]
    return path_parameters


BOUNDED = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


class Server:
    """A server in this process, on a socket, and a session to speak to it."""

    def __init__(self, folder: Path) -> None:
        db = Database(sqlite_url(folder / "lodestream.sqlite3"))
        migrate.upgrade(db)
        make_user(db, ROOT_TOKEN, globally='["root"]')
        app = make_app(Settings(data=folder), db)
        self._db = db
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(
            uvicorn.Config(app, http=LodestreamProtocol, ws="none", log_level="critical")
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.session = requests.Session()
        self.session.headers["authorization"] = f"Bearer {ROOT_TOKEN}"
        while not self._server.started:
            time.sleep(0.01)

    def restore(self) -> None:
        """Make the things anew that an operation has deleted."""
        for method, path, body in THINGS:
            answer = self.session.request(method, self.url + path, json=body)
            assert answer.status_code in (200, 409), answer.text
        for name, path in (("source_id", "sources"), ("dataset_id", "datasets")):
            found = self.session.get(f"{self.url}/api/v1/{path}/acme").json()[path]
            IDS[name] = found[0]["id"]
        self._restore_models()
        username = f"somebody-{secrets.token_hex(8)}"
        user = {"user": {"username": username, "email": f"{username}@example.com"}}
        made = self.session.put(f"{self.url}/api/_private/users", json=user).json()
        IDS["user_id"] = made["user"]["id"]

    def _restore_models(self) -> None:
        """Make three versions, of which the first is pinned and the first two are validated."""
        owner, uid = IDS["dataset_id"], f"{IDS['source_id']}.c1"
        with self._db.read() as tx:
            known = models.list_models(tx, owner)
        while len(known) < 3:
            publish(self._db, owner, head=HEAD, pinned=not known)
            with self._db.read() as tx:
                known = models.list_models(tx, owner)
            if len(known) < 3:
                validate_model(self._db, known[0], action_uids=[uid])
        with self._db.read() as tx:
            IDS["training_action_id"] = models.list_actions(tx, known[-1].key)[0].id
        IDS["comment_uid"] = uid
        tag = {"model_tag": {"version": 1}}
        path = "/api/_private/datasets/acme/support/model-tags/live"
        self.session.put(self.url + path, json=tag)

    def stop(self) -> None:
        self.session.close()
        self._server.should_exit = True
        self._thread.join(30)
        self._listener.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose only user may do everything."""
    server = Server(tmp_path_factory.mktemp("fuzzed"))
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    """The server, with a source, a dataset, a stream and two comments."""
    running.restore()
    return running


@SCHEMA.parametrize()
@settings(BOUNDED, max_examples=5)
def test_every_operation_answers_as_it_is_described(case: Any, server: Server) -> None:
    case.call_and_validate(base_url=server.url, session=server.session, checks=CHECKS)


def test_what_follows_from_an_answer_is_answered_as_described(server: Server) -> None:
    off = {"enabled": False}
    config = {
        "base-url": server.url,
        "headers": {"authorization": f"Bearer {ROOT_TOKEN}"},
        "seed": 1,
        "max-time": 8,
        "generation": {"mode": "positive", "max-examples": 40, "database": "none"},
        "phases": {"examples": off, "coverage": off, "fuzzing": off, "stateful": {"max-steps": 8}},
        # These judge what the description cannot tell: 409 for a taken name, 422 by a rule.
        "checks": {"positive_data_acceptance": off, "ignored_auth": off},
    }
    whole = schemathesis.openapi.from_dict(described(), config=SchemathesisConfig.from_dict(config))
    # The only user would soon take the rights, the token or the life from himself.
    schema = whole.exclude(operation_id=["updateUser", "deleteUser", "deleteToken"])
    statuses: Counter[int] = Counter()
    failures = []
    for event in engine.from_schema(schema).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
        if isinstance(event, events.ScenarioFinished):
            replies = [one.response for one in event.recorder.interactions.values()]
            statuses.update(reply.status_code for reply in replies if reply is not None)
            failures += [
                f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                for checks in event.recorder.checks.values()
                for check in checks
                if check.failure_info is not None
            ]
    assert not failures, "\n\n".join(failures[:5])
    assert statuses[401] == 0
    assert statuses[200] > 50, statuses
