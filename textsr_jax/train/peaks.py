"""The most arithmetic that a device does in a second: by its makers, or measured once a machine.

What a training step reaches is a share of it.
"""

import contextlib
import dataclasses
import json
import os
import platform
import re
import time

import jax
import jax.numpy as jnp

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic
from textsr_jax.runtime.compilation import cache_folder

FILE = "matrix_peaks.json"
# The side of a matrix product that keeps a device's matrix units busy.
_SIDES = {"cpu": 1024, "gpu": 8192, "tpu": 8192}

# A pattern of `device_kind`, and TFLOP/s of one JAX device in bfloat16 and in float32.
# NVIDIA's data sheets, dense: their figures "with sparsity" are halved. Float32 is TF32, which JAX
# takes for products by default, on chips that have it. Chips without units for bfloat16 have no
# figure for it.
_NVIDIA = "NVIDIA's data sheet"
# Google Cloud's pages of each TPU. A chip of v2, v3 and v7 is two JAX devices. Products of float32
# are computed in bfloat16 by default.
_GOOGLE = "Google Cloud's TPU pages"
_DEVICES: tuple[tuple[str, float | None, float, str], ...] = (
    (r"NVIDIA B200", 2250, 1125, _NVIDIA),
    (r"NVIDIA H[12]00 NVL", 835.5, 417.5, _NVIDIA),
    (r"NVIDIA H100 PCIe", 756.5, 378, _NVIDIA),
    (r"NVIDIA (H100|H200)( .*)?", 989.5, 494.5, _NVIDIA),
    (r"NVIDIA A100.*", 312, 156, _NVIDIA),
    (r"NVIDIA L4", 121, 60, _NVIDIA),
    (r"(Tesla|NVIDIA) T4", None, 8.1, _NVIDIA),
    (r"Tesla V100S-PCIE.*", None, 16.4, _NVIDIA),
    (r"Tesla V100-PCIE.*", None, 14, _NVIDIA),
    (r"Tesla V100.*", None, 15.7, _NVIDIA),
    (r"TPU v2", 22.5, 22.5, _GOOGLE),
    (r"TPU v3", 61.5, 61.5, _GOOGLE),
    (r"TPU v4", 275, 275, _GOOGLE),
    (r"TPU v5 ?(lite|e)", 197, 197, _GOOGLE),
    (r"TPU v5p?", 459, 459, _GOOGLE),
    (r"TPU v6 ?(lite|e)", 918, 918, _GOOGLE),
    (r"TPU ?v?7x?", 1153.5, 1153.5, _GOOGLE),
)


@dataclasses.dataclass(frozen=True)
class Peak:
    """The most arithmetic of several devices together.

    Attributes:
      flops: FLOP/s.
      devices: what they are, as "2 x NVIDIA L4".
      source: where the figure is from.
    """

    flops: float
    devices: str
    source: str


def of_all_devices(dtype: str) -> Peak:
    """The peak of all devices of all processes, in products of `dtype`.

    A process's CPU devices share its cores, so they count once.

    Args:
      dtype: "bfloat16" or "float32".
    """
    kind = jax.devices()[0].device_kind
    if published := _published(kind, dtype):
        flops, source = published
        count = jax.device_count()
        return Peak(count * flops, f"{count} x {kind}", source)
    cpu = jax.default_backend() == "cpu"
    count = jax.process_count() if cpu else jax.device_count()
    name = f"{_cores()}-thread {platform.machine()} CPU" if cpu else kind
    measured = f"the fastest matrix product of side {_side()}"
    return Peak(count * _kept(name, dtype), f"{count} x {name}", measured)


def matrix_flops(dtype: str) -> float:
    """FLOP/s of one device in the fastest of five products of large square matrices."""
    side = _side()
    left, right = jax.random.normal(jax.random.key(0), (2, side, side)).astype(dtype)
    multiply = jax.jit(jnp.matmul)
    multiply(left, right).block_until_ready()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        multiply(left, right).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def _side() -> int:
    return _SIDES.get(jax.default_backend(), 2048)


def _cores() -> int:
    """How many threads the CPU runs of this process at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _published(kind: str, dtype: str) -> tuple[float, str] | None:
    """FLOP/s of a kind of device and where they are from; None where the makers say nothing."""
    for pattern, bfloat16, float32, source in _DEVICES:
        if re.fullmatch(pattern, kind):
            tera = bfloat16 if dtype == "bfloat16" else float32
            return None if tera is None else (1e12 * tera, source)
    return None


def _kept(name: str, dtype: str) -> float:
    """`matrix_flops`, measured once for a machine, its devices, the dtype and the version of JAX.

    It stands beside the compiled functions. Where there is no such folder, it is measured again.
    """
    key = f"{platform.node()}, {name}, {dtype}, jax {jax.__version__}"
    folder = cache_folder()
    kept: dict[str, float] = {}
    if folder is not None:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((folder / FILE).read_text())
            kept = {name: float(flops) for name, flops in found.items() if flops > 0}
    if key not in kept:
        kept[key] = matrix_flops(dtype)
        if folder is not None and folder.is_dir():
            with contextlib.suppress(UserError):  # a folder that cannot be written to
                atomic.write_json(folder / FILE, kept)
    return kept[key]
