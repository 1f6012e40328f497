"""Scoring: the current reward model on the answers of tasks."""
