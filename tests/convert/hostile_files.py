"""Checkpoint files that nobody should publish: pickles written by hand, and sound files harmed.

For `test_hostile_files.py`, which has them read in a process of its own, this module run.
"""

import io
import json
import pathlib
import random
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Iterator


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x09" + value.to_bytes(9, "little")


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def several(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + several(*arguments) + b"R"


def storage(size: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
    return (
        several(text("storage"), name("torch", kind), text(key), text("cpu"), number(size)) + b"Q"
    )


def tensor(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    size: int = 2,
    *,
    offset: int = 0,
    key: str = "0",
) -> bytes:
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(size, key),
        number(offset),
        several(*map(number, shape)),
        several(*map(number, strides)),
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


def pickle(*values: bytes) -> bytes:
    return b"\x80\x02" + b"".join(values) + b"."


def dict_of(*items: bytes) -> bytes:
    return b"}(" + b"".join(items) + b"u"


def zipped(
    pickled: bytes, storages: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """A file as PyTorch writes it since 1.6."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, content in (storages or {"0": bytes(8)}).items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return stream.getvalue()


def streamed(pickled: bytes, storages: dict[str, tuple[int, bytes]] | None = None) -> bytes:
    """A file as older versions write it; of each storage the count that it claims."""
    storages = {"0": (2, bytes(8))} if storages is None else storages
    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    start = [pickle(magic), pickle(number(1001)), pickle(b"}"), pickled, pickle(keys)]
    content = [struct.pack("<q", count) + data for count, data in storages.values()]
    return b"".join(start + content)


def safetensors(header: dict | bytes, content: bytes = b"") -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + content


GOOD = text("good") + tensor((2,), (1,))
_NDARRAY, _DTYPE = name("numpy", "ndarray"), name("numpy", "dtype")
_RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")
_SCALAR = name("numpy._core.multiarray", "scalar")


def _bytes(content: bytes) -> bytes:
    return call(name("_codecs", "encode"), text(content.decode("latin1")), text("latin1"))


def _dtype(code: str, *state: bytes) -> bytes:
    made = call(_DTYPE, text(code), b"\x89", b"\x88")
    empty = number(3), text("<"), b"N", b"N", b"N", number(-1), number(-1), number(0)
    return made + several(*(state or empty)) + b"b"


def _array(kind: bytes, shape: tuple[int, ...], content: bytes) -> bytes:
    made = call(_RECONSTRUCT, _NDARRAY, several(number(0)), _bytes(b"b"))
    state = number(1), several(*map(number, shape)), kind, b"\x89", _bytes(content)
    return made + several(*state) + b"b"


def _laughs(deep: int) -> bytes:
    """A tuple of the tuple before it, twice, again and again."""
    return b")" + b"".join(
        b"r" + struct.pack("<I", 9 + i) + (b"j" + struct.pack("<I", 9 + i)) + b"\x86"
        for i in range(deep)
    )


def address() -> bytes:
    """An array whose objects lie at addresses that the file names."""
    buffer = _bytes(b"\0\0\xde\xc07\x13\0\0")
    array = call(_NDARRAY, several(number(1)), text("O"), buffer)
    return call(_NDARRAY, array)


# What a good tensor stands beside; each is refused for what it asks for.
REFUSED = {
    "object array": address(),
    "array from a buffer": call(_NDARRAY, several(number(1)), text("<f4"), _bytes(bytes(4))),
    "new array": _NDARRAY + several(several(number(1 << 20))) + b"\x81",
    "object dtype": _dtype("O8"),
    "object array, rebuilt": _array(_dtype("O8"), (1,), bytes(8)),
    "dtype of fields": call(_DTYPE, several(several(text("a"), text("<f4")))),
    "record dtype": _dtype("V8"),
    "huge strings": _dtype("U9999999"),
    "two dtypes in one": _dtype("f4,O"),
    "dtype with fields in its state": _dtype(
        *("f8", number(3), text("|"), b"N", several(text("a")), dict_of(text("a"), b"N")),
        *(number(8), number(1), number(0)),
    ),
    "a memory map": call(_RECONSTRUCT, name("numpy", "memmap"), several(number(0)), _bytes(b"b")),
    "object number": call(_SCALAR, _dtype("O8"), _bytes(bytes(8))),
    "numbers from a file": call(name("numpy", "fromfile"), text("/etc/passwd")),
    "a tensor's own class": call(name("torch", "FloatTensor"), number(1 << 30)),
    "a storage's class": call(name("torch", "FloatStorage"), number(1 << 30)),
    "bytes from a storage": call(name("torch.storage", "_load_from_bytes"), _bytes(b"x")),
    "eval": call(name("builtins", "eval"), text("1")),
    "eval of Python 2": call(name("__builtin__", "eval"), text("1")),
    "getattr": call(name("builtins", "getattr"), b"N", text("x")),
    "a part of a module": call(name("torch.serialization", "os.system"), text("true")),
    "its own reader": call(name("torch", "load"), text("/etc/passwd")),
    "a rebuilding of a rebuilding": call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        *(name("torch._tensor", "_rebuild_from_type_v2"), name("torch", "Tensor"), b")", b"N"),
    ),
}

# The same, damaged rather than evil.
DAMAGED = {
    "array shorter than its shape": _array(_dtype("f8"), (1 << 40,), bytes(8)),
    "array longer than its shape": _array(_dtype("f8"), (), bytes(800)),
    "array of no dtype": _array(text("f8"), (1,), bytes(8)),
    "number of another length": call(_SCALAR, _dtype("f8"), _bytes(bytes(4))),
    "negative size": tensor((-1,), (1,)),
    "negative stride": tensor((2,), (-1,), offset=1),
    "negative offset": tensor((1,), (1,), offset=-1),
    "behind its storage": tensor((3,), (1,)),
    "far behind its storage": tensor((2,), (1 << 46,)),
    "offset behind its storage": tensor((1,), (1,), offset=1 << 46),
    "storage larger than the file": tensor((1 << 40,), (1,), 1 << 40),
    "a size of 2 ** 70": tensor((1 << 70,), (1,), 1 << 70),
    "strides of another number": tensor((1, 1), (1,)),
    "a hundred axes": tensor((1,) * 100, (1,) * 100),
    "one number for a terabyte": tensor((1 << 19, 1 << 19), (0, 0)),
    "one number for 20 megabytes": tensor((5_000_000,), (0,)),
    "storage that is not there": tensor((2,), (1,), key="7"),
    "storage elsewhere": tensor((2,), (1,), key="../version"),
    "a state for a string": text("x") + b"}b",
    "items for a tuple": b")" + text("x") + b"Ns",
    "items for a tensor": tensor((2,), (1,)) + text("x") + b"Ns",
    "append to a dict": b"}" + text("x") + b"a",
    "memo that is not there": b"h\x63",
    "arguments that are no tuple": name("collections", "OrderedDict") + b"]R",
    "a call of a string": text("eval") + b")R",
    "persistent nothing": b"NQ",
    "persistent module": several(text("module"), b"N", text("x"), text("y"), number(1)) + b"Q",
    "extension": b"\x82\x01",
    "an operation of protocol 0": b"I5\n",
    "half an item": b"}(" + text("x") + b"u",
    "no mark": b"tttt",
}


def heavy() -> dict[str, bytes]:
    """Small files that would take for ever, or all memory."""
    return {
        "nested key": dict_of(_laughs(200), b"N"),
        "nested value": _laughs(400),
        "nested lists": b"]" * 400_000 + b"a" * 399_999,
        "nested dicts": (b"}" + text("a")) * 100_000 + b"}" + b"s" * 100_000,
        "dicts with two ways to each": b"}q\x01"
        + b"".join(b"}" + text("a") + b"h\x01s" + text("b") + b"h\x01sq\x01" for _ in range(5000)),
        "a dict in itself": b"}q\x01" + text("a") + b"h\x01s",
        "set of nested tuples": call(name("builtins", "set"), b"]" + _laughs(200) + b"a"),
        "counter of nested tuples": call(
            name("collections", "Counter"), dict_of(_laughs(99), b"N")
        ),
        "ordered pairs, 5,000 times": (
            b"](" + (text("a") + b"N\x86") * 10_000 + b"eq\x01"
            + b"](" + (name("collections", "OrderedDict") + b"h\x01\x85R") * 5_000 + b"e"
        ),
        "encoded again and again": text("x" * 100_000) + b"q\x01"
        + b"](" + (name("_codecs", "encode") + b"h\x01" + text("latin1") + b"\x86R") * 9_999
        + b"e",
        "a million lists": b"]" * 2_000_000,
        "far memo": b"]r\xff\xff\xff\xff",
        "long string": text("a" * 3_000_000 + "\U0001f600"),
        "string that is not there": b"X\xff\xff\xff\xff",
        "long number": b"\x8b\xff\xff\xff\x7f",
        "keys that collide": dict_of(
            *(
                b"\x8a\x0a" + (i * ((1 << 61) - 1)).to_bytes(10, "little") + b"N"
                for i in range(100_000)
            )
        ),
        "many names of a tensor": tensor((2,), (1,)) + b"q\x01"
        + dict_of(*(text(f"t{i}") + b"h\x01" for i in range(100_000))),
        "many entries": dict_of(text("t") + tensor((2,), (1,))) + b"q\x01"
        + dict_of(*(text(f"t{i}") + b"h\x01" for i in range(100_000))),
        "names of a megabyte": dict_of(
            *(text(f"{i}" * 50_000) + tensor((2,), (1,)) for i in range(30))
        ),
        "names of many numbers": dict_of(
            *(
                text(".".join(map(str, range(i, i + 50))) + ".num_batches_tracked")
                + tensor((0,), (1,))
                for i in range(9_000)
            )
        ),
        "many shapes": dict_of(
            *(text(f"a{i}.num_batches_tracked") + tensor((0, i), (1, 1)) for i in range(9_000))
        ),
        "names with effects": dict_of(text("a\x1b[2J\n\u2028\u202e\ud800b") + tensor((2,), (1,))),
        "entries with effects": dict_of(text("a\x1b[2J\n\u2028\ud800b"), b"N"),
    }  # fmt: skip


def containers() -> dict[str, bytes]:
    """Files whose wrapping lies, of all formats."""
    good = pickle(dict_of(GOOD))
    sound = zipped(good)
    end = sound.rindex(b"PK\x05\x06")
    listed = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    entries = {f"archive/data/{i}": b"" for i in range(30_000)}
    return {
        "compressed zeros": zipped(good, {"0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED),
        "compressed pickle": zipped(pickle(b"]" * 20_000_000), None, zipfile.ZIP_DEFLATED),
        "bzip2": zipped(good, {"0": bytes(50_000_000)}, zipfile.ZIP_BZIP2),
        "lzma": zipped(good, {"0": bytes(50_000_000)}, zipfile.ZIP_LZMA),
        "long list": sound[: end + 12] + struct.pack("<I", 1 << 31) + sound[end + 16 :],
        "list of others": zipped(good, {str(i): b"" for i in range(30_000)} | {"0": bytes(8)}),
        "nothing in it": b"PK\x05\x06" + bytes(18),
        "only the end": sound[end:],
        "sizes of zip64": sound.replace(struct.pack("<II", 8, 8), b"\xff" * 8),
        "size of a record": sound.replace(
            struct.pack("<II", 8, 8), struct.pack("<II", 1 << 30, 1 << 30)
        ),
        "storage of 2 ** 60": streamed(good, {"0": (1 << 60, bytes(8))}),
        "storage of a negative size": streamed(good, {"0": (-5, bytes(8))}),
        "storages without end": streamed(good, {str(i): (0, b"") for i in range(90_000)}),
        "no storage": streamed(good, {}),
        "pickles without end": pickle(b"N") * 200_000,
        "zeros": bytes(1_000_000),
        "protocol bytes": b"\x80\x02" * 300_000,
        "header of 2 ** 63": struct.pack("<Q", 1 << 63) + b'{"a":1}',
        "header of 90 megabytes": safetensors(
            b'{"__metadata__":{' + b'"a":"",' * 100 + b" " * 90_000_000
        ),
        "nested header": safetensors(b"{" + b'"a":[' * 500_000),
        "offsets back": safetensors({"a": {**listed, "data_offsets": [8, 0]}}, bytes(8)),
        "offsets far": safetensors({"a": {**listed, "data_offsets": [0, 1 << 60]}}, bytes(8)),
        "overlapping": safetensors({"a": listed, "b": listed}, bytes(8)),
        "shape that overflows": safetensors({"a": {**listed, "shape": [1 << 62, 4]}}, bytes(8)),
        "many axes": safetensors({"a": {**listed, "shape": [1] * 5000 + [2]}}, bytes(8)),
        "dtype of tomorrow": safetensors({"a": {**listed, "dtype": "F3"}}, bytes(8)),
        "8-bit floats": safetensors({"a": {**listed, "dtype": "F8_E4M3", "shape": [8]}}, bytes(8)),
        "no header": safetensors(b"{}"),
        "a list for a header": safetensors(b"[1]"),
        "header that is no text": safetensors(b"{\xff\xfe}"),
        "empty tensors": safetensors(
            {f"a{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(60_000)}
        ),
        "entries": zipped(good, entries),
    }


def harmed(sound: list[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """Sound files with what copying, disks and transfers do to them, and with bytes exchanged."""
    draw = random.Random(seed)
    for number_ in range(count):
        content = bytearray(sound[number_ % len(sound)])
        place = draw.randrange(len(content))
        match draw.randrange(7):
            case 0:
                del content[place:]
            case 1:
                content[place : place + 512] = bytes(min(512, len(content) - place))
            case 2:
                for _ in range(draw.randrange(1, 9)):
                    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            case 3:
                # In the first bytes, where lengths and operations are.
                for _ in range(draw.randrange(1, 9)):
                    content[draw.randrange(min(400, len(content)))] = draw.randrange(256)
            case 4:
                end = place + draw.randrange(64)
                content[place:end] = draw.randbytes(draw.randrange(64))
            case 5:
                other = draw.choice(sound)
                content[place:] = other[draw.randrange(len(other)) :]
            case _:
                width = draw.choice((1, 2, 4, 8))
                value = draw.choice((0, 1, (1 << 8 * width - 1) - 1, (1 << 8 * width) - 1))
                content[place : place + width] = value.to_bytes(width, "little")
        yield bytes(content)


def read_all(folder: pathlib.Path) -> None:
    """Reads every file of a folder and prints what came of it; for a process of its own."""
    from textsr_jax.convert import checkpoint_files, files
    from textsr_jax.errors import UserError

    for path in sorted(folder.glob("*.pth")):
        before = time.perf_counter()
        try:
            if "harmed" in path.name:
                checkpoint_files.read(path)
            else:
                # What is said of dropped tensors, and the hint which network it is, included.
                files.import_file("crnn", str(path), str(folder / "out.params"))
            outcome = "taken"
        except UserError as error:
            outcome = str(error)
        taken = time.perf_counter() - before
        print(json.dumps([path.name, outcome, taken, _peak()]), flush=True)


def _peak() -> int:
    """The most memory that this process held, in kilobytes."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # What `getrusage` says there counts the process that started this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    read_all(pathlib.Path(sys.argv[1]))
