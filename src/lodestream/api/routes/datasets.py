"""The rows of datasets and their taxonomy."""

from __future__ import annotations

from lodestream.api import datasets, exports, labellings, labels, statistics, summaries
from lodestream.api.routing import (
    Query,
    Route,
    lists_where,
    needs_object,
    needs_project,
    needs_project_any,
)
from lodestream.domain import access as a
from lodestream.domain.labelling import LabellingUpdate

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
    Route(
        "POST",
        _V1 + _DATASET + "/export",
        "exportDataset",
        "datasets",
        exports.export_dataset,
        needs_project(a.DATASETS_EXPORT),
        body=exports.ExportRequest,
        reply=exports.ExportReply,
        body_optional=True,
        # Reads, but for one audit entry: it must not stand in the way of writers.
        writes=False,
    ),
    Route(
        "POST",
        _PRIVATE + _DATASET + "/statistics",
        "getDatasetStatistics",
        "datasets",
        statistics.dataset_statistics,
        needs_project(a.VOC_READONLY),
        body=statistics.StatisticsRequest,
        reply=statistics.StatisticsReply,
        body_optional=True,
        writes=False,
    ),
    Route(
        "POST",
        _PRIVATE + _DATASET + "/summary",
        "getDatasetSummary",
        "datasets",
        summaries.dataset_summary,
        needs_project(a.VOC_READONLY),
        body=summaries.SummaryRequest,
        reply=summaries.SummaryReply,
        body_optional=True,
        writes=False,
    ),
    Route(
        "GET",
        _PRIVATE + _DATASET + "/user-properties",
        "getDatasetUserPropertiesSummary",
        "datasets",
        summaries.user_properties,
        needs_project(a.VOC_READONLY),
        reply=summaries.PropertiesReply,
    ),
    Route(
        "POST",
        _PRIVATE + _DATASET + "/user-properties/values",
        "queryDatasetUserPropertyValues",
        "datasets",
        summaries.user_property_values,
        needs_project(a.VOC_READONLY),
        body=summaries.ValuesRequest,
        reply=summaries.PropertyReply,
        query=(Query("full_name", required=True),),
        body_optional=True,
        writes=False,
    ),
)

SOURCE_STATISTICS = (
    Route(
        "POST",
        _V1 + "/sources/{owner}/{source_name}/statistics",
        "getSourceStatistics",
        "sources",
        statistics.source_statistics,
        needs_project(a.SOURCES_READ),
        body=statistics.SourceStatisticsRequest,
        reply=statistics.SourceStatisticsReply,
        body_optional=True,
        writes=False,
    ),
    Route(
        "GET",
        _V1 + "/sources/{owner}/{source_name}/threads",
        "getThreadsBySource",
        "sources",
        statistics.source_threads,
        needs_project(a.SOURCES_READ),
        reply=statistics.ThreadsReply,
    ),
)

LABELLINGS = (
    Route(
        "GET",
        _PRIVATE + _DATASET + "/labellings",
        "getLabellings",
        "datasets",
        labellings.get_labellings,
        needs_project(a.VOC_READONLY, a.SOURCES_READ),
        reply=labellings.LabellingsReply,
        query=(
            Query("id", repeated=True),
            Query("ids"),
            Query("allow_missing", "boolean"),
            Query("source_id"),
            Query("after"),
            Query("limit", "integer", minimum=1, maximum=labellings.LARGEST_PAGE),
            Query("return_predictions", "boolean"),
            Query("compute_moon_predictions", "boolean"),
        ),
    ),
    Route(
        "POST",
        _PRIVATE + _DATASET + "/labellings/{labelling_id}",
        "updateCommentLabelling",
        "datasets",
        labellings.update_labelling,
        # The answer holds the comment.
        needs_project(a.DATASETS_REVIEW, a.SOURCES_READ),
        body=LabellingUpdate,
        reply=labellings.LabellingReply,
    ),
    Route(
        "POST",
        _V1 + _DATASET + "/sync-annotations",
        "syncAnnotations",
        "datasets",
        labellings.sync_annotations,
        needs_project(a.DATASETS_REVIEW),
        body=labellings.SyncRequest,
    ),
    Route(
        "POST",
        _PRIVATE + _DATASET + "/reset-annotations",
        "resetAnnotationsToPreviousPinnedModel",
        "datasets",
        labellings.reset_annotations,
        # It takes away labels and what others said.
        needs_project_any(a.VOC, a.DATASETS_ADMIN),
        body=labellings.ResetAnnotationsRequest,
    ),
)

_LABELS = _PRIVATE + _DATASET + "/labels/{label_group_name}"
_GROUPS = _PRIVATE + _DATASET + "/label-groups"
_LABEL_NAME = (Query("label_name", required=True),)

LABEL_DEFS = (
    Route(
        "PUT",
        _LABELS,
        "createLabelDefsBulk",
        "label_defs",
        labels.upsert_labels,
        needs_project(a.VOC),
        body=labels.LabelsRequest,
    ),
    Route(
        "GET",
        _LABELS,
        "getLabelDef",
        "label_defs",
        labels.get_label,
        needs_project(a.VOC_READONLY),
        reply=labels.LabelReply,
        query=_LABEL_NAME,
    ),
    Route(
        "POST",
        _LABELS,
        "updateLabelDef",
        "label_defs",
        labels.update_label,
        needs_project(a.DATASETS_REVIEW),
        body=labels.LabelRequest,
        reply=labels.LabelChangedReply,
        query=_LABEL_NAME,
    ),
    Route(
        "DELETE",
        _LABELS,
        "deleteLabelDef",
        "label_defs",
        labels.delete_label,
        needs_project(a.DATASETS_REVIEW),
        reply=labels.LabelDeletedReply,
        query=_LABEL_NAME,
    ),
)

LABEL_GROUPS = (
    Route(
        "GET",
        _GROUPS,
        "getAllLabelGroups",
        "label_groups",
        labels.list_groups,
        needs_project(a.VOC_READONLY),
        reply=labels.LabelGroupsReply,
    ),
    Route(
        "GET",
        _GROUPS + "/{label_group_name}",
        "getLabelGroup",
        "label_groups",
        labels.get_group,
        needs_project(a.VOC_READONLY),
        reply=labels.LabelGroupReply,
    ),
    Route(
        "POST",
        _GROUPS + "/{label_group_name}",
        "createLabelGroup",
        "label_groups",
        labels.create_group,
        needs_project(a.VOC),
        body=labels.LabelGroupRequest,
        reply=labels.LabelGroupReply,
        body_optional=True,
    ),
    Route(
        "DELETE",
        _GROUPS + "/{label_group_name}",
        "deleteLabelGroup",
        "label_groups",
        labels.delete_group,
        needs_project(a.VOC),
    ),
)
