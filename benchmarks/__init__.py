"""Measures against PyTorch: speed (`benchmarks.networks`) and fidelity (`benchmarks.fidelity`)."""
