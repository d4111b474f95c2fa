"""The rows of users, permissions, projects, quotas, tenants and the audit log."""

from __future__ import annotations

from lodestream.api import audit, projects, quotas, tokens, users
from lodestream.api.routing import (
    NOBODY,
    TOKEN,
    Query,
    Route,
    lists_where,
    needs_global,
    needs_project,
    needs_rule,
)
from lodestream.domain import access as a

_V1 = "/api/v1"
_PRIVATE = "/api/_private"
_OWN = "/api/lodestream/v1"

_READS_USERS = needs_rule(
    "`tenant-users-read`, or `users-read` in any project", a.TENANT_USERS_READ, a.USERS_READ
)
_WRITES_USERS = needs_rule(
    "`tenant-admin`, or `users-write` in every project named; nobody grants what he may not",
    a.TENANT_ADMIN,
    a.USERS_WRITE,
)
_OWN_TOKENS = needs_rule("one's own; others' with `tenant-admin`", a.TENANT_ADMIN)
_MAKES_PROJECTS = needs_global(a.TENANT_ADMIN, a.PROJECTS_ADMIN)

USERS = (
    Route(
        "GET",
        "/auth/user",
        "getCurrentUser",
        "users",
        users.get_current_user,
        TOKEN,
        reply=users.UserReply,
    ),
    Route(
        "POST",
        "/auth/refresh-user-permissions",
        "refreshUserPermissions",
        "users",
        users.refresh_permissions,
        TOKEN,
        body=users.Nothing,
        body_optional=True,
        reply=users.RefreshReply,
        writes=False,
    ),
    Route(
        "GET",
        _V1 + "/users",
        "getUsersV1",
        "users",
        users.list_users_v1,
        _READS_USERS,
        reply=users.ListedUsersReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/users",
        "getUsers",
        "users",
        users.list_users,
        _READS_USERS,
        reply=users.UsersReply,
    ),
    Route(
        "PUT",
        _PRIVATE + "/users",
        "createUser",
        "users",
        users.create_user,
        _WRITES_USERS,
        body=users.CreateUserRequest,
        reply=users.UserReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/users/{user_id}",
        "getUserById",
        "users",
        users.get_user,
        needs_rule(
            "oneself; others with `tenant-users-read`, or `users-read` in any project",
            a.TENANT_USERS_READ,
            a.USERS_READ,
        ),
        reply=users.UserReply,
    ),
    Route(
        "POST",
        _PRIVATE + "/users/{user_id}",
        "updateUser",
        "users",
        users.update_user,
        _WRITES_USERS,
        body=users.UpdateUserRequest,
        reply=users.UserReply,
    ),
    Route(
        "DELETE",
        _PRIVATE + "/users/{user_id}",
        "deleteUser",
        "users",
        users.delete_user,
        needs_global(a.TENANT_ADMIN),
    ),
    Route(
        "POST",
        _PRIVATE + "/users/{user_id}/welcome-email",
        "sendWelcomeEmail",
        "users",
        users.send_welcome_email,
        needs_rule(
            "`tenant-admin`, or `users-write` in any project", a.TENANT_ADMIN, a.USERS_WRITE
        ),
        body=users.Nothing,
        body_optional=True,
        writes=False,
    ),
    Route(
        "POST",
        _PRIVATE + "/users/support-tenants/add",
        "addSupportTenant",
        "users",
        users.refuse_support_tenant,
        NOBODY,
        body=users.SupportTenantRequest,
        writes=False,
    ),
    Route(
        "POST",
        _PRIVATE + "/users/support-tenants/remove",
        "removeSupportTenant",
        "users",
        users.refuse_support_tenant,
        NOBODY,
        body=users.SupportTenantRequest,
        writes=False,
    ),
    Route(
        "POST",
        _OWN + "/users/{user_id}/tokens",
        "createToken",
        "users",
        tokens.create_token,
        _OWN_TOKENS,
        body=tokens.TokenRequest,
        body_optional=True,
        reply=tokens.NewTokenReply,
    ),
    Route(
        "GET",
        _OWN + "/users/{user_id}/tokens",
        "getTokens",
        "users",
        tokens.list_tokens,
        _OWN_TOKENS,
        reply=tokens.TokensReply,
    ),
    Route(
        "DELETE",
        _OWN + "/tokens/{token_id}",
        "deleteToken",
        "users",
        tokens.delete_token,
        _OWN_TOKENS,
    ),
)

PERMISSIONS = (
    Route(
        "POST",
        _PRIVATE + "/permissions/derived",
        "getDerivedPermissions",
        "permissions",
        users.derive_permissions,
        TOKEN,
        body=users.PermissionsRequest,
        reply=users.PermissionsReply,
        writes=False,
    ),
    Route(
        "POST",
        _PRIVATE + "/permissions/reduced",
        "getReducedPermissions",
        "permissions",
        users.reduce_permissions,
        TOKEN,
        body=users.PermissionsRequest,
        reply=users.PermissionsReply,
        writes=False,
    ),
)

PROJECTS = (
    Route(
        "PUT",
        _PRIVATE + "/projects/{name}",
        "createProject",
        "projects",
        projects.create_project,
        _MAKES_PROJECTS,
        body=projects.CreateProjectRequest,
        reply=projects.ProjectReply,
    ),
    Route(
        "POST",
        _PRIVATE + "/projects/{name}",
        "updateProject",
        "projects",
        projects.update_project,
        needs_rule(
            "`tenant-admin`, or all that `role-cm-project-admin` contains",
            a.TENANT_ADMIN,
            a.ROLE_PROJECT_ADMIN,
        ),
        body=projects.UpdateProjectRequest,
        reply=projects.ProjectReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/projects/{name}",
        "getProject",
        "projects",
        projects.get_project,
        needs_project(),
        reply=projects.ProjectReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/projects",
        "getAllProjects",
        "projects",
        projects.list_projects,
        lists_where(),
        query=(Query("cm_only", "boolean"),),
        reply=projects.ProjectsReply,
    ),
    Route(
        "GET",
        _V1 + "/projects",
        "getAllProjectsV1",
        "projects",
        projects.list_projects_v1,
        lists_where(),
        reply=projects.ListedProjectsReply,
    ),
    Route(
        "DELETE",
        _PRIVATE + "/projects/{name}",
        "deleteProject",
        "projects",
        projects.delete_project,
        _MAKES_PROJECTS,
        query=(Query("force", "boolean"),),
    ),
    Route(
        "GET",
        _PRIVATE + "/projects/{name}/resource_counts",
        "getProjectResourceCounts",
        "projects",
        projects.count_resources,
        needs_project(),
        reply=projects.ResourceCountsReply,
    ),
)

QUOTAS = (
    Route(
        "GET",
        _PRIVATE + "/quotas",
        "getTenantQuota",
        "quotas",
        quotas.list_quotas,
        needs_global(a.TENANT_QUOTA_READ, a.TENANT_ADMIN),
        reply=quotas.QuotasReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/quotas/{target_tenant_id}",
        "getQuotasForTenant",
        "quotas",
        quotas.list_tenant_quotas,
        needs_global(a.DEPLOYMENT_QUOTA_READ),
        reply=quotas.QuotasReply,
    ),
    Route(
        "POST",
        _PRIVATE + "/quotas/{quota_kind}",
        "setTenantQuota",
        "quotas",
        quotas.request_limit,
        needs_global(a.TENANT_QUOTA_WRITE, a.TENANT_ADMIN),
        body=quotas.LimitRequest,
        reply=quotas.LimitReply,
    ),
    Route(
        "POST",
        _PRIVATE + "/quotas/{target_tenant_id}/{quota_kind}",
        "setQuotaForTenant",
        "quotas",
        quotas.set_quota,
        needs_global(a.DEPLOYMENT_QUOTA_WRITE),
        body=quotas.QuotaRequest,
    ),
    Route(
        "DELETE",
        _PRIVATE + "/quotas/{target_tenant_id}/{quota_kind}",
        "resetTenantQuota",
        "quotas",
        quotas.reset_quota,
        needs_global(a.DEPLOYMENT_QUOTA_WRITE),
    ),
)

TENANTS = (
    Route(
        "GET",
        _PRIVATE + "/tenants",
        "getTenants",
        "tenants",
        quotas.list_tenants,
        TOKEN,
        reply=quotas.TenantsReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/tenants/{tenant_name}",
        "getTenant",
        "tenants",
        quotas.get_tenant,
        TOKEN,
        reply=quotas.TenantReply,
    ),
)

AUDIT_EVENTS = (
    Route(
        "POST",
        _V1 + "/audit_events/query",
        "QueryAuditEvents",
        "audit_events",
        audit.query_events,
        needs_global(a.AUDIT_READ),
        body=audit.AuditRequest,
        reply=audit.AuditReply,
        writes=False,
    ),
)

ADMIN = (*USERS, *PERMISSIONS, *PROJECTS, *QUOTAS, *TENANTS, *AUDIT_EVENTS)
