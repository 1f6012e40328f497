"""People who judge: what each of them did, how far they agree, and what they reward."""
