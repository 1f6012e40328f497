"""The model that writes the answers learns from the judgements: pairs in, a generator version judged and published."""
