"""A dataset as a file: CSV, JSON Lines, Parquet or Excel, over HTTP, sent while it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions import datasets as actions
from lodestream.api.calls import Call
from lodestream.api.datasets import named_dataset
from lodestream.api.download_columns import Layout, Mode, TableMaker
from lodestream.api.download_lines import LineMaker
from lodestream.api.download_rows import Pages, Rows, Wanted
from lodestream.api.http import Reply
from lodestream.api.predicted import LEAST_SHOWN
from lodestream.api.selections import select_with_test
from lodestream.domain.attributes import AttributeFilters
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import InvalidInput, NotFound, Unprocessable
from lodestream.domain.labels import parents_of, with_parents
from lodestream.domain.models import Model
from lodestream.domain.predictions import least_probabilities
from lodestream.formats.write_csv import csv_parts
from lodestream.formats.write_excel import MOST_COLUMNS, excel_parts
from lodestream.formats.write_parquet import ParquetMissing, parquet_parts, require_pyarrow
from lodestream.formats.written import Part
from lodestream.store import models, statistics
from lodestream.store.db import Reader
from lodestream.store.order import last_position
from lodestream.store.query import label_names
from lodestream.store.statistics import Selection

Format = Literal["csv", "jsonl", "parquet", "xlsx"]

CONTENT_TYPES: Final[dict[Format, bytes]] = {
    "csv": b"text/csv; charset=utf-8",
    "jsonl": b"application/x-ndjson",
    "parquet": b"application/vnd.apache.parquet",
    "xlsx": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
COUNT_HEADER: Final = b"lodestream-comments"
"""How many comments there were when the download began."""

LATEST: Final = "latest"


class DownloadRequest(Struct, forbid_unknown_fields=True):
    """Which comments, in which format, and what of each."""

    format: Format = "csv"
    comment_filter: Raw | UnsetType = UNSET
    attribute_filters: AttributeFilters = []
    model_version: (
        Annotated[int, Meta(ge=1, le=2**63 - 1)] | Literal["latest", "live", "staging"] | None
    ) = LATEST
    missing_predictions: Literal["compute", "empty"] = "compute"
    labels: Mode = "probability"
    parents: bool = True
    threshold: Annotated[float, Meta(ge=0, le=1)] | Literal["auto"] | UnsetType = UNSET
    annotations: bool = True
    fields: bool = True
    properties: bool = True
    threads: bool = True
    column_names: Literal["plain", "full"] = "plain"
    delimiter: Literal[",", ";", "\t"] = ","
    bom: bool = False
    escape_formulas: bool = False


def download_dataset(call: Call[DownloadRequest]) -> Reply:
    """Return the comments of a dataset that pass a filter as a file."""
    body = call.body
    dataset = named_dataset(call)
    if body.format == "parquet":
        _require_parquet()
    with call.service.db.read() as tx:
        selection, holds = select_with_test(
            call,
            tx,
            dataset.id,
            body.comment_filter,
            body.attribute_filters,
            where="comment_filter",
        )
        model = _model(tx, dataset.id, body.model_version)
        pages = Pages(
            call,
            dataset.id,
            selection,
            holds=holds,
            upto=last_position(tx),
            wanted=Wanted(
                annotations=body.annotations,
                threads=body.threads,
                model=model,
                computed=body.missing_predictions == "compute",
            ),
        )
        count = sum(statistics.count_by_source(tx, selection).values())
        parts = _parts(tx, body, dataset, model, selection, pages)
    actions.record_export(call.service.db, actor=call.actor, dataset=dataset)
    name = f'attachment; filename="{dataset.name}.{body.format}"'
    return Reply(
        b"",
        content_type=CONTENT_TYPES[body.format],
        headers=[(b"content-disposition", name.encode()), (COUNT_HEADER, b"%d" % count)],
        parts=parts,
    )


def _parts(
    tx: Reader,
    body: DownloadRequest,
    dataset: Dataset,
    model: Model | None,
    selection: Selection,
    pages: Pages,
) -> Iterator[bytes]:
    names = _labels(tx, dataset.id, body, model)
    least = _least(tx, body, model, names)
    if body.format == "jsonl":
        return LineMaker(dataset, model, least).parts(pages)
    layout = Layout(
        threads=body.threads,
        annotations=body.annotations,
        fields=body.annotations and body.fields,
        full_names=body.column_names == "full",
        properties=statistics.list_properties(tx, selection) if body.properties else [],
        labels=names,
        mode=body.labels,
        least=least,
    )
    table = TableMaker(dataset, model, layout, digits=body.format != "parquet")
    if body.format == "csv":
        return csv_parts(
            table.columns,
            _table_parts(table, pages),
            delimiter=body.delimiter,
            bom=body.bom,
            escape_formulas=body.escape_formulas,
        )
    if body.format == "parquet":
        return parquet_parts(table.columns, _table_parts(table, pages))
    if len(table.columns) > MOST_COLUMNS:
        raise Unprocessable(
            f"a sheet of Excel has at most {MOST_COLUMNS} columns, this would have "
            f"{len(table.columns)}: leave out `properties`, or use another format"
        )
    return excel_parts(table.columns, _table_parts(table, pages), title=dataset.name)


def _table_parts(table: TableMaker, pages: Iterable[Rows]) -> Iterator[Part]:
    return map(table.part, pages)


def _require_parquet() -> None:
    try:
        require_pyarrow()
    except ParquetMissing as error:
        raise Unprocessable(str(error)) from None


def _model(tx: Reader, dataset_id: str, wanted: int | str | None) -> Model | None:
    """Return the version to predict with; without any yet, the latest is none."""
    if wanted is None:
        return None
    if wanted == LATEST:
        return models.find_newest(tx, dataset_id)
    if isinstance(wanted, str):
        tag = models.find_tag(tx, dataset_id, wanted)
        if tag is None:
            raise NotFound(f"The tag {wanted!r} is not set")
        wanted = tag.version
    model = models.get(tx, dataset_id, wanted)
    if model.deleted:
        raise NotFound(f"Model version {model.version} is gone")
    return model


def _labels(tx: Reader, dataset_id: str, body: DownloadRequest, model: Model | None) -> list[str]:
    """Return the labels to show: those of a version that was named, or those there are now."""
    if model is None:
        return []
    named = body.model_version != LATEST
    names = with_parents(model.labels if named else label_names(tx, dataset_id).values())
    if body.parents:
        return names
    above = {parent for name in names for parent in parents_of(name)}
    return [name for name in names if name not in above]


def _least(
    tx: Reader, body: DownloadRequest, model: Model | None, names: list[str]
) -> Mapping[str, float]:
    """Return the least probability at which each label is listed or counts."""
    if model is None:
        return {}
    threshold = None if body.threshold is UNSET else body.threshold
    if body.format == "jsonl" and threshold is None:
        threshold = LEAST_SHOWN
    automatic = models.thresholds(tx, model.key) if threshold == "auto" else {}
    if threshold == "auto" and not automatic:
        raise InvalidInput(f"threshold: model version {model.version} is not validated yet")
    return least_probabilities(names, threshold, [], automatic)
