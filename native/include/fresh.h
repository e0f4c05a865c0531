/* Fresh instances: one instance that is as new for every call, without linking, allocating or mapping anything again. */
#ifndef SBX_FRESH_H
#define SBX_FRESH_H
#include "runtime.h"

/* Whether sbx_fresh_end can bring back everything that a guest of this instance can change: it is the only one of its store, and
 * imports nothing but functions. */
bool sbx_fresh_possible(const sbx_instance *instance);
/* A linked, or ended, instance: writes the active segments. As sbx_instance_init_elements and sbx_instance_init_data. */
sbx_status sbx_fresh_begin(sbx_instance *instance, sbx_error *err);
/* Memories, tables, globals and segments as they were when the instance was linked; pages that were written are given back. No
 * call may be running or suspended in the store (SBX_BUSY). SBX_NO_MEMORY: the machine refused; the instance must not be used again. */
sbx_status sbx_fresh_end(sbx_instance *instance);
#endif
