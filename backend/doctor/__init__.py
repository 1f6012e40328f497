"""Examining everything that the loop needs, check by check."""
