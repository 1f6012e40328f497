"""Judgements read from Label Studio, kept between rounds, and exported."""
