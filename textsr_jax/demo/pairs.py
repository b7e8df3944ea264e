"""The pairs of models that the demo offers, and their readers at the bits that are asked for."""

import functools
import pathlib
from collections.abc import Sequence

from textsr_jax import quantization, text
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError
from textsr_jax.quantization.rules import from_config
from textsr_jax.reading import Description, Reader, load
from textsr_jax.reading.engine import JaxEngine
from textsr_jax.storage.models import Models
from textsr_jax.storage.shipped import PRINTABLE, SHIPPED

SHIPPED_NAME = "the shipped models"
PRINTABLE_NAME = "the shipped models: case, punctuation and spaces"
BITS = range(2, 9)
# What computes: of a workdir or a packed file JAX, of a folder of ONNX graphs ONNX Runtime.
JAX = "JAX"
GRAPHS = {"ONNX Runtime, int8": "int8", "ONNX Runtime, float32": "float32"}
# Readers that are kept, of all pairs together. One of the shipped models takes 6 MB.
KEPT = 10


class Pairs:
    """Pairs of an SR model and a recogniser, by name; readers are made when they are asked for.

    Attributes:
      names: the shipped models first, then the sources as they were named.

    Args:
      sources: workdirs of train.py, packed files of quantize.py, or folders of ONNX graphs.

    Raises:
      UserError: a source is not there.
    """

    def __init__(self, sources: Sequence[str] = ()):
        for source in sources:
            if not pathlib.Path(source).exists():
                raise UserError(
                    f"{source}: no such file or folder; name a packed file, a workdir, or a folder "
                    "that python -m textsr_jax.export wrote"
                )
        self._sources = {SHIPPED_NAME: str(SHIPPED), PRINTABLE_NAME: str(PRINTABLE)}
        self._sources |= {source: source for source in sources}
        self.names = list(self._sources)
        self._reader = functools.lru_cache(maxsize=KEPT)(self._made)
        self._quantizer = functools.lru_cache(maxsize=2)(Quantizer)

    def runtimes(self, name: str) -> list[str]:
        """Returns what can compute a pair: `JAX`, or the names of `GRAPHS`."""
        from textsr_jax.export import RECORD

        graphs = (pathlib.Path(self._source(name)) / RECORD).is_file()
        return list(GRAPHS) if graphs else [JAX]

    def reader(self, name: str, runtime: str, bits: int | None) -> Reader:
        """Returns the reader of a pair.

        Args:
          name: one of `names`.
          runtime: one of `runtimes(name)`; another one stands for the first of them.
          bits: 2 to 8 to quantise the pair now, by the rules of its config; None for the pair as it
            is stored. Graphs are read as they are stored.

        Raises:
          UserError: there is no such pair, it cannot be read, or it cannot be quantised.
        """
        runtimes = self.runtimes(name)
        runtime = runtime if runtime in runtimes else runtimes[0]
        if bits is not None and bits not in BITS:
            raise UserError(f"bits {bits}: not a choice; take 2 to 8")
        return self._reader(name, runtime, bits if runtime == JAX else None)

    def _source(self, name: str) -> str:
        if name not in self._sources:
            raise UserError(f"pair {name!r}: not one of the demo's; take one of {self.names}")
        return self._sources[name]

    def _made(self, name: str, runtime: str, bits: int | None) -> Reader:
        source = self._source(name)
        if runtime in GRAPHS:
            from textsr_jax.export import engine

            return engine.load(source, GRAPHS[runtime])
        return load(source) if bits is None else self._quantizer(source).reader(bits)


class Quantizer:
    """Quantises one pair to any number of bits; what is compiled serves all of them.

    A packed file is expanded first: it is quantised from what it holds, not from what it was made
    of.

    Args:
      source: a workdir of train.py or a packed file.

    Raises:
      UserError: the source cannot be read, or lacks a model.
    """

    def __init__(self, source: str):
        models = Models.load(source)
        if models.sr_variables is None or models.recognizer is None:
            raise UserError(f"{source}: has no SR model or no recogniser yet; train both first")
        self._source, self._config = source, models.config
        self._variables = {
            "sr": quantization.dequantize(models.sr_variables),
            "ocr": quantization.dequantize(models.recognizer),
        }
        search = WordSearch.of(self._config.decoding, text.ALPHABETS[self._config.alphabet])
        self._beam = search.beam
        sr, ocr = self._variables["sr"], self._variables["ocr"]
        self._engine = JaxEngine(search, lambda: (models.sr, models.ocr), sr, ocr, name=source)

    def reader(self, bits: int) -> Reader:
        """Returns a reader of the pair, quantised to `bits` by the rules of its config.

        Confidence is at the temperature of the pair as it is stored.

        Raises:
          UserError: the rules select nothing, or values cannot be quantised.
        """
        made = {}
        for part, variables in self._variables.items():
            settings = self._config.quantization[part].to_dict() | {"bits": bits}
            rules = from_config(settings, self._config[part].name, f"config.quantization.{part}")
            made[part] = quantization.simulate(variables, rules)
        names = self._config.sr.name, self._config.ocr.name
        description = Description(self._source, *names, f"{bits} bits", f"{bits} bits", self._beam)
        engine = self._engine.with_variables(made["sr"], made["ocr"])
        return Reader(engine, self._config.decoding.temperature, description)
