"""The report card of a version."""
