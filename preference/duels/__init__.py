"""Duels: tasks that hold one answer of each of two generators, so that people say which of the two they prefer."""
