"""Synthetic words drawn in JAX, where they are trained; `synthetic` prepares data sets.

`draw` is a pure function of a key and of settings; it runs inside the training step.
"""

from textsr_jax.data.drawing.batches import DrawSettings, draw, draw_settings, fingerprint

__all__ = ["DrawSettings", "draw", "draw_settings", "fingerprint"]
