"""What an LLM is asked of two answers, what it replied, and what of that is trained on."""
