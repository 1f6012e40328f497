"""Labelling: a project's label config, what annotators said, and the pairs that it makes."""
