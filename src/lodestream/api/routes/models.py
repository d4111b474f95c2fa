"""The rows of model versions, of what they predict and of how good they are."""

from __future__ import annotations

from lodestream.api import models, predict, validation
from lodestream.api.routing import Query, Route, needs_project, needs_project_any
from lodestream.domain import access as a

_V1 = "/api/v1/datasets/{owner}/{dataset_name}"
_PRIVATE = "/api/_private/datasets/{owner}/{dataset_name}"
_VERSION = "/labellers/{model_version}"
_TAG = "/model-tags/{tag_name}"
_MANAGES = needs_project_any(a.DATASETS_MODEL_ADMIN, a.VOC)
_SEES = needs_project(a.VOC_READONLY)
_PREDICTS = needs_project(a.VOC_READONLY, a.SOURCES_READ)
_BETA = (Query("beta", "boolean"),)

_VERSIONS = (
    Route(
        "POST",
        _PRIVATE + "/labellers",
        "getAllModelsInDataset",
        "models",
        models.list_models,
        _SEES,
        body=models.ModelsRequest,
        reply=models.ModelsReply,
        body_optional=True,
        writes=False,
    ),
    Route(
        "GET",
        _PRIVATE + "/labellers/status",
        "getDatasetStatus",
        "models",
        models.dataset_status,
        _SEES,
        reply=models.DatasetStatusReply,
    ),
    Route(
        "PATCH",
        _PRIVATE + _VERSION,
        "updateModel",
        "models",
        models.update_model,
        _MANAGES,
        body=models.ModelChange,
        reply=models.ModelReply,
    ),
    Route("PUT", _PRIVATE + _VERSION + "/pin", "pinModel", "models", models.pin_model, _MANAGES),
    Route(
        "DELETE",
        _PRIVATE + _VERSION + "/pin",
        "unpinModel",
        "models",
        models.unpin_model,
        _MANAGES,
    ),
    Route(
        "GET",
        _V1 + "/model-tags",
        "getModelTags",
        "models",
        models.list_tags,
        _SEES,
        reply=models.ModelTagsReply,
    ),
    Route(
        "PUT",
        _PRIVATE + _TAG,
        "updateModelTag",
        "models",
        models.set_tag,
        _MANAGES,
        body=models.ModelTagRequest,
        reply=models.ModelTagReply,
    ),
    Route("DELETE", _PRIVATE + _TAG, "deleteModelTag", "models", models.delete_tag, _MANAGES),
)

_PREDICTIONS = (
    Route(
        "POST",
        _V1 + _VERSION + "/predict",
        "predict",
        "models",
        predict.predict,
        _PREDICTS,
        body=predict.PredictRequest,
        reply=predict.PredictReply,
        writes=False,
    ),
    Route(
        "POST",
        _V1 + _VERSION + "/predict-raw-emails",
        "predictRawEmails",
        "models",
        predict.predict_emails,
        _PREDICTS,
        body=predict.PredictEmailsRequest,
        reply=predict.PredictReply,
        writes=False,
    ),
    Route(
        "POST",
        _V1 + _VERSION + "/predict-comments",
        "getCommentPredictions",
        "models",
        predict.predict_comments,
        _PREDICTS,
        body=predict.PredictCommentsRequest,
        reply=predict.PredictCommentsReply,
        writes=False,
    ),
    Route(
        "POST",
        _PRIVATE + "/labellers/predict",
        "predictLatest",
        "models",
        predict.predict_latest,
        _PREDICTS,
        body=predict.PredictRequest,
        reply=predict.PredictReply,
        writes=False,
    ),
)

_VALIDATIONS = (
    Route(
        "GET",
        _PRIVATE + _VERSION + "/validation",
        "getValidation",
        "models",
        validation.get_validation,
        _SEES,
        reply=validation.ValidationReply,
        query=_BETA,
    ),
    Route(
        "POST",
        _PRIVATE + _VERSION + "/label-validation",
        "getLabelValidation",
        "models",
        validation.get_label_validation,
        _SEES,
        body=validation.LabelValidationRequest,
        reply=validation.LabelValidationReply,
        query=_BETA,
        writes=False,
    ),
    Route(
        "GET",
        _V1 + _VERSION + "/validation",
        "getValidationV1",
        "models",
        validation.get_statistics,
        _SEES,
        reply=validation.StatisticsOfModelReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/{model_version}/training-actions/labels",
        "getTrainingActionsLabels",
        "models",
        validation.list_training_actions,
        _SEES,
        reply=validation.TrainingActionsReply,
        query=_BETA,
    ),
    Route(
        "GET",
        _PRIVATE + "/{training_action_id}/training-action-comment-uids",
        "getTrainingActionOrderedCommentUids",
        "models",
        validation.list_action_comments,
        _SEES,
        reply=validation.ActionCommentsReply,
    ),
    Route(
        "PUT",
        _PRIVATE + "/{training_action_id}/{comment_uid}/seen-training-comment",
        "putTrainingCommentSeen",
        "models",
        validation.mark_seen,
        needs_project(a.DATASETS_REVIEW),
        body=validation.SeenRequest,
        reply=validation.SeenReply,
    ),
)

MODELS = (*_VERSIONS, *_PREDICTIONS, *_VALIDATIONS)
