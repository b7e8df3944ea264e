"""Training through quantisation: `straight_through(rules)`, for any loss and optimiser."""

from collections.abc import Callable, Sequence

from textsr_jax.quantization.rules import Rule
from textsr_jax.quantization.tree import Tree, simulate


def straight_through(rules: Sequence[Rule]) -> Callable[[Tree], Tree]:
    """Returns a pure function from parameters to the values that they have once quantised.

    It stands inside the loss, between the parameters and the model:

        quantized = quantization.straight_through(rules)
        gradient = jax.grad(lambda params: loss(quantized(params), batch))(params)

    Gradients pass as if nothing were rounded or clipped ("straight-through estimator", Bengio et
    al., "Estimating or propagating gradients through stochastic neurons", 2013). So an optimiser,
    such as any of Optax, changes the float parameters so that their quantised values fit. Ranges
    follow the parameters: they are found anew in each call. After training, `quantize(params,
    rules)` packs exactly the values that the loss has seen.

    The function works inside jit, grad, vmap and pmap. vmap and pmap quantise each member of the
    axis with ranges of its own.

    Args:
      rules: as of `quantize`.

    Raises:
      UserError: from the returned function, as of `simulate`.
    """
    chosen = tuple(rules)

    def simulated(tree: Tree) -> Tree:
        return simulate(tree, chosen)

    return simulated
