/* Counters to words to values: the arithmetic of docs/reference/stream.md.
 *
 * Only integer operations, int to float, and float32 multiplication and addition are used, each
 * rounded on its own. Loops run over short fixed arrays, which compilers turn into vectors. */
#ifndef FANIN_VALUES_H
#define FANIN_VALUES_H

#include <float.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0 || defined(__FAST_MATH__)
#error "float32 operations must round to float32, each on its own"
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
typedef uint32_t lanes __attribute__((vector_size(64)));
#else
#define INLINE static inline
typedef uint32_t lanes;
#endif

typedef uint32_t u32;
typedef uint64_t u64;

enum { BITS, UNIFORM, NORMAL, TRUNCATED };           /* fanin._engine._distribution */
enum { INT32, FLOAT32, FLOAT64, BFLOAT16, FLOAT16 }; /* fanin._engine._native.DTYPES */
enum { WIDTH = sizeof(lanes) / 4, COUNTERS = 64, WORDS = 4 * COUNTERS, AXES = 64 };

typedef struct {
    char *out;
    u64 next, end; /* the first element that no thread has taken; the first beyond the draw */
    u32 key[5], substream, first;
    u64 span;
    int distribution, dtype, level, bypass;
    float scale, shift, lowest, highest;
    int axes; /* 0: the whole tensor; else element k is base + sum of k[a] * stride[a] */
    u64 base, size[AXES], stride[AXES];
} job;

/* ---- words: Threefry4x32-20 ---------------------------------------------------------------- */

#define EACH for (int q = 0; q < together; q++)
#define ROTATE(x, by) (((x) << (by)) | ((x) >> (32 - (by))))
#define MIX(a, b, c, d, left, right)                                                              \
    EACH a[q] += b[q];                                                                            \
    EACH c[q] += d[q];                                                                            \
    EACH b[q] = ROTATE(b[q], left) ^ a[q];                                                        \
    EACH d[q] = ROTATE(d[q], right) ^ c[q];
#define EVEN                                                                                      \
    MIX(a, b, c, d, 10, 26) MIX(a, d, c, b, 11, 21) MIX(a, b, c, d, 13, 27) MIX(a, d, c, b, 23, 5)
#define ODD                                                                                       \
    MIX(a, b, c, d, 6, 20) MIX(a, d, c, b, 17, 11) MIX(a, b, c, d, 25, 10) MIX(a, d, c, b, 18, 20)
#define ADD_KEY(s)                                                                                \
    EACH {                                                                                        \
        a[q] += key[(s) % 5], b[q] += key[(s + 1) % 5];                                           \
        c[q] += key[(s + 2) % 5], d[q] += key[(s + 3) % 5] + s;                                   \
    }

/* The words of COUNTERS counters; `together` vectors are mixed side by side to hide latency. */
INLINE void hash(const job *j, const u32 *low, const u32 *high, u32 *words, const int together) {
    u32 key[5], row[4][COUNTERS];
    memcpy(key, j->key, sizeof key);
    for (int at = 0; at < COUNTERS; at += WIDTH * together) {
        lanes a[4], b[4], c[4], d[4];
        EACH {
            memcpy(&a[q], low + at + q * WIDTH, sizeof(lanes));
            memcpy(&b[q], high + at + q * WIDTH, sizeof(lanes));
            memset(&c[q], 0, sizeof(lanes));
            memset(&d[q], 0, sizeof(lanes));
            c[q] += j->substream;
        }
        ADD_KEY(0) EVEN ADD_KEY(1) ODD ADD_KEY(2) EVEN ADD_KEY(3) ODD ADD_KEY(4) EVEN ADD_KEY(5)
        EACH {
            memcpy(row[0] + at + q * WIDTH, &a[q], sizeof(lanes));
            memcpy(row[1] + at + q * WIDTH, &b[q], sizeof(lanes));
            memcpy(row[2] + at + q * WIDTH, &c[q], sizeof(lanes));
            memcpy(row[3] + at + q * WIDTH, &d[q], sizeof(lanes));
        }
    }
    for (int i = 0; i < COUNTERS; i++)
        for (int w = 0; w < 4; w++) words[4 * i + w] = row[w][i];
}

/* ---- words to values ----------------------------------------------------------------------- */

static const float LOG2[] = {
    0x1.2b8046p-1f, 0x1.ec73d2p-1f, -0x1.4858f8p-2f, 0x1.223db6p-3f,
    -0x1.2046p-4f, 0x1.67d68p-5f, -0x1.a4d8p-6f,
};
static const float CENTRE[] = {
    0x1.0c7a14p+1f, -0x1.f05924p-3f, -0x1.5a8518p-9f, 0x1.45c3f6p-11f,
    0x1.2b8428p-14f, 0x1.372c9ep-21f, -0x1.1be144p-21f, -0x1.1cc8fep-25f,
};
static const float TAIL[] = {
    0x1.39a978p+2f, -0x1.16d816p-3f, -0x1.cce3aep-10f, -0x1.744fb2p-15f,
    -0x1.6ef996p-20f, -0x1.5cc748p-25f, -0x1.1a00d8p-30f, -0x1.3fce02p-34f,
    -0x1.204398p-39f, 0x1.0b8d36p-41f, 0x1.e130bep-46f,
};

INLINE float horner(const float *coefficients, const int degree, float t) {
    float r = coefficients[degree];
    for (int i = degree - 1; i >= 0; i--) r = r * t + coefficients[i];
    return r;
}

INLINE void standard_normals(const u32 *words, float *z) {
    enum { GROUP = 64 }; /* the tail, 1 word in 250, is computed where a group holds any of it */
    float x[WORDS], log2[WORDS];
    int32_t in_tail[WORDS / GROUP] = {0};
    for (int g = 0; g < WORDS; g += GROUP)
        for (int i = g; i < g + GROUP; i++) {
            int32_t s = (int32_t)words[i], t = s ^ ((s >> 31) ^ 0x7fffffff), bits, unit;
            float a = ((float)t + 0.5f) * 0x1p-31f, y = a * (2.0f - a), mantissa;
            memcpy(&bits, &y, 4);
            unit = (bits & 0x7fffff) | 0x3f800000;
            memcpy(&mantissa, &unit, 4);
            x[i] = ((float)s + 0.5f) * 0x1p-31f;
            log2[i] = (float)((bits >> 23) - 127) + horner(LOG2, 6, mantissa - 1.5f);
            in_tail[g / GROUP] |= log2[i] < -7.0f;
        }
    for (int i = 0; i < WORDS; i++) z[i] = x[i] * horner(CENTRE, 7, log2[i] + 3.5f);
    for (int g = 0; g < WORDS; g += GROUP)
        if (in_tail[g / GROUP])
            for (int i = g; i < g + GROUP; i++) {
                float tail = x[i] * horner(TAIL, 10, log2[i] + 19.0f);
                z[i] = log2[i] < -7.0f ? tail : z[i];
            }
}

INLINE void values(const job *j, u32 *words, float *v) {
    const float scale = j->scale, shift = j->shift, lowest = j->lowest, highest = j->highest;
    const u32 span = (u32)j->span, first = j->first;
    if (j->distribution == TRUNCATED && j->span == span) /* else every word is inside */
        for (int i = 0; i < WORDS; i++) {
            u32 place = (u32)(((u64)(words[i] ^ 0x80000000) * span) >> 32);
            words[i] = (first + place) ^ 0x80000000;
        }
    if (j->distribution == UNIFORM)
        for (int i = 0; i < WORDS; i++) v[i] = (float)((int32_t)words[i] >> 8) + 0.5f;
    else
        standard_normals(words, v);
    for (int i = 0; i < WORDS; i++) v[i] = v[i] * scale + shift;
    if (j->distribution != NORMAL)
        for (int i = 0; i < WORDS; i++) {
            float above = v[i] < lowest ? lowest : v[i];
            v[i] = above > highest ? highest : above;
        }
}

INLINE uint16_t to_bfloat16(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE uint16_t to_float16(float value) {
    u32 bits, magnitude, half;
    memcpy(&bits, &value, 4);
    magnitude = bits & 0x7fffffff;
    memcpy(&value, &magnitude, 4);
    value += 0.5f; /* below 2^-14, the float32 adder rounds at the last bit of a subnormal half */
    memcpy(&half, &value, 4);
    u32 normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    half = magnitude < 0x38800000 ? half - 0x3f000000 : normal;
    half = magnitude >= 0x477ff000 ? 0x7c00 : half;
    return (uint16_t)(half | ((bits >> 16) & 0x8000));
}

#endif
