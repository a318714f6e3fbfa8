"""Damaged and hostile files: models, snapshots, cached texts, claims, logs and configurations, changed where it hurts.

A mutant is a valid file with one to three changes that know its structure: lengths, offsets, types, shapes, values of JSON,
depth, names that occur twice, weights that are no numbers, cuts, random bytes. `torture.py files` and `tests/faults/` give
them to every reader. The same seed gives the same mutants.
"""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any


class Object(list[tuple[str, Any]]):
    """The members of a JSON object, in order; a name may occur twice."""


class Raw(str):
    """A piece of JSON that is written as it is."""

    __slots__ = ()


HUGE = 10**9
NUMBERS = (0, 1, -1, 2, 7, 64, 255, 256, 65_535, HUGE, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**40, -HUGE)
FLOATS = (0.5, -0.0, 1e-320, 1e38, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "",
    "0",
    "lstm",
    "characters",
    "bytes",
    "\0",
    "\x1b[2J",
    "\ud800",
    "\U0010ffff",
    "é" * 50,
    "../../x",
    "A" * 3000,
)
LISTS: tuple[Any, ...] = (
    [],
    [[]],
    [0],
    [-1],
    [2**63],
    [None],
    ["a"],
    [HUGE] * 3,
    list(range(300)),
    [0] * 300,
    [[0, 0]] * 3,
)
DICTS: tuple[Any, ...] = ({}, {"": 0}, {"a": {}}, {"units": "characters", "codes": [97]}, {"__class__": "os.system"})
NASTY: tuple[Any, ...] = (*NUMBERS, *FLOATS, *TEXTS, *LISTS, *DICTS, None, True, False)
DTYPES: tuple[str, ...] = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
DTYPES += ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64", "O", "object", "<f4", "", "f32", "PICKLE")
WEIGHTS = (float("nan"), float("inf"), float("-inf"), 3.4e38, -3.4e38, 1e30, 1e-45, -0.0)
NAMES = (
    "__metadata__",
    "head.bias",
    "layers.0.weight_hh",
    "",
    "a" * 500,
    "\0",
    "weights/head.bias",
    "state/0/0",
    "optimizer/x/y",
)


def a_model(content: bytes, random: Random) -> bytes:
    """Return a changed safetensors file: a model or a snapshot."""
    try:
        length = int.from_bytes(content[:8], "little")
        entries = json.loads(content[8 : 8 + length], object_pairs_hook=Object)
    except (ValueError, RecursionError):
        return some_bytes(content, random)
    body = bytearray(content[8 + length :])
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        kind = random.randrange(10)
        if kind == 0:
            return some_bytes(packed(entries, bytes(body)), random)
        if kind == 1:
            _change_weights(body, random)
        elif kind in {2, 3, 4}:
            _change_tensor(entries, random)
        elif kind == 5:
            _change_names(entries, random)
        else:
            _change_metadata(entries, random)
    return packed(entries, bytes(body), *([_length(random)] if random.random() < 0.02 else []))


def packed(entries: Object, body: bytes, length: int | None = None) -> bytes:
    """Return a safetensors file of a header and a body, with the true length of the header or another one."""
    header = dumped(entries).encode(errors="surrogatepass")
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def dumped(value: Any) -> str:
    """Return JSON of a value whose objects are lists of pairs, where a name may occur twice."""
    if isinstance(value, Object):
        return "{" + ",".join(f"{json.dumps(name)}:{dumped(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumped, value)) + "]"
    return value if isinstance(value, Raw) else json.dumps(value)


def _length(random: Random) -> int:
    return random.choice((0, 1, 7, 8, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, random.randrange(100_000)))


def _change_weights(body: bytearray, random: Random) -> None:
    """Put values that are no numbers, or very large ones, among the weights."""
    if len(body) < 8:
        return
    place = random.randrange(len(body) // 4) * 4
    count = min(random.choice((1, 1, 100, 10**9)), (len(body) - place) // 4)
    body[place : place + 4 * count] = struct.pack("<f", random.choice(WEIGHTS)) * count


def _change_tensor(entries: Object, random: Random) -> None:
    """Change the type, the shape or the offsets of a tensor."""
    places = [
        place for place, (_, value) in enumerate(entries) if isinstance(value, Object) and dict(value).get("dtype")
    ]
    if not places:
        return
    place = random.choice(places)
    name, value = entries[place]
    fields = dict(value)
    shape, offsets = fields.get("shape"), fields.get("data_offsets")
    kind = random.randrange(7)
    if kind == 0:
        fields["dtype"] = random.choice(DTYPES)
    elif kind == 1 and isinstance(shape, list):
        fields["shape"] = random.choice(
            ([*shape, 1], shape[1:], shape[::-1], [0, *shape], [HUGE, HUGE], [2**63, 2], [-1, -1], [1] * 100)
        )
    elif kind == 2 and isinstance(offsets, list):
        other = dict(entries[random.choice(places)][1]).get("data_offsets")
        start, stop = (*offsets, 0, 0)[:2]
        fields["data_offsets"] = random.choice(
            (other, [stop, start], [0, HUGE], [-4, 4], [2**64 - 8, 2**64], [start, start], [start], [start + 4, stop])
        )
    elif kind == 3:
        fields[random.choice(("dtype", "shape", "data_offsets"))] = random.choice(NASTY)
    elif kind == 4:
        fields.pop(random.choice(list(fields)))
    else:
        value = a_value(Object(fields.items()), random)
        entries[place] = (name, value)
        return
    entries[place] = (name, Object(fields.items()))


def _change_names(entries: Object, random: Random) -> None:
    """Rename, repeat, remove or reorder what is named in the header."""
    if not entries:
        return
    place, other = random.randrange(len(entries)), random.randrange(len(entries))
    kind = random.randrange(5)
    if kind == 0:
        entries[place] = (random.choice((*NAMES, entries[other][0])), entries[place][1])
    elif kind == 1:
        entries.append(entries[place])
    elif kind == 2:
        del entries[place]
    elif kind == 3:
        entries[place], entries[other] = (entries[place][0], entries[other][1]), (entries[other][0], entries[place][1])
    else:
        entries.append((random.choice(NAMES), random.choice(NASTY)))


def _change_metadata(entries: Object, random: Random) -> None:
    """Change a value of nextchar's own description, which is JSON in a string of the header."""
    for place, (name, value) in enumerate(entries):
        if name == "__metadata__" and isinstance(value, Object):
            told = [(key, _changed_string(text, random)) for key, text in value]
            entries[place] = (name, Object(told))


def _changed_string(text: Any, random: Random) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=Object)
    except (TypeError, ValueError, RecursionError):
        return text
    return dumped(a_value(value, random))


def a_value(value: Any, random: Random) -> Any:
    """Return a JSON value, its objects as lists of pairs, with one change somewhere within it."""
    if isinstance(value, list) and value and random.random() < 0.85:
        changed = type(value)(value)
        place = random.randrange(len(changed))
        kind = random.randrange(12)
        if kind == 0:
            del changed[place]
        elif kind == 1:
            changed.insert(random.randrange(len(changed) + 1), changed[place])
        elif isinstance(value, Object):
            name, inner = changed[place]
            renamed = random.choice(list(dict(changed))) if kind == 2 else name
            changed[place] = (renamed, a_value(inner, random))
        else:
            changed[place] = a_value(changed[place], random)
        return changed
    if isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.3:
        return random.choice((value + 1, -value, value * HUGE, 0.1, str(value)))
    if random.random() < 0.02:
        depth = random.choice((20, 1000, 100_000))
        return Raw(
            random.choice(("[" * depth + "]" * depth, '{"a":' * depth + "0" + "}" * depth, "[" * depth, "9" * depth))
        )
    return random.choice(NASTY)


def some_json(content: bytes, random: Random) -> bytes:
    """Return a changed JSON file."""
    if random.random() < 0.15:
        return some_bytes(content, random)
    try:
        value = json.loads(content, object_pairs_hook=Object)
    except (ValueError, RecursionError):
        return some_bytes(content, random)
    for _ in range(random.choice((1, 1, 2))):
        value = a_value(value, random)
    return dumped(value).encode(errors="surrogatepass")


def some_lines(content: bytes, random: Random) -> bytes:
    """Return a changed file of one JSON value a line."""
    if random.random() < 0.15:
        return some_bytes(content, random)
    lines = content.splitlines()
    for _ in range(random.choice((1, 1, 3))):
        place = random.randrange(len(lines))
        kind = random.randrange(6)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(place, random.choice(lines))
        else:
            lines[place] = some_json(lines[place], random)
        if not lines:
            break
    return b"\n".join(lines) + b"\n"


def some_toml(content: bytes, random: Random) -> bytes:
    """Return a changed TOML file of one option a line."""
    if random.random() < 0.25:
        return some_bytes(content, random)
    lines = content.decode(errors="replace").splitlines() or [""]
    for _ in range(random.choice((1, 1, 2))):
        place = random.randrange(len(lines))
        name = lines[place].partition(" = ")[0]
        depth = random.choice((3, 5000))
        lines[place] = random.choice(
            (
                f"{name} = {json.dumps(random.choice(NASTY))}",
                f"{name} = {'[' * depth}{']' * depth}",
                f"{name} = {'9' * 5000}",
                f"{name} = 1979-05-27T07:32:00Z",
                f"[{'a.' * depth}a]\nb = 1",
                f"{name}.a.b = 1",
                f"{lines[place]}\n{lines[place]}",
                f"[{name}]",
                f"[[texts]]\n{lines[place]}",
                "",
            )
        )
    return "\n".join(lines).encode(errors="surrogatepass")


def some_bytes(content: bytes, random: Random) -> bytes:
    """Return content that is cut, extended, or has some bytes changed."""
    changed = bytearray(content)
    kind = random.randrange(7)
    if kind == 0:
        return bytes(changed[: random.randrange(len(changed) + 1)])
    if kind == 1:
        return content + random.randbytes(random.choice((1, 8, 1000)))
    if kind == 2:
        return random.randbytes(random.choice((0, 1, 7, 8, 9, 100, 5000)))
    if kind == 3 and len(changed) > 8:
        changed[:8] = struct.pack("<Q", _length(random))
    elif kind == 4 and changed:
        start = random.randrange(len(changed))
        changed[start : start + random.choice((1, 8, 4096))] = b""
    elif kind == 5 and changed:
        start = random.randrange(len(changed))
        stop = min(len(changed), start + random.choice((1, 16, 4096)))
        changed[start:stop] = bytes(stop - start)  # a block of zeros, as a power cut leaves it
    else:
        for _ in range(random.choice((1, 2, 20))):
            if changed:
                changed[random.randrange(min(len(changed), random.choice((64, 4096, 10**9))))] = random.randrange(256)
    return bytes(changed)


class Harmful:
    """What a pickle of it would do when it is opened: call a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def pickles(harmful: Harmful, model: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield files that hold a pickle in every disguise, each with its name.

    Args:
        harmful: What would run.
        model: A valid model file, in which some of them are hidden.
    """
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle {protocol}", pickle.dumps(harmful, protocol)
    payload = pickle.dumps(harmful, 2)
    for name in ("archive/data.pkl", "data.pkl", "arr_0.npy", "model.safetensors"):
        yield f"zip with {name}", _zipped(name, payload)
    yield "npz with objects", _zipped("arr_0.npy", _npy(payload))
    yield "npy with objects", _npy(payload)
    yield "old checkpoint of torch", b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, harmful))
    yield "tar", _tarred("pickle", payload)
    yield "gzip", gzip.compress(payload)
    length = int.from_bytes(model[:8], "little")
    yield "behind a header", model[: 8 + length] + payload + model[8 + length + len(payload) :]
    yield "behind a model", model + payload
    yield "zip behind a model", model + _zipped("archive/data.pkl", payload)
    yield "before a model", payload + model
    yield "as a header", struct.pack("<Q", len(payload)) + payload
    yield "as metadata", packed(Object([("__metadata__", Object([("nextchar", payload.decode("latin-1"))]))]), b"")
    yield "with a brace", b"\x80\x02" + b"0" * 6 + b"{" + payload


def _zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def _tarred(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _npy(payload: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload
