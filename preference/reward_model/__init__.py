"""The reward model: features of a text, a head over them, and the probe that tells it loads as it was published."""
