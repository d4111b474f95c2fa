"""`lodestream demo`: a server with sample data and a stream with a backlog."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import click
import msgspec

from lodestream.actions import datasets, ingest, projects, sources, streams, tokens
from lodestream.actions.setup import ADMIN_NAME
from lodestream.actions.sources import SourceChanges
from lodestream.cli.database import settings_from
from lodestream.cli.options import Failed, told_in_one_line
from lodestream.cli.serve import listen, run
from lodestream.domain.comments import CommentNew
from lodestream.domain.datasets import DatasetNew
from lodestream.domain.errors import Conflict
from lodestream.domain.users import OPERATOR
from lodestream.settings import Settings, encoders_folder, environment_of
from lodestream.store import accounts
from lodestream.store import projects as project_store
from lodestream.store import tokens as token_store
from lodestream.store.catalogue import Catalogue, DatasetName
from lodestream.store.db import Database

PROJECT: Final = "demo"
SOURCE: Final = "guest-messages"
DATASET: Final = "hotel"
STREAM: Final = "all"
_LABEL: Final = "lodestream demo"


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [LODESTREAM_HOST]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on.  [LODESTREAM_PORT, or 8000, or a free one if that is taken]",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep; without it a temporary one that is removed in the end.",
)
@click.option(
    "--labels", is_flag=True, help="Only print labels of the sample data, for sync-annotations."
)
@click.option("--no-encoder", is_flag=True, help="Do not install an encoder: learn from words.")
def demo(
    host: str | None, port: int | None, data: Path | None, labels: bool, no_encoder: bool
) -> None:
    """Serve sample data, and print commands that read it through a stream.

    Makes the project `demo` with a source, a dataset and the stream `all`, which begins at the
    first comment. The data comes from NLU++ (PolyAI, CC BY 4.0). An encoder, which makes
    predictions better, is installed beside it unless there is no network.
    """
    if labels:
        click.echo(sample_labels())
        return
    with told_in_one_line(), _folder(data) as folder:
        # A demonstration never touches the database that a server may be set up with.
        settings = settings_from(host=host, port=port, data=folder, database_url="", workers=1)
        if port is None and not _is_free(settings):
            settings = replace(settings, port=0)
        if data is None and not settings.encoders:
            # The folder goes away in the end; what took a minute to install need not.
            settings = replace(settings, encoders=str(_cache_folder()))
        secrets: list[str] = []

        def prepare(db: Database, secret: str | None) -> None:
            fill(db)
            secrets.append(secret or _fresh_token(db))

        def announce(_settings: Settings, url: str, _secret: str | None) -> None:
            click.echo(commands(url, secrets[0]))
            sys.stdout.flush()
            if settings.learning and not no_encoder:
                threading.Thread(target=_install_encoder, args=(settings,), daemon=True).start()

        run(settings, announce, prepare=prepare)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lodestream/encoders"


def _install_encoder(settings: Settings) -> None:
    """Install the English encoder, in a process of its own, and say how that went."""
    folder = encoders_folder(settings)
    if (folder / "minilm").exists():
        return
    click.echo("An encoder is being installed; until it is there, models learn from words alone.")
    done = subprocess.run(
        [sys.executable, "-m", "lodestream", "encoder", "install", "minilm"],
        env={**os.environ, **environment_of(settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        click.echo("The encoder is installed: models learn from the meaning of texts, too.")
    else:
        reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        click.echo(f"No encoder, so models learn from words alone. {reason}")


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="lodestream-demo-") as name:
        yield Path(name)


def _is_free(settings: Settings) -> bool:
    try:
        listen(settings.host, settings.port).close()
    except Failed:
        return False
    return True


def fill(db: Database) -> None:
    """Store what is missing of the sample data; a stream that is there stays where it is."""
    with db.read() as tx:
        project = project_store.find(tx, PROJECT)
        admin = accounts.find_by_name(tx, ADMIN_NAME)
    if project is None:
        holders = None if admin is None else [admin.id]
        values = {"title": "Demonstration"}
        project = projects.create_project(
            db, actor=OPERATOR, name=PROJECT, values=values, user_ids=holders
        )
    actor_id = OPERATOR.user_id
    catalogue = Catalogue(db)
    source = sources.create_source(
        db,
        actor_id=actor_id,
        project_id=project.id,
        owner=PROJECT,
        name=SOURCE,
        changes=SourceChanges({"title": "Messages of hotel guests", "kind": "chat"}),
    )
    batch = ingest.prepare_batch(sample(), source=source, salt=catalogue.salt())
    ingest.sync_comments(db, actor_id=actor_id, source=source, batch=batch)
    found = catalogue.find_dataset(PROJECT, DATASET)
    if found is None:
        made, _ = datasets.create_dataset(
            db,
            actor=OPERATOR,
            project_id=project.id,
            owner=PROJECT,
            name=DATASET,
            new=DatasetNew(title="Hotel", source_ids=[source.id], has_sentiment=False),
        )
        found = DatasetName(made.id, project.id, PROJECT, DATASET, made.title)
    with contextlib.suppress(Conflict):
        streams.create_stream(
            db, actor_id=actor_id, dataset=found, name=STREAM, values={"title": "Everything"}
        )
        streams.reset_stream(db, actor_id=actor_id, dataset=found, name=STREAM, instant_us=0)


def sample() -> list[CommentNew]:
    """Return the comments that ship with the program; see `data/demo/ORIGIN.md`."""
    text = files("lodestream").joinpath("data/demo/guest-messages.jsonl").read_bytes()
    return [line.comment for line in msgspec.json.Decoder(_Line).decode_lines(text)]


def sample_labels() -> str:
    """Return the body of a request that labels 140 of the sample comments.

    Each uid begins with `SOURCE_ID`, in place of the id that the source has.
    """
    text = files("lodestream").joinpath("data/demo/labels.jsonl").read_bytes()
    found = [
        {
            "comment_uid": f"SOURCE_ID.{line.id}",
            "labels": {"assigned": [{"name": name} for name in line.labels]},
        }
        for line in msgspec.json.Decoder(_Labelled).decode_lines(text)
    ]
    return msgspec.json.encode({"annotations": found}).decode()


class _Labelled(msgspec.Struct):
    id: str
    labels: list[str]


class _Line(msgspec.Struct):
    comment: CommentNew


def _fresh_token(db: Database) -> str:
    """Make a token for the commands; the one of the last demonstration is revoked."""
    with db.read() as tx:
        admin = accounts.find_by_name(tx, ADMIN_NAME)
        if admin is None:
            raise Failed(f"the user `{ADMIN_NAME}` was deleted: choose another folder")
        old = [one.id for one in token_store.list_tokens(tx, admin.id) if one.label == _LABEL]
    for token_id in old:
        tokens.revoke_token(db, actor=OPERATOR, token_id=token_id)
    _, secret = tokens.create_token(db, actor=OPERATOR, user_id=admin.id, label=_LABEL)
    return secret


def commands(url: str, secret: str) -> str:
    """Return what is printed: how to read the stream with curl, with Python and with Node."""
    stream = f"{url}/api/v1/datasets/{PROJECT}/{DATASET}/streams/{STREAM}"
    # As it was called: in a virtual environment the program may not be on the path.
    program = shlex.quote(sys.argv[0]) if shutil.which("lodestream") is None else "lodestream"
    given = {"url": url, "stream": stream, "secret": secret, "program": program}
    text = _COMMANDS
    for name, value in given.items():
        text = text.replace("{" + name + "}", value)
    return text


# Each command reads a batch and says so to the server, which then delivers the next one.
_COMMANDS: Final = """\
Lodestream listens on {url}, with 240 messages of hotel guests in the stream `all`.

Fetch three messages and advance the stream past them, with curl:

curl -s -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\
  -d '{"size": 3}' {stream}/fetch | tee batch.json
curl -s -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\
  -d "{$(grep -o '"sequence_id":"[^"]*"' batch.json | head -n 1)}" {stream}/advance

with Python:

python3 - <<'END'
import json, urllib.request

def call(action, body):
    headers = {"Authorization": "Bearer {secret}", "Content-Type": "application/json"}
    request = urllib.request.Request("{stream}/" + action, json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request))

batch = call("fetch", {"size": 3})
for result in batch["results"]:
    print(result["comment"]["id"], result["comment"]["messages"][0]["body"]["text"])
call("advance", {"sequence_id": batch["sequence_id"]})
END

with Node:

node --input-type=module - <<'END'
const call = async (action, body) => {
  const headers = {"Authorization": "Bearer {secret}", "Content-Type": "application/json"};
  const reply = await fetch("{stream}/" + action,
    {method: "POST", headers, body: JSON.stringify(body)});
  return reply.json();
};
const batch = await call("fetch", {size: 3});
for (const {comment} of batch.results) console.log(comment.id, comment.messages[0].body.text);
await call("advance", {sequence_id: batch.sequence_id});
END

How the stream does:

LODESTREAM_TOKEN='{secret}' {program} stream status --url {url} demo/hotel

Ctrl-C ends the demonstration.
"""
