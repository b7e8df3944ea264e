"""Training: its stages, the loop that runs them, their steps, and the layout on devices."""
