"""Archives of the vendor's `re package download` into a project: everything that is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from lodestream.cli.import_comments import CommentSender, Target
from lodestream.cli.import_report import Report
from lodestream.client import Client, Refused
from lodestream.client.calls import full_name
from lodestream.client.calls import part as segment
from lodestream.formats.found import Bad
from lodestream.formats.read_package import Package

_EMAILS_AT_ONCE: Final = 64
_EMAIL_BYTES: Final = 8 << 20
_SOURCE: Final = (
    *("title", "description", "language", "should_translate", "_kind", "email_transform_tag"),
    "sensitive_properties",
)
_DATASET: Final = (
    *("title", "description", "model_family", "has_sentiment", "_label_properties", "_timezone"),
    *("_preferred_locales", "_dataset_flags"),
)
_GROUP: Final = ("name", "label_collection_name", "trainable", "hidden", "instructions")
_LABEL: Final = ("name", "title", "instructions", "external_id", "trainable")
_FORM: Final = ("name", "kind", "instructions", "rule_set")
_ENTITY: Final = (
    *("name", "title", "inherits_from", "trainable", "color", "_entity_def_flags"),
    "instructions",
)
_FIELD: Final = ("api_name", "field_type_name", "title")
# What a server makes itself, or what is sent in another form.
_NOT_MISSED: Final = frozenset(
    {
        *("id", "owner", "name", "created", "created_at", "updated_at", "last_modified"),
        *("bucket_id", "source_ids", "entity_defs", "general_fields", "label_defs"),
        *("label_groups", "_model_config", "field_id", "field_type_id", "rules", "moon_form"),
        *("pretrained", "parent_id", "email_transform_version", "limited_access", "bucket_type"),
        "last_updated_by",
    }
)


def import_package(client: Client, path: Path, project: str, report: Report) -> None:
    """Create what an archive holds in a project, and fill it.

    What is there by its name is used as it is, so that an import that broke off can be repeated.
    """
    package = Package(path)
    try:
        _Import(client, package, project, report).run()
    finally:
        package.close()


class _Import:
    """One archive on its way into a project."""

    def __init__(self, client: Client, package: Package, project: str, report: Report) -> None:
        self._client = client
        self._package = package
        self._project = project
        self._report = report
        self._sources = package.definitions("sources")
        self._buckets = package.definitions("buckets")
        self._datasets = package.definitions("datasets")
        report.progress.total = package.size_bytes("comments") + package.size_bytes("emails")

    def run(self) -> None:
        """Create and fill everything: what others refer to comes first."""
        if documents := self._package.documents():
            self._report.note(f"{documents} files of documents are left out")
        for name in self._package.unknown:
            self._report.note(f"{name} is left out: nothing is known of it")
        self._ensure_project()
        for old_id, bucket in self._buckets.items():
            self._fill_bucket(old_id, bucket)
        new_ids = {old: self._ensure_source(source) for old, source in self._sources.items()}
        datasets = [self._ensure_dataset(one, new_ids) for one in self._datasets.values()]
        for old_id, source in self._sources.items():
            self._fill_source(old_id, source, new_ids[old_id], datasets)

    def _ensure_project(self) -> None:
        path = f"/api/_private/projects/{segment(self._project)}"
        me = self._client.current_user().id
        self._ensure("project", self._project, path, "project", {"project": {}, "user_ids": [me]})

    def _ensure(self, kind: str, name: str, path: str, inside: str, body: Any) -> dict[str, Any]:
        """Return a thing by its name; create it if it is not there."""
        try:
            found: dict[str, Any] = self._client.call("GET", path)[inside]
        except Refused as error:
            # A project that is not there yet is also one that nobody may see.
            if error.status not in (403, 404):
                raise
        else:
            self._report.note(f"the {kind} {name} is there, and stays as it is")
            return found
        self._report.counts[f"{kind}s created"] += 1
        if self._report.is_dry:
            return {}
        made: dict[str, Any] = self._client.call("PUT", path, body)[inside]
        return made

    def _named(self, thing: dict[str, Any]) -> str:
        return f"{self._project}/{thing['name']}"

    def _ensure_source(self, source: dict[str, Any]) -> str:
        name = self._named(source)
        body = self._only(source, _SOURCE, "source")
        if body.get("_kind") == "unknown":
            del body["_kind"]
        if source.get("bucket_id"):
            self._report.note(
                f"the source {name} is not attached to its bucket, so that its comments stay as "
                "they were; attach it when new e-mails are to become comments"
            )
        path = f"/api/v1/sources/{full_name(name)}"
        return str(self._ensure("source", name, path, "source", {"source": body}).get("id") or "")

    # Buckets

    def _fill_bucket(self, old_id: str, bucket: dict[str, Any]) -> None:
        name = self._named(bucket)
        path = f"/api/_private/buckets/{full_name(name)}"
        self._ensure(
            "bucket", name, path, "bucket", {"bucket": self._only(bucket, ("title",), "bucket")}
        )
        for batch in self._emails(old_id):
            if not self._report.is_dry:
                self._client.call("PUT", f"{path}/emails", {"emails": batch})
            self._report.counts["e-mails stored"] += len(batch)

    def _emails(self, old_id: str) -> Iterator[list[dict[str, Any]]]:
        batch: list[dict[str, Any]] = []
        size = 0
        for found in self._package.emails(old_id):
            self._report.read += 1
            if isinstance(found, Bad):
                self._report.refuse(found)
                continue
            _, email, length = found
            self._report.progress.advance(0, step=length)
            if batch and (len(batch) == _EMAILS_AT_ONCE or size + length > _EMAIL_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(email)
            size += length
        if batch:
            yield batch

    # Datasets

    def _ensure_dataset(
        self, dataset: dict[str, Any], new_ids: dict[str, str]
    ) -> tuple[str, frozenset[str]]:
        """Return a dataset's name, and the ids of its sources where they come from."""
        name = self._named(dataset)
        old_ids = [one for one in dataset.get("source_ids") or () if one in new_ids]
        missing = len(dataset.get("source_ids") or ()) - len(old_ids)
        if missing:
            self._report.note(f"{missing} sources of the dataset {name} are not in the archive")
        body = {
            **self._only(dataset, _DATASET, "dataset"),
            "source_ids": [new_ids[one] for one in old_ids if new_ids[one]],
            "entity_defs": [self._entity_def(one) for one in dataset.get("entity_defs") or ()],
            "general_fields": [
                self._only(one, _FIELD, "general_fields")
                for one in dataset.get("general_fields") or ()
            ],
            "label_groups": self._label_groups(dataset),
        }
        config = dataset.get("_model_config")
        if config and config.get("kind") != "cm":
            self._report.note(f"the dataset {name} is one of documents; its model is left out")
        path = f"/api/v1/datasets/{full_name(name)}"
        self._ensure("dataset", name, path, "dataset", {"dataset": body})
        return name, frozenset(old_ids)

    # Comments

    def _fill_source(
        self,
        old_id: str,
        source: dict[str, Any],
        new_id: str,
        datasets: Sequence[tuple[str, frozenset[str]]],
    ) -> None:
        name = self._named(source)
        if self._report.is_dry and not new_id:
            for found in self._package.comments(old_id):
                self._report.read += 1
                self._report.progress.advance(1, step=found.size_bytes)
                if isinstance(found, Bad):
                    self._report.refuse(found)
                else:
                    self._report.counts["new"] += 1
                    self._report.counts["annotated"] += bool(found.annotations)
            return
        # Annotations in an archive are those of its one dataset.
        dataset = next((one for one, old_ids in datasets if old_id in old_ids), None)
        target = Target(name, new_id, dataset)
        CommentSender(self._client, target, self._report).send(self._package.comments(old_id))

    # Definitions

    def _only(self, value: dict[str, Any], names: Sequence[str], kind: str) -> dict[str, Any]:
        """Return what is sent of a definition; what else it has is noted as left out."""
        missed = (n for n, one in value.items() if one and n not in names and n not in _NOT_MISSED)
        self._report.leave_out(tuple(f"{kind}.{name}" for name in missed))
        return {name: value[name] for name in names if value.get(name) is not None}

    def _entity_def(self, one: dict[str, Any]) -> dict[str, Any]:
        body = self._only(one, _ENTITY, "entity_defs")
        body.setdefault("inherits_from", [])
        if rules := one.get("rules"):
            names = ("suppressors", "choices", "regex")
            body["rules"] = self._only(rules, names, "entity_defs.rules")
        return body

    def _label_groups(self, dataset: dict[str, Any]) -> list[dict[str, Any]]:
        groups = dataset.get("label_groups") or [
            {"name": "default", "label_defs": dataset.get("label_defs") or []}
        ]
        return [
            {
                **self._only(group, _GROUP, "label_groups"),
                "label_defs": [self._label_def(one) for one in group.get("label_defs") or ()],
            }
            for group in groups
        ]

    def _label_def(self, one: dict[str, Any]) -> dict[str, Any]:
        body = self._only(one, _LABEL, "label_defs")
        if pretrained := one.get("pretrained"):
            body["pretrained"] = {n: pretrained[n] for n in ("id", "name") if n in pretrained}
        if form := one.get("moon_form"):
            body["moon_form"] = [self._only(field, _FORM, "moon_form") for field in form]
        return body
