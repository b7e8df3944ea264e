"""The evaluation room: the protocol over test splits, for workdirs and for quantised models."""
