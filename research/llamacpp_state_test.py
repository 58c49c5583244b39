"""Tests llamacpp_state: python3 -m unittest discover -s research -p '*_test.py'"""

import struct
import unittest

import llamacpp_state as llama

LAYERS, ROW, ELEMENT, ELEMENTS = 2, 6, 2, 3


def key(layer, cell):
    return bytes([1, layer, cell, 0, 0, 7])[:ROW]


def element(layer, cell, i):
    return bytes([cell, 16 * layer + i])[:ELEMENT]


def file(cells, transposed, real, tokens=()):
    """A file of so many cells, written out from the format's description; cell i holds what cell i mod real of the short one does."""
    f = struct.pack("<III", 0x67677371, 2, len(tokens)) + struct.pack(f"<{len(tokens)}i", *tokens)
    f += struct.pack("<II", 1, cells) + b"".join(struct.pack("<iIi", i, 1, 0) for i in range(cells))
    f += struct.pack("<II", transposed, LAYERS)
    for layer in range(LAYERS):
        f += struct.pack("<iQ", 1, ROW) + b"".join(key(layer, i % real) for i in range(cells))
    for layer in range(LAYERS):
        if transposed:
            f += struct.pack("<iII", 1, ELEMENT, ELEMENTS)
            f += b"".join(element(layer, c % real, i) for i in range(ELEMENTS) for c in range(cells))
        else:
            f += struct.pack("<iQ", 1, ELEMENT * ELEMENTS)
            f += b"".join(element(layer, c % real, i) for c in range(cells) for i in range(ELEMENTS))
    return f


class State(unittest.TestCase):
    def test_a_repeated_state_is_that_of_as_many_cells_in_turn(self):
        for transposed in (0, 1):
            for cells in (1, 2, 3, 4, 6, 7, 300):
                with self.subTest(transposed=transposed, cells=cells):
                    short = llama.parse(file(3, transposed, 3, tokens=(5, 6, 7)))
                    got = b"".join(llama.pieces(llama.repeated(short, cells)))
                    self.assertEqual(got, file(cells, transposed, 3, tokens=(5, 6, 7)))

    def test_a_file_cut_anywhere_is_refused(self):
        for transposed in (0, 1):
            whole = file(3, transposed, 3, tokens=(5,))
            for n in range(len(whole)):
                with self.assertRaises(llama.StateError):
                    llama.parse(whole[:n])

    def test_what_cannot_be_repeated_is_refused_with_its_reason(self):
        whole = file(2, 0, 2)
        for at, number, reason in (
            (0, 0x6767736E, "begins with"),
            (4, 3, "version 3"),
            (12, 2, "2 streams"),
            (16, 0, "0 cells"),
            (20, 1, "position 1"),
            (24, 2, "2 sequences"),
        ):
            with self.subTest(reason=reason), self.assertRaisesRegex(llama.StateError, reason):
                llama.parse(whole[:at] + struct.pack("<I", number) + whole[at + 4 :])
        with self.assertRaisesRegex(llama.StateError, "3 bytes follow"):
            llama.parse(whole + b"xyz")
        turned = file(2, 1, 2)
        at = len(turned) - 2 * ELEMENT * ELEMENTS - 8
        with self.assertRaisesRegex(llama.StateError, f"no bytes at byte {at}"):
            llama.parse(turned[:at] + struct.pack("<II", 0, 0xFFFFFFFF) + turned[at + 8 :])


if __name__ == "__main__":
    unittest.main()
