"""The rows of integrations, their mailboxes, and connectors that run elsewhere."""

from __future__ import annotations

from lodestream.api import appliances, integrations, mailboxes
from lodestream.api.routing import (
    NOBODY,
    Route,
    lists_where,
    needs_object,
    needs_project,
    needs_rule,
)
from lodestream.domain import access as a

_PRIVATE = "/api/_private"
_OURS = "/api/lodestream/v1"
_NAMED = "/integrations/{owner}/{integration_name}"
_BY_ID = "/integrations/id:{integration_id}"
_CONFIG = "/appliance-configs/{owner}/{config_key}"
_READS = needs_project(a.INTEGRATIONS_READ)
_WRITES = needs_project(a.INTEGRATIONS_WRITE)

EXCHANGE = (
    Route(
        "GET",
        _PRIVATE + "/integrations",
        "getAllIntegrations",
        "integrations",
        integrations.list_integrations,
        lists_where(a.INTEGRATIONS_READ),
        reply=integrations.IntegrationsReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/integrations/{owner}",
        "getAllIntegrationsInProject",
        "integrations",
        integrations.list_project_integrations,
        _READS,
        reply=integrations.IntegrationsReply,
    ),
    Route(
        "GET",
        _PRIVATE + _NAMED,
        "getIntegration",
        "integrations",
        integrations.get_integration,
        _READS,
        reply=integrations.IntegrationReply,
    ),
    Route(
        "GET",
        _PRIVATE + _BY_ID,
        "getIntegrationById",
        "integrations",
        integrations.get_integration_by_id,
        needs_object(a.INTEGRATIONS_READ),
        reply=integrations.IntegrationReply,
    ),
    Route(
        "PUT",
        _PRIVATE + _NAMED,
        "createIntegration",
        "integrations",
        integrations.create_integration,
        _WRITES,
        body=integrations.CreateIntegrationRequest,
        reply=integrations.IntegrationReply,
        statuses=(422,),
    ),
    Route(
        "POST",
        _PRIVATE + _NAMED,
        "updateIntegration",
        "integrations",
        integrations.update_integration,
        _WRITES,
        body=integrations.UpdateIntegrationRequest,
        reply=integrations.IntegrationReply,
        statuses=(422,),
    ),
    Route(
        "DELETE",
        _PRIVATE + _BY_ID,
        "deleteIntegration",
        "integrations",
        integrations.delete_integration,
        needs_object(a.INTEGRATIONS_WRITE),
    ),
    Route(
        "GET",
        _PRIVATE + _NAMED + "/errors",
        "getIntegrationErrors",
        "integrations",
        integrations.list_errors,
        _READS,
        reply=integrations.IntegrationErrorsReply,
    ),
    Route(
        "PUT",
        _PRIVATE + "/validate-exchange-credentials",
        "validateExchangeCredentials",
        "integrations",
        integrations.validate_credentials,
        needs_rule(integrations.VALIDATE_RULE, a.INTEGRATIONS_WRITE),
        body=integrations.ValidateRequest,
        reply=integrations.ValidateReply,
        writes=False,
        statuses=(422,),
    ),
    Route(
        "GET",
        _PRIVATE + _NAMED + "/oauth2/authenticate",
        "integrationsOAuth2Authenticate",
        "integrations",
        integrations.refuse_oauth,
        NOBODY,
    ),
    Route(
        "PUT",
        _PRIVATE + "/salesforce/oauth2/callback",
        "oAuth2SalesforceCallback",
        "integrations",
        integrations.refuse_salesforce,
        NOBODY,
        body=integrations.SalesforceCallback,
        writes=False,
    ),
)

MAILBOXES = (
    Route(
        "GET",
        _OURS + "/integrations",
        "listMailIntegrations",
        "integrations",
        mailboxes.list_integrations,
        lists_where(a.INTEGRATIONS_READ),
        reply=mailboxes.MailIntegrationsReply,
    ),
    Route(
        "GET",
        _OURS + "/integrations/{owner}",
        "listProjectMailIntegrations",
        "integrations",
        mailboxes.list_project_integrations,
        _READS,
        reply=mailboxes.MailIntegrationsReply,
    ),
    Route(
        "GET",
        _OURS + _NAMED,
        "getMailIntegration",
        "integrations",
        mailboxes.get_integration,
        _READS,
        reply=mailboxes.MailIntegrationReply,
    ),
    Route(
        "PUT",
        _OURS + _NAMED,
        "createMailIntegration",
        "integrations",
        mailboxes.create_integration,
        _WRITES,
        body=mailboxes.MailIntegrationRequest,
        reply=mailboxes.MailIntegrationReply,
        statuses=(422,),
    ),
    Route(
        "POST",
        _OURS + _NAMED,
        "updateMailIntegration",
        "integrations",
        mailboxes.update_integration,
        _WRITES,
        body=mailboxes.MailIntegrationRequest,
        reply=mailboxes.MailIntegrationReply,
        statuses=(422,),
    ),
    Route(
        "DELETE",
        _OURS + _NAMED,
        "deleteMailIntegration",
        "integrations",
        mailboxes.delete_integration,
        _WRITES,
    ),
    Route(
        "GET",
        _OURS + _NAMED + "/errors",
        "listMailIntegrationErrors",
        "integrations",
        mailboxes.list_errors,
        _READS,
        reply=integrations.IntegrationErrorsReply,
    ),
    Route(
        "POST",
        _OURS + _NAMED + "/enable",
        "enableMailIntegration",
        "integrations",
        mailboxes.enable_integration,
        _WRITES,
        reply=mailboxes.MailIntegrationReply,
    ),
    Route(
        "POST",
        _OURS + _NAMED + "/disable",
        "disableMailIntegration",
        "integrations",
        mailboxes.disable_integration,
        _WRITES,
        reply=mailboxes.MailIntegrationReply,
    ),
    Route(
        "POST",
        _OURS + _NAMED + "/sync",
        "syncMailIntegration",
        "integrations",
        mailboxes.sync_now,
        _WRITES,
        body=mailboxes.SyncMailboxesRequest,
        body_optional=True,
        reply=mailboxes.SyncMailboxesReply,
    ),
)

APPLIANCES = (
    Route(
        "GET",
        _PRIVATE + _CONFIG,
        "getApplianceConfig",
        "integrations",
        appliances.get_config,
        needs_project(a.APPLIANCE_CONFIG_READ),
        reply_type="application/octet-stream",
        statuses=(422,),
    ),
    Route(
        "PUT",
        _PRIVATE + _CONFIG,
        "updateApplianceConfig",
        "integrations",
        appliances.update_config,
        needs_project(a.APPLIANCE_CONFIG_WRITE),
        raw_body="application/octet-stream",
        reply=appliances.ConfigReply,
        statuses=(422,),
    ),
)

INTEGRATIONS = (*EXCHANGE, *MAILBOXES, *APPLIANCES)
