"""The deeds: one function for each thing a user can do; each opens the one transaction."""
