"""Commands that run several parts of the package: Table 1, dry run, calibration, paper sizes."""
