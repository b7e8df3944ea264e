"""What the running process needs: compilation, threads, private folders, progress, provenance."""
