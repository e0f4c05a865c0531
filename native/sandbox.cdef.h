/* What Python sees of the core: a reading of native/include for cffi. "..." leaves layouts and values to the C compiler, which checks them. */

/* status.h */
typedef enum { SBX_OK, SBX_MALFORMED, SBX_INVALID, SBX_UNSUPPORTED, SBX_MODULE_LIMIT, SBX_LINK, SBX_INSTANTIATE, SBX_ELEMENT_OFFSET,
               SBX_MEMORY_LIMIT, SBX_NO_MEMORY, SBX_BAD_IMAGE, SBX_TRAP, SBX_EXIT, SBX_HOST_CALL, SBX_INTERRUPTED, SBX_OUT_OF_FUEL,
               SBX_STACK_EXHAUSTED, SBX_BUSY, SBX_USAGE, SBX_STATUS_COUNT, ... } sbx_status;
typedef enum { SBX_TRAP_NONE, SBX_TRAP_STACK, SBX_TRAP_MEMORY_BOUNDS, SBX_TRAP_TABLE_BOUNDS, SBX_TRAP_COUNT, ... } sbx_trap;
#define SBX_NO_OFFSET ...
typedef struct { uint32_t status, trap; uint64_t offset; char message[...]; } sbx_error;
const char *sbx_status_text(uint32_t status);
const char *sbx_trap_message(uint32_t trap);
void sbx_error_clear(sbx_error *err);

/* types.h */
typedef uint32_t sbx_valtype;
#define SBX_I32 ...
#define SBX_I64 ...
#define SBX_F32 ...
#define SBX_F64 ...
#define SBX_FUNCREF ...
#define SBX_EXTERNREF ...
#define SBX_EXTERN_FUNC ...
#define SBX_EXTERN_TABLE ...
#define SBX_EXTERN_MEMORY ...
#define SBX_EXTERN_GLOBAL ...
#define SBX_FEATURE_COUNT ...
#define SBX_FEATURES_SUPPORTED ...
#define SBX_PAGE_SIZE ...
const char *sbx_feature_name(uint32_t feature);
typedef struct { const uint8_t *bytes; uint32_t length; } sbx_name;
typedef struct { uint32_t params, results; const sbx_valtype *types; } sbx_functype;
typedef struct { uint64_t min, max; uint8_t has_max, shared, is64; } sbx_limits;
typedef struct { sbx_valtype element; sbx_limits limits; } sbx_tabletype;
typedef struct { sbx_limits limits; } sbx_memorytype;
typedef struct { sbx_valtype type; uint8_t is_mutable; } sbx_globaltype;
typedef union { uint64_t u64; ...; } sbx_value;

/* arena.h */
void sbx_free(void *block);
void sbx_stress_fail_after(long n);

/* module.h */
typedef struct {
    uint64_t module_bytes;
    uint32_t types, functions, imports, exports, globals, tables, segments, params, results, locals, body_bytes, nesting;
} sbx_module_limits;
typedef struct { uint32_t features; uint8_t metered, explicit_bounds, keep_debug_names, compiled; sbx_module_limits limits; ...; } sbx_compile_options;
#define SBX_SEGMENT_ACTIVE ...
#define SBX_SEGMENT_PASSIVE ...
#define SBX_SEGMENT_DECLARATIVE ...
#define SBX_INIT_NULL ...
#define SBX_INIT_GLOBAL ...

/* image.h */
typedef enum { SBX_IMAGE_TYPES, SBX_IMAGE_VALTYPES, SBX_IMAGE_IMPORTS, SBX_IMAGE_EXPORTS, SBX_IMAGE_FUNCTIONS, SBX_IMAGE_TABLES,
               SBX_IMAGE_MEMORIES, SBX_IMAGE_GLOBALS, SBX_IMAGE_ELEMENTS, SBX_IMAGE_ELEMENT_INITS, SBX_IMAGE_DATA, SBX_IMAGE_CUSTOMS,
               SBX_IMAGE_CODE, SBX_IMAGE_MACHINE, SBX_IMAGE_DATA_PAGES, SBX_IMAGE_SECTION_COUNT, ... } sbx_image_section;
typedef struct {
    uint8_t build_id[32];
    uint64_t size;
    uint32_t features;
    uint8_t metered, explicit_bounds, has_start, preinitialised;
    uint32_t start;
    uint32_t imported_functions, imported_tables, imported_memories, imported_globals;
    uint32_t type_count, import_count, export_count, function_count, table_count, memory_count, global_count;
    uint32_t element_count, data_count, run_count, custom_count, largest_frame;
    uint64_t code_section_bytes;
    struct { uint64_t offset, bytes; } sections[...];
    ...;
} sbx_image_header;
typedef struct { uint32_t offset, length; } sbx_image_name;
typedef struct { sbx_image_name module, name; uint32_t kind, type_index; sbx_tabletype table; sbx_memorytype memory; sbx_globaltype global; ...; }
    sbx_image_import;
typedef struct { sbx_image_name name; uint32_t kind, index; ...; } sbx_image_export;
typedef struct { uint32_t type_index, code_units, frame_slots, machine_offset, machine_bytes, wasm_offset; sbx_image_name name; ...; } sbx_image_function;
typedef struct { uint32_t opcode; uint64_t bits; ...; } sbx_image_const;
typedef struct { sbx_globaltype type; uint32_t imported; sbx_image_const init; ...; } sbx_image_global;
typedef struct { uint32_t mode, type, table, count, first; sbx_image_const offset; ...; } sbx_image_elements;
typedef struct { uint32_t mode, memory; uint64_t length; sbx_image_const offset; ...; } sbx_image_data;
typedef struct { sbx_image_name name; uint64_t length; ...; } sbx_image_custom;
typedef struct { const sbx_image_header *header; const uint8_t *base; uint64_t size; int fd; ...; } sbx_image;
const uint8_t *sbx_build_id(void);
sbx_status sbx_image_open(int fd, bool allow_unsealed, sbx_image **out, sbx_error *err);
sbx_status sbx_image_from_bytes(const uint8_t *bytes, uint64_t size, sbx_image **out, sbx_error *err);
sbx_status sbx_image_describe(const uint8_t *bytes, uint64_t size, sbx_image **out, sbx_error *err);
void sbx_image_release(sbx_image *image);
sbx_name sbx_image_name_of(const sbx_image *image, sbx_image_name name);
sbx_functype sbx_image_functype(const sbx_image *image, uint32_t type_index);
sbx_status sbx_compile(const uint8_t *bytes, size_t size, const sbx_compile_options *options, uint8_t **image, uint64_t *image_size,
                       sbx_error *err);
bool sbx_compiled_tier(void);

/* disasm.h */
sbx_status sbx_x64_check(const sbx_image *image, sbx_error *err);
sbx_status sbx_disassemble(const sbx_image *image, uint32_t function, char **out, size_t *length, sbx_error *err);

/* runtime.h */
typedef struct sbx_store sbx_store;
typedef struct sbx_call_engine sbx_call_engine;
typedef struct { uint8_t *base; uint64_t size, max_pages, cap_pages; uint8_t guarded, has_max, grow_refused; ...; } sbx_memory;
typedef struct { uint64_t *elements; uint64_t size, max, cap; sbx_valtype type; uint8_t has_max; ...; } sbx_table;
typedef struct sbx_function { uint32_t type_id, kind; struct sbx_instance *instance; uint32_t index; const sbx_functype *type; ...; } sbx_function;
typedef struct sbx_instance { sbx_memory *memory0; sbx_table **tables; sbx_memory **memories; uint32_t table_count, memory_count; ...; } sbx_instance;
#define SBX_FUNCTION_WASM ...
#define SBX_FUNCTION_NATIVE ...
#define SBX_FUNCTION_EMBEDDER ...
typedef struct { uint64_t memory_pages, table_elements; uint32_t instances; ...; } sbx_store_limits;
typedef struct { uint8_t kind; void *object; } sbx_extern;
typedef struct { sbx_value *cell; sbx_globaltype type; } sbx_extern_global;
sbx_store *sbx_store_new(const sbx_store_limits *limits);
sbx_status sbx_store_free(sbx_store *store);
sbx_function *sbx_store_embedder_function(sbx_store *store, const sbx_functype *type, uint32_t number);
sbx_status sbx_memory_new(sbx_store *store, const sbx_memorytype *type, bool guarded, sbx_memory **out, sbx_error *err);
sbx_status sbx_table_new(sbx_store *store, const sbx_tabletype *type, uint64_t init, sbx_table **out, sbx_error *err);
sbx_extern_global *sbx_global_new(sbx_store *store, sbx_globaltype type, sbx_value value);
sbx_status sbx_instance_new(sbx_store *store, sbx_image *image, const sbx_extern *externs, size_t count, sbx_instance **out, sbx_error *err);
sbx_status sbx_instance_init_elements(sbx_instance *instance, sbx_error *err);
sbx_status sbx_instance_init_data(sbx_instance *instance, sbx_error *err);
sbx_function *sbx_instance_function(sbx_instance *instance, uint32_t index);
sbx_value *sbx_instance_global(sbx_instance *instance, uint32_t index, sbx_globaltype *type);
bool sbx_instance_export(sbx_instance *instance, const uint8_t *name, size_t length, sbx_extern *out);
int64_t sbx_memory_grow(sbx_memory *memory, uint64_t delta_pages);
int64_t sbx_table_grow(sbx_table *table, uint64_t delta, uint64_t init);

/* call_engine.h */
typedef struct { uint64_t stack_slots; uint32_t call_depth, nesting; } sbx_call_engine_options;
typedef struct { const sbx_function *function; sbx_instance *caller; uint64_t *values; } sbx_pending_call;
typedef struct { const sbx_instance *instance; uint32_t function_index, wasm_offset; sbx_name name; } sbx_backtrace_frame;
sbx_call_engine *sbx_call_engine_new(const sbx_call_engine_options *options);
void sbx_call_engine_free(sbx_call_engine *engine);
sbx_status sbx_call_engine_call(sbx_call_engine *engine, sbx_function *function, uint64_t *values, size_t capacity, sbx_error *err);
sbx_status sbx_call_engine_resume(sbx_call_engine *engine, uint64_t *values, size_t capacity, sbx_error *err);
void sbx_call_engine_abandon(sbx_call_engine *engine);
const sbx_pending_call *sbx_call_engine_pending(const sbx_call_engine *engine);
bool sbx_call_engine_suspended(const sbx_call_engine *engine);
void sbx_call_engine_interrupt(sbx_call_engine *engine);
void sbx_call_engine_clear_interrupt(sbx_call_engine *engine);
void sbx_call_engine_set_fuel(sbx_call_engine *engine, int64_t fuel);
int64_t sbx_call_engine_fuel(const sbx_call_engine *engine);
bool sbx_call_engine_charge(sbx_call_engine *engine, uint64_t amount);
uint32_t sbx_call_engine_trap(const sbx_call_engine *engine);
uint32_t sbx_call_engine_exit_code(const sbx_call_engine *engine);
size_t sbx_call_engine_backtrace(const sbx_call_engine *engine, sbx_backtrace_frame *frames, size_t capacity);
typedef struct {
    sbx_call_engine *engine; sbx_function *function; sbx_instance *fresh; const uint8_t *arguments; uint8_t *results; uint64_t *values;
    uint64_t capacity, rows, next; int64_t fuel, used; uint8_t metered, dirty;
} sbx_call_many;
sbx_status sbx_call_many_run(sbx_call_many *many, sbx_error *err);
const char *sbx_dispatch(void);
int sbx_install_fault_handler(void);
int sbx_thread_enter(void);
void sbx_thread_leave(void);

/* fresh.h */
bool sbx_fresh_possible(const sbx_instance *instance);
sbx_status sbx_fresh_begin(sbx_instance *instance, sbx_error *err);
sbx_status sbx_fresh_end(sbx_instance *instance);

/* prepared.h; its entries are declared in build_ffi.py */
#define SBX_PREPARED_ASK ...
#define SBX_PREPARED_NOT_BEGUN ...
typedef struct { sbx_instance *fresh; ...; } sbx_prepared;
bool sbx_prepared_init(sbx_prepared *prepared, sbx_call_engine *engine, sbx_function *function, bool metered);
uint32_t sbx_prepared_outcome(const sbx_prepared *prepared);
void sbx_prepared_release(sbx_prepared *prepared);
void sbx_prepared_discard(sbx_prepared *prepared);
bool sbx_prepared_bar(sbx_prepared *prepared, bool closed);

/* line.h */
typedef enum { SBX_LINE_READ, SBX_LINE_WOKEN, SBX_LINE_BEGUN, SBX_LINE_CARE, SBX_LINE_GONE, ... } sbx_line_event;
#define SBX_LINE_BYTES ...
#define SBX_LINE_SLOTS ...
typedef struct { uint32_t length; uint8_t bytes[...]; } sbx_line_bytes;
typedef struct {
    sbx_line_bytes middle, tail, result; uint64_t owner; sbx_call_engine *engine; sbx_error *error; sbx_function *function;
    sbx_instance *instance; int64_t fuel; uint8_t fresh, metered, active;
} sbx_line_entry;
typedef struct { ...; } sbx_line_gate;
typedef struct {
    int64_t spin_ns; sbx_line_bytes call, answer; uint8_t order[4]; sbx_line_entry entries[...]; uint32_t current; uint64_t running;
    int64_t deadline_ns, started_ns; uint32_t status, length; uint8_t message[...]; ...;
} sbx_line;
void sbx_line_gate_init(sbx_line_gate *gate);
void sbx_line_gate_take(sbx_line_gate *gate);
void sbx_line_gate_leave(sbx_line_gate *gate);
void sbx_line_init(sbx_line *line, sbx_line_gate *gate, int fd, int waker, const int64_t *watched_ns);
bool sbx_line_add(sbx_line *line, const sbx_line_entry *entry);
sbx_line_event sbx_line_serve(sbx_line *line);
bool sbx_line_settle(sbx_line *line);
void sbx_line_wake(sbx_line *line);
bool sbx_line_retract(sbx_line *line, uint64_t owner);
void sbx_line_restore(sbx_line *line, uint64_t owner);
bool sbx_line_cancel(sbx_line *line, uint64_t id);
int64_t sbx_line_expire(sbx_line *line, int64_t now);

/* wasi.h */
typedef struct sbx_wasi sbx_wasi;
sbx_wasi *sbx_wasi_new(void);
bool sbx_wasi_renew(sbx_wasi *wasi);
void sbx_wasi_free(sbx_wasi *wasi);
sbx_status sbx_wasi_add_arg(sbx_wasi *wasi, const uint8_t *bytes, size_t length, sbx_error *err);
sbx_status sbx_wasi_add_env(sbx_wasi *wasi, const uint8_t *bytes, size_t length, sbx_error *err);
sbx_status sbx_wasi_preopen_dir(sbx_wasi *wasi, int host_fd, const uint8_t *guest_path, size_t length, bool writable, sbx_error *err);
sbx_status sbx_wasi_stdio_closed(sbx_wasi *wasi, uint32_t fd, sbx_error *err);
sbx_status sbx_wasi_stdio_null(sbx_wasi *wasi, uint32_t fd, sbx_error *err);
sbx_status sbx_wasi_stdio_host(sbx_wasi *wasi, uint32_t fd, int host_fd, sbx_error *err);
sbx_status sbx_wasi_stdio_input(sbx_wasi *wasi, uint32_t fd, const uint8_t *bytes, size_t length, sbx_error *err);
sbx_status sbx_wasi_stdio_output(sbx_wasi *wasi, uint32_t fd, size_t cap, sbx_error *err);
sbx_status sbx_wasi_stdio_lend_input(sbx_wasi *wasi, uint32_t fd, const uint8_t *bytes, size_t length, sbx_error *err);
sbx_status sbx_wasi_stdio_lend_output(sbx_wasi *wasi, uint32_t fd, size_t cap, uint8_t *room, size_t length, sbx_error *err);
size_t sbx_wasi_output_lent(const sbx_wasi *wasi, uint32_t fd);
bool sbx_wasi_output_none(const sbx_wasi *wasi, uint32_t fd);
const uint8_t *sbx_wasi_output(const sbx_wasi *wasi, uint32_t fd, size_t *length, bool *truncated);
void sbx_wasi_output_clear(sbx_wasi *wasi, uint32_t fd);
void sbx_wasi_clock_virtual(sbx_wasi *wasi, uint64_t start, uint64_t step);
void sbx_wasi_clock_coarse(sbx_wasi *wasi, uint64_t realtime, uint64_t monotonic);
void sbx_wasi_clock_full(sbx_wasi *wasi);
void sbx_wasi_random_os(sbx_wasi *wasi);
void sbx_wasi_random_seed(sbx_wasi *wasi, uint64_t seed);
sbx_status sbx_wasi_limit(sbx_wasi *wasi, uint32_t descriptors, uint64_t random_bytes, sbx_error *err);
uint32_t sbx_wasi_function_count(void);
const char *sbx_wasi_function_name(uint32_t index);
const char *sbx_wasi_function_signature(uint32_t index);
bool sbx_wasi_is_module(const uint8_t *module, size_t length);
sbx_status sbx_wasi_function(sbx_wasi *wasi, sbx_store *store, const uint8_t *module, size_t module_length, const uint8_t *name,
                             size_t name_length, sbx_function **out, sbx_error *err);

/* process.h */
int sbx_process_follow_parent(int parent);
int sbx_process_no_new_privileges(void);
int sbx_process_not_dumpable(void);
bool sbx_process_sanitized(void);
uint8_t *sbx_process_map_shared(int fd, uint64_t size);
int64_t sbx_process_file_size(int fd);

/* lockdown.h */
typedef enum { SBX_FILTER_COMPILE, SBX_FILTER_WORKER, SBX_FILTER_FILES } sbx_filter;
int sbx_lockdown_namespaces(int user_namespace);
int sbx_lockdown_root(const char *directory);
int sbx_lockdown_user(uint32_t id, const char *directory, const char *file);
int sbx_lockdown_capabilities(uint64_t keep);
int sbx_lockdown_no_exec_gain(void);
int sbx_lockdown_landlock_abi(void);
int sbx_lockdown_landlock(const int *directories, const uint8_t *writable, size_t count, int files);
int sbx_lockdown_seccomp(int filter);
size_t sbx_lockdown_filter_length(int filter);
