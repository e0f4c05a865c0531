/* Names of value types and features, and the equality of function types. */
#include <string.h>

#include "types.h"

static const char *const feature_names[SBX_FEATURE_COUNT] = {
#define X(name, text) text,
    SBX_FEATURE_LIST(X)
#undef X
};

const char *sbx_feature_name(uint32_t feature)
{
    return feature < SBX_FEATURE_COUNT ? feature_names[feature] : "unknown feature";
}

bool sbx_functype_equal(const sbx_functype *a, const sbx_functype *b)
{
    if (a == b)
        return true;
    if (a->params != b->params || a->results != b->results)
        return false;
    size_t count = (size_t)a->params + a->results;
    return count == 0 || memcmp(a->types, b->types, count * sizeof *a->types) == 0;
}

const char *sbx_valtype_name(sbx_valtype t)
{
    switch (t) {
    case SBX_I32: return "i32";
    case SBX_I64: return "i64";
    case SBX_F32: return "f32";
    case SBX_F64: return "f64";
    case SBX_V128: return "v128";
    case SBX_FUNCREF: return "funcref";
    case SBX_EXTERNREF: return "externref";
    case SBX_BOTTOM: return "unknown";
    case 0x63: return "(ref null ht)"; /* version 3.0; seen in messages only */
    case 0x64: return "(ref ht)";
    default: return "unknown value type";
    }
}
