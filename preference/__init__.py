"""The domain that both processes share: judgements, pairs, reward models, and where they are kept."""
