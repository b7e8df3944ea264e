"""How exact quantised kernels are, by ranges and bits: python -m benchmarks.ranges

Quantises all kernels of a packed pair, by default of the shipped one, whose values are those of its
own codes. Prints the SQNR of both models, and the bits that codes and ranges of groups take.
"""

from absl import flags
from rich.progress import track

from textsr_jax import quantization
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.quantization import Rule
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.storage import packed_files
from textsr_jax.storage.shipped import SHIPPED

KERNELS = ".*/kernel"
BITS = (4, 3, 2)
# Prior, granularity and group size, as `Rule` takes them.
WAYS = (
    ("laplace", "tensor", 64),
    ("auto", "channel", 64),
    ("least_squares", "channel", 64),
    ("least_squares", "group", 128),
    ("least_squares", "group", 64),
    ("least_squares", "group", 32),
)


def main(arguments: list[str]) -> None:
    refuse(arguments)
    models = packed_files.load(flags.FLAGS.model)
    trees = [quantization.dequantize(tree) for tree in (models.sr, models.ocr)]
    names = [models.config[part]["name"] for part in packed_files.PARTS]
    table = new_table(
        "SQNR in dB, all kernels", ["prior", "ranges", "bits"], ["bits a value", *names]
    )
    for prior, granularity, group_size in track(WAYS, transient=True):
        for bits in BITS:
            rule = Rule(KERNELS, bits, prior, granularity, group_size=group_size)
            packed = [quantization.quantize(tree, [rule]) for tree in trees]
            sqnr = [
                quantization.error(tree, found).sqnr_db
                for tree, found in zip(trees, packed, strict=True)
            ]
            ranges = f"group of {group_size}" if granularity == "group" else granularity
            taken = f"{quantization.size(packed).bits:.2f}"
            table.add_row(prior, ranges, str(bits), taken, *(f"{one:.1f}" for one in sqnr))
    print_table(table, keys=3)


def _define_flags() -> None:
    flags.DEFINE_string("model", str(SHIPPED), "A packed file.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
