"""Filling: answers for tasks that have only a prompt, and predictions for answers."""
