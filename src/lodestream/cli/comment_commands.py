"""`lodestream comment` and `lodestream attachment`: what sources and datasets contain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any, Final

import click

from lodestream.cli.options import (
    Commands,
    Failed,
    confirm,
    json_option,
    progress_option,
    yes_option,
)
from lodestream.cli.output import Progress, show_one, show_rows
from lodestream.cli.remote import (
    DATASET,
    SOURCE,
    answer,
    at_most,
    body_of,
    body_option,
    dataset_name,
    limit_option,
    paged,
    server_options,
    source_name,
    time_range,
    time_range_options,
)
from lodestream.client import Client, operations
from lodestream.client.calls import Call, part
from lodestream.client.operations import CommentsPage

_COLUMNS: Final = ("id", "timestamp", "from", "subject", "text")
_ANNOTATED: Final = ("uid", "timestamp", "labels", "from", "subject", "text")
_PAGE: Final = 256
_SNIPPET: Final = 200


@click.group(cls=Commands)
def comment() -> None:
    """Comments: get, list, query, delete; see also `import` and `export`."""


@comment.command("get")
@click.argument("source", type=SOURCE)
@click.argument("comment_id", metavar="ID")
@json_option
@server_options
def get(client: Client, source: str, comment_id: str, as_json: bool) -> None:
    """Show the comment of a source with this ID."""
    where = source_name(client, source)
    found = answer(client, operations.comment(where, comment_id, include_markup=as_json))
    one = found["comment"]
    if as_json:
        show_one(one, as_json=True)
        return
    show_one(one, as_json=False, columns=[name for name in one if name != "messages"])
    for message in one["messages"]:
        click.echo()
        head = {name: message.get(name) for name in ("from", "to", "cc", "sent_at")}
        head["subject"] = _text(message, "subject")
        show_one({name: value for name, value in head.items() if value}, as_json=False)
        click.echo(_printable(_text(message, "body")))


@comment.command("list")
@click.argument("source", type=SOURCE)
@time_range_options
@click.option("--newest-first", is_flag=True, help="Begin with the newest.")
@limit_option
@json_option
@server_options
def list_comments(
    client: Client,
    source: str,
    newest_first: bool,
    limit: int | None,
    as_json: bool,
    **times: str | None,
) -> None:
    """List the comments of a source by timestamp."""
    where = source_name(client, source)
    low, high = _ends(times)

    def page(after: str | None) -> Call[Any]:
        return _page(where, after, low, high, newest_first=newest_first, include_markup=as_json)

    found = at_most(limit, paged(client, page, "comments", cursor="continuation"), as_json=as_json)
    show_rows(found if as_json else map(_row, found), _COLUMNS, as_json=as_json)


@comment.command("query")
@click.argument("dataset", type=DATASET)
@click.option("--text", help="Only comments that say something like this, the best match first.")
@click.option(
    "--label", metavar="NAME", help="Begin with those to which the model gives this label."
)
@click.option("--reviewed/--unreviewed", default=None, help="Only those with annotations, or none.")
@time_range_options
@body_option
@limit_option
@json_option
@server_options
def query(
    client: Client,
    dataset: str,
    text: str | None,
    label: str | None,
    reviewed: bool | None,
    file: IO[bytes] | None,
    limit: int | None,
    as_json: bool,
    **times: str | None,
) -> None:
    """List comments of a dataset in an order, the newest first unless told otherwise.

    --file takes filter, attribute_filters, order and so on as the API has them.
    """
    if text is not None and label is not None:
        raise click.UsageError("--text and --label are two orders: only one can be had")
    order = None if text is None else {"kind": "text_search", "query": text}
    order = order if label is None else {"kind": "by_label", "label": label}
    asked = body_of(file, order=order)
    narrowed = asked.get("filter", {}) | time_range(times)
    if reviewed is not None:
        narrowed["reviewed"] = "only_reviewed" if reviewed else "only_unreviewed"
    where = dataset_name(client, dataset)
    asked = {"limit": _PAGE, "order": {"kind": "recent"}} | asked | {"filter": narrowed}

    def page(after: str | None) -> Call[Any]:
        return operations.query_page(where, **asked, **({"continuation": after} if after else {}))

    found = at_most(limit, paged(client, page, "results", cursor="continuation"), as_json=as_json)
    show_rows(found if as_json else map(_annotated_row, found), _ANNOTATED, as_json=as_json)


@comment.command("delete")
@click.argument("source", type=SOURCE)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@yes_option
@server_options
def delete(client: Client, source: str, ids: tuple[str, ...], yes: bool) -> None:
    """Delete comments of a source by their ids; those that are not there do not matter."""
    where = source_name(client, source)
    confirm(f"Delete {len(ids)} comments of {where}?", yes=yes)
    client.delete_comments(where, ids)


@comment.command("delete-many")
@click.argument("source", type=SOURCE)
@time_range_options
@click.option("--include-annotated", is_flag=True, help="Also those that people annotated.")
@yes_option
@progress_option
@server_options
def delete_many(
    client: Client,
    source: str,
    include_annotated: bool,
    yes: bool,
    no_progress: bool,
    **times: str | None,
) -> None:
    """Delete the comments of a source, or those of a time; annotated ones stay unless told."""
    where = source_name(client, source)
    low, high = _ends(times)
    count = client.count_comments(where, time_range(times))
    but = "" if include_annotated else ", but for annotated ones"
    confirm(f"Delete {count} comments of {where}{but}?", yes=yes)
    deleted = 0
    with Progress("delete", "comments", total=count, shown=not no_progress) as progress:
        after: str | None = None
        while True:
            page = client.run(_page(where, after, low, high))
            ids = [one.id for one in page.comments if include_annotated or not one.has_annotations]
            client.delete_comments(where, ids)
            deleted += len(ids)
            progress.advance(len(page.comments))
            after = page.continuation
            if after is None:
                break
    click.echo(f"{deleted} comments deleted")


def _ends(times: dict[str, str | None]) -> tuple[datetime | None, datetime | None]:
    return _instant(times["from_timestamp"]), _instant(times["to_timestamp"])


def _page(
    source: str,
    after: str | None,
    low: datetime | None,
    high: datetime | None,
    *,
    newest_first: bool = False,
    include_markup: bool = False,
) -> Call[CommentsPage]:
    return operations.comments_page(
        source,
        after=after,
        from_timestamp=low,
        to_timestamp=high,
        direction="descending" if newest_first else "ascending",
        limit=_PAGE,
        include_markup=include_markup,
    )


@click.group(cls=Commands)
def attachment() -> None:
    """Files that belong to comments."""


@attachment.command("get")
@click.argument("reference")
@click.argument("file", type=click.File("wb", atomic=True), default="-")
@server_options
def get_attachment(client: Client, reference: str, file: IO[bytes]) -> None:
    """Write an attachment to FILE (or standard output), by the REFERENCE in its comment.

    `lodestream comment get --json` shows it as `attachment_reference`.
    """
    with client.download("GET", f"/api/v1/attachments/{part(reference)}") as content:
        for some in content:
            file.write(some)
    file.flush()


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is no timestamp, as 2024-01-31T12:00:00Z") from None
    if found.tzinfo is None:
        raise Failed(f"{text!r} has no time zone: write 2024-01-31T12:00:00Z")
    return found


def _row(one: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = next(iter(one["messages"]), {})
    return {
        **one,
        "from": message.get("from"),
        "subject": _text(message, "subject"),
        "text": _text(message, "body")[:_SNIPPET],
    }


def _annotated_row(one: dict[str, Any]) -> dict[str, Any]:
    return {**_row(one["comment"]), "labels": ", ".join(_labels(one))}


def _labels(one: dict[str, Any]) -> Iterator[str]:
    for group in one.get("labelling", ()):
        yield from (label["name"] for label in group.get("assigned", ()))


def _text(message: dict[str, Any], name: str) -> str:
    found: str = (message.get(name) or {}).get("text", "")
    return found


def _printable(text: str) -> str:
    # What others wrote must not move the cursor or colour the terminal.
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text)
