"""Reports: results as tables, plots and pictures. Nothing is trained or evaluated here."""
