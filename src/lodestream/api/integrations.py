"""Integrations with Exchange over HTTP, as the clients of the compatible API know them.

Those of our own kinds are not shown here: those clients fail on a kind that they do not know. All
are in our own namespace, see `api/mailboxes.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import integrations as actions
from lodestream.actions.integrations import IntegrationChanges
from lodestream.api.calls import Call
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.domain import access
from lodestream.domain.access import INTEGRATIONS_WRITE
from lodestream.domain.buckets import Time
from lodestream.domain.errors import InvalidInput, NotFound, PermissionMissing, Unprocessable
from lodestream.domain.ids import is_id
from lodestream.domain.integrations import (
    Address,
    AppAccess,
    BucketSpecification,
    CustomApplication,
    DisabledReason,
    ErrorKind,
    ExchangeConfiguration,
    ExchangeConnection,
    ImapConfiguration,
    Integration,
    IntegrationError,
    Mailbox,
    Ntlm,
    UserAccess,
)
from lodestream.domain.times import format_us, parse_us
from lodestream.store import integrations as store

VALIDATE_RULE: Final = (
    "`integrations-write` in the project of the integration that is named, else in any project"
)

Title = Annotated[str, Meta(max_length=128)]


class IntegrationNew(Struct, forbid_unknown_fields=True):
    """An integration that is to be made."""

    integration_type: Literal["exchange_online", "salesforce"] = "exchange_online"
    title: Title = ""
    enabled: bool = True
    disabled_reason: DisabledReason | UnsetType = UNSET
    configuration: ExchangeConfiguration | UnsetType = UNSET


class IntegrationUpdate(Struct, forbid_unknown_fields=True):
    """What is to be changed of an integration."""

    title: Title | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    disabled_reason: DisabledReason | UnsetType | None = UNSET
    configuration: ExchangeConfiguration | UnsetType = UNSET
    updated_at: Time | UnsetType = UNSET


class CreateIntegrationRequest(Struct, forbid_unknown_fields=True):
    """The body of create."""

    integration: IntegrationNew


class UpdateIntegrationRequest(Struct, forbid_unknown_fields=True):
    """The body of update."""

    integration: IntegrationUpdate


class IntegrationWire(Struct, omit_defaults=True):
    """An integration as clients see it: without secrets."""

    id: str
    owner: str
    name: str
    title: str
    type: str
    enabled: bool
    created_at: str
    updated_at: str
    configuration: ExchangeConfiguration
    disabled_reason: DisabledReason | UnsetType = UNSET


class IntegrationReply(Struct):
    """One integration."""

    integration: IntegrationWire
    status: str = "ok"


class IntegrationsReply(Struct):
    """Several integrations, by owner and name."""

    integrations: list[IntegrationWire]
    status: str = "ok"


class ErrorDetails(Struct):
    """What kind of error it was, and all that is known of it."""

    kind: ErrorKind
    full_error_text: str


class ErrorAction(Struct, omit_defaults=True):
    """What the server did about it: it disabled the integration or one mailbox."""

    kind: Literal["integration_disabled", "mailbox_disabled"]
    mailbox_name: str | UnsetType = UNSET
    bucket_id: str | UnsetType = UNSET


class IntegrationErrorWire(Struct):
    """Why something was disabled."""

    id: str
    integration_id: str
    error_text: str
    error_details: ErrorDetails
    error_action: ErrorAction
    created_at: str


class IntegrationErrorsReply(Struct):
    """Why an integration and its mailboxes were disabled, the newest first."""

    errors: list[IntegrationErrorWire]
    status: str = "ok"


class ValidateRequest(Struct, forbid_unknown_fields=True):
    """A connection that is to be tried; absent secrets are those of the integration."""

    connection: ExchangeConnection
    test_mailbox: Address | UnsetType = UNSET
    integration_id: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET


class ValidateReply(Struct):
    """Whether the credentials open the mailbox."""

    result: Literal["valid", "invalid"]
    status: str = "ok"


class SalesforceCallback(Struct, forbid_unknown_fields=True):
    """What Salesforce hands over after a sign-in."""

    state: str
    code: str


def list_integrations(call: Call[None]) -> IntegrationsReply:
    """Return every Exchange integration of every project in which the caller may see them."""
    projects = access.projects_with(call.actor, call.route.needs.permissions)
    return IntegrationsReply(_shown(call, projects))


def list_project_integrations(call: Call[None]) -> IntegrationsReply:
    """Return the Exchange integrations of one project."""
    return IntegrationsReply(_shown(call, frozenset({call.project_id})))


def get_integration(call: Call[None]) -> IntegrationReply:
    """Return an Exchange integration by its full name."""
    return IntegrationReply(_wire(_named_exchange(call)))


def get_integration_by_id(call: Call[None]) -> IntegrationReply:
    """Return an Exchange integration by its id."""
    return IntegrationReply(_wire(_exchange_by_id(call)))


def create_integration(call: Call[CreateIntegrationRequest]) -> IntegrationReply:
    """Create an Exchange integration; buckets that its mailboxes feed are made where missing.

    Besides the row's permission it needs `buckets-write` in the project of every bucket.
    """
    given = call.body.integration
    if given.integration_type == "salesforce":
        raise Unprocessable(
            "Salesforce is not read by this server: upload what you take from it by `sync`"
        )
    made = actions.create_integration(
        call.service.db,
        call.service.outside,
        actor=call.actor,
        project_id=call.project_id,
        owner=call.values[0],
        name=call.values[1],
        kind="exchange_online",
        values=IntegrationChanges(
            title=given.title,
            enabled=given.enabled,
            disabled_reason=None if given.disabled_reason is UNSET else given.disabled_reason,
            configuration=None if given.configuration is UNSET else given.configuration,
        ),
    )
    return IntegrationReply(_wire(made))


def update_integration(call: Call[UpdateIntegrationRequest]) -> IntegrationReply:
    """Change what is given of an Exchange integration; absent secrets stay as they are.

    Besides the row's permission it needs `buckets-write` in the project of every bucket that is
    fed anew.
    """
    given = call.body.integration
    changed = actions.update_integration(
        call.service.db,
        call.service.outside,
        actor=call.actor,
        integration_id=_named_exchange(call).id,
        changes=changes_of(given.title, given.enabled, given.configuration),
        seen_us=instant(given.updated_at),
    )
    return IntegrationReply(_wire(changed))


def delete_integration(call: Call[None]) -> None:
    """Delete an Exchange integration; its buckets stay, with where it was in each folder."""
    found = _exchange_by_id(call)
    actions.delete_integration(
        call.service.db, actor_id=call.actor.user_id, integration_id=found.id
    )


def list_errors(call: Call[None]) -> IntegrationErrorsReply:
    """Return why the server disabled an Exchange integration or mailboxes of it."""
    return errors_reply(call, _named_exchange(call))


def validate_credentials(call: Call[ValidateRequest]) -> ValidateReply:
    """Try whether credentials open a mailbox, without changing anything.

    The mailbox is `test_mailbox`, else that of the service user.
    """
    body = call.body
    lender = None if body.integration_id is UNSET else _lender(call, body.integration_id)
    if lender is None and not access.holds_somewhere(call.actor, (INTEGRATIONS_WRITE,)):
        raise PermissionMissing(INTEGRATIONS_WRITE)
    connection = actions.lent_connection(call.service.outside, body.connection, lender)
    assert isinstance(connection, ExchangeConnection)
    address = _test_mailbox(connection, body.test_mailbox)
    mailbox = Mailbox(address, True, BucketSpecification("-", "-"))
    return ValidateReply(_tried(call, ExchangeConfiguration([mailbox], connection), mailbox))


def refuse_oauth(_call: Call[None]) -> None:
    """Refuse: integrations that sign in by a browser, as with Salesforce, do not exist here."""
    raise PermissionMissing("Salesforce, which this server does not read")


def refuse_salesforce(_call: Call[SalesforceCallback]) -> None:
    """Refuse: integrations with Salesforce do not exist here."""
    raise PermissionMissing("Salesforce, which this server does not read")


# Shared with our own namespace


def changes_of(
    title: str | UnsetType,
    enabled: bool | UnsetType,
    configuration: ExchangeConfiguration | ImapConfiguration | UnsetType,
) -> IntegrationChanges:
    """Return what an update sets."""
    return IntegrationChanges(
        title=None if title is UNSET else title,
        enabled=None if enabled is UNSET else enabled,
        configuration=None if configuration is UNSET else configuration,
    )


def instant(text: str | UnsetType) -> int | None:
    """Return the time of the version that a client knows of. Raises InvalidInput."""
    if text is UNSET:
        return None
    try:
        return parse_us(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"updated_at: {error}") from None


def named_integration(call: Call[Any]) -> Integration:
    """Return the integration whose full name begins the path, of any kind. Raises NotFound."""
    owner, name = call.values[:2]
    with call.service.db.read() as tx:
        found = store.find_by_name(tx, owner, name)
    if found is None:
        raise NotFound(f"No such integration: {owner}/{name}")
    return found


def errors_reply(call: Call[Any], integration: Integration) -> IntegrationErrorsReply:
    """Return why an integration or mailboxes of it were disabled."""
    with call.service.db.read() as tx:
        found = store.list_errors(tx, integration.id)
    return IntegrationErrorsReply([_error(one) for one in found])


def _error(one: IntegrationError) -> IntegrationErrorWire:
    kind: Literal["integration_disabled", "mailbox_disabled"] = (
        "integration_disabled" if one.mailbox_name is None else "mailbox_disabled"
    )
    return IntegrationErrorWire(
        id=one.id,
        integration_id=one.integration_id,
        error_text=one.text,
        error_details=ErrorDetails(one.kind, one.text),
        error_action=ErrorAction(
            kind,
            UNSET if one.mailbox_name is None else one.mailbox_name,
            UNSET if one.bucket_id is None else one.bucket_id,
        ),
        created_at=format_us(one.created_us),
    )


def _named_exchange(call: Call[Any]) -> Integration:
    found = named_integration(call)
    if found.type != "exchange_online":
        raise NotFound(f"No such Exchange integration: {found.owner}/{found.name}")
    return found


def _exchange_by_id(call: Call[Any]) -> Integration:
    integration_id = call.values[0]
    if not is_id(integration_id):
        raise InvalidInput(f"integration id {integration_id!r}: 16 lower-case hex digits expected")
    missing = f"No such integration: id:{integration_id}"
    with call.service.db.read() as tx:
        found = store.find_by_id(tx, integration_id)
    if found is None or found.type != "exchange_online":
        raise NotFound(missing)
    call.require(found.project_id, not_found=missing)
    return found


def _lender(call: Call[Any], integration_id: str) -> Integration:
    missing = f"No such integration: id:{integration_id}"
    with call.service.db.read() as tx:
        found = store.find_by_id(tx, integration_id)
    if found is None:
        raise NotFound(missing)
    access.require(call.actor, found.project_id, (INTEGRATIONS_WRITE,), not_found=missing)
    return found


def _test_mailbox(connection: ExchangeConnection, given: str | UnsetType) -> str:
    """Return the mailbox to try. Raises InvalidInput if the connection is not complete."""
    login, application = connection.access, connection.application
    if isinstance(login, UserAccess) and login.password is UNSET:
        raise InvalidInput("'password' of the service user is missing")
    if (
        isinstance(application, CustomApplication)
        and isinstance(login, AppAccess)
        and application.client_secret is UNSET
    ):
        raise InvalidInput("'client_secret' of the application is missing")
    if given is not UNSET:
        return given
    if isinstance(application, Ntlm) or isinstance(login, AppAccess):
        raise InvalidInput("'test_mailbox' is needed: nothing else tells which mailbox to try")
    return login.username


def _tried(
    call: Call[Any], configuration: ExchangeConfiguration, mailbox: Mailbox
) -> Literal["valid", "invalid"]:
    hosts = call.service.outside.allowed_hosts
    try:
        opened = call.service.opener(configuration, mailbox, allowed_hosts=hosts)
        try:
            opened.folders()
        finally:
            opened.close()
    except MailboxRefused as error:
        if error.kind == "unknown_forbidden_error":
            # It is not the credentials that are wrong, as far as anybody knows.
            raise Unprocessable(f"the mailbox cannot be opened: {error.text}") from None
        return "invalid"
    except Temporary as error:
        raise Unprocessable(f"the mail system cannot be asked now: {error}") from None
    return "valid"


def _shown(call: Call[None], projects: frozenset[str] | None) -> list[IntegrationWire]:
    with call.service.db.read() as tx:
        found = store.list_integrations(tx, projects=projects)
    return [_wire(one) for one in found if one.type == "exchange_online"]


def _wire(one: Integration) -> IntegrationWire:
    configuration = one.configuration
    assert isinstance(configuration, ExchangeConfiguration)
    return IntegrationWire(
        id=one.id,
        owner=one.owner,
        name=one.name,
        title=one.title,
        type=one.type,
        enabled=one.enabled,
        created_at=format_us(one.created_us),
        updated_at=format_us(one.updated_us),
        configuration=configuration,
        disabled_reason=UNSET if one.disabled_reason is None else one.disabled_reason,
    )
