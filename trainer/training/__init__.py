"""Training: recipes that make a reward model of judgements, and what they share."""
