"""What commands share that talk to a server.

A command is decorated with `server_options`, and gets a connected `client`: a
`lodestream.client.Client`, closed when the command ends. All that can go wrong with its calls is
told in one line with the right exit code. Commands hand on what the server said, whole, so they
read answers as JSON: `answer(client, CALL)` makes any call of `lodestream.client.operations` and
its siblings, and `client.call("GET", path)` any other. A whole group of commands is then:

    @click.group(cls=Commands)
    def thing() -> None:
        "Things: list and delete."

    @thing.command("list")
    @click.argument("dataset", type=DATASET)
    @json_option
    @server_options
    def list_things(client: Client, dataset: str, as_json: bool) -> None:
        "List the things of a dataset."
        found = answer(client, operations.things(dataset_name(client, dataset)))["things"]
        show_rows(found, ("name", "owner", "model.version"), as_json=as_json)

    @thing.command("delete")
    @click.argument("name", type=FullName("thing"))
    @yes_option
    @server_options
    def delete_thing(client: Client, name: str, yes: bool) -> None:
        "Delete a thing."
        confirm(f"Delete the thing {name}?", yes=yes)
        client.run(operations.delete_thing(name))

To make it known, add a row to `COMMANDS` in `main`: the group is imported when it is called.
Arguments and options are named as in the API; lists have `--json`; what loses something asks,
unless `--yes`; what takes a structured body takes `--file`, as `body_option` and `body_of` do it;
what takes long shows `output.Progress` and has `progress_option`.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from lodestream.cli import contexts as saved
from lodestream.cli.contexts import Context, read_contexts
from lodestream.cli.options import Failed, Unreachable
from lodestream.client import Client, ClientError, Retries
from lodestream.client import Unreachable as NoAnswer
from lodestream.client.bucket_operations import bucket, bucket_by_id
from lodestream.client.calls import Call, full_name
from lodestream.client.downloads import Download
from lodestream.client.operations import dataset, dataset_by_id, source, source_by_id

T = TypeVar("T")
_Command = TypeVar("_Command", bound=Callable[..., Any])

MOST_ROWS: Final = 100
DEFAULT_URL: Final = "http://127.0.0.1:8000"
_ID: Final = re.compile(r"^(?:id:)?([0-9a-f]{16})$")


class FullName(click.ParamType[str]):
    """`PROJECT/NAME` of a thing, or its id."""

    def __init__(self, what: str) -> None:
        self.name = what
        self._what = what

    def get_metavar(  # click passes both by name
        self,
        param: click.Parameter,  # noqa: ARG002
        ctx: click.Context,  # noqa: ARG002
    ) -> str:
        """Return how it is called in the help."""
        return f"PROJECT/{self._what.upper()}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as it is, an id without `id:` before it."""
        if found := _ID.match(value):
            return found[1]
        try:
            full_name(value)
        except ValueError:
            self.fail(f"{value!r} is no {self._what}: PROJECT/NAME expected, or an id", param, ctx)
        return str(value)


SOURCE: Final = FullName("source")
DATASET: Final = FullName("dataset")
BUCKET: Final = FullName("bucket")


class _ContextName(click.ParamType[str]):
    """The name of a context, completed from the file."""

    name = "name"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click passes it
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the contexts that begin like this."""
        try:
            known = read_contexts(contexts_file(ctx.params.get("contexts_file"))).contexts
        except (click.ClickException, OSError):
            return []
        return [CompletionItem(one.name) for one in known if one.name.startswith(incomplete)]


CONTEXT: Final = _ContextName()


class _Patience(Retries):
    """Waits for a server that was there before; of one that never answered it tells at once."""

    reached = False

    def wait_s(self, error: ClientError, tries: int, *, idempotent: bool) -> float | None:
        """Return how long to wait before the next try; None to give up."""
        if isinstance(error, NoAnswer) and not self.reached:
            return None
        return super().wait_s(error, tries, idempotent=idempotent)


class _CommandClient(Client):
    """A client that remembers whether its server was ever there."""

    def __init__(self, where: Context) -> None:
        self._patience = _Patience(longest_wait_s=30.0)
        super().__init__(
            where.url,
            where.token,
            retries=self._patience,
            tls=_trusting() if where.accept_invalid_certificates else None,
            proxy=where.proxy,
        )

    def run(self, call: Call[T]) -> T:
        """Make a call, again if it may be and failed in passing."""
        found = super().run(call)
        # Frozen are the fields of `Retries`, which this is none of.
        self._patience.reached = True
        return found

    def download(self, method: str, path: str, body: object = None) -> Download:
        """Make a call whose answer is read as it comes."""
        found = super().download(method, path, body)
        self._patience.reached = True
        return found


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


SERVER_OPTIONS: Final = (
    "url",
    "token",
    "context",
    "accept_invalid_certificates",
    "proxy",
    "contexts_file",
)
"""What `server_options_alone` gives a command."""


def contexts_file_option(command: _Command) -> _Command:
    """Add the option that says where the contexts are."""
    file = click.option(
        "--contexts-file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar=saved.FILE_VARIABLE,
        help=f"File with the contexts.  [{saved.FILE_VARIABLE}]",
    )
    return file(command)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which server a command talks to; it gets a `client`.

    The server is that of `--url` and `--token`, of `--context`, of the environment, of the context
    in use, or one on this machine, in this order.
    """

    @wraps(command)
    def run(*arguments: Any, **given: Any) -> Any:
        server = {name: given.pop(name) for name in SERVER_OPTIONS}
        with connected(chosen_server(server)) as client:
            return command(*arguments, client=client, **given)

    return server_options_alone(run)


def server_options_alone(command: _Command) -> _Command:
    """Add the options, for a command that hands them to `chosen_server` and `connected` itself."""
    for option in (
        click.option(
            "--proxy", metavar="URL", help="HTTP proxy to go through, such as http://proxy:3128."
        ),
        click.option(
            "--accept-invalid-certificates",
            "-k",
            is_flag=True,
            help="Do not check who the server is; for trials only.",
        ),
        click.option("--context", "-c", type=CONTEXT, help="Context to use, not the current one."),
        click.option(
            "--token",
            envvar="LODESTREAM_TOKEN",
            help="Token to call with; better in a context.  [LODESTREAM_TOKEN]",
        ),
        click.option(
            "--url",
            envvar="LODESTREAM_URL",
            help="Where the server is.  [LODESTREAM_URL, or the current context's, or "
            f"{DEFAULT_URL}]",
        ),
    ):
        command = option(command)
    return contexts_file_option(command)


def chosen_server(given: dict[str, Any]) -> Context:
    """Return the server that the options mean. Raises Failed for a context that there is not."""
    file = contexts_file(given["contexts_file"])
    name, url, token = given["context"], given["url"], given["token"]
    if name is not None:
        base = read_contexts(file).get(name)
        # A context that is named beats the environment, which options beat.
        url = url if is_on_command_line("url") else None
        token = token if is_on_command_line("token") else None
    else:
        # A saved token goes to the server that it was saved for, and to no other.
        current = None if url is not None else read_contexts(file).find_current()
        base = current or Context(name="", url=DEFAULT_URL)
    return Context(
        name=base.name,
        url=url or base.url,
        token=base.token if token is None else token,
        accept_invalid_certificates=given["accept_invalid_certificates"]
        or base.accept_invalid_certificates,
        proxy=given["proxy"] or base.proxy,
    )


def is_on_command_line(name: str) -> bool:
    """Tell whether an option of the present command was given by hand, not by the environment."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def contexts_file(given: Path | None) -> Path:
    """Return where the contexts are."""
    return saved.default_file() if given is None else given


@contextmanager
def connected(where: Context) -> Iterator[Client]:
    """Yield a client of a server, and tell in one line what goes wrong with its calls.

    Raises UsageError for a URL or token that cannot be used, Unreachable if no answer comes, Failed
    for a refusal or an answer of something else.
    """
    try:
        client = _CommandClient(where)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with client:
        try:
            yield client
        except NoAnswer as error:
            raise Unreachable(str(error)) from error
        except ClientError as error:
            raise Failed(str(error)) from error


def answer(client: Client, call: Call[Any]) -> dict[str, Any]:
    """Make a call, and return its answer as the server gave it, with all its fields."""
    return client.run(call.as_json())


def paged(
    client: Client, page: Callable[[str | None], Call[Any]], items: str, *, cursor: str
) -> Iterator[dict[str, Any]]:
    """Yield the items of all pages; `page` makes the call for what follows a cursor."""
    after: str | None = None
    while True:
        found = answer(client, page(after))
        yield from found[items]
        after = found.get(cursor)
        if after is None or not found[items]:
            return


def limit_option(command: _Command) -> _Command:
    """Add `--limit`, for lists that may be long; see `at_most`."""
    limit = click.option(
        "--limit",
        type=click.IntRange(1),
        help="List so many at most; a table has at most "
        f"{MOST_ROWS} unless told otherwise, JSON all.",
    )
    return limit(command)


def at_most(
    limit: int | None, found: Iterator[dict[str, Any]], *, as_json: bool
) -> Iterator[dict[str, Any]]:
    """Yield what was found up to a limit; tell on standard error if a table leaves out some."""
    most = MOST_ROWS if limit is None and not as_json else limit
    yield from islice(found, most)
    if limit is None and most is not None and next(found, None) is not None:
        click.echo(f"the first {most}; --limit shows more", err=True)


def find_source(client: Client, name: str) -> dict[str, Any]:
    """Return a source by its full name or its id."""
    call = source(name) if "/" in name else source_by_id(name)
    found: dict[str, Any] = answer(client, call)["source"]
    return found


def find_dataset(client: Client, name: str) -> dict[str, Any]:
    """Return a dataset by its full name or its id."""
    call = dataset(name) if "/" in name else dataset_by_id(name)
    found: dict[str, Any] = answer(client, call)["dataset"]
    return found


def find_bucket(client: Client, name: str) -> dict[str, Any]:
    """Return a bucket by its full name or its id."""
    call = bucket(name) if "/" in name else bucket_by_id(name)
    found: dict[str, Any] = answer(client, call)["bucket"]
    return found


def source_name(client: Client, name: str) -> str:
    """Return the full name of a source, which is asked for only if its id is given."""
    return name if "/" in name else named(find_source(client, name))


def dataset_name(client: Client, name: str) -> str:
    """Return the full name of a dataset, which is asked for only if its id is given."""
    return name if "/" in name else named(find_dataset(client, name))


def bucket_name(client: Client, name: str) -> str:
    """Return the full name of a bucket, which is asked for only if its id is given."""
    return name if "/" in name else named(find_bucket(client, name))


def named(thing: dict[str, Any]) -> str:
    """Return the full name of a thing as the API has it."""
    return f"{thing['owner']}/{thing['name']}"


def time_range_options(command: _Command) -> _Command:
    """Add `--from-timestamp` and `--to-timestamp`; `time_range` makes a filter of them."""
    for name, meaning in (("to", "at or before"), ("from", "at or after")):
        option = click.option(
            f"--{name}-timestamp",
            metavar="TIMESTAMP",
            help=f"Only comments written {meaning} this instant, as 2024-01-31T12:00:00Z.",
        )
        command = option(command)
    return command


def time_range(times: dict[str, str | None]) -> dict[str, Any]:
    """Return the filter of comments for the options of `time_range_options`."""
    ends = {"minimum": times["from_timestamp"], "maximum": times["to_timestamp"]}
    given = {name: at for name, at in ends.items() if at is not None}
    return {"timestamp": given} if given else {}


def body_option(command: _Command) -> _Command:
    """Add `--file`, for what has more settings than there are options."""
    file = click.option(
        "--file",
        type=click.File("rb"),
        help="JSON object with settings as the API takes them (- reads standard input); options "
        "win over it.",
    )
    return file(command)


def body_of(file: IO[bytes] | None, **options: Any) -> dict[str, Any]:
    """Return the settings in a file, and over them the options that were given.

    Raises UsageError if the file holds something else than a JSON object.
    """
    body: dict[str, Any] = {} if file is None else read_object(file)
    return body | {name: value for name, value in options.items() if value is not None}


def read_object(file: IO[bytes]) -> dict[str, Any]:
    """Return the JSON object in a file. Raises UsageError for anything else."""
    name = getattr(file, "name", "the input")
    try:
        found = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError(f"{name} has to hold a JSON object")
    return found
