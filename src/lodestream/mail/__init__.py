"""E-mails: what a mailbox or a client gives, and the comments they become. Pure: bytes in."""
