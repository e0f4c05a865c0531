"""GuestMemory: checked, typed access to a guest's linear memory for host functions."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .module_instance import MemoryInstance


class GuestMemory:
    """Little-endian access to one memory. Every access is checked against its size now: IndexError names the range."""

    __slots__ = ("memory",)

    def __init__(self, memory: MemoryInstance) -> None:
        self.memory = memory

    def __len__(self) -> int:
        return self.memory.byte_size

    def read(self, offset: int, length: int) -> bytes:
        """A copy of `length` bytes."""
        return self.memory.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Copies `data` in, all or nothing."""
        self.memory.write(offset, data)

    def read_text(self, offset: int, length: int) -> str:
        """UTF-8 text. Raises UnicodeDecodeError."""
        return self.memory.read(offset, length).decode()

    def read_c_string(self, offset: int, most: int = 65_536) -> bytes:
        """Bytes up to a NUL, which is not included. Raises IndexError when there is none within `most` bytes."""
        data = self.memory.read(offset, max(0, min(most, self.memory.byte_size - offset)))
        end = data.find(0)
        if end < 0:
            raise IndexError(f"no NUL within {len(data)} bytes from {offset:#x}")
        return data[:end]

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        """The fields of a `struct` layout, e.g. "<IQ"."""
        return struct.unpack(layout, self.memory.read(offset, struct.calcsize(layout)))

    def pack(self, layout: str, offset: int, *fields: Any) -> None:
        """Writes the fields of a `struct` layout."""
        self.memory.write(offset, struct.pack(layout, *fields))

    def read_u8(self, offset: int) -> int:
        """One byte."""
        return int(self.unpack("<B", offset)[0])

    def read_u16(self, offset: int) -> int:
        """Unsigned 16-bit integer."""
        return int(self.unpack("<H", offset)[0])

    def read_u32(self, offset: int) -> int:
        """Unsigned 32-bit integer."""
        return int(self.unpack("<I", offset)[0])

    def read_u64(self, offset: int) -> int:
        """Unsigned 64-bit integer."""
        return int(self.unpack("<Q", offset)[0])

    def read_f32(self, offset: int) -> float:
        """32-bit float."""
        return float(self.unpack("<f", offset)[0])

    def read_f64(self, offset: int) -> float:
        """64-bit float."""
        return float(self.unpack("<d", offset)[0])

    def write_u8(self, offset: int, value: int) -> None:
        """One byte."""
        self.pack("<B", offset, value)

    def write_u16(self, offset: int, value: int) -> None:
        """Unsigned 16-bit integer."""
        self.pack("<H", offset, value)

    def write_u32(self, offset: int, value: int) -> None:
        """Unsigned 32-bit integer."""
        self.pack("<I", offset, value)

    def write_u64(self, offset: int, value: int) -> None:
        """Unsigned 64-bit integer."""
        self.pack("<Q", offset, value)

    def write_f32(self, offset: int, value: float) -> None:
        """32-bit float."""
        self.pack("<f", offset, value)

    def write_f64(self, offset: int, value: float) -> None:
        """64-bit float."""
        self.pack("<d", offset, value)
