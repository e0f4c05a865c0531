"""What cffi generates from native/sandbox.cdef.h; only native.py imports it."""

from typing import Any

from cffi import FFI

ffi: FFI
lib: Any
