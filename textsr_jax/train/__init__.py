"""Training: its stages, the loop that runs them, their steps, and where arrays lie on devices."""
