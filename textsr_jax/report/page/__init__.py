"""The page of a run: one HTML file about a workdir, which needs neither a server nor a network."""
