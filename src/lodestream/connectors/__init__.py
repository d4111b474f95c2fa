"""Mailboxes outside: IMAP, Exchange Web Services, Microsoft Graph. Neither database nor API."""
