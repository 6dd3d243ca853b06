/* The stream of docs/reference/stream.md, fast: plain C, with no Python and no torch in it.
 *
 * Which elements, at which instruction level, on how many threads; values.h has the arithmetic.
 * Build with -O3 -ffp-contract=off: a fused multiply-add would change bits. The same source is
 * compiled once for each instruction level, and the level is chosen when called. */
#include "values.h"

#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif
#if defined(__GNUC__) && defined(__x86_64__)
#define X86
#include <emmintrin.h>
#endif
#if defined(__GNUC__) && !defined(_WIN32)
#define THREADED
#include <pthread.h>
#include <signal.h>
#endif

enum { CHUNK = 1 << 16, MOST_THREADS = 256, BYPASS = 1 << 22 };

/* ---- from values to memory ----------------------------------------------------------------- */

/* Large draws bypass the cache: a line that is written whole need not be read first. */
INLINE void emit(const job *j, u64 at, const void *from, size_t item, int n) {
    char *to = j->out + at * item;
#if defined(X86)
    if (j->bypass && n == WORDS && ((uintptr_t)to & 15) == 0) {
        for (size_t i = 0; i < WORDS * item; i += 16) {
            __m128i part = _mm_loadu_si128((const __m128i *)((const char *)from + i));
            _mm_stream_si128((__m128i *)(to + i), part);
        }
        return;
    }
#endif
    memcpy(to, from, item * (size_t)n);
}

/* Turn WORDS words into values; the first n are elements at, at + 1, ... of the output. */
INLINE void finish(const job *j, u64 at, u32 *words, int n) {
    float v[WORDS];
    double wide[WORDS];
    uint16_t half[WORDS];
    if (j->dtype == INT32) {
        emit(j, at, words, 4, n);
        return;
    }
    values(j, words, v);
    if (j->dtype == FLOAT32) emit(j, at, v, 4, n);
    if (j->dtype == FLOAT64) {
        for (int i = 0; i < WORDS; i++) wide[i] = v[i];
        emit(j, at, wide, 8, n);
    }
    if (j->dtype == BFLOAT16) {
        for (int i = 0; i < WORDS; i++) half[i] = to_bfloat16(v[i]);
        emit(j, at, half, 2, n);
    }
    if (j->dtype == FLOAT16) {
        for (int i = 0; i < WORDS; i++) half[i] = to_float16(v[i]);
        emit(j, at, half, 2, n);
    }
}

/* ---- which elements ------------------------------------------------------------------------ */

/* n elements of the tensor from `index`, to n elements of the output from `at`. */
INLINE void fill_run(const job *j, u64 index, u64 at, u64 n, const int together) {
    u32 low[COUNTERS], high[COUNTERS], words[WORDS + 4];
    while (n > 0) {
        u64 counter = index >> 2, skip = index & 3;
        u64 now = n < WORDS - skip ? n : WORDS - skip;
        for (int i = 0; i < COUNTERS; i++) {
            low[i] = (u32)counter + (u32)i;
            high[i] = (u32)(counter >> 32) + (low[i] < (u32)counter);
        }
        hash(j, low, high, words, together);
        finish(j, at, words + skip, (int)now);
        index += now, at += now, n -= now;
    }
}

typedef struct {
    u64 index, place[AXES];
} cursor;

INLINE cursor seek(const job *j, u64 at) {
    cursor c;
    c.index = j->base;
    for (int a = j->axes - 1; a >= 0; a--) {
        c.place[a] = at % j->size[a];
        at /= j->size[a];
        c.index += c.place[a] * j->stride[a];
    }
    return c;
}

/* Move along the row, at most to its end, which is the start of the next. */
INLINE void advance(const job *j, cursor *c, u64 by) {
    int a = j->axes - 1;
    c->place[a] += by;
    c->index += by * j->stride[a];
    for (; c->place[a] == j->size[a] && a > 0; a--) {
        c->place[a] = 0;
        c->place[a - 1]++;
        c->index += j->stride[a - 1] - j->size[a] * j->stride[a];
    }
}

/* The counters that a batch of elements needs, and where each element finds its word. Entries are
 * written a vector at a time, past the end of a short row: the next row writes over them. */
typedef struct {
    u32 low[WORDS + WIDTH], high[WORDS + WIDTH], slot[WORDS + WIDTH];
    int counters, elements;
} batch;

/* Add n elements, `step` apart: each has a counter of its own. */
INLINE void collect_apart(batch *b, u64 index, u64 step, int n) {
    u32 *low = b->low + b->counters, *high = b->high + b->counters, *slot = b->slot + b->elements;
    for (int i = 0; i < n; i++) {
        u64 at = index + (u64)i * step;
        low[i] = (u32)(at >> 2), high[i] = (u32)(at >> 34);
        slot[i] = 4 * (u32)(b->counters + i) + (u32)(at & 3);
    }
    b->counters += n, b->elements += n;
}

/* The same for step < 4, where neighbours share a counter. */
INLINE void collect_near(batch *b, u64 index, u64 step, int n) {
    static const u32 RAMP[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const u32 first = (u32)(index >> 2), top = (u32)(index >> 34), skip = (u32)(index & 3);
    const int counters = (int)((skip + (u32)(n - 1) * (u32)step) >> 2) + 1;
    lanes ramp, low, high, slot;
    memcpy(&ramp, RAMP, sizeof ramp);
    for (int i = 0; i < counters; i += WIDTH) {
        low = ramp + (first + (u32)i);
        high = ((~low & first) >> 31) + top; /* the carry out of first + i */
        memcpy(b->low + b->counters + i, &low, sizeof low);
        memcpy(b->high + b->counters + i, &high, sizeof high);
    }
    for (int i = 0; i < n; i += WIDTH) {
        slot = (ramp + (u32)i) * (u32)step + (4 * (u32)b->counters + skip);
        memcpy(b->slot + b->elements + i, &slot, sizeof slot);
    }
    b->counters += counters, b->elements += n;
}

/* Short or strided rows: the counters of many rows are hashed together. */
INLINE void fill_scattered(const job *j, u64 from, u64 to, const int together) {
    const u64 row = j->size[j->axes - 1], step = j->stride[j->axes - 1];
    u32 words[4 * WORDS], picked[WORDS] = {0};
    batch b;
    memset(&b, 0, sizeof b);
    cursor c = seek(j, from);
    while (from < to) {
        const u64 wanted = to - from < WORDS ? to - from : WORDS;
        b.counters = b.elements = 0;
        while ((u64)b.elements < wanted) {
            u64 n = row - c.place[j->axes - 1], room = wanted - b.elements;
            n = n < room ? n : room;
            if (step < 4) collect_near(&b, c.index, step, (int)n);
            else collect_apart(&b, c.index, step, (int)n);
            advance(j, &c, n);
        }
        for (int at = 0; at < b.counters; at += COUNTERS)
            hash(j, b.low + at, b.high + at, words + 4 * at, together);
        for (int i = 0; i < b.elements; i++) picked[i] = words[b.slot[i]];
        finish(j, from, picked, b.elements);
        from += wanted;
    }
}

INLINE void fill(const job *j, u64 from, u64 to, const int together) {
    if (j->axes == 0) {
        fill_run(j, from, from, to - from, together);
    } else if (j->stride[j->axes - 1] == 1 && j->size[j->axes - 1] >= 2 * WORDS) {
        cursor c = seek(j, from);
        while (from < to) {
            u64 n = j->size[j->axes - 1] - c.place[j->axes - 1];
            n = n < to - from ? n : to - from;
            fill_run(j, c.index, from, n, together);
            advance(j, &c, n);
            from += n;
        }
    } else {
        fill_scattered(j, from, to, together);
    }
}

/* ---- instruction levels and threads -------------------------------------------------------- */

static void fill_baseline(const job *j, u64 from, u64 to) { fill(j, from, to, 1); }
#if defined(X86)
#if defined(__clang__)
#define AVX512 "avx512f,avx512dq,avx512bw,avx512vl"
#else
#define AVX512 "avx512f,avx512dq,avx512bw,avx512vl,prefer-vector-width=512"
#endif
__attribute__((target("avx2"))) static void fill_avx2(const job *j, u64 from, u64 to) {
    fill(j, from, to, 1);
}
__attribute__((target(AVX512))) static void fill_avx512(const job *j, u64 from, u64 to) {
    fill(j, from, to, 4);
}
#endif

/* The best level that this processor runs: 0 baseline, 1 AVX2, 2 AVX-512. */
EXPORT int fanin_level(void) {
#if defined(X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return 0;
}

/* A caller that flushes subnormals, or rounds another way, must not change the numbers. */
static u64 set_float_mode(u64 mode) {
    u64 before = mode;
#if defined(X86)
    before = _mm_getcsr();
    _mm_setcsr((u32)mode);
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#endif
    return before;
}
#if defined(X86)
enum { IEEE = 0x1f80 };
#else
enum { IEEE = 0 };
#endif

static void *work(void *argument) {
    job *j = argument;
    for (;;) {
#if defined(THREADED)
        u64 from = __atomic_fetch_add(&j->next, CHUNK, __ATOMIC_RELAXED);
#else
        u64 from = j->next;
        j->next += CHUNK;
#endif
        if (from >= j->end) break;
        u64 to = from + CHUNK < j->end ? from + CHUNK : j->end;
#if defined(X86)
        if (j->level == 2) fill_avx512(j, from, to);
        if (j->level == 1) fill_avx2(j, from, to);
#endif
        if (j->level == 0) fill_baseline(j, from, to);
    }
#if defined(X86)
    _mm_sfence(); /* stores that bypassed the cache become visible */
#endif
    return NULL;
}

/* Threads live for one call: nothing survives a fork. Signals are left to the caller's thread. */
static void work_together(job *j, int threads) {
#if defined(THREADED)
    pthread_t other[MOST_THREADS];
    int started = 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < threads - 1 && started < MOST_THREADS &&
           pthread_create(&other[started], NULL, work, j) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work(j);
    for (int i = 0; i < started; i++) pthread_join(other[i], NULL);
#else
    (void)threads;
    work(j);
#endif
}

/* ---- what Python calls --------------------------------------------------------------------- */

/* One draw, in the layout of REQUEST in _native.py: elements [from, to) of an output of `count`.
 * A struct, because a foreign call with so many arguments takes longer than a small draw. */
typedef struct {
    void *out;
    u64 from, to, count;
    double scale, shift, lowest, highest;
    u32 first;
    u64 span;
    unsigned char key[16];
    u32 substream;
    int distribution, dtype, level, threads, axes;
} request;

/* Python asks before it calls: a library of another version would read the request wrongly. */
EXPORT int fanin_request_size(void) { return (int)sizeof(request); }

/* `region`: base, then size and stride of each axis, outermost first. */
EXPORT void fanin_fill(const void *packed, const void *region) {
    request in, *const r = &in;
    job j;
    u64 axis[2], mode = set_float_mode(IEEE); /* which new threads inherit */
    memcpy(r, packed, sizeof in);
    j.out = r->out, j.next = r->from, j.end = r->to, j.bypass = r->count >= BYPASS;
    j.distribution = r->distribution, j.dtype = r->dtype, j.level = r->level;
    j.scale = (float)r->scale, j.shift = (float)r->shift + 0.0f; /* never -0 */
    j.lowest = (float)r->lowest, j.highest = (float)r->highest;
    j.first = r->first, j.span = r->span, j.substream = r->substream;
    j.key[4] = 0x1bd11bda;
    for (int i = 0; i < 4; i++) {
        const unsigned char *k = r->key + 4 * i;
        j.key[i] = k[0] | (u32)k[1] << 8 | (u32)k[2] << 16 | (u32)k[3] << 24;
        j.key[4] ^= j.key[i];
    }
    j.axes = r->axes;
    if (j.axes > 0) memcpy(&j.base, region, sizeof j.base);
    for (int a = 0; a < j.axes; a++) {
        memcpy(axis, (const char *)region + 8 + 16 * a, sizeof axis);
        j.size[a] = axis[0], j.stride[a] = axis[1];
    }
    if (r->threads > 1) work_together(&j, r->threads);
    else work(&j);
    set_float_mode(mode);
}

/* How many words have z < bound, from the bottom (sign 1), or z > bound, from the top (-1):
 * searched in base 256, as the definition says. */
EXPORT u32 fanin_beyond(double bound, int sign) {
    u32 count = 0, words[WORDS] = {0};
    float z[WORDS];
    u64 mode = set_float_mode(IEEE);
    for (int shift = 24; shift >= 0; shift -= 8) {
        u32 digit = 0;
        for (u32 k = 1; k < 256; k++) {
            u32 last = count + (k << shift) - 1;
            words[k] = (sign > 0 ? last : ~last) ^ 0x80000000;
        }
        standard_normals(words, z);
        for (int k = 1; k < 256; k++) digit += sign > 0 ? z[k] < bound : z[k] > bound;
        count += digit << shift;
    }
    set_float_mode(mode);
    return count;
}
