"""Evaluation: the protocol over test splits, for trained models and for quantised ones."""
