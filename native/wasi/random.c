/* random_get: the operating system's generator, or a deterministic one. */
#include "wasi_internal.h"
#include <errno.h>
#include <string.h>

enum { CHUNK = 65536 }; /* an interrupt is seen between chunks */

/* SplitMix64 (Steele, Lea, Flood 2014): spreads the seed over the state. */
static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint64_t rotate(uint64_t value, unsigned by) { return value << by | value >> (64 - by); }

/* xoshiro256** (Blackman, Vigna 2018). */
static uint64_t next_block(uint64_t state[4])
{
    uint64_t result = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
}

void sbx_wasi_random_os(sbx_wasi *wasi) { wasi->random = (sbx_wasi_random){.seeded = false}; }

void sbx_wasi_random_seed(sbx_wasi *wasi, uint64_t seed)
{
    wasi->random = (sbx_wasi_random){.seeded = true};
    for (int i = 0; i < 4; i++)
        wasi->random.state[i] = split_mix(&seed);
}

static void fill_seeded(sbx_wasi_random *random, uint8_t *to, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!random->left) {
            random->block = next_block(random->state);
            random->left = 8;
        }
        to[i] = (uint8_t)random->block;
        random->block >>= 8;
        random->left--;
    }
}

/* Arguments: buffer, length. */
sbx_wasi_result sbx_wasi_random_get(sbx_wasi_call *call)
{
    sbx_wasi *wasi = call->wasi;
    uint32_t length = sbx_wasi_u32(call, 1);
    uint8_t *buffer = sbx_wasi_guest(call, sbx_wasi_u32(call, 0), length);
    if (!buffer)
        return SBX_WASI_FAULT;
    if (wasi->random_limit && length > wasi->random_limit)
        return SBX_WASI_INVAL;
    if (!sbx_wasi_charge(call, length))
        return SBX_WASI_UNFUELLED;
    sbx_wasi_random before = wasi->random;
    for (uint32_t done = 0; done < length;) {
        uint32_t chunk = length - done < CHUNK ? length - done : CHUNK;
        if (wasi->random.seeded) {
            fill_seeded(&wasi->random, buffer + done, chunk);
        } else {
            int got = sbx_os_random(buffer + done, chunk);
            if (got < 0 && errno != EINTR)
                return sbx_wasi_errno(errno);
            chunk = got < 0 ? 0 : (uint32_t)got;
        }
        done += chunk;
        if (done < length && sbx_call_engine_interrupted(call->engine)) {
            wasi->random = before;
            return SBX_WASI_INTERRUPTED;
        }
    }
    return SBX_WASI_SUCCESS;
}
