"""Converts published PyTorch checkpoints: python -m textsr_jax.convert MODEL FILE --out OUT

MODEL says which network FILE holds, a .pth or .safetensors file as its authors published it:

  python -m textsr_jax.convert edsr usn.pth --out edsr.params
  python -m textsr_jax.convert resampler kgn.pth --out resampler.params
  python -m textsr_jax.convert tbsrn model_best.pth --out tbsrn.params
  python -m textsr_jax.convert tsrn model_best.pth --out tsrn.params
  python -m textsr_jax.convert tpgsr model_best_0.pth,recognizer_best_0.pth --out tpgsr.params
  python -m textsr_jax.convert tatt model_best_0.pth,recognizer_best_0.pth --out tatt.params
  python -m textsr_jax.convert lemma LEMMA-release.pth --out lemma.params
  python -m textsr_jax.convert abinet VISION.pth,LANGUAGE.pth --out abinet.params
  python -m textsr_jax.convert text_focus pretrain_transformer.pth --out text_focus.params
  python -m textsr_jax.convert cdistnet model_epoch_6.pth --out cdistnet.params
  python -m textsr_jax.convert crnn crnn.pth --out crnn.params

train.py, evaluate.py, quantize.py and read.py take OUT as --config.init.sr=OUT (edsr, tbsrn, tsrn,
tpgsr, tatt, lemma), --config.init.ocr=OUT (cdistnet, crnn) or --config.init.focus=OUT (text_focus).
LEMMA's training starts from --config.init.prior=OUT (abinet). TPGSR and TATT have a recogniser for
each stage; their files follow the network's, after commas.

With --to-torch it converts back to the published names, from a converted file or a workdir:

  python -m textsr_jax.convert edsr edsr.params --to-torch --out usn.pth
  python -m textsr_jax.convert cdistnet runs/tiny --to-torch --out cdistnet.pth

Where a file holds several models, --entry=params_ema or --entry=model.sr chooses one.

Files are read without PyTorch, and nothing in them is run. Only --to-torch into a .pth needs it:
pip install -e '.[convert]'.
"""

from absl import flags

from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError

_OUT = flags.DEFINE_string("out", None, "The file to write.")
_ENTRY = flags.DEFINE_string("entry", None, "The entry of FILE that holds the tensors.")
_TO_TORCH = flags.DEFINE_bool("to-torch", False, "Writes the published names from our parameters.")


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise UserError(
            f"{len(arguments)} arguments; use: python -m textsr_jax.convert MODEL FILE --out OUT "
            "(--help has an example for each model)"
        )
    if not _OUT.value:
        raise UserError("--out is missing; name the file to write, for example --out=edsr.params")
    from textsr_jax.convert import files

    model, file = arguments
    if _TO_TORCH.value:
        if _ENTRY.value is not None:
            raise UserError("--entry names a part of a published file; leave it or --to-torch away")
        lines = files.export_file(model, file, _OUT.value)
    else:
        lines = files.import_file(model, file, _OUT.value, _ENTRY.value)
    print("\n".join(lines))


if __name__ == "__main__":
    run_script(main)
