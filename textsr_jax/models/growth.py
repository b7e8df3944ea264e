"""A larger CDistNet that starts from a smaller one, and computes nearly the same.

It may also write more characters.

After "Net2Net: Accelerating Learning via Knowledge Transfer" (Chen et al., 2016). There new
channels are copies of old ones. Here they are drawn, and no old channel reads them yet.
"""

import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from textsr_jax.errors import UserError
from textsr_jax.models.network import Network, Variables, leaves_by_path
from textsr_jax.text import ALPHANUMERIC, FIRST_CHARACTER, PRINTABLE

# Channels and hidden units may be larger. Blocks and encoder layers may be more.
_LARGER = re.compile(r"(^|/)(backbone|rectifier)/|/linear[12]/")
_MORE = re.compile(r".*(backbone/stages/\d+|encoder)/\d+/")
_ENCODER = re.compile(r"(.*)encoder/(\d+)/")
# Each token has a row in the first of these, and a column in the second. They grow from one
# alphabet to the other.
_EMBEDDING, _OUTPUT = "params/embedding/embedding", "params/output/kernel"
_TOKENS = ALPHANUMERIC.num_tokens, PRINTABLE.num_tokens
# How far the logit of a new capital lies below that of its small letter, as a part of the way to
# the mean logit of all old tokens: 0.1, a tenth of the way, is a log probability of about 0.6.
_BELOW = 0.1


def grow(variables: Variables, network: Network, key: jax.Array, place: str) -> Variables:
    """Returns variables of a larger CDistNet that computes nearly what a smaller one does.

    The backbone and the rectifier may have more channels, and feed-forward layers more hidden
    units. Old channels read old channels alone; new ones, whose kernels are drawn, read all. Stages
    may have more blocks, which start as the identity. Up to here the network computes the same, but
    for BatchNorm's statistics in training. The encoder may have more layers. They start as the
    identity, except that they normalise again.

    The alphabet may grow from `text.ALPHANUMERIC` to `text.PRINTABLE`. A new capital is embedded as
    its small letter, a mark and the space as the mean of all characters. The logit of a capital is
    a mean of that of its small letter and, to a tenth, of the mean over all old tokens; the logit
    of a mark or the space is the latter. So no new logit is the highest: greedy texts stay.

    Args:
      variables: of the smaller network.
      network: the larger network, of the same width and heads.
      key: draws the new kernels.
      place: where the user named the smaller network, for messages.

    Raises:
      UserError: the network is smaller somewhere, or other parts of it are larger or new.
    """
    old, new = leaves_by_path(variables), leaves_by_path(network.template)
    there = {found.group() for found in map(_MORE.match, old) if found}
    for name in sorted(old.keys() | new.keys()):
        before, after = (tree[name].shape if name in tree else None for tree in (old, new))
        part = _MORE.match(name)
        if before == after or (before is None and part and part.group() not in there):
            continue
        fits = (
            before
            and after
            and all(a <= b for a, b in zip(before, after, strict=True))
            and (_LARGER.search(name) or _writes_more(name, before, after))
        )
        if not fits:
            raise UserError(
                f"{place}: {name} is {before} there and {after} by config.ocr; only channels, "
                "hidden units, blocks of the backbone, layers of the encoder and the alphabet can "
                "grow"
            )
    fresh = network.init(key)
    return jax.tree.unflatten(
        jax.tree.structure(fresh),
        [_grown(name, leaf, old) for name, leaf in leaves_by_path(fresh).items()],
    )


def _writes_more(name: str, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether a tensor has a row or a column more for each character that is new."""
    if name == _OUTPUT:
        before, after = before[::-1], after[::-1]
    elif name != _EMBEDDING:
        return False
    return (before[0], after[0]) == _TOKENS and before[1] == after[1]


def _grown(name: str, leaf: jax.Array, old: dict[str, jax.Array]) -> jax.Array:
    kept = old.get(name)
    if kept is None:
        return _beginning(name, leaf, old)
    if name == _EMBEDDING and kept.shape != leaf.shape:
        mean = kept[FIRST_CHARACTER:].mean(axis=0, keepdims=True)
        return jnp.concatenate([kept, *(row for _, row in _new_characters(kept, mean))])
    if name == _OUTPUT and kept.shape != leaf.shape:
        mean = kept.mean(axis=1, keepdims=True).T
        columns = [
            (1 - _BELOW) * row + _BELOW * mean if is_capital else row
            for is_capital, row in _new_characters(kept.T, mean)
        ]
        return jnp.concatenate([kept, jnp.concatenate(columns).T], axis=1)
    if name.endswith("/kernel"):
        # Old channels must not read new ones.
        leaf = leaf.at[..., kept.shape[-2] :, : kept.shape[-1]].set(0)
    return leaf.at[tuple(slice(size) for size in kept.shape)].set(kept)


def _new_characters(rows: jax.Array, mean: jax.Array) -> Iterator[tuple[bool, jax.Array]]:
    """For each new character, whether it is a capital, and its start, (1, width).

    That is the row of the small letter, or `mean` for a mark and the space.

    Args:
      rows: of the old tokens, (tokens, width).
      mean: (1, width).
    """
    for character in PRINTABLE.characters[len(ALPHANUMERIC.characters) :]:
        place = FIRST_CHARACTER + ALPHANUMERIC.characters.find(character.lower())
        capital = character.isupper()
        yield capital, rows[place : place + 1] if capital else mean


def _beginning(name: str, leaf: jax.Array, old: dict[str, jax.Array]) -> jax.Array:
    """The first values of a tensor in a new block or layer."""
    if name.endswith("/conv2/bn/scale") or re.search(r"/(out_proj|linear2)/", name):
        return jnp.zeros_like(leaf)
    if "/norm" not in name:
        return leaf
    # The layer before ends with a scale and a bias, and the new normalisation removes both. These
    # values bring them back on average.
    layers = [found for found in map(_ENCODER.match, old) if found]
    before = max(layers, key=lambda found: int(found.group(2))).group() + "norm2/"
    scale, bias = old[before + "scale"], old[before + "bias"]
    if name.endswith("/bias"):
        return jnp.full_like(leaf, bias.mean())
    return jnp.full_like(leaf, jnp.sqrt((scale**2).mean() + bias.var()))
