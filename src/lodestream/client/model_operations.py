"""The operations on the models of a dataset, each as a call that is ready to be made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from lodestream.client.calls import Call, call, inside, nothing, part, whole
from lodestream.client.operations import dataset_path, private_dataset_path
from lodestream.client.shapes import CommentPrediction, Model, ModelTag, Predictions

_models: Final = inside("labellers", list[Model])
_model: Final = inside("labeller", Model)
_tags: Final = inside("model_tags", list[ModelTag])
_tag: Final = inside("model_tag", ModelTag)
_of_comments: Final = inside("predictions", list[CommentPrediction])
_predicted: Final = whole(Predictions)
_validation: Final = inside("validation", dict[str, Any])
_dataset_status: Final = inside("dataset_status", dict[str, Any])


def models(dataset: str) -> Call[list[Model]]:
    """The models of a dataset, newest first."""
    path = f"{private_dataset_path(dataset)}/labellers"
    return call("POST", path, {}, decode=_models, idempotent=True)


def pin_model(dataset: str, version: int) -> Call[None]:
    """A model to keep, so that streams and predictions may use it."""
    return call(
        "PUT", f"{private_dataset_path(dataset)}/labellers/{version}/pin", {}, decode=nothing
    )


def unpin_model(dataset: str, version: int) -> Call[None]:
    """A model that need not be kept."""
    return call(
        "DELETE", f"{private_dataset_path(dataset)}/labellers/{version}/pin", decode=nothing
    )


def model_tags(dataset: str) -> Call[list[ModelTag]]:
    """The versions that are live and staging."""
    return call("GET", f"{dataset_path(dataset)}/model-tags", decode=_tags)


def tag_model(dataset: str, version: int, tag: Literal["live", "staging"]) -> Call[ModelTag]:
    """A pinned version to be called live or staging."""
    body = {"model_tag": {"version": version}}
    return call("PUT", f"{private_dataset_path(dataset)}/model-tags/{tag}", body, decode=_tag)


def predict(
    dataset: str,
    version: int | str,
    documents: Sequence[object],
    threshold: float | Literal["auto"] | None,
) -> Call[Predictions]:
    """Predictions for texts that are not stored."""
    body: dict[str, object] = {"documents": documents}
    if threshold is not None:
        body["threshold"] = threshold
    # Predicting stores nothing.
    return call(
        "POST", _model_path(dataset, version, "predict"), body, decode=_predicted, idempotent=True
    )


def predict_comments(
    dataset: str,
    version: int | str,
    uids: Sequence[str],
    threshold: float | Literal["auto"] | None,
) -> Call[list[CommentPrediction]]:
    """Predictions for stored comments, in the order of the uids."""
    body: dict[str, object] = {"uids": uids}
    if threshold is not None:
        body["threshold"] = threshold
    path = _model_path(dataset, version, "predict-comments")
    return call("POST", path, body, decode=_of_comments, idempotent=True)


def update_model(dataset: str, version: int, **fields: object) -> Call[Model]:
    """A model to be starred or described."""
    path = f"{private_dataset_path(dataset)}/labellers/{version}"
    return call("PATCH", path, fields, decode=_model, idempotent=True)


def untag_model(dataset: str, tag: Literal["live", "staging"]) -> Call[None]:
    """A tag to be taken away from its version."""
    path = f"{private_dataset_path(dataset)}/model-tags/{part(tag)}"
    return call("DELETE", path, decode=nothing, gone_is_done=True)


def validation(dataset: str, version: int | str) -> Call[dict[str, Any]]:
    """How good a version is, in short."""
    return call("GET", _model_path(dataset, version, "validation"), decode=_validation)


def whole_validation(dataset: str, version: int | str) -> Call[dict[str, Any]]:
    """How good a version is, label by label."""
    path = f"{private_dataset_path(dataset)}/labellers/{part(str(version))}/validation"
    return call("GET", path, decode=_validation)


def dataset_status(dataset: str) -> Call[dict[str, Any]]:
    """How far training, validation and predictions are."""
    path = f"{private_dataset_path(dataset)}/labellers/status"
    return call("GET", path, decode=_dataset_status)


def _model_path(dataset: str, version: int | str, action: str) -> str:
    return f"{dataset_path(dataset)}/labellers/{part(str(version))}/{action}"
