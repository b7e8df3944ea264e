"""The demo's page in Gradio: controls, what they call, and what keeps it on this machine."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np

from textsr_jax.demo import answers
from textsr_jax.demo.pairs import BITS, Pairs
from textsr_jax.errors import UserError, needs

if TYPE_CHECKING:
    import gradio

HOST = "127.0.0.1"
# Images that may wait; the next ones are told that the demo is busy.
MOST_WAITING = 32
AS_STORED = "as stored"
# In a clone; the package has no images.
EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "images" / "words"
# The browser may ask this address alone. Gradio's scripts make functions of text.
_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    b"connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'"
)
# Seconds between deletions of results, and how old they are then.
_DELETE = (60, 300)
_STYLE = """
.read { font-size: 2em; font-weight: 600; margin: 0; white-space: pre-wrap; }
.sure { margin: 0 0 0.5em; }
footer { display: none !important; }
"""


class Guarded:
    """Sends the content security policy with every answer, as ASGI middleware."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY)
                message["headers"] = [*message.get("headers", ()), policy]
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


@contextlib.contextmanager
def serving(pairs: Pairs, port: int | None) -> Iterator[str]:
    """Serves the demo on the loopback address while the block runs; yields its address.

    Args:
      pairs: the pairs of models that are offered.
      port: the port; None for the first free one from 7860 on.

    Raises:
      MissingPackage: Gradio is not installed.
      UserError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="textsr_jax-demo-") as folder:
        # Gradio reads these when it is imported.
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": folder,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        with needs("demo"):
            import gradio
            from starlette.middleware import Middleware

        blocks = page(pairs)
        blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=1)
        fonts = ["system-ui", "sans-serif"]
        try:
            _, address, _ = blocks.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                ssr_mode=False,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                max_file_size=answers.MOST_BYTES,
                theme=gradio.themes.Default(font=fonts, font_mono=["monospace"]),
                css=_STYLE,
                app_kwargs={"middleware": [Middleware(Guarded)]},
            )
        except OSError as error:
            raise UserError(
                f"--port={port}: cannot listen there ({error}); name another"
            ) from error
        try:
            yield address
        finally:
            blocks.close(verbose=False)


def page(pairs: Pairs) -> gradio.Blocks:
    """Returns the page: an image, choices, a slider over the image and its SR image, the words."""
    with needs("demo"):
        import gradio

    def shown(
        path: str | None, name: str, runtime: str, bits: str
    ) -> tuple[tuple[np.ndarray, np.ndarray] | None, str, gradio.Image]:
        if path is None:
            return None, "", gradio.Image(visible=False)
        try:
            number = None if bits == AS_STORED else int(bits)
            found = answers.answer(path, pairs, name, runtime, number)
        except (UserError, ValueError) as error:
            raise gradio.Error(str(error), print_exception=False) from error
        drawn = gradio.Image(found.drawn, visible=found.drawn is not None)
        return (found.before, found.after), answers.as_html(found), drawn

    def runtimes(name: str) -> gradio.Dropdown:
        choices = pairs.runtimes(name)
        return gradio.Dropdown(choices, value=choices[0])

    with gradio.Blocks(title="textsr_jax", analytics_enabled=False, delete_cache=_DELETE) as blocks:
        gradio.Markdown(
            "# textsr_jax\n"
            "Drop a crop of a word or a line, or a photograph. It stays on this machine."
        )
        with gradio.Row():
            with gradio.Column():
                image = gradio.Image(label="image", height=180, sources=["upload", "clipboard"])
                _take_uploads_alone(image)
                first = pairs.runtimes(pairs.names[0])
                name = gradio.Dropdown(pairs.names, value=pairs.names[0], label="models")
                bits = gradio.Radio(
                    [AS_STORED, *map(str, reversed(BITS))], value=AS_STORED, label="bits"
                )
                runtime = gradio.Dropdown(first, value=first[0], label="runtime")
                if EXAMPLES.is_dir():
                    examples = sorted(map(str, EXAMPLES.glob("*.png")))
                    gradio.Examples(examples, image, label="drawn words", cache_examples=False)
            with gradio.Column():
                gradio.Markdown("Left of the handle bicubic, right of it super-resolution:")
                # A label would lie over the image.
                slider = gradio.ImageSlider(show_label=False, interactive=False, format="png")
                words = gradio.HTML()
                drawn = gradio.Image(label="words", visible=False, interactive=False, format="jpeg")
        inputs, outputs = [image, name, runtime, bits], [slider, words, drawn]
        for event in (image.change, bits.input, runtime.input):
            event(shown, inputs, outputs, concurrency_id="reader")
        name.input(runtimes, name, runtime).then(shown, inputs, outputs, concurrency_id="reader")
    return blocks


def _take_uploads_alone(image: gradio.Image) -> None:
    """Makes an image component give the path of an uploaded file, unopened.

    Gradio would fetch an image by its address, take base64, and decode it whatever its size. What
    it calls is replaced in the component: beside the file of a subclass it writes a stub.
    """
    with needs("demo"):
        import gradio

    move = image.async_move_resource_to_block_cache

    async def moved(place: Any) -> Any:
        if "://" in str(place):
            raise gradio.Error("images by address are refused", print_exception=False)
        return await move(place)

    def path(payload: Any) -> str | None:
        if payload is not None and payload.path is None:
            raise gradio.Error("upload the image as a file", print_exception=False)
        return None if payload is None else str(payload.path)

    image.async_move_resource_to_block_cache, image.preprocess = moved, path
