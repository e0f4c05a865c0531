/* Every declaration that the Python binding (native/sandbox.cdef.h) draws on, for the source that cffi generates. */
#ifndef SBX_PYTHON_API_H
#define SBX_PYTHON_API_H
#include "arena.h"
#include "call_engine.h"
#include "call_many.h"
#include "disasm.h"
#include "fresh.h"
#include "image.h"
#include "lockdown.h"
#include "module.h"
#include "line.h"
#include "prepared.h"
#include "process.h"
#include "runtime.h"
#include "status.h"
#include "types.h"
#include "wasi.h"
#endif
