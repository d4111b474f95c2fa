"""The columns of a download, and their cells.

Columns come in this order: the comment, its thread, its user properties, its annotations, the
fields, the predictions. Their names are those of the API. A user property, field or label bears its
own name, or, where another column has that already or full names were asked for, the name with its
kind before it: `string:Team`, `field:Policy`, `label:Claim > Late`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lodestream.api.download_rows import Rows
from lodestream.domain.annotations import FieldMark, State
from lodestream.domain.datasets import Dataset
from lodestream.domain.models import Model
from lodestream.domain.times import format_us, parse_us
from lodestream.formats.written import Column, Kind, Part, Value

Mode = Literal["probability", "binary", "names", "none"]

_COMMENT: Final = (
    Column("id"),
    Column("uid"),
    Column("source"),
    Column("timestamp", "time"),
    Column("thread_id"),
    Column("subject"),
    Column("body"),
    Column("from"),
    Column("to"),
    Column("cc"),
    Column("bcc"),
    Column("sent_at", "time"),
    Column("signature"),
    Column("language"),
    Column("messages", "integer"),
    Column("attachments", "integer"),
    Column("attachment_names"),
    Column("created_at", "time"),
    Column("last_modified", "time"),
)
_THREAD: Final = (
    Column("thread_position", "integer"),
    Column("thread_messages", "integer"),
    Column("thread_participants", "integer"),
    Column("thread_duration_s", "number"),
    Column("thread_response_time_s", "number"),
    Column("thread_first_sender"),
)


class Layout(Struct, frozen=True):
    """Which columns a table has. `properties` are full names; `labels` in order of columns.

    `least` is the least probability at which a label counts, for the modes `binary` and `names`.
    """

    threads: bool
    annotations: bool
    fields: bool
    full_names: bool
    properties: Sequence[str]
    labels: Sequence[str]
    mode: Mode
    least: Mapping[str, float]


class _Text(Struct, gc=False):
    text: str


class _Message(Struct, rename={"from_": "from"}, gc=False):
    body: _Text
    subject: _Text | UnsetType = UNSET
    signature: _Text | UnsetType = UNSET
    from_: str | UnsetType = UNSET
    to: list[str] | UnsetType = UNSET
    cc: list[str] | UnsetType = UNSET
    bcc: list[str] | UnsetType = UNSET
    sent_at: str | UnsetType = UNSET
    language: str | UnsetType = UNSET


class _Attachment(Struct, gc=False):
    name: str


class _Comment(Struct, gc=False):
    uid: str
    created_at: str
    last_modified: str
    id: str
    timestamp: str
    messages: list[_Message]
    user_properties: dict[str, str | int | float]
    attachments: list[_Attachment]
    thread_id: str | None = None


_decode = msgspec.json.Decoder(_Comment).decode


class TableMaker:
    """Makes the cells of a table; `columns` are its columns."""

    def __init__(
        self, dataset: Dataset, model: Model | None, layout: Layout, *, digits: bool
    ) -> None:
        """`digits` makes probabilities texts, as which they are written fastest."""
        self._layout = layout
        self._digits = digits and layout.mode == "probability"
        self._model = model
        self._has_sentiment = dataset.has_sentiment
        self._fields = _field_names(dataset) if layout.fields else {}
        self._mode: Mode = "none" if model is None else layout.mode
        place_of = {} if model is None else {name: at for at, name in enumerate(model.labels)}
        self._places = [place_of.get(name) for name in layout.labels]
        self._least = [layout.least.get(name, 2.0) for name in layout.labels]
        self.columns = self._columns()

    def part(self, rows: Rows) -> Part:
        """Return the cells of some comments, column by column."""
        found = [_decode(comment) for comment in rows.comments]
        source = f"{rows.source.owner}/{rows.source.name}"
        part: list[Sequence[Value]] = list(
            zip(*[_comment_cells(one, source) for one in found], strict=True)
        )
        if self._layout.threads:
            part += zip(*[_thread_cells(rows, at) for at in range(len(found))], strict=True)
        for name in self._layout.properties:
            part.append([one.user_properties.get(name) for one in found])
        if self._layout.annotations:
            part += zip(*map(self._annotation_cells, rows.states), strict=True)
        if self._fields:
            part += zip(*map(self._field_cells, rows.states), strict=True)
        if self._model is not None:
            part += self._prediction_cells(self._model, rows.scores)
        return part

    def _columns(self) -> list[Column]:
        layout = self._layout
        known = [*_COMMENT, *(_THREAD if layout.threads else ())]
        annotations = _annotation_columns(self._has_sentiment) if layout.annotations else []
        predictions = [] if self._model is None else _prediction_columns(self._model, self._mode)
        taken = {one.name for one in (*known, *annotations, *predictions)}
        name = _Names(taken, full=layout.full_names)
        properties = []
        for full in layout.properties:
            kind, _, bare = full.partition(":")
            properties.append(Column(name(bare, full), "number" if kind == "number" else "text"))
        fields = [Column(name(one, f"field:{one}")) for one in self._fields.values()]
        labels = []
        if self._mode in ("probability", "binary"):
            cell: Kind = "number" if self._mode == "probability" else "integer"
            labels = [Column(name(one, f"label:{one}"), cell) for one in layout.labels]
        return [*known, *properties, *annotations, *fields, *predictions, *labels]

    def _annotation_cells(self, state: State) -> tuple[Value, ...]:
        assigned = state.assigned
        cells: tuple[Value, ...] = (
            state.is_reviewed,
            join_list(mark.name for mark in assigned),
            join_list(mark.name for mark in state.dismissed),
            None if state.uninformative is None else state.uninformative.mode,
        )
        if not self._has_sentiment:
            return cells
        total = sum(-1 if mark.negative else 1 for mark in assigned)
        negative = join_list(mark.name for mark in assigned if mark.negative)
        return (*cells, negative, total / len(assigned) if assigned else None)

    def _field_cells(self, state: State) -> list[Value]:
        if not state.fields_assigned:
            return [None] * len(self._fields)
        values: dict[str, list[str]] = {}
        for mark in state.fields_assigned:
            key = _field_key(mark, self._fields)
            values.setdefault(key, []).append(mark.formatted_value)
        return [join_list(values.get(key, ())) for key in self._fields]

    def _prediction_cells(
        self, model: Model, scores: Sequence[bytes | None]
    ) -> list[Sequence[Value]]:
        from lodestream.ml.scores import shown_columns, total_sentiments  # see `actions.predict`

        there = [at for at, one in enumerate(scores) if one is not None]
        packed = [one for one in scores if one is not None]

        def spread(values: Sequence[Value]) -> Sequence[Value]:
            if len(there) == len(scores):
                return values
            cells: list[Value] = [None] * len(scores)
            for at, value in zip(there, values, strict=True):
                cells[at] = value
            return cells

        cells: list[Sequence[Value]] = [spread([model.version] * len(packed))]
        if model.has_sentiment:
            cells.append(spread(total_sentiments(packed, len(model.labels))))
        if self._mode == "none":
            return cells
        zeros: list[Value] = ["0.0" if self._digits else 0.0] * len(packed)
        shown = shown_columns(packed, len(model.labels), digits=self._digits)
        columns = [zeros if place is None else shown[place] for place in self._places]
        return cells + [spread(one) for one in self._label_cells(columns, len(packed))]

    def _label_cells(self, columns: Sequence[Sequence[Any]], count: int) -> list[Sequence[Value]]:
        if self._mode == "probability":
            return list(columns)
        pairs = list(zip(columns, self._least, strict=True))
        if self._mode == "binary":
            return [[int(value >= least) for value in values] for values, least in pairs]
        names: list[list[str]] = [[] for _ in range(count)]
        for name, (values, least) in zip(self._layout.labels, pairs, strict=True):
            for at, value in enumerate(values):
                if value >= least:
                    names[at].append(name)
        return [[join_list(one) for one in names]]


class _Names:
    """Gives columns names that no other has."""

    def __init__(self, taken: set[str], *, full: bool) -> None:
        self._taken = taken
        self._full = full

    def __call__(self, bare: str, full: str) -> str:
        name = full if self._full or bare in self._taken else bare
        # Somebody may have named a property like the full name of something else.
        number = 2
        unique = name
        while unique in self._taken:
            unique = f"{name} ({number})"
            number += 1
        self._taken.add(unique)
        return unique


def join_list(items: Iterable[str]) -> str | None:
    """Return items with semicolons between them; None if there are none.

    One that has a semicolon in it stands in double quotes, and those in it are doubled.
    """
    parts = ['"{}"'.format(one.replace('"', '""')) if ";" in one else one for one in items]
    return "; ".join(parts) if parts else None


def _annotation_columns(has_sentiment: bool) -> list[Column]:
    columns = [
        Column("reviewed", "boolean"),
        Column("assigned"),
        Column("dismissed"),
        Column("uninformative"),
    ]
    if has_sentiment:
        columns += [Column("assigned_negative"), Column("assigned_sentiment", "number")]
    return columns


def _prediction_columns(model: Model, mode: Mode) -> list[Column]:
    columns = [Column("model_version", "integer")]
    if model.has_sentiment:
        columns.append(Column("predicted_sentiment", "number"))
    if mode == "names":
        columns.append(Column("labels"))
    return columns


def _field_names(dataset: Dataset) -> dict[str, str]:
    """Return the names of a dataset's general fields and field types by id."""
    names = {one.field_id: one.api_name for one in dataset.general_fields}
    return names | {one.id: one.name for one in dataset.entity_defs}


def _field_key(mark: FieldMark, known: Mapping[str, str]) -> str:
    return mark.field_id if mark.field_id in known else mark.entity_def_id


def _first(found: Iterable[str | UnsetType]) -> str | None:
    return next((one for one in found if one is not UNSET), None)


def _comment_cells(one: _Comment, source: str) -> tuple[Value, ...]:
    messages = one.messages
    sent_at = _first(m.sent_at for m in messages)
    attachments = one.attachments
    return (
        one.id,
        one.uid,
        source,
        one.timestamp,
        one.thread_id,
        _first(m.subject.text for m in messages if m.subject is not UNSET),
        messages[0].body.text if len(messages) == 1 else "\n\n".join(m.body.text for m in messages),
        _people(messages, "from_"),
        _people(messages, "to"),
        _people(messages, "cc"),
        _people(messages, "bcc"),
        None if sent_at is None else format_us(parse_us(sent_at)),
        _signatures(messages),
        _first(m.language for m in messages),
        len(messages),
        len(attachments),
        join_list(a.name for a in attachments) if attachments else None,
        one.created_at,
        one.last_modified,
    )


def _people(messages: Sequence[_Message], role: str) -> str | None:
    """Return the participants of one role, each once."""
    if len(messages) == 1:
        found = getattr(messages[0], role)
        if found is UNSET:
            return None
        return found if isinstance(found, str) else join_list(found)
    people: dict[str, None] = {}
    for message in messages:
        found = getattr(message, role)
        if found is not UNSET:
            people.update(dict.fromkeys([found] if isinstance(found, str) else found))
    return join_list(people)


def _signatures(messages: Sequence[_Message]) -> str | None:
    found = [m.signature.text for m in messages if m.signature is not UNSET]
    return "\n\n".join(found) if found else None


def _thread_cells(rows: Rows, at: int) -> tuple[Value, ...]:
    thread = rows.threads[at]
    if thread is None:
        return (None,) * len(_THREAD)
    place = thread.thread_position
    return (
        None if place is UNSET else place,
        thread.num_messages,
        thread.num_participants,
        thread.duration,
        thread.response_time,
        thread.first_sender,
    )
