"""Names that several modules of the training share: folders of stages, kinds of training data."""

# The folders of stages in a workdir.
STAGE0 = "stage0"
PRETRAIN_OCR = "pretrain_ocr"
PRETRAIN_FOCUS = "pretrain_focus"
STAGE1 = "stage1"
STAGE2 = "stage2"
JOINT = "joint"
# Quantisation-aware fine-tuning. Their folders carry a suffix that tells settings apart.
FINETUNE_SR = "finetune_sr"
FINETUNE_OCR = "finetune_ocr"

# The kinds of training data, as checkpoints and error messages call them.
WORDS = "words"
SYNTHETIC = "synthetic words"
DRAWN = "words drawn in the step"
LMDBS = "words of config.data.words"
