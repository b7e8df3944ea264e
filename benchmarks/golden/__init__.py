"""The parity vectors of tests/golden: stand-in checkpoints, and what we compute of them."""
