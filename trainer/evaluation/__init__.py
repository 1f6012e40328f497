"""Evidence: the challenger judged on held-out judgements, beside the champion and beside rules without a model."""
