"""Integrations: a connection to a mail system, and the mailboxes read through it.

(Contract: e-mails, 7.) The structs here are those of the wire and of the store; only the secrets
are kept apart from the rest when an integration is stored.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.buckets import Time

Address = Annotated[str, Meta(min_length=1, max_length=512)]
Short = Annotated[str, Meta(min_length=1, max_length=1024)]
Secret = Annotated[str, Meta(min_length=1, max_length=65536)]
Domain = Annotated[str, Meta(min_length=1, max_length=253)]
FolderPath = Annotated[list[Short], Meta(min_length=1, max_length=64)]

IntegrationType = Literal["exchange_online", "imap"]
DisabledReason = Literal["user", "quota", "sync_error"]
ErrorKind = Literal[
    "mailbox_not_found",
    "invalid_exchange_credentials",
    "comment_quota_hit",
    "mailbox_inbox_not_found",
    "mailbox_removed",
    "app_access_insufficient_scopes",
    "unknown_forbidden_error",
    "mailbox_primary_address_not_found",
    "syncemail_consumption_limit_exceeded",
    "mailbox_access_denied",
    "mailbox_invalid_license",
]


class UserAccess(
    Struct, tag="user_access", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """A service user signs in."""

    username: Short
    password: Secret | UnsetType = UNSET


class AppAccess(Struct, tag="app_access", tag_field="kind", forbid_unknown_fields=True):
    """The application signs in as itself."""


class CustomApplication(
    Struct, tag="custom", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """An application registered in Entra ID, with a client secret."""

    tenant_id: Short
    client_id: Short
    client_secret: Secret | UnsetType = UNSET


class PrivateKeyApplication(
    Struct, tag="private_key", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """An application registered in Entra ID, with a certificate."""

    tenant_id: Short
    client_id: Short
    thumbprint: Short
    private_key: Secret | UnsetType = UNSET


class Ntlm(Struct, tag="ntlm", tag_field="kind", forbid_unknown_fields=True):
    """No application: an Exchange server that authenticates by NTLM."""


class Ews(Struct, tag="ews", tag_field="kind", forbid_unknown_fields=True):
    """Exchange Web Services."""


class Graph(Struct, tag="graph", tag_field="kind", forbid_unknown_fields=True):
    """Microsoft Graph."""


class ExchangeConnection(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How Exchange is reached."""

    access: UserAccess | AppAccess
    application: CustomApplication | PrivateKeyApplication | Ntlm
    microsoft_api: Ews | Graph | UnsetType = UNSET
    """Absent means Exchange Web Services, as older clients do not know the field."""
    ews_endpoint: Short | None = None
    build_version: Short | None = None
    graph_endpoint: Short | None = None
    """Ours: where Graph is, if not in the worldwide cloud."""
    authority: Short | None = None
    """Ours: who gives tokens, without the tenant, if not in the worldwide cloud."""
    access_type: Literal["delegate", "impersonation"] | None = None
    """Ours: how mailboxes are reached by Exchange Web Services. Absent: an application
    impersonates, a user is a delegate."""


class Password(
    Struct, tag="password", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """An IMAP user with a password."""

    username: Short
    password: Secret | UnsetType = UNSET


class OAuth2(
    Struct, tag="oauth2", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """An IMAP user with tokens of an OAuth 2.0 authority (SASL XOAUTH2).

    With a refresh token the user has consented; without, the application signs in as itself
    (client credentials) and reads any mailbox it may.
    """

    token_url: Short
    client_id: Short
    username: Short | UnsetType = UNSET
    """Absent: the address of each mailbox."""
    scope: Short | UnsetType = UNSET
    client_secret: Secret | UnsetType = UNSET
    refresh_token: Secret | UnsetType = UNSET


class ImapConnection(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How an IMAP server is reached."""

    host: Short
    access: Password | OAuth2
    port: Annotated[int, Meta(ge=1, le=65535)] | UnsetType = UNSET
    """Absent: 993 with TLS from the start, else 143."""
    security: Literal["tls", "starttls", "none"] = "tls"


class BucketSpecification(Struct, forbid_unknown_fields=True):
    """The bucket that a mailbox feeds; made if it does not exist."""

    project_name: Short
    name: Short
    title: Annotated[str, Meta(max_length=1024)] = ""


class Mailbox(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A mailbox of an integration, and what of it is read."""

    email: Address
    enabled: bool
    bucket_specification: BucketSpecification
    disabled_reason: DisabledReason | UnsetType = UNSET
    folder_allowlist: Annotated[list[FolderPath], Meta(max_length=1024)] | None = None
    folder_denylist: Annotated[list[FolderPath], Meta(max_length=1024)] | None = None
    participant_allowlist: Annotated[list[Address], Meta(max_length=4096)] | None = None
    participant_denylist: Annotated[list[Address], Meta(max_length=4096)] | None = None
    participant_domain_allowlist: Annotated[list[Domain], Meta(max_length=4096)] | None = None
    participant_domain_denylist: Annotated[list[Domain], Meta(max_length=4096)] | None = None
    start_timestamp: Time | None = None
    sync_attachments: bool = False
    """Whether the contents of attachments are kept too."""


class ExchangeConfiguration(Struct, forbid_unknown_fields=True):
    """What an integration of type `exchange_online` reads."""

    mailboxes: Annotated[list[Mailbox], Meta(max_length=4096)] = []
    connection: ExchangeConnection | UnsetType = UNSET


class ImapConfiguration(Struct, forbid_unknown_fields=True):
    """What an integration of type `imap` reads."""

    mailboxes: Annotated[list[Mailbox], Meta(max_length=4096)] = []
    connection: ImapConnection | UnsetType = UNSET


class Integration(Struct, frozen=True):
    """An integration. `sealed` are its connection's secrets, which are nowhere else."""

    id: str
    project_id: str
    owner: str
    name: str
    title: str
    type: IntegrationType
    enabled: bool
    disabled_reason: DisabledReason | None
    configuration: ExchangeConfiguration | ImapConfiguration
    sealed: str | None
    created_us: int
    updated_us: int


class IntegrationError(Struct, frozen=True):
    """Why an integration, or one mailbox of it, was disabled by the server."""

    id: str
    integration_id: str
    kind: ErrorKind
    text: str
    mailbox_name: str | None
    bucket_id: str | None
    created_us: int


INTEGRATION_KINDS: Final[frozenset[ErrorKind]] = frozenset(
    {
        "invalid_exchange_credentials",
        "comment_quota_hit",
        "app_access_insufficient_scopes",
        "syncemail_consumption_limit_exceeded",
    }
)
"""Errors that concern every mailbox of an integration; the others concern one."""


def reason_of(kind: ErrorKind) -> DisabledReason:
    """Return why something is disabled after an error of this kind."""
    quota = kind in ("comment_quota_hit", "syncemail_consumption_limit_exceeded")
    return "quota" if quota else "sync_error"
