"""The arithmetic of a stage's step, and what a run does of it in a second."""

import concurrent.futures
import logging
from collections.abc import Callable
from typing import Any

import jax

from textsr_jax.config.settings import Optimization
from textsr_jax.models.layers.convolution import counted
from textsr_jax.train import peaks, pmapped
from textsr_jax.train import state as states
from textsr_jax.train.comparison import Parts
from textsr_jax.train.state import TrainState
from textsr_jax.train.steps import Loss, Step, make_step

_logger = logging.getLogger(__name__)

# A shorter stage is over before its step is counted, which takes seconds.
_LEAST_STEPS = 10


def flops(function: Any, *arguments: Any) -> float:
    """FLOPs of a pure function as XLA counts them before it optimises: 2 a multiplication and sum.

    XLA counts the body of a loop once, however often it runs.

    Args:
      function: not under jit, since it is traced here with plain arithmetic.
      arguments: trees of arrays or `jax.ShapeDtypeStruct`.
    """
    shapes = _shapes(arguments)
    # For a GPU it says nothing before it has compiled (jax 0.11).
    with counted(), jax.default_device(jax.local_devices(backend="cpu")[0]):
        # A function of its own: what jit has traced elsewhere has other arithmetic.
        analysis: Any = jax.jit(lambda *given: function(*given)).lower(*shapes).cost_analysis()
        return float(analysis["flops"])


def step_flops(
    loss: Loss,
    settings: Optimization,
    around: Callable[[Step], Step] | None,
    state: TrainState,
    frozen: Any,
    batch: Any,
) -> float:
    """FLOPs of a stage's step on the whole batch, of all devices together.

    What drawing words takes is left out. Where a batch is split into parts, they count together.

    Args:
      loss, settings, around: as of `loop.Stage`.
      state, frozen, batch: what the step takes; shapes are enough.
    """
    if around is not None:
        inner: list[Any] = []

        def note(state: TrainState, frozen: Any, batch: Any) -> tuple[TrainState, Parts]:
            inner.extend(_shapes((frozen, batch)))
            return state, {}

        jax.eval_shape(around(note), *_shapes((state, frozen, batch)))
        frozen, batch = inner
    step = make_step(loss, states.make_optimizer(settings), decay=settings.average)
    # Networks that run by `pmap` name its axis. Here one device has the whole batch.
    step = jax.vmap(step, in_axes=None, out_axes=None, axis_size=1, axis_name=pmapped.DEVICES)
    return flops(step, state, frozen, batch)


class Speed:
    """A stage's arithmetic a second. It is counted in a thread while the step is compiled.

    Stages of fewer than 10 steps are not counted.

    Args:
      name: the stage's name, for messages.
      settings: its `optimization` config.
      dtype: its compute dtype.
      count: the FLOPs of a step by the shapes of what it takes, as `step_flops`.
      facts: remembers `flops_a_step` and the peak from one start to the next.
    """

    def __init__(
        self,
        name: str,
        settings: Optimization,
        dtype: str,
        count: Callable[..., float],
        facts: dict[str, Any],
    ):
        self._name, self._settings, self._facts = name, settings, facts
        self._count, self._begun = count, "flops_a_step" in facts
        self._counting: concurrent.futures.Future[float] | None = None
        self._peak: peaks.Peak | None = None
        if settings.steps >= _LEAST_STEPS and jax.process_index() == 0:
            self._peak = peaks.of_all_devices(dtype)
            facts |= {
                "devices": self._peak.devices,
                "dtype": dtype,
                "peak_tflops_per_s": self._peak.flops / 1e12,
                "peak_from": self._peak.source,
            }

    def count(self, *arguments: Any) -> None:
        """Begins to count the step that takes these arguments, unless it was counted before."""
        if self._peak is None or self._begun:
            return
        self._begun = True
        pool = concurrent.futures.ThreadPoolExecutor(1)
        self._counting = pool.submit(self._count, *_shapes(arguments))
        pool.shutdown(wait=False)

    def rates(self, steps: int, seconds: float, *, wait: bool = False) -> dict[str, float]:
        """What so many steps in so many seconds are in one: images, and arithmetic if it is known.

        Args:
          steps: how many.
          seconds: more than 0.
          wait: whether to wait for the count of FLOPs.

        Returns:
          `images_per_s`; `tflops_per_s`; and `of_peak`, the part of the devices' peak.
        """
        found = {"images_per_s": steps * self._settings.batch_size / seconds}
        a_step = self._flops_a_step(wait)
        if a_step and self._peak is not None:
            rate = steps * a_step / seconds
            found |= {"tflops_per_s": rate / 1e12, "of_peak": rate / self._peak.flops}
        return found

    def _flops_a_step(self, wait: bool) -> float | None:
        if self._counting is not None and (wait or self._counting.done()):
            counting, self._counting = self._counting, None
            try:
                self._facts["flops_a_step"] = counting.result()
            except Exception as error:  # JAX raises many kinds; the training goes on without
                reason = (str(error).strip() or repr(error)).splitlines()[0]
                _logger.warning("%s: cannot count a step's FLOPs (%s)", self._name, reason)
        return self._facts.get("flops_a_step")


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
