"""The rows of datasets and their taxonomy."""

from __future__ import annotations

from lodestream.api import datasets
from lodestream.api.routing import (
    Route,
    lists_where,
    needs_object,
    needs_project,
    needs_project_any,
)
from lodestream.domain import access as a

_V1 = "/api/v1"
_PRIVATE = "/api/_private"
_DATASET = "/datasets/{owner}/{dataset_name}"
_BY_ID = "/datasets/id:{dataset_id}"

DATASETS = (
    Route(
        "PUT",
        _V1 + _DATASET,
        "createDataset",
        "datasets",
        datasets.create_dataset,
        needs_project_any(a.VOC, a.DATASETS_ADMIN),
        body=datasets.DatasetRequest,
        reply=datasets.DatasetCreatedReply,
    ),
    Route(
        "POST",
        _V1 + _DATASET,
        "updateDataset",
        "datasets",
        datasets.update_dataset,
        needs_project_any(a.VOC, a.DATASETS_ADMIN),
        body=datasets.DatasetUpdateRequest,
        reply=datasets.DatasetReply,
    ),
    Route(
        "GET",
        _V1 + _DATASET,
        "getDataset",
        "datasets",
        datasets.get_dataset,
        needs_project(a.VOC_READONLY),
        reply=datasets.DatasetReply,
    ),
    Route(
        "GET",
        _V1 + _BY_ID,
        "getDatasetById",
        "datasets",
        datasets.get_dataset_by_id,
        needs_object(a.VOC_READONLY),
        reply=datasets.DatasetReply,
    ),
    Route(
        "DELETE",
        _V1 + _DATASET,
        "deleteDatasetV1",
        "datasets",
        datasets.delete_dataset,
        needs_project(a.DATASETS_ADMIN),
    ),
    Route(
        "DELETE",
        _V1 + _BY_ID,
        "DeleteDatasetById",
        "datasets",
        datasets.delete_dataset_by_id,
        needs_object(a.DATASETS_ADMIN),
    ),
    Route(
        "GET",
        _V1 + "/datasets",
        "getAllDatasets",
        "datasets",
        datasets.list_datasets,
        lists_where(a.VOC_READONLY),
        reply=datasets.DatasetsReply,
    ),
    Route(
        "GET",
        _V1 + "/datasets/{owner}",
        "getAllDatasetsInProject",
        "datasets",
        datasets.list_project_datasets,
        needs_project(a.VOC_READONLY),
        reply=datasets.DatasetsReply,
    ),
)
