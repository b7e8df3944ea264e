"""A network as pure functions: an NNX module split once into structure and a tree of arrays.

Training, decoding and quantisation see `Variables` alone. NNX stays inside `textsr_jax.models`.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any, cast

import jax
from flax import nnx

# NNX's state, whose type has parameters of its own.
State = nnx.State[Any, Any]
# {"params": {...}, "stats": {...}}: nested dicts of float32 arrays, keys are attribute names.
Variables = dict[str, Any]


def _map_keys(tree: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {change(key): _map_keys(value, change) for key, value in tree.items()}


def _to_dict(state: State) -> dict[str, Any]:
    return _map_keys(nnx.to_pure_dict(state), str)


def _to_state(tree: dict[str, Any]) -> State:
    return nnx.State(_map_keys(tree, lambda key: int(key) if key.isdigit() else key))


def _split(module: nnx.Module) -> tuple[nnx.GraphDef[nnx.Module], State, State]:
    """The module's structure, its parameters and its statistics."""
    # mypy cannot match the variadic type of NNX.
    structure, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)  # type: ignore[misc]
    return structure, params, stats


class Keys:
    """The keys of `nnx.Rngs(params=key)` by a plain counter. Layers draw parameters from them.

    NNX's own counter is a Flax variable. While JAX traces a network, Flax asks each value of the
    counter for a sharding, which it does not have. The error message for that searches everything
    traced so far (jax 0.10, flax 0.12). It took five sixths of the time to build CDistNet.
    """

    def __init__(self, key: jax.Array):
        self._key, self._numbers = key, itertools.count()

    def params(self) -> jax.Array:
        """The next key."""
        return jax.random.fold_in(self._key, next(self._numbers))


def _rngs(key: jax.Array) -> nnx.Rngs:
    # `Keys` has what the networks call of `nnx.Rngs`: `params`.
    return cast(nnx.Rngs, Keys(key))


class Network:
    """The functional view of an NNX module.

    Args:
      build: makes the module from `Keys`, in place of `nnx.Rngs`. The module may hold parameters
        (`nnx.Param`) and batch statistics (`nnx.BatchStat`), and no other variables.

    Attributes:
      template: the shapes and dtypes of its variables, as `jax.ShapeDtypeStruct`.
    """

    def __init__(self, build: Callable[[nnx.Rngs], nnx.Module]):
        self._build = build
        abstract = nnx.eval_shape(lambda: build(_rngs(jax.random.key(0))))
        self._structure: nnx.GraphDef[nnx.Module]
        self._structure, params, stats = _split(abstract)
        self.template: Variables = {"params": _to_dict(params), "stats": _to_dict(stats)}
        self._expand: Callable[[Any], Variables] = lambda variables: variables

    def through(self, expand: Callable[[Any], Variables]) -> "Network":
        """Returns this network for variables in another form.

        A function that runs the network inside jit expands them there too. So only the other form
        stays in memory between calls. `template` and `init` remain those of the plain variables.

        Args:
          expand: a pure function from that form to variables like `template`, such as
            `quantization.dequantize`.
        """
        network = copy.copy(self)
        network._expand = expand
        return network

    def with_layers(self, change: Callable[[nnx.Module], None]) -> "Network":
        """Returns this network with other functions in its layers, for the same variables.

        Args:
          change: sets static attributes of the module's layers, such as a layer's `dot_general`.
        """

        def build(rngs: nnx.Rngs) -> nnx.Module:
            module = self._build(rngs)
            change(module)
            return module

        network = Network(build)
        network._expand = self._expand
        return network

    def synchronized(self, axis_name: str) -> "Network":
        """Returns this network with BatchNorm's statistics taken over all devices of an axis.

        Args:
          axis_name: of `jax.pmap`, where each device sees its own part of the batch. In evaluation
            the network computes as before, without devices too.
        """

        def change(module: nnx.Module) -> None:
            module.set_attributes(nnx.BatchNorm, axis_name=axis_name, raise_if_not_found=False)

        return self.with_layers(change)

    def init(self, key: jax.Array) -> Variables:
        """Draws new variables from `key`.

        Layers of the same shape share what is compiled to draw them. One compiled function of all
        layers took 1.5 times as long to compile, and each call for another network took as long.
        """
        _, params, stats = _split(self._build(_rngs(key)))
        return {"params": _to_dict(params), "stats": _to_dict(stats)}

    def module(self, variables: Variables) -> nnx.Module:
        """The module with `variables`. It is a new copy, so changes to it change nothing else."""
        return self._merge(self._expand(variables))

    def skeleton(self) -> nnx.Module:
        """The module with shapes in place of arrays, to ask of which class it is."""
        return self._merge(self.template)

    def _merge(self, variables: Variables) -> nnx.Module:
        params, stats = _to_state(variables["params"]), _to_state(variables["stats"])
        # Without the copy BatchNorm cannot update its statistics inside a differentiated function.
        return nnx.merge(self._structure, params, stats, copy=True)

    def __call__(
        self, variables: Variables, *args: Any, method: str = "__call__", **kwargs: Any
    ) -> Any:
        """Runs a method of the module in evaluation mode, and returns what the method returns."""
        return getattr(self.module(variables), method)(*args, **kwargs)

    def train(
        self, variables: Variables, *args: Any, method: str = "__call__", **kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Runs a method of the module in training mode.

        Returns:
          The output, and the statistics after the batch (the tree under "stats").
        """
        module = self.module(variables)
        output = getattr(module, method)(*args, train=True, **kwargs)
        return output, _to_dict(nnx.state(module, nnx.BatchStat))


def together(**networks: Network) -> Network:
    """Returns several networks as one, whose tree holds each network's tree under its name.

    `part_of` takes such a tree apart, and `join` makes one.
    """

    class Together(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            for name, network in networks.items():
                setattr(self, name, network._build(rngs))

    return Network(Together)


def part_of(variables: Variables, name: str) -> Variables:
    """Returns the variables of the network `name` in a tree that `together` describes."""
    return {kind: tree.get(name, {}) for kind, tree in variables.items()}


def join(**parts: Variables) -> Variables:
    """Returns one tree of several networks' variables, as `together` has it, without empty ones."""
    return {
        kind: {name: tree[kind] for name, tree in parts.items() if tree[kind]}
        for kind in ("params", "stats")
    }


def leaves_by_path(tree: Variables) -> dict[str, Any]:
    """Returns the leaves of nested dicts by paths such as `params/head/kernel`.

    Everything that is not a dict is a leaf.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree, lambda node: not isinstance(node, dict))
    return {jax.tree_util.keystr(keys, simple=True, separator="/"): leaf for keys, leaf in leaves}


def shape_difference(
    tree: Variables, template: Variables
) -> tuple[str, tuple[int, ...] | None, tuple[int, ...] | None] | None:
    """Returns the first path whose shape differs from the template's, with both shapes.

    The tree's shape comes first. A shape is None where the path is missing. Returns None where all
    shapes are equal.
    """
    shapes = [
        {path: tuple(leaf.shape) for path, leaf in leaves_by_path(variables).items()}
        for variables in (tree, template)
    ]
    for path in sorted(shapes[0].keys() | shapes[1].keys()):
        found, wanted = (by_path.get(path) for by_path in shapes)
        if found != wanted:
            return path, found, wanted
    return None


def count_parameters(variables: Variables) -> int:
    """Returns the number of parameters, without batch statistics."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
