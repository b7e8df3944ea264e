"""What the loop asks of a judge, and what a judge answers; `judges` has those of the stages."""

import dataclasses
from typing import Protocol

import numpy as np

from textsr_jax.models import Variables


@dataclasses.dataclass(frozen=True)
class Validation:
    """A model's result on the validation data.

    Attributes:
      score: the higher, the better. Of two lists the first number that differs decides.
      scalars: scores by name, for the log.
      pictures: uint8 (height, width, 3) by name, for the log.
      texts: Markdown by name, for the log.
    """

    score: float | list[float]
    scalars: dict[str, float]
    pictures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    texts: dict[str, str] = dataclasses.field(default_factory=dict)


class Judge(Protocol):
    """Scores the variables of a stage."""

    def run(self, variables: Variables) -> Validation:
        """Scores variables. All processes call it together."""
        ...
