/* Listing of the interpreter code, or the machine code, of one function, for `inspect --ir` and for us. */
#ifndef SBX_DISASM_H
#define SBX_DISASM_H
#include "image.h"

/* Checks the machine code of an image (native/src/x64_check.c); SBX_BAD_IMAGE names function, place and instruction. */
sbx_status sbx_x64_check(const sbx_image *image, sbx_error *err);

/* *out is sbx_malloc'ed text, one operation a line: offset in units, operation, operands (see native/src/disasm.c), wasm offset where known.
 * `function` counts the whole index space; imports have no code (SBX_USAGE). */
sbx_status sbx_disassemble(const sbx_image *image, uint32_t function, char **out, size_t *length, sbx_error *err);
#endif
