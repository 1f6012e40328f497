"""Rewards for other programs: routes that speak our own form, OpenRLHF's and vLLM's."""
