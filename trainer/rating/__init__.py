"""An LLM that judges the held-out comparisons: a rater that is no person."""
