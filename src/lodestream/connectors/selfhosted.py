"""The configuration of a connector that runs elsewhere. (Contract: integrations, 3.2.)

Its keys are those of the vendor's connector; `imap` and the choice of what is read are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.buckets import Time
from lodestream.domain.errors import InvalidInput
from lodestream.domain.integrations import (
    Address,
    AppAccess,
    BucketSpecification,
    CustomApplication,
    Domain,
    Ews,
    ExchangeConfiguration,
    ExchangeConnection,
    FolderPath,
    Graph,
    ImapConfiguration,
    ImapConnection,
    Mailbox,
    Ntlm,
    OAuth2,
    Password,
    PrivateKeyApplication,
    Secret,
    Short,
    UserAccess,
)

_EWS: Final = "https://outlook.office365.com/EWS/Exchange.asmx"


class _Bucket(Struct, forbid_unknown_fields=True):
    owner: Short
    name: Short


class _Mailbox(Struct, forbid_unknown_fields=True):
    bucket: _Bucket
    start_from: Literal["bucket"] = "bucket"
    start_timestamp: Time | None = None
    folder_allowlist: list[FolderPath] | None = None
    folder_denylist: list[FolderPath] | None = None
    participant_allowlist: list[Address] | None = None
    participant_denylist: list[Address] | None = None
    participant_domain_allowlist: list[Domain] | None = None
    participant_domain_denylist: list[Domain] | None = None
    sync_attachments: bool = False


class _Config(Struct, forbid_unknown_fields=True):
    mailboxes: dict[str, _Mailbox]
    imap: ImapConnection | None = None
    microsoft_api: Literal["graph", "ews"] = "ews"
    auth_type: Literal["ntlm", "oauth2"] | None = None
    host: Short | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 443
    ews_endpoint: Short | None = None
    graph_endpoint: Short | None = None
    build_version: Short | None = None
    access_type: Literal["delegate", "impersonation"] | None = None
    auth_user: Short | None = None
    auth_password: Secret | None = None
    auth_oauth_authority: Short | None = None
    auth_oauth_client_id: Short | None = None
    auth_oauth_client_secret: Secret | None = None
    auth_oauth_client_credential_private_key: Secret | None = None
    auth_oauth_client_credential_thumbprint: Short | None = None


@dataclass(frozen=True)
class Secrets:
    """Secrets that are given apart from the configuration, and win over those in it."""

    password: str | None = None
    client_secret: str | None = None
    refresh_token: str | None = None


@dataclass(frozen=True)
class Connector:
    """What a connector reads: how, and which mailboxes."""

    configuration: ExchangeConfiguration | ImapConfiguration
    mailboxes: tuple[Mailbox, ...]


def read_configuration(content: bytes, secrets: Secrets | None = None) -> Connector:
    """Read a configuration file. Raises InvalidInput, which shows no secret of it."""
    try:
        config = msgspec.json.decode(content, type=_Config)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the configuration cannot be used: {error}") from None
    mailboxes = tuple(_mailbox(email, one) for email, one in config.mailboxes.items())
    secrets = secrets or Secrets()
    if config.imap is not None:
        imap = _with_secrets(config.imap, secrets)
        return Connector(ImapConfiguration(connection=imap), mailboxes)
    return Connector(ExchangeConfiguration(connection=_exchange(config, secrets)), mailboxes)


def shard_of(email: str, shards: int) -> int:
    """Return which of so many shards reads a mailbox: always the same one."""
    return int.from_bytes(sha256(email.lower().encode()).digest()[:8]) % shards


def _mailbox(email: str, config: _Mailbox) -> Mailbox:
    names = set(_Mailbox.__struct_fields__) - {"bucket", "start_from"}
    chosen: Mapping[str, Any] = {name: getattr(config, name) for name in names}
    bucket = BucketSpecification(config.bucket.owner, config.bucket.name)
    return Mailbox(email, True, bucket, **chosen)


def _with_secrets(imap: ImapConnection, secrets: Secrets) -> ImapConnection:
    access: Password | OAuth2 = imap.access
    if isinstance(access, Password):
        given = _given(password=secrets.password)
    else:
        given = _given(client_secret=secrets.client_secret, refresh_token=secrets.refresh_token)
    access = msgspec.structs.replace(access, **given)
    return msgspec.structs.replace(imap, access=access)


def _exchange(config: _Config, secrets: Secrets) -> ExchangeConnection:
    uses_ntlm = config.microsoft_api == "ews" and config.auth_type == "ntlm"
    endpoint = config.ews_endpoint
    if endpoint is None and uses_ntlm:
        port = "" if config.port == 443 else f":{config.port}"
        endpoint = f"https://{_needed(config.host, 'host')}{port}/EWS/Exchange.asmx"
    api = Graph() if config.microsoft_api == "graph" else Ews()
    if uses_ntlm:
        access = UserAccess(_needed(config.auth_user, "auth_user"), _password(config, secrets))
        return ExchangeConnection(
            access,
            Ntlm(),
            api,
            ews_endpoint=endpoint,
            build_version=config.build_version,
            access_type=config.access_type,
        )
    authority, tenant = _authority(config)
    return ExchangeConnection(
        AppAccess(),
        _application(config, tenant, secrets),
        api,
        ews_endpoint=endpoint or (_EWS if isinstance(api, Ews) else None),
        build_version=config.build_version,
        graph_endpoint=config.graph_endpoint,
        authority=authority,
        access_type=config.access_type,
    )


def _application(
    config: _Config, tenant: str, secrets: Secrets
) -> CustomApplication | PrivateKeyApplication:
    client_id = _needed(config.auth_oauth_client_id, "auth_oauth_client_id")
    key = config.auth_oauth_client_credential_private_key
    if key is not None:
        name = "auth_oauth_client_credential_thumbprint"
        thumbprint = _needed(config.auth_oauth_client_credential_thumbprint, name)
        return PrivateKeyApplication(tenant, client_id, thumbprint, key)
    secret = secrets.client_secret or config.auth_oauth_client_secret
    return CustomApplication(tenant, client_id, _needed(secret, "auth_oauth_client_secret"))


def _authority(config: _Config) -> tuple[str, str]:
    """Split `https://login.microsoftonline.com/<tenant>/` at the tenant."""
    given = _needed(config.auth_oauth_authority, "auth_oauth_authority").rstrip("/")
    authority, _, tenant = given.rpartition("/")
    if not authority.startswith("https://") or not tenant:
        raise InvalidInput("'auth_oauth_authority' is no URL with a tenant at its end")
    return authority, tenant


def _password(config: _Config, secrets: Secrets) -> str | UnsetType:
    return secrets.password or config.auth_password or UNSET


def _needed(value: str | None, name: str) -> str:
    if value is None:
        raise InvalidInput(f"the configuration lacks '{name}'")
    return value


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
