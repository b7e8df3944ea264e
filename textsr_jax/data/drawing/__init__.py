"""Words drawn by array code, where they are trained: pure functions of a random key, in JAX."""
