"""`Models`: the SR model and the recogniser that work together, and how they are loaded.

They come from a workdir of train.py, from a packed file, or from what `config.init` names.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
from ml_collections import ConfigDict

from textsr_jax import text
from textsr_jax.config import checks, differences
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.quantization import dequantize
from textsr_jax.runtime import paths
from textsr_jax.runtime.compilation import keep_compiled
from textsr_jax.storage import packed_files, packed_leaves, workdirs

if TYPE_CHECKING:
    # Flax and Orbax take a second to import: functions that need them do so themselves.
    from textsr_jax.models import Network, Variables


@dataclasses.dataclass(frozen=True)
class Models:
    """An SR model and a recogniser, and those of their variables that there are.

    Attributes:
      config: the experiment.
      sr, ocr: the networks. Those of a packed file take quantised variables, and multiply as
        `config.quantization.compute` says.
      sr_variables: of the SR model; None before stage 1, or the joint stage, ran.
      pretrained: of the recogniser before fine-tuning; None before it was trained.
      fine_tuned: of the recogniser after stage 2, or the joint stage; None before it ran.
    """

    config: Experiment
    sr: Network
    ocr: Network
    sr_variables: Variables | None = dataclasses.field(repr=False)
    pretrained: Variables | None = dataclasses.field(repr=False)
    fine_tuned: Variables | None = dataclasses.field(repr=False)

    @property
    def recognizer(self) -> Variables | None:
        """The recogniser's variables to read with: fine-tuned, else pre-trained, else None."""
        return self.pretrained if self.fine_tuned is None else self.fine_tuned

    @classmethod
    def load(
        cls, source: str | pathlib.Path | None = None, config: ConfigDict | Experiment | None = None
    ) -> Models:
        """Loads the models of a packed file, or the best model of each stage of a workdir.

        A workdir has stages 1 and 2, or the joint stage. A model that the workdir trained is
        preferred to the start that it was trained from. Where `config.init` names another start
        than the workdir's own config does, that start is taken instead of the workdir's model.

        Args:
          source: a workdir of train.py or a packed file of quantize.py; None to take the models of
            `config.init` alone.
          config: the experiment; None for the config of `source`.

        Raises:
          UserError: `source` is neither, the config has a value that it cannot have, a model cannot
            be read or belongs to another network, or integers are asked for and nothing is packed.
        """
        if source is not None and paths.named(source).is_file():
            return cls.of_packed(packed_files.load(source), source, config)
        return _load_unpacked(source, config)

    @classmethod
    def of_packed(
        cls,
        packed: packed_files.PackedModels,
        path: str | pathlib.Path,
        config: ConfigDict | Experiment | None = None,
    ) -> Models:
        """Builds the networks of a packed file; they expand its weights where they use them.

        Args:
          packed: what `packed_files.load` returned.
          path: the file, for messages.
          config: the experiment; None for the config of the file.

        Raises:
          UserError: the networks of the config are not those of the file, or the package is missing
            that multiplies integers.
        """
        from textsr_jax.models import build_ocr, build_sr

        config = packed_config(packed, path, config)
        try:
            sr = build_sr(config.sr, packed.sr)
            ocr = build_ocr(config.ocr, text.ALPHABETS[config.alphabet])
        except Exception as error:  # whatever a network raises for sizes that do not fit together
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path}: its config builds no network ({reason}); quantise the models again"
            ) from error
        for network, tree, part in ((sr, packed.sr, "sr"), (ocr, packed.ocr, "ocr")):
            _check_fits(network, tree, f"{path}: the network of its config.{part}")
        expanding = _expanding(config.quantization.compute)
        return cls(
            config=config,
            sr=expanding(sr),
            ocr=expanding(ocr),
            sr_variables=packed.sr,
            pretrained=None if packed.fine_tuned else packed.ocr,
            fine_tuned=packed.ocr if packed.fine_tuned else None,
        )


def _expanding(compute: str) -> Callable[[Network], Network]:
    """What turns a network into one for packed weights, by `config.quantization.compute`."""
    if compute == "integer":
        from textsr_jax.quantization.integer_products import accelerated

        return accelerated
    return lambda network: network.through(dequantize)


def packed_config(
    packed: packed_files.PackedModels,
    path: str | pathlib.Path,
    config: ConfigDict | Experiment | None,
) -> Experiment:
    """Returns the config to use with a packed file: its own, or `config` where one is given.

    Args:
      packed: what `packed_files.load` returned.
      path: the file, for messages.
      config: the experiment; None for the config of the file.

    Raises:
      UserError: a config has a value that it cannot have, or `config` asks for other networks than
        the file holds.
    """
    own = packed.experiment(path)
    if config is None:
        return own
    config = checks.checked(config)
    for part in packed_leaves.PARTS:
        if not differences.same_network(config, own, part):
            field = _other_field(config, own, part)
            raise UserError(
                f"{path} holds another network than {field} asks for; leave {field} as it is there"
            )
    return config


def _other_field(config: Experiment, own: Experiment, part: str) -> str:
    """What makes the network of "sr" or "ocr" another one than that of `own`: a field's name."""
    same_alphabet = part != "ocr" or config.alphabet == own.alphabet
    return f"config.{part}" if same_alphabet else "config.alphabet"


def _load_unpacked(
    source: str | pathlib.Path | None, config: ConfigDict | Experiment | None
) -> Models:
    from textsr_jax.models import build_ocr, build_sr, part_of, together
    from textsr_jax.storage import checkpoints

    own = None if source is None else workdirs.load_config(source)
    config = own if config is None else checks.checked(config)
    if config is None:
        raise UserError("nothing to load; name a workdir or a config with config.init")
    if config.quantization.compute == "integer":
        raise UserError(
            f"config.quantization.compute=integer: the weights of {source or 'config.init'} are "
            "not packed; name a file that quantize.py --out wrote, or set it to float"
        )
    keep_compiled()
    sr, ocr = build_sr(config.sr), build_ocr(config.ocr, text.ALPHABETS[config.alphabet])

    def replaced(part: str) -> bool:
        """Whether the config takes another model for `part` than the workdir's."""
        if own is None or not differences.same_start(config, own, part):
            return True
        if not differences.same_network(config, own, part):
            field = _other_field(config, own, part)
            raise UserError(
                f"{source} was trained with another {field}; name a model for it in "
                f"config.init.{part}, or leave {field} as it is"
            )
        return False

    def best(stage: str, network: Network) -> Variables | None:
        assert source is not None, "only a workdir has stages"
        loaded = checkpoints.load_best(source, stage, checkpoints.abstract(network.template))
        return loaded and loaded[0]

    @functools.cache
    def joint() -> Variables | None:
        """Both models of a workdir that ran the joint stage."""
        assert own is not None, "only a workdir has stages"
        own_sr, own_ocr = build_sr(own.sr), build_ocr(own.ocr, text.ALPHABETS[own.alphabet])
        return best("joint", together(sr=own_sr, ocr=own_ocr))

    def start(part: str, stage: str, network: Network) -> Variables | None:
        init = config.init[part]
        if not init:
            return None
        return checkpoints.load_start(init, stage, part, config[part].name, network.template)

    sr_variables = pretrained = fine_tuned = None
    if not jax.tree.leaves(sr.template):
        sr_variables = sr.template
    elif not replaced("sr"):
        sr_variables = best("stage1", sr)
        if sr_variables is None and (both := joint()) is not None:
            sr_variables = part_of(both, "sr")
    if sr_variables is None:
        sr_variables = start("sr", "stage1", sr)
        if sr_variables is not None:
            sr = build_sr(config.sr, sr_variables)
    if not replaced("ocr"):
        fine_tuned = best("stage2", ocr)
        if fine_tuned is None and (both := joint()) is not None:
            fine_tuned = part_of(both, "ocr")
        pretrained = None if config.init.ocr else best("pretrain_ocr", ocr)
    if pretrained is None:
        pretrained = start("ocr", "pretrain_ocr", ocr)
    return Models(config, sr, ocr, sr_variables, pretrained, fine_tuned)


def _check_fits(network: Network, tree: Variables, place: str) -> None:
    """Raises `UserError` for variables, quantised or not, that are not the network's."""
    from textsr_jax.models import shape_difference

    if difference := shape_difference(tree, network.template):
        path, found, wanted = difference
        raise UserError(
            f"{place} has {path} of shape {wanted}, but its arrays have {found}; quantise the "
            "models again"
        )
