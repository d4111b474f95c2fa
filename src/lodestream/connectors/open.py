"""Open a mailbox as an integration's configuration says."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from lodestream.connectors.ews import EwsMailbox
from lodestream.connectors.graph import GraphMailbox
from lodestream.connectors.imap import ImapMailbox
from lodestream.connectors.mailboxes import MailboxRefused, OpenMailbox
from lodestream.domain.integrations import (
    ExchangeConfiguration,
    Graph,
    ImapConfiguration,
    Mailbox,
)


def open_mailbox(
    configuration: ExchangeConfiguration | ImapConfiguration,
    mailbox: Mailbox,
    *,
    allowed_hosts: Sequence[str] = (),
) -> OpenMailbox:
    """Return a mailbox, opened with the secrets in its configuration. Close it in the end.

    `allowed_hosts` bounds where connections may go; empty allows every host. Raises MailboxRefused
    if the configuration cannot be used, and Temporary.
    """
    if configuration.connection is UNSET:
        raise MailboxRefused("invalid_exchange_credentials", "no connection is configured")
    if isinstance(configuration, ImapConfiguration):
        return ImapMailbox(configuration.connection, mailbox, allowed_hosts=allowed_hosts)
    connection = configuration.connection
    if isinstance(connection.microsoft_api, Graph):
        return GraphMailbox(connection, mailbox, allowed_hosts=allowed_hosts)
    return EwsMailbox(connection, mailbox, allowed_hosts=allowed_hosts)
