/* Internal to the front end: the decoder's state and what its files call of each other. */
#ifndef SBX_DECODE_H
#define SBX_DECODE_H
#include "module.h"
#include "reader.h"
#include "wasm_ops.h"

typedef struct sbx_decoder {
    sbx_reader r;
    const uint8_t *limit;  /* end of the section that is being decoded */
    sbx_module *m;
    sbx_arena *arena;
    const sbx_module_limits *limits;
    sbx_error error;       /* what ends the decoding */
    sbx_error deferred;    /* what validation will report as invalid */
    sbx_error refused;     /* what it will report as unsupported when nothing is invalid */
    /* Growing index spaces; published in the module when they are complete. */
    uint32_t *functions;
    sbx_tabletype *tables;
    sbx_memorytype *memories;
    sbx_globaltype *globals;
    int64_t heap_types;     /* one past the highest type index in a `(ref ht)`, and where it was seen */
    uint64_t heap_type_at;
    uint32_t own_functions; /* entries of the function section */
    bool keep_debug_names;
} sbx_decoder;

/* "FEATURE is not supported: WHAT", or "... is disabled: WHAT" for one that this version knows; returns false. */
bool sbx_refuse(sbx_error *err, uint64_t offset, uint32_t feature, const char *what);
/* True when `feature` is on, else refuses it. */
bool sbx_require_feature(const sbx_module *m, sbx_error *err, uint64_t offset, uint32_t feature, const char *what);
/* "NAME: VALUE exceeds the limit of ALLOWED" when it does; returns false then. */
bool sbx_check_limit(sbx_error *err, uint64_t offset, const char *name, uint64_t value, uint64_t allowed);
/* Zeroed arena memory, or SBX_NO_MEMORY recorded. */
void *sbx_decoder_alloc(sbx_decoder *d, size_t count, size_t size);
/* A vector's length within one of the module's limits. */
bool sbx_decoder_count(sbx_decoder *d, const char *name, uint32_t already, uint32_t allowed, uint32_t *out);

/* decode_types.c (specification 5.3). Types of later versions are refused by name. */
enum { SBX_REF_NULL_PREFIX = 0x63, SBX_REF_PREFIX = 0x64 };
bool sbx_read_valtype(sbx_reader *r, const sbx_module *m, sbx_valtype *out);
bool sbx_read_reftype(sbx_reader *r, const sbx_module *m, sbx_valtype *out);
bool sbx_read_heaptype(sbx_reader *r, const sbx_module *m, sbx_valtype *out);
/* Block types (5.4.1): *type_index is set, or else *result is a value type or 0 for none. */
enum { SBX_NO_TYPE_INDEX = UINT32_MAX };
bool sbx_read_blocktype(sbx_reader *r, const sbx_module *m, uint32_t *type_index, sbx_valtype *result);
/* As sbx_read_valtype, but `(ref null ht)` and `(ref ht)` are read, come out as their prefix byte, and are refused in the end. */
bool sbx_read_local_type(sbx_decoder *d, sbx_valtype *out);
bool sbx_read_tabletype(sbx_decoder *d, sbx_tabletype *out);
bool sbx_read_memorytype(sbx_decoder *d, sbx_memorytype *out);
bool sbx_read_globaltype(sbx_decoder *d, sbx_globaltype *out);
bool sbx_decode_type_section(sbx_decoder *d);

/* decode_sections.c (5.5.5 to 5.5.11) */
bool sbx_decode_import_section(sbx_decoder *d);
bool sbx_decode_function_section(sbx_decoder *d);
bool sbx_decode_table_section(sbx_decoder *d);
bool sbx_decode_memory_section(sbx_decoder *d);
bool sbx_decode_tag_section(sbx_decoder *d);
bool sbx_decode_global_section(sbx_decoder *d);
bool sbx_decode_export_section(sbx_decoder *d);
bool sbx_decode_start_section(sbx_decoder *d);

/* decode_segments.c (5.4.9, 5.5.12, 5.5.14, 5.5.15) */
bool sbx_read_const_expr(sbx_decoder *d, sbx_const_expr *out);
bool sbx_decode_element_section(sbx_decoder *d);
bool sbx_decode_data_count_section(sbx_decoder *d);
bool sbx_decode_data_section(sbx_decoder *d);

/* decode_code.c (5.4, 5.5.13) */
bool sbx_decode_code_section(sbx_decoder *d);
/* Reads one opcode, prefix included, of an instruction that is legal and switched on. */
bool sbx_read_opcode(sbx_reader *r, const sbx_module *m, uint32_t *opcode, const sbx_op_info **info);
/* Reads and drops the immediates of an instruction. */
bool sbx_skip_immediates(sbx_reader *r, const sbx_module *m, const sbx_op_info *info, uint32_t opcode);
/* Finds what is malformed in a body without typing it; true when nothing is. */
bool sbx_skim_body(const sbx_module *m, uint32_t code_index, sbx_error *err);
/* What is wrong when a body's bytes ran out before its final `end`; returns false. */
bool sbx_body_ran_out(const sbx_module *m, uint32_t code_index, sbx_reader *r);

/* decode_names.c (5.5.3 and 7.4.1) */
bool sbx_decode_custom_section(sbx_decoder *d);
bool sbx_decode_name_sections(sbx_decoder *d);

/* validate_const.c (3.3.10): checks a constant expression against the type that it must have; the globals below `visible` exist. */
bool sbx_check_const_expr(const sbx_module *m, const sbx_const_expr *e, sbx_valtype expected, uint32_t visible, sbx_error *err);
#endif
