"""The tests of Pairloop: one file for each module, and some for what no module can see alone."""
