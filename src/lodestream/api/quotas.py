"""Quotas, and the tenant that they are those of, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import quotas as actions
from lodestream.api.calls import Call
from lodestream.domain.errors import NotFound
from lodestream.domain.tenants import Tenant
from lodestream.domain.times import format_us
from lodestream.store import quotas as store
from lodestream.store import tenants

Limit = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class LimitRequest(Struct, forbid_unknown_fields=True):
    """The limit that a user wishes."""

    requested_limit: Limit


class QuotaRequest(Struct, forbid_unknown_fields=True):
    """A limit, and how far users may raise it themselves (null: the default)."""

    hard_limit: Limit
    auto_increase_up_to: Limit | UnsetType | None = UNSET


class QuotaWire(Struct):
    """A quota as clients see it."""

    quota_kind: str
    hard_limit: int
    current_max_usage: int
    auto_increase_up_to: int | UnsetType = UNSET


class QuotasReply(Struct):
    """The quota of every kind."""

    quotas: list[QuotaWire]
    status: str = "ok"


class LimitReply(Struct):
    """The limit that holds now, and the one that was asked for."""

    hard_limit: int
    requested_limit: int
    status: str = "ok"


class TenantWire(Struct):
    """The tenant as clients see it."""

    tenant_id: str
    name: str
    title: str
    description: str
    created_at: str
    updated_at: str
    flags: list[str]
    uipath_context: None
    uipath_support_id: None


class TenantReply(Struct):
    """One tenant."""

    tenant: TenantWire
    status: str = "ok"


class TenantsReply(Struct):
    """Every tenant: the one."""

    tenants: list[TenantWire]
    status: str = "ok"


def list_quotas(call: Call[None]) -> QuotasReply:
    """List the quotas with what is in use now."""
    with call.service.db.read() as tx:
        return QuotasReply(
            [
                QuotaWire(
                    quota_kind=one.kind,
                    hard_limit=one.hard_limit,
                    current_max_usage=store.usage(tx, one.kind),
                    auto_increase_up_to=(
                        UNSET if one.auto_increase_up_to is None else one.auto_increase_up_to
                    ),
                )
                for one in store.list_quotas(tx)
            ]
        )


def list_tenant_quotas(call: Call[None]) -> QuotasReply:
    """List the quotas of a tenant."""
    _require_tenant(call)
    return list_quotas(call)


def request_limit(call: Call[LimitRequest]) -> LimitReply:
    """Change a limit as far as users may themselves."""
    wished = call.body.requested_limit
    quota = actions.request_limit(
        call.service.db,
        actor_id=call.actor.user_id,
        kind=call.value("quota_kind"),
        limit=wished,
    )
    return LimitReply(quota.hard_limit, wished)


def set_quota(call: Call[QuotaRequest]) -> None:
    """Set a tenant's quota."""
    _require_tenant(call)
    actions.set_quota(
        call.service.db,
        actor_id=call.actor.user_id,
        kind=call.value("quota_kind"),
        hard_limit=call.body.hard_limit,
        auto_increase_up_to=call.body.auto_increase_up_to,
    )


def reset_quota(call: Call[None]) -> None:
    """Go back to the default of a tenant's quota."""
    _require_tenant(call)
    actions.reset_quota(call.service.db, actor_id=call.actor.user_id, kind=call.value("quota_kind"))


def list_tenants(call: Call[None]) -> TenantsReply:
    """List the tenant."""
    with call.service.db.read() as tx:
        return TenantsReply([_wire(tenants.get(tx))])


def get_tenant(call: Call[None]) -> TenantReply:
    """Return the tenant of this name."""
    with call.service.db.read() as tx:
        tenant = tenants.get(tx)
    if call.value("tenant_name") != tenant.name:
        raise NotFound(f"No such tenant: {call.value('tenant_name')}")
    return TenantReply(_wire(tenant))


def _require_tenant(call: Call[Any]) -> None:
    """Raise NotFound unless the path names this instance's tenant, by id or by name."""
    named = call.value("target_tenant_id")
    with call.service.db.read() as tx:
        tenant = tenants.get(tx)
    if named not in (tenant.id, tenant.name):
        raise NotFound(f"No such tenant: {named}")


def _wire(tenant: Tenant) -> TenantWire:
    return TenantWire(
        tenant_id=tenant.id,
        name=tenant.name,
        title="",
        description="",
        created_at=format_us(tenant.created_us),
        updated_at=format_us(tenant.created_us),
        flags=[],
        uipath_context=None,
        uipath_support_id=None,
    )
