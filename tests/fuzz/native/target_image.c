/* Fuzz target: the image loader. The input chooses a module of the generator and changes the image that is made of it; what the
 * check lets through may be followed everywhere but into the code, and instantiated; the checker reads any machine code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "disasm.h"
#include "fresh.h"
#include "mutator.h"
#include "observe.h"

/* An input: a head, then changes of the image. */
typedef struct head { uint16_t seed; uint8_t flags, how; } head;
typedef struct change { uint8_t kind, section; uint16_t place; uint32_t value; } change;
enum { COMPILED = 1, METERED = 2, EXPLICIT = 4, BY_FD = 1 };

static const uint32_t telling[] = {0, 1, 2, 0x6F, 0x70, 0x7C, 0x7F, 0xFF, 0x100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x10000, 0x10001, 4096};

/* Where a change goes: into the header, or into one section's records. */
static uint64_t where(const change *c, const sbx_image_header *h, uint64_t size, uint64_t width)
{
    uint32_t section = c->section % (SBX_IMAGE_SECTION_COUNT + 3);
    uint64_t start = 0, bytes = sizeof *h;
    if (section < SBX_IMAGE_SECTION_COUNT) {
        start = h->sections[section].offset;
        bytes = h->sections[section].bytes;
    }
    if (start > size || bytes > size - start || bytes < width)
        start = 0, bytes = size;
    return start + c->place % (bytes - width + 1);
}

static void apply(const change *c, uint8_t *image, uint64_t *size, const sbx_image_header *original)
{
    uint64_t at;
    uint32_t word;
    switch (c->kind % 8) {
    case 0: image[where(c, original, *size, 1)] ^= (uint8_t)(1u << (c->value & 7)); break;
    case 1: image[where(c, original, *size, 1)] = (uint8_t)c->value; break;
    case 2: case 3: /* a whole record field */
        at = where(c, original, *size, 4) & ~3ull;
        word = c->kind % 8 == 2 ? c->value : telling[c->value % (sizeof telling / sizeof *telling)];
        memcpy(image + at, &word, sizeof word);
        break;
    case 4:
        at = where(c, original, *size, 4) & ~3ull;
        memcpy(&word, image + at, sizeof word);
        word += (c->value % 33) - 16;
        memcpy(image + at, &word, sizeof word);
        break;
    case 5: { /* a wide field, as of section lengths and memory limits */
        uint64_t wide = (uint64_t)c->value << (c->value & 32);
        at = where(c, original, *size, 8) & ~7ull;
        memcpy(image + at, &wide, sizeof wide);
        break;
    }
    case 6: { /* one place's bytes in another */
        uint64_t from = where(c, original, *size, 16);
        at = c->value % (*size - 16);
        memmove(image + at, image + from, 16);
        break;
    }
    default:
        if (c->value % 5 == 0 && *size > sizeof *original)
            *size -= c->place % (*size - sizeof *original);
    }
}

static uint64_t sum; /* so that nothing that is read is optimised away */

static void read_names(const sbx_image *image, sbx_image_name name)
{
    sbx_name text = sbx_image_name_of(image, name);
    for (uint32_t i = 0; i < text.length; i++)
        sum += text.bytes[i];
}

/* Everything that describes. */
static void follow(const sbx_image *image)
{
    const sbx_image_header *h = image->header;
    for (uint32_t i = 0; i < h->import_count; i++) {
        read_names(image, SBX_IMAGE_AT(image, IMPORTS, sbx_image_import)[i].module);
        read_names(image, SBX_IMAGE_AT(image, IMPORTS, sbx_image_import)[i].name);
    }
    for (uint32_t i = 0; i < h->export_count; i++)
        read_names(image, SBX_IMAGE_AT(image, EXPORTS, sbx_image_export)[i].name);
    for (uint32_t i = 0; i < h->custom_count; i++)
        read_names(image, SBX_IMAGE_AT(image, CUSTOMS, sbx_image_custom)[i].name);
    for (uint32_t i = 0; i < h->function_count; i++) {
        const sbx_image_function *f = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function) + i;
        sbx_functype type = sbx_image_functype(image, f->type_index);
        read_names(image, f->name);
        for (uint32_t k = 0; k < type.params + type.results && k < 4096; k++)
            sum += type.types[k];
    }
}

static sbx_status never(sbx_call_engine *engine, sbx_instance *caller, void *data, uint64_t *values)
{
    (void)engine, (void)caller, (void)data, (void)values;
    return SBX_TRAP;
}

static void *make_extern(sbx_store *store, sbx_image *image, const sbx_image_import *import)
{
    sbx_functype type;
    sbx_table *table = NULL;
    sbx_memory *memory = NULL;
    switch (import->kind) {
    case SBX_EXTERN_FUNC:
        type = sbx_image_functype(image, import->type_index);
        return sbx_store_native_function(store, &type, never, NULL);
    case SBX_EXTERN_TABLE: return sbx_table_new(store, &import->table, 0, &table, NULL) ? NULL : table;
    case SBX_EXTERN_MEMORY:
        return sbx_memory_new(store, &import->memory, !image->header->explicit_bounds, &memory, NULL) ? NULL : memory;
    default: return sbx_global_new(store, import->global, (sbx_value){0});
    }
}

/* Everything that is done before code runs, twice over. */
static void instantiate(sbx_image *image)
{
    sbx_store_limits limits = {.memory_pages = FZ_MAX_PAGES, .table_elements = FZ_MAX_ELEMENTS};
    uint32_t count = image->header->import_count;
    const sbx_image_import *imports = SBX_IMAGE_AT(image, IMPORTS, sbx_image_import);
    sbx_store *store = sbx_store_new(&limits);
    sbx_extern *externs = calloc(count + 1u, sizeof *externs);
    sbx_instance *instance = NULL;
    bool made = store && externs;
    for (uint32_t i = 0; made && i < count; i++) {
        externs[i] = (sbx_extern){(uint8_t)imports[i].kind, make_extern(store, image, &imports[i])};
        made = externs[i].object != NULL;
    }
    if (made && !sbx_instance_new(store, image, externs, count, &instance, NULL)) {
        bool fresh = sbx_fresh_possible(instance);
        for (int i = 0; i < 1 + fresh; i++) {
            sbx_status status = sbx_instance_init_elements(instance, NULL);
            if (!status)
                status = sbx_instance_init_data(instance, NULL);
            if (fresh && sbx_fresh_end(instance))
                break;
        }
        for (uint32_t i = 0; i < instance->function_count; i++)
            sum += (uintptr_t)sbx_instance_function(instance, i)->type;
        if (instance->memory0 && !fresh)
            sum += fz_hash(instance->memory0->base, instance->memory0->size);
    }
    free(externs);
    sbx_store_free(store);
}

/* A descriptor as a worker gets it, but for the seals. */
static sbx_status open_by_fd(const uint8_t *bytes, uint64_t size, sbx_image **out, sbx_error *err)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) {
        perror("memfd");
        abort();
    }
    sbx_status status = sbx_image_open(fd, true, out, err);
    close(fd);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    head h;
    change c;
    fz_bytes module = {0};
    uint8_t *image = NULL;
    uint64_t image_size = 0;
    sbx_image_header original;
    sbx_image *opened = NULL;
    sbx_error err = {0};
    if (size < sizeof h)
        return 0;
    memcpy(&h, bytes, sizeof h);
    sbx_compile_options options = {.compiled = h.flags & COMPILED, .metered = !!(h.flags & METERED), .explicit_bounds = !!(h.flags & EXPLICIT)};
    fz_module(h.seed, &module);
    sbx_status status = sbx_compile(module.data, module.size, &options, &image, &image_size, &err);
    fz_free(&module);
    if (status) {
        fprintf(stderr, "FUZZ: a generated module is refused: %s\n", err.message);
        abort();
    }
    memcpy(&original, image, sizeof original);
    uint8_t *changed = malloc(image_size);
    if (!changed)
        abort();
    memcpy(changed, image, image_size);
    sbx_free(image);
    for (size_t at = sizeof h; at + sizeof c <= size && at < 12 * sizeof c; at += sizeof c) {
        memcpy(&c, bytes + at, sizeof c);
        apply(&c, changed, &image_size, &original);
    }
    status = h.how & BY_FD ? open_by_fd(changed, image_size, &opened, &err) : sbx_image_from_bytes(changed, image_size, &opened, &err);
    free(changed);
    if (size < sizeof h + sizeof c && status) {
        fprintf(stderr, "FUZZ: an unchanged image is refused: %s\n", err.message);
        abort();
    }
    if (!status) {
        follow(opened);
        (void)sbx_x64_check(opened, &err);
        instantiate(opened);
        sbx_image_release(opened);
    } else if (status != SBX_BAD_IMAGE || !err.message[0]) {
        fprintf(stderr, "FUZZ: refused with status %s: %s\n", sbx_status_text(status), err.message);
        abort();
    }
    return 0;
}
