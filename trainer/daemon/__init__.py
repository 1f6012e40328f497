"""The process that waits: a clock, the projects that are due, and a process for each round."""
