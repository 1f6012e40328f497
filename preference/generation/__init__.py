"""Answers from a language model in memory, for both processes: the backend fills tasks, the trainer compares generators."""
