"""Lodestream: a self-hosted communications-mining server."""

__version__ = "0.1.0"
