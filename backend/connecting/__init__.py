"""Connecting a Label Studio project with this backend, and undoing it."""
