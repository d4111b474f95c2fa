"""A download as JSON Lines: a comment a line, as the vendor's own client writes them.

The comment is the text that is stored, and the predictions are joined to it as they are rendered:
neither is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import UNSET

from lodestream.api.annotated import StateForms, labelling_wire
from lodestream.api.comments import with_annotation_mark
from lodestream.api.download_rows import Rows
from lodestream.domain.annotations import NOTHING, State
from lodestream.domain.datasets import Dataset
from lodestream.domain.models import Model

_encode = msgspec.json.Encoder().encode
_NOTHING_SAID: Final = _encode(labelling_wire(NOTHING))
_NO_FIELDS: Final = b'{"assigned":[],"dismissed":[],"predicted":[]}'


class LineMaker:
    """Writes lines; `least` is the least probability at which each label is listed."""

    def __init__(self, dataset: Dataset, model: Model | None, least: Mapping[str, float]) -> None:
        self._forms = StateForms(dataset)
        self._version = b""
        self._renderer = None
        if model is not None:
            from lodestream.ml.scores import Renderer  # see `actions.predict`

            self._version = b',"model_version":%d' % model.version
            self._renderer = Renderer(
                model.labels, least, has_sentiment=model.has_sentiment, joined_names=True
            )

    def parts(self, pages: Iterable[Rows]) -> Iterator[bytes]:
        """Return the lines of each page."""
        for rows in pages:
            yield b"".join(self._lines(rows))

    def _lines(self, rows: Rows) -> Iterator[bytes]:
        for at, (comment, predicted) in enumerate(
            zip(rows.comments, self._predicted(rows), strict=True)
        ):
            labelling, fields = self._said(rows.states[at])
            version = b""
            if predicted is not None:
                labelling = b'%s,"predicted":%s}' % (labelling[:-1], predicted)
                version = self._version
            thread = rows.threads[at]
            properties = b"" if thread is None else b',"thread_properties":' + _encode(thread)
            yield b'{"comment":%s,"labelling":[%s],"entities":%s%s%s}\n' % (
                with_annotation_mark(comment, rows.annotated[at]),
                labelling,
                fields,
                properties,
                version,
            )

    def _said(self, state: State) -> tuple[bytes, bytes]:
        """Return the labels, and the fields with what else there is of the annotations."""
        if state is NOTHING:
            return _NOTHING_SAID, _NO_FIELDS
        fields = _encode(self._forms.entities(state))
        forms = self._forms.moon_forms(state)
        if forms is not UNSET:
            fields += b',"moon_forms":' + _encode(forms)
        return _encode(labelling_wire(state)), fields

    def _predicted(self, rows: Rows) -> list[bytes | None]:
        if self._renderer is None:
            return [None] * len(rows.comments)
        packed = [one for one in rows.scores if one is not None]
        rendered = iter(self._renderer.render(packed))
        return [None if one is None else next(rendered) for one in rows.scores]
