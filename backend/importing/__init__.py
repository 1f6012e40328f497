"""Importing a file of prompts as tasks that are answered already."""
