/* Listing of the interpreter code of one function, for `inspect --ir` and for us. */
#ifndef SBX_DISASM_H
#define SBX_DISASM_H
#include "image.h"

/* *out is sbx_malloc'ed text, one operation a line: offset in units, operation, operands (see native/src/disasm.c), wasm offset where known.
 * `function` counts the whole index space; imports have no code (SBX_USAGE). */
sbx_status sbx_disassemble(const sbx_image *image, uint32_t function, char **out, size_t *length, sbx_error *err);
#endif
