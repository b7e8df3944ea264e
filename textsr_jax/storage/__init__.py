"""Files: workdirs, checkpoints, parameter files, packed files, and the models loaded from them."""
