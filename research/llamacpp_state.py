"""Makes the saved state of a long sequence out of that of a short one, by repeating its cells.

How long a decoding step of llama.cpp takes depends on how many cells its cache has, not on what is in them. So a context of
16,384 tokens for a measurement need not be computed: some hundred tokens are, their state is saved, and restored as often repeated.

A file of llama_state_seq_save_file, as of llama.cpp 3f545becc, numbers little-endian and of 32 bits if nothing else is said:

    0x67677371, version 2, count of tokens, the tokens
    streams (1 here), cells; of each cell its position, the count of its sequences (1), the sequence
    1 if values are transposed, layers
    keys of each layer: type, bytes of a cell (64 bits), the cells
    values of each layer: the same; or transposed: type, bytes of an element, elements of a cell, and of each element all cells
"""

import struct
from dataclasses import dataclass

MAGIC, VERSION = 0x67677371, 2


class StateError(ValueError):
    """A file that is no state of one sequence, as this reads them."""


@dataclass
class Tensor:
    """Keys or values of a layer. Each run holds all cells, unit bytes each: one run of whole cells, or, transposed, one for each element."""

    head: bytes
    unit: int
    runs: list


@dataclass
class State:
    """A sequence's tokens, as they stand in the file, its cells and what is in them."""

    tokens: bytes
    cells: int
    transposed: bool
    keys: list
    values: list


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        if n > len(self.data) - self.at:
            raise StateError(f"it ends at byte {len(self.data)}, within {n} bytes from {self.at} on")
        self.at += n
        return self.data[self.at - n : self.at]

    def numbers(self, layout):
        return struct.unpack("<" + layout, self.bytes(struct.calcsize("<" + layout)))


def parse(data):
    """Reads a State from a file's bytes."""
    r = Reader(data)
    magic, version, count = r.numbers("III")
    if (magic, version) != (MAGIC, VERSION):
        raise StateError(f"it begins with {magic:#x}, version {version}, and not with {MAGIC:#x}, {VERSION}")
    tokens = r.bytes(4 * count)
    streams, cells = r.numbers("II")
    if streams != 1 or cells == 0:
        raise StateError(f"it has {streams} streams, the first of {cells} cells; one, with cells, can be repeated")
    for cell in range(cells):
        position, sequences, _ = r.numbers("iIi")
        if (position, sequences) != (cell, 1):
            raise StateError(f"cell {cell} is of position {position} and in {sequences} sequences; cells in order, of one sequence, can be repeated")
    transposed, layers = r.numbers("II")
    keys = [whole(r, cells) for _ in range(layers)]
    values = [(turned if transposed else whole)(r, cells) for _ in range(layers)]
    if r.at != len(data):
        raise StateError(f"{len(data) - r.at} bytes follow its end")
    return State(tokens, cells, bool(transposed), keys, values)


def whole(r, cells):
    head = r.bytes(12)
    _, unit = struct.unpack("<iQ", head)
    return Tensor(head, unit, [r.bytes(cells * unit)])


def turned(r, cells):
    head = r.bytes(12)
    _, unit, elements = struct.unpack("<iII", head)
    if unit == 0:
        raise StateError(f"elements of no bytes at byte {r.at - 8}")
    return Tensor(head, unit, [r.bytes(cells * unit) for _ in range(elements)])


def repeated(state, cells):
    """The state with that many cells, its own over and over."""

    def longer(t):
        times = -(-cells // state.cells)
        return Tensor(t.head, t.unit, [(run * times)[: cells * t.unit] for run in t.runs])

    return State(state.tokens, cells, state.transposed, [longer(t) for t in state.keys], [longer(t) for t in state.values])


def pieces(state):
    """The bytes of the state's file, one piece after the other."""
    yield struct.pack("<III", MAGIC, VERSION, len(state.tokens) // 4) + state.tokens
    yield struct.pack("<II", 1, state.cells) + b"".join(struct.pack("<iIi", cell, 1, 0) for cell in range(state.cells))
    yield struct.pack("<II", state.transposed, len(state.keys))
    for t in state.keys + state.values:
        yield t.head
        yield from t.runs
