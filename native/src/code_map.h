/* From places in code to the instructions that they come from: what the executors' compilers write, and backtraces read. */
#ifndef SBX_CODE_MAP_H
#define SBX_CODE_MAP_H
#include "image.h"

/* Pairs of signed LEB128 distances, of the code and of the instruction, from the pair before or from the function's start. */
typedef struct sbx_code_map {
    uint8_t *bytes;
    size_t size, capacity;
    size_t code, wasm; /* of the last pair */
} sbx_code_map;

/* Notes that `code` comes from the instruction at `wasm` (both count from anywhere that stays); false without memory. */
bool sbx_map_add(sbx_code_map *map, size_t code, size_t wasm);

/* The own function whose code holds `place`: functions lie in order of their index. `field`: offsetof the record's member with the start. */
uint32_t sbx_function_at(const sbx_image *image, size_t field, uint64_t place);
/* The wasm offset of the last mapped instruction at or before `place`, counted from the function's start. */
uint32_t sbx_map_find(const sbx_image *image, const sbx_image_function *function, uint64_t place);
#endif
