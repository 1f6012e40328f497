"""One round of a project: judgements in, a version published, promoted or kept back; and what a kill leaves of it."""
