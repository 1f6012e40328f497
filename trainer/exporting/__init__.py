"""What leaves the house: judgements as files for other trainers, and the commands that write them and reward models, or send both to the Hub."""
