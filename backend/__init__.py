"""Process 1: answers prompts, scores answers, serves Label Studio."""
