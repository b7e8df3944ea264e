"""Where the models that come with the package are: one packed file."""

import pathlib

SHIPPED = pathlib.Path(__file__).parents[1] / "weights" / "shipped.safetensors"
