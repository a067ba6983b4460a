"""ElfImage: symbols and constants of a program for a board, read from its ELF file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from memplan.clients.executors.c.device_errors import DeviceError

__all__ = ["ElfImage", "StreamEntry", "TensorEntry"]

_SYMBOL_TABLE = 2
_FUNCTION = 2
_LOADED = 1


class _Header(NamedTuple):
    """What of the ELF header says where things are."""

    segments: int
    sections: int
    segment_size: int
    segment_count: int
    section_size: int
    section_count: int


class TensorEntry(NamedTuple):
    """A tensor that the program names: ``struct memplan_tensor``."""

    name: str
    offset: int
    size_bytes: int


class StreamEntry(NamedTuple):
    """An input that the program asks for row by row: ``struct memplan_stream``."""

    name: str
    sample_bytes: int


class ElfImage:
    """A 32-bit little-endian ELF file, linked.

    Args:
        path: the file.

    Raises:
        DeviceError: it cannot be read, or is another kind of file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._bytes = path.read_bytes()
        except OSError as failure:
            raise DeviceError(f"{path}: {failure.strerror}; build the program first") from None
        if self._bytes[:6] != b"\x7fELF\x01\x01":
            raise DeviceError(f"{path}: this is no 32-bit little-endian ELF file")
        segments, sections = struct.unpack_from("<II", self._bytes, 28)
        self._header = _Header(segments, sections, *struct.unpack_from("<HHHH", self._bytes, 42))
        self._loaded = list(self._find_loaded())
        #: Values of all symbols that have a name.
        self.symbols: dict[str, int] = {}
        self._functions: list[tuple[int, str]] = []
        self._read_symbols()
        self._functions.sort()

    def address(self, symbol: str) -> int:
        """Return the value of a symbol.

        Raises:
            DeviceError: there is none of this name.
        """
        if symbol not in self.symbols:
            raise DeviceError(f"the program has no symbol {symbol}; is it one of memplan's?")
        return self.symbols[symbol]

    def function_at(self, address: int) -> str | None:
        """Return the name of the function that an address of code is in."""
        before = [name for start, name in self._functions if start <= address]
        return before[-1] if before else None

    def word(self, address: int) -> int:
        """Return the 32-bit word at an address of the program's constants."""
        value: int = struct.unpack("<I", self._read(address, 4))[0]
        return value

    def constant(self, symbol: str) -> int:
        """Return the value of a constant of 32 bits."""
        return self.word(self.address(symbol))

    def tensors(self, table: str, count: str) -> tuple[TensorEntry, ...]:
        """Return a table of ``struct memplan_tensor``: its symbol, and the one of its length."""
        start, size = self.address(table), 16
        return tuple(
            TensorEntry(
                self._string(self.word(start + size * index)),
                self.word(start + size * index + 4),
                self.word(start + size * index + 8),
            )
            for index in range(self.constant(count))
        )

    def streams(self) -> tuple[StreamEntry, ...]:
        """Return the inputs that are asked for row by row: ``memplan_streams``."""
        start, size = self.address("memplan_streams"), 16
        entries = []
        for at in range(start, start + size * self.constant("memplan_stream_count"), size):
            channels, height, row_bytes = (self.word(at + offset) for offset in (4, 8, 12))
            entries.append(StreamEntry(self._string(self.word(at)), channels * height * row_bytes))
        return tuple(entries)

    def operations(self, section: str) -> tuple[str, ...]:
        """Return the operation of each step of a ``struct memplan_section``, by its symbol."""
        address, size = self.address(section), 28
        steps, count = self.word(address), self.word(address + 4)
        return tuple(self._string(self.word(steps + size * index + 4)) for index in range(count))

    def _find_loaded(self) -> Iterator[tuple[int, int, int]]:
        """Yield (address, offset in the file, bytes) of what is loaded."""
        for index in range(self._header.segment_count):
            at = self._header.segments + index * self._header.segment_size
            kind, offset, address, _, size = struct.unpack_from("<IIIII", self._bytes, at)
            if kind == _LOADED and size:
                yield address, offset, size

    def _read_symbols(self) -> None:
        sections = [
            struct.unpack_from(
                "<10I", self._bytes, self._header.sections + index * self._header.section_size
            )
            for index in range(self._header.section_count)
        ]
        for _, kind, _, _, offset, size, link, *_ in sections:
            if kind != _SYMBOL_TABLE:
                continue
            names = sections[link][4]
            for at in range(offset, offset + size, 16):
                name_at, value, _, info = struct.unpack_from("<IIIB", self._bytes, at)
                name = self._text(names + name_at)
                if not name:
                    continue
                if info & 15 == _FUNCTION:
                    value &= ~1  # the bit that says Thumb
                    self._functions.append((value, name))
                self.symbols[name] = value

    def _read(self, address: int, size: int) -> bytes:
        for start, offset, length in self._loaded:
            if start <= address and address + size <= start + length:
                at = offset + address - start
                return self._bytes[at : at + size]
        raise DeviceError(f"the program has no constant at {address:#010x}; build it again")

    def _string(self, address: int) -> str:
        for start, offset, length in self._loaded:
            if start <= address < start + length:
                return self._text(offset + address - start)
        raise DeviceError(f"the program has no text at {address:#010x}; build it again")

    def _text(self, offset: int) -> str:
        return self._bytes[offset : self._bytes.index(b"\0", offset)].decode("utf-8", "replace")
