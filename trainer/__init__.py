"""Process 2: turns judgements into a better reward model, and promotes it when it is one."""
