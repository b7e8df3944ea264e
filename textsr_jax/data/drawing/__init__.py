"""Synthetic words drawn in JAX, where they are trained; `synthetic` prepares data sets."""
