"""Labelling: a project's label config, what annotators judged, and the pairs that this makes."""
