"""Scores of quantised models: every setting, layer type by layer type, and a search of bits."""
