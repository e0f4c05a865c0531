/* From places in code to the instructions that they come from. */
#include "code_map.h"

enum { LONGEST = 10 }; /* bytes of LEB128 */

static inline uint8_t *put(uint8_t *out, int64_t v)
{
    for (; v < -64 || v > 63; v >>= 7)
        *out++ = (uint8_t)((v & 0x7F) | 0x80);
    *out++ = (uint8_t)(v & 0x7F);
    return out;
}

bool sbx_map_add(sbx_code_map *map, size_t code, size_t wasm)
{
    if (map->capacity - map->size < 2 * LONGEST && !sbx_grow(&map->bytes, &map->capacity, map->size + 2 * LONGEST, 1))
        return false;
    uint8_t *out = put(map->bytes + map->size, (int64_t)(code - map->code));
    out = put(out, (int64_t)wasm - (int64_t)map->wasm); /* code out of line goes back in the module */
    map->size = (size_t)(out - map->bytes);
    map->code = code;
    map->wasm = wasm;
    return true;
}

static int64_t get(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    uint32_t shift = 0;
    while (*at < end && shift < 63) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        shift += 7;
        if (!(byte & 0x80))
            return (int64_t)(byte & 0x40 ? value | ~0ull << shift : value);
    }
    return (int64_t)value;
}

static uint32_t start_of(const sbx_image_function *function, size_t field)
{
    return *(const uint32_t *)(const void *)((const uint8_t *)function + field);
}

uint32_t sbx_function_at(const sbx_image *image, size_t field, uint64_t place)
{
    const sbx_image_function *functions = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function);
    uint32_t low = image->header->imported_functions, high = image->header->function_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (start_of(&functions[middle], field) <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint32_t sbx_map_find(const sbx_image *image, const sbx_image_function *function, uint64_t place)
{
    const uint8_t *at = SBX_IMAGE_AT(image, MAP, uint8_t) + function->map_offset, *end = at + function->map_length;
    int64_t code = 0, wasm = function->wasm_offset, found = wasm;
    while (at < end) {
        code += get(&at, end);
        wasm += get(&at, end);
        if (code > (int64_t)place)
            break;
        found = wasm;
    }
    return (uint32_t)found;
}
