"""The client library over the application, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lodestream.client import Client
from tests.client import Client as AppClient
from tests.client_library.carriers import AppTransport
from tests.conftest import ROOT_TOKEN


@pytest.fixture
def library(client: AppClient) -> Iterator[Client]:
    """A client of a server with the projects `acme` and `other`."""
    with Client("http://test", ROOT_TOKEN, transport=AppTransport(client)) as ours:
        yield ours
