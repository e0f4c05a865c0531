/* The table of the 46 functions: names, signatures, and the one entry from the call engine into all of them. */
#include "wasi_internal.h"
#include <string.h>

typedef struct entry {
    const char *name, *signature;
    sbx_wasi_result (*function)(sbx_wasi_call *);
} entry;

static const entry table[SBX_WASI_FUNCTION_COUNT] = {
#define X(name, signature) {#name, signature, sbx_wasi_##name},
    SBX_WASI_FUNCTIONS(X)
#undef X
};

static const char *const modules[2] = {"wasi_snapshot_preview1", "wasi_unstable"};

static bool same(const char *text, const uint8_t *bytes, size_t length)
{
    return strlen(text) == length && (!length || memcmp(text, bytes, length) == 0);
}

uint32_t sbx_wasi_function_count(void) { return SBX_WASI_FUNCTION_COUNT; }
const char *sbx_wasi_function_name(uint32_t index) { return index < SBX_WASI_FUNCTION_COUNT ? table[index].name : NULL; }
const char *sbx_wasi_function_signature(uint32_t index)
{
    return index < SBX_WASI_FUNCTION_COUNT ? table[index].signature : NULL;
}

bool sbx_wasi_is_module(const uint8_t *module, size_t length)
{
    return same(modules[0], module, length) || same(modules[1], module, length);
}

bool sbx_wasi_charge(const sbx_wasi_call *call, uint64_t bytes)
{
    return !call->metered || sbx_call_engine_charge(call->engine, bytes / 8);
}

/* Native function of every import: brings the arguments into the form that the C types promise, and the outcome back. The slots
 * are written only when the guest goes on: an interrupted call is run again with the arguments that it left there. */
static sbx_status enter(sbx_call_engine *engine, sbx_instance *caller, void *data, uint64_t *values)
{
    const sbx_wasi_binding *binding = data;
    const entry *function = &table[binding->function];
    sbx_wasi_call call = {.wasi = binding->wasi,
                          .engine = engine,
                          .memory = caller->memory0,
                          .unstable = binding->unstable,
                          .metered = caller->image && caller->image->header->metered};
    for (unsigned i = 0; function->signature[i] != ':'; i++)
        call.args[i] = function->signature[i] == 'i' ? (uint32_t)values[i] : values[i];
    sbx_wasi_result result = function->function(&call);
    switch (result) {
    case SBX_WASI_INTERRUPTED: return SBX_INTERRUPTED;
    case SBX_WASI_EXITED: return SBX_EXIT;
    case SBX_WASI_UNFUELLED: return SBX_OUT_OF_FUEL;
    default: values[0] = (uint32_t)result; return SBX_OK;
    }
}

static sbx_functype functype(const char *signature, sbx_valtype types[SBX_WASI_MAX_PARAMS + 1])
{
    sbx_functype type = {.types = types};
    uint32_t count = 0;
    for (bool results = false; *signature; signature++) {
        if (*signature == ':') {
            results = true;
            continue;
        }
        types[count++] = *signature == 'i' ? SBX_I32 : SBX_I64;
        results ? type.results++ : type.params++;
    }
    return type;
}

sbx_status sbx_wasi_function(sbx_wasi *wasi, sbx_store *store, const uint8_t *module, size_t module_length, const uint8_t *name,
                             size_t name_length, sbx_function **out, sbx_error *err)
{
    bool unstable = same(modules[1], module, module_length);
    uint32_t index = 0;
    while (index < SBX_WASI_FUNCTION_COUNT && !same(table[index].name, name, name_length))
        index++;
    if (index == SBX_WASI_FUNCTION_COUNT || (!unstable && !same(modules[0], module, module_length))) {
        char text[2][96];
        return sbx_fail(err, SBX_LINK, SBX_NO_OFFSET, "unknown import: %s.%s",
                        sbx_printable(text[0], sizeof text[0], module, module_length),
                        sbx_printable(text[1], sizeof text[1], name, name_length));
    }
    sbx_valtype types[SBX_WASI_MAX_PARAMS + 1];
    sbx_functype type = functype(table[index].signature, types);
    sbx_wasi_binding *binding = &wasi->bindings[unstable][index];
    *binding = (sbx_wasi_binding){wasi, index, unstable};
    *out = sbx_store_native_function(store, &type, enter, binding);
    return *out ? SBX_OK
                : sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory for the import %s.%s", modules[unstable],
                           table[index].name);
}
