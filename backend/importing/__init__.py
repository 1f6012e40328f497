"""Importing a file of prompts, comparisons or exported tasks, as tasks that are answered already."""
