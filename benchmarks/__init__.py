"""Measures: speed and fidelity beside PyTorch, and the memory that packed pairs take."""
