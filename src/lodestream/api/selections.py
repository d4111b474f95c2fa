"""Which comments a caller may have counted, summed up or exported."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from msgspec import Raw, UnsetType

from lodestream.api.calls import Call
from lodestream.api.comments import may_see_sensitive
from lodestream.api.datasets import may_read
from lodestream.domain import access
from lodestream.domain.attributes import (
    AttributeFilter,
    Requirements,
    StringAnyOf,
    read_attributes,
)
from lodestream.domain.comments import Attachment
from lodestream.domain.errors import PermissionMissing
from lodestream.domain.filters import CommentFilter, parse_filter
from lodestream.domain.sources import Source, hidden_properties
from lodestream.store import models, sources, streams
from lodestream.store.attribute_filters import fields_condition, labels_condition
from lodestream.store.db import Reader
from lodestream.store.query import content_stamp, label_names
from lodestream.store.statistics import Selection, select, with_attachments

_T = TypeVar("_T")


def readable_sources(call: Call[Any], tx: Reader, dataset_id: str) -> list[Source]:
    """Return the sources of a dataset that the caller may read, in the order they were set.

    The others are not there for him, which `limited_access` of the dataset tells.
    """
    return [
        source
        for source in sources.list_in_dataset(tx, dataset_id)
        if may_read(call.actor, source.project_id)
    ]


def select_in_dataset(
    call: Call[Any],
    tx: Reader,
    dataset_id: str,
    comment_filter: Raw | UnsetType,
    attribute_filters: Sequence[AttributeFilter],
    *,
    where: str,
    label_filter: Sequence[str] = (),
) -> Selection:
    """Return the comments of a dataset that the caller may read and that pass the filters.

    `label_filter` is the old form of a filter by labels.

    Raises InvalidInput for what is no filter, PermissionMissing if one asks for a user property
    that is hidden from the caller.
    """
    selection, holds = select_with_test(
        call,
        tx,
        dataset_id,
        comment_filter,
        attribute_filters,
        where=where,
        label_filter=label_filter,
    )
    return selection if holds is None else with_attachments(tx, selection, holds)


AttachmentTest = Callable[[Sequence[Attachment]], bool]


def select_with_test(
    call: Call[Any],
    tx: Reader,
    dataset_id: str,
    comment_filter: Raw | UnsetType,
    attribute_filters: Sequence[AttributeFilter],
    *,
    where: str,
    label_filter: Sequence[str] = (),
) -> tuple[Selection, AttachmentTest | None]:
    """Do as `select_in_dataset`, but leave the test of attachments, if there is one, to the caller.

    It needs the text of every comment, which a caller may read anyway.
    """
    parsed = CommentFilter() if not comment_filter else parse_filter(comment_filter, where=where)
    required = read_attributes(attribute_filters)
    stream_ids = {}
    if parsed.trigger_exceptions:
        stream_ids = {one.name: one.id for one in streams.list_streams(tx, [dataset_id])}
    selection = select_comments(
        call,
        tx,
        readable_sources(call, tx, dataset_id),
        parsed,
        dataset_id=dataset_id,
        stream_ids=stream_ids,
        never=required.never,
    )
    return with_labels(tx, dataset_id, selection, required, label_filter), required.attachments


def with_labels(
    tx: Reader,
    dataset_id: str,
    selection: Selection,
    required: Requirements,
    label_filter: Sequence[str],
) -> Selection:
    """Return those of the comments whose labels and fields are as required."""
    tests = list(required.labels)
    if label_filter:
        tests.append(StringAnyOf(list(label_filter)))
    conditions = [fields_condition(dataset_id, one) for one in required.fields]
    if tests:
        model = models.find_newest(tx, dataset_id)
        least = {} if model is None else models.thresholds(tx, model.key)
        keys = {name: key for key, name in label_names(tx, dataset_id).items()}
        conditions += [
            labels_condition(
                one,
                dialect_name=tx.dialect_name,
                dataset_id=dataset_id,
                keys=keys,
                model=model,
                thresholds=least,
            )
            for one in tests
        ]
    return selection.narrowed(*conditions)


def select_comments(
    call: Call[Any],
    tx: Reader,
    found: Sequence[Source],
    comment_filter: CommentFilter,
    *,
    dataset_id: str | None = None,
    stream_ids: dict[str, str] | None = None,
    never: bool = False,
) -> Selection:
    """Return the comments of sources that pass a filter.

    Raises PermissionMissing if it asks for a user property that is hidden from the caller: what it
    lets through would tell the values.
    """
    hidden = {
        source.key: hidden_properties(source.sensitive_properties)
        for source in found
        if source.sensitive_properties and not may_see_sensitive(call, source.project_id)
    }
    if any(not names.isdisjoint(comment_filter.user_properties) for names in hidden.values()):
        raise PermissionMissing(access.SOURCES_READ_SENSITIVE)
    return select(
        tx,
        found,
        comment_filter,
        stream_ids=stream_ids or {},
        hidden=hidden,
        dataset_id=dataset_id,
        never=never,
    )


def remembered(
    call: Call[Any],
    tx: Reader,
    dataset_id: str,
    selection: Selection,
    answer: Callable[[], _T],
) -> _T:
    """Return the answer to a request about these comments; what was answered before is remembered.

    Only the same request of callers who see the same gets it, while nothing has changed.
    """
    key = (call.route.operation, call.request.body, *seen_by(dataset_id, selection))
    stamp = content_stamp(tx, dataset_id, selection.keys)
    found: _T | None = call.service.counts.find(key, stamp)
    if found is None:
        found = answer()
        call.service.counts.keep(key, stamp, found)
    return found


def seen_by(dataset_id: str, selection: Selection) -> tuple[Hashable, ...]:
    """Return what is the same for callers who see the same of a dataset."""
    hidden = sorted((key, tuple(sorted(names))) for key, names in selection.hidden.items())
    return dataset_id, tuple(selection.keys), tuple(hidden)
