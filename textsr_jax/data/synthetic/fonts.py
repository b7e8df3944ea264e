"""The typefaces of the synthetic words: families of Google Fonts, each its own PyPI package.

A fixed list in a fixed order, so that the same seed draws the same words on every machine.
"""

import functools
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageFont

from textsr_jax.errors import UserError, installing

# Families of signs, posters, packages and screens: grotesques, geometric and condensed sans, book
# and slab serifs, display faces and scripts. All are free: OFL 1.1 or Apache 2.0.
FAMILIES = (
    "abril-fatface",
    "acme",
    "alfa-slab-one",
    "alumni-sans",
    "antic-slab",
    "anton",
    "archivo",
    "archivo-black",
    "arimo",
    "arvo",
    "baloo-2",
    "barlow",
    "barlow-condensed",
    "bitter",
    "black-ops-one",
    "bodoni-moda",
    "bungee",
    "cabin",
    "caveat",
    "changa-one",
    "cinzel",
    "comfortaa",
    "cormorant-garamond",
    "crimson-text",
    "dancing-script",
    "dm-serif-display",
    "dosis",
    "eb-garamond",
    "exo-2",
    "fira-sans",
    "fjalla-one",
    "fredoka",
    "gravitas-one",
    "great-vibes",
    "indie-flower",
    "inter",
    "josefin-sans",
    "jost",
    "kalam",
    "kanit",
    "lato",
    "league-spartan",
    "libre-baskerville",
    "libre-franklin",
    "lilita-one",
    "lobster",
    "lobster-two",
    "lora",
    "luckiest-guy",
    "marcellus",
    "merriweather",
    "montserrat",
    "noto-serif",
    "nunito",
    "oleo-script",
    "open-sans",
    "orbitron",
    "oswald",
    "overpass",
    "pacifico",
    "permanent-marker",
    "playfair-display",
    "poppins",
    "press-start-2p",
    "pt-sans",
    "pt-serif",
    "quicksand",
    "raleway",
    "righteous",
    "roboto",
    "roboto-condensed",
    "roboto-slab",
    "rubik",
    "russo-one",
    "satisfy",
    "shadows-into-light",
    "signika",
    "source-serif-4",
    "space-mono",
    "spectral",
    "teko",
    "titan-one",
    "titillium-web",
    "varela-round",
    "vollkorn",
    "work-sans",
    "yanone-kaffeesatz",
    "yellowtail",
    "zilla-slab",
)

SCRIPTS = frozenset(
    {
        "caveat",
        "dancing-script",
        "great-vibes",
        "lobster",
        "lobster-two",
        "oleo-script",
        "pacifico",
        "satisfy",
        "yellowtail",
    }
)

# Scripts that are drawn for a word in capitals are mostly rejected: this part of them.
SCRIPT_CAPITALS_REJECTED = 0.9

CAP_HEIGHT = 40  # the height of an H in pixels, unless `load` is given another

_WEIGHTS = (300, 400, 500, 700, 900)  # the weights taken from a variable font
_LIGHTEST = 300  # thinner lines vanish in a photograph

# Families of printed matter, whose letters differ least.
BASIC = (
    "arimo",
    "barlow",
    "bitter",
    "fira-sans",
    "inter",
    "lato",
    "merriweather",
    "montserrat",
    "noto-serif",
    "open-sans",
    "oswald",
    "poppins",
    "pt-serif",
    "roboto",
    "roboto-slab",
    "source-serif-4",
)


@dataclass(frozen=True)
class Face:
    """One weight and slope of a family.

    Attributes:
      family: one of `FAMILIES`.
      name: names it across machines: family, file and weight.
      path: the TrueType file.
      weight: the weight to set in a variable font, or None for a static file.
    """

    family: str
    name: str
    path: str
    weight: int | None


@dataclass(frozen=True)
class About:
    """The origin of a family, as its package states it.

    Attributes:
      name: the family's own name, e.g. "Open Sans".
      version: the package's version of it.
      licence: an SPDX identifier, e.g. "OFL-1.1".
      copyright: the notice that the licence requires to keep.
    """

    name: str
    version: str
    licence: str
    copyright: str


def package(family: str) -> str:
    """The PyPI package that holds `family`, e.g. "fontpkg-open-sans"."""
    return f"fontpkg-{family}"


def about(family: str) -> About:
    """The origin of a family.

    Raises:
      UserError: see `find`.
    """
    metadata = json.loads((_folders([family])[0] / "metadata.json").read_text(encoding="utf-8"))
    try:
        keys = ("family", "version", "license", "copyright")
        return About(*(metadata[key] for key in keys))
    except KeyError as error:
        raise _damaged(family, error) from error


def find(families: Sequence[str]) -> tuple[tuple[Face, ...], ...]:
    """The faces of every family, in the order given.

    Raises:
      UserError: the package of a family is not installed, or does not hold what it should.
    """
    folders = zip(families, _folders(families), strict=True)
    return tuple(_faces(family, folder) for family, folder in folders)


@functools.cache
def families() -> tuple[tuple[Face, ...], ...]:
    """The faces of every family of `FAMILIES`, in which words are drawn.

    Raises:
      UserError: see `find`.
    """
    return find(FAMILIES)


@functools.cache
def fingerprint() -> str:
    """A digest of every face's name and file size: it changes when the fonts change."""
    lines = [
        f"{face.name} {Path(face.path).stat().st_size}" for faces in families() for face in faces
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def choose(word: str, rng: np.random.Generator, basic: bool = False) -> Face:
    """A random face of a random family, every family as likely as any other.

    Scripts are an exception: their capitals are flourishes, so they seldom get a word in capitals.
    With `basic` the family is one of `BASIC`.
    """
    choice = [FAMILIES.index(family) for family in BASIC] if basic else range(len(FAMILIES))
    while True:
        faces = families()[choice[rng.integers(len(choice))]]
        face = faces[rng.integers(len(faces))]
        if not (face.family in SCRIPTS and word.isupper() and len(word) > 2):
            return face
        if rng.random() >= SCRIPT_CAPITALS_REJECTED:
            return face


@functools.cache
def load(face: Face, height: int = CAP_HEIGHT) -> ImageFont.FreeTypeFont:
    """The face at a size at which an H is `height` pixels high; loaded once per process."""
    _, top, _, bottom = _open(face, 100).getbbox("H")
    return _open(face, 100 * height / (bottom - top))


def _folders(families: Sequence[str]) -> list[Path]:
    """The folders of the families' packages; raises `UserError` where one is not installed."""
    folders, missing = [], []
    for name in map(package, families):
        spec = importlib.util.find_spec(name.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            missing.append(name)
        else:
            folders.append(Path(spec.submodule_search_locations[0]))
    if missing:
        raise UserError(
            f"fonts: {len(missing)} of {len(families)} font packages are not installed, such as"
            f" {missing[0]}; they come with the extra [fonts]: {installing('fonts')}"
        )
    return folders


def _faces(family: str, folder: Path) -> tuple[Face, ...]:
    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        ranges = {axis["tag"]: (axis["min"], axis["max"]) for axis in metadata["axes"]}
        faces = []
        for file in metadata["files"]:
            path = folder / file["path"]
            if not path.exists():
                raise FileNotFoundError(path)
            weights: list[int | None]
            if file["weight"] is not None:
                weights = [None] if file["weight"] >= _LIGHTEST else []
            elif "wght" in ranges:
                low, high = ranges["wght"]
                weights = [weight for weight in _WEIGHTS if low <= weight <= high]
            else:
                weights = [None]
            faces += [Face(family, f"{family}/{path.name}@{w}", str(path), w) for w in weights]
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(family, error) from error
    # The order in a metadata file has no meaning, so the faces must not depend on it.
    return tuple(sorted(faces, key=lambda face: face.name))


def _damaged(family: str, error: Exception) -> UserError:
    return UserError(
        f"fonts: {package(family)} is damaged ({error!r});"
        f" pip install --force-reinstall {package(family)}"
    )


def _open(face: Face, size: float) -> ImageFont.FreeTypeFont:
    # Pillow's own layout. The other engine is an optional library with different kerning.
    font = ImageFont.truetype(face.path, size, layout_engine=ImageFont.Layout.BASIC)
    if face.weight is not None:
        font.set_variation_by_axes(
            [
                (face.weight if axis["name"] == b"Weight" else axis["default"]) or 0
                for axis in font.get_variation_axes()
            ]
        )
    return font
