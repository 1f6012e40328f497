"""The reward model: features of a text, a head over them, and the probe that proves that it was loaded as it was published."""
