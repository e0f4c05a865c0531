/* Build id: 32 bytes that change whenever an image of one build would be misread by another. */
#include "image.h"
#include "runtime.h"
#include "x64.h"
#include <pthread.h>
#if defined __has_include
#if __has_include("op_hash.h")
#include "op_hash.h" /* written by native/ops/generate.py */
#endif
#endif
#ifndef SBX_OP_TABLE_HASH
#define SBX_OP_TABLE_HASH "none"
#endif
#ifndef SBX_SOURCE_HASH /* given by native/build_ext.py */
#define SBX_SOURCE_HASH "none"
#endif
#define FORMAT_VERSION 1

static const char facts[] = "sandboxhost image; operations " SBX_OP_TABLE_HASH "; sources " SBX_SOURCE_HASH
                            "; compiler " __VERSION__ "; machine "
#if defined __x86_64__
                            "x86-64"
#elif defined __aarch64__
                            "aarch64"
#else
                            "other"
#endif
                            "; sections"
#define X(name) " " #name
    SBX_IMAGE_SECTIONS(X)
#undef X
    ;

static const uint32_t numbers[] = {
    FORMAT_VERSION, __BYTE_ORDER__, sizeof(void *), SBX_IMAGE_PAGE, SBX_FEATURE_COUNT, SBX_FEATURES_SUPPORTED,
    sizeof(sbx_image_header), sizeof(sbx_image_type), sizeof(sbx_image_import), sizeof(sbx_image_export),
    sizeof(sbx_image_function), sizeof(sbx_image_global), sizeof(sbx_image_elements), sizeof(sbx_image_data),
    sizeof(sbx_image_run), sizeof(sbx_image_custom), sizeof(sbx_tabletype), sizeof(sbx_memorytype),
    sizeof(sbx_function), sizeof(sbx_table), sizeof(sbx_memory), offsetof(sbx_instance, own_globals),
};

static uint64_t build_id[4];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Four lanes with different steps; each byte is mixed through the whole word. No defence against forgery: the same build
 * writes and reads, this only tells builds apart. */
static void mix(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < length; i++) {
        for (unsigned lane = 0; lane < 4; lane++) {
            uint64_t x = (build_id[lane] ^ bytes[i]) + 0x9E3779B97F4A7C15u * (lane + 1);
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
            x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
            build_id[lane] = x ^ (x >> 31);
        }
    }
}

static void compute(void)
{
    mix(facts, sizeof facts);
    mix(numbers, sizeof numbers);
    uint32_t cpu = sbx_x64_cpu();
    mix(&cpu, sizeof cpu);
}

const uint8_t *sbx_build_id(void)
{
    pthread_once(&once, compute);
    return (const uint8_t *)build_id;
}
