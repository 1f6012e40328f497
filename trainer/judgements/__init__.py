"""Judgements read from Label Studio, and kept between rounds."""
