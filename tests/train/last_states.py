"""What a stage left in a workdir, for the tests of several stages."""

import jax

from textsr_jax.storage import checkpoints
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.train import state as states


def last_state(workdir, stage, network, settings):
    template = jax.eval_shape(
        lambda: states.create(
            network.init(jax.random.key(0)), states.make_optimizer(settings), jax.random.key(0)
        )
    )
    saved = Checkpoints(workdir / stage / "checkpoints")
    step, state, record = saved.restore(checkpoints.abstract(template))
    saved.close()
    return step, state, record
