"""What leaves the house: judgements as files for other trainers, and reward models as folders for other programs."""
