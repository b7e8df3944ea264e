"""Progress bars that leave the compilation of the first step out of their estimates."""

from tqdm import tqdm

COMPILING = "compiling, the first time only"


class Progress(tqdm):
    """A tqdm bar that shows `COMPILING` until its first update and measures its rate after it.

    Args:
      arguments, settings: of `tqdm`.
    """

    def __init__(self, *arguments: object, **settings: object):
        super().__init__(*arguments, postfix=COMPILING, **settings)

    def update(self, n: float | None = 1) -> bool | None:
        if self.disable or self.postfix != COMPILING:
            return super().update(n)
        self.n += n
        self.initial = self.last_print_n = self.n
        self.start_t = self.last_print_t = self._time()
        self.set_postfix_str("")
        return True
