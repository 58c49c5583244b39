// emulator.h -- a group of GPU threads on one thread of the system: a fiber for each of them, in a fixed cyclic order,
// with one switch of context for each simdgroup operation and each barrier. No scheduler; deterministic.
//
// It finds: simdgroup operations and barriers that not all threads reach, threadgroup memory that is read before it is
// written (it holds NaN), asynchronous copies used before they were waited for (they are made at the wait), and,
// when run again with the lanes and simdgroups in another order, barriers that are missing.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace emu {
enum Op : uint32_t { SIMD_BARRIER = 1, SHUFFLE_XOR, SHUFFLE, SUM, MAX, MATRIX, LOAD, GROUP_BARRIER = 64, END };
enum { MAX_THREADS = 1024, MAX_SIMDGROUPS = 32, MAX_SITES = 4096, MAX_COPIES = 64 };

struct Copy { void* dst; const void* src; uint32_t batch; };

struct Group {
    uint32_t fiber, threads, simdgroups, at[3], grid[3];
    uint8_t parity[MAX_SIMDGROUPS];                  // which of the two exchange buffers
    uint32_t tag[MAX_SIMDGROUPS], group_tag;         // what the others of the simdgroup, or group, are doing
    uint8_t lane_next[32], lane_first, lane_last;    // the order of the lanes: a cycle
    uint8_t simd_next[MAX_SIMDGROUPS], simd_first, simd_last;
    float slot[2][MAX_THREADS], result[2][MAX_SIMDGROUPS], a[2][MAX_SIMDGROUPS][256], b[2][MAX_SIMDGROUPS][128];
    uint32_t site[MAX_SITES], used, limit, pool_size;
    char *shared, *pool;
    Copy (*copies)[MAX_COPIES];
    uint16_t copies_pending[MAX_THREADS];
    uint32_t batch[MAX_THREADS];
    void *sp[MAX_THREADS], *main_sp;
    void (*kernel)();
    void* args[16];
    const int* stop;                                 // set when the launch has run too long
    char* error; size_t error_size;
    bool failed;
};
#if defined(__linux__)
extern __thread Group* cur __attribute__((tls_model("initial-exec")));
#else
extern __thread Group* cur;
#endif
extern "C" void emu_switch(void** save, void* to);
[[noreturn]] void die(Group& t, const char* why);
void* place(Group& t, uint32_t site, size_t n, size_t align);

inline void go(Group& t, uint32_t from, uint32_t to) { t.fiber = to; emu_switch(&t.sp[from], t.sp[to]); }

// Waits until all lanes of the simdgroup, or all threads of the group, have come here.
inline void arrive(uint32_t tag) {
    Group& t = *cur; const uint32_t f = t.fiber, sg = f >> 5, lane = f & 31;
    if (lane == t.lane_first) t.tag[sg] = tag;
    else if (__builtin_expect(t.tag[sg] != tag, 0)) die(t, "the lanes of a simdgroup are at different operations");
    if (lane != t.lane_last) { go(t, f, (f & ~31u) | t.lane_next[lane]); return; }
    if (__builtin_expect(*(volatile const int*)t.stop, 0)) die(t, "it ran past its deadline");
    if (tag < GROUP_BARRIER) { t.parity[sg] ^= 1; go(t, f, (f & ~31u) | t.lane_first); return; }
    if (sg == t.simd_first) t.group_tag = tag;
    else if (t.group_tag != tag) die(t, "some threads of a group are at a barrier and others are not");
    if (sg != t.simd_last) { go(t, f, (t.simd_next[sg] << 5) | t.lane_first); return; }
    if (tag == END) { emu_switch(&t.sp[f], t.main_sp); return; }
    go(t, f, (t.simd_first << 5) | t.lane_first);
}
inline float shuffle(uint32_t op, float v, uint32_t from) {
    Group& t = *cur; const uint32_t f = t.fiber; const uint8_t p = t.parity[f >> 5];
    t.slot[p][f] = v; arrive(op); return t.slot[p][(f & ~31u) | (from & 31)];
}
inline float reduce(uint32_t op, float v) {
    Group& t = *cur; const uint32_t f = t.fiber, sg = f >> 5; const uint8_t p = t.parity[sg];
    t.slot[p][f] = v;
    if ((f & 31) == t.lane_last) {      // the last to come reduces, in the order of a butterfly
        float a[32]; memcpy(a, &t.slot[p][sg << 5], sizeof a);
        for (int m = 16; m; m >>= 1) for (int i = 0; i < m; i++) a[i] = op == SUM ? a[i] + a[i + m] : (a[i] > a[i + m] ? a[i] : a[i + m]);
        t.result[p][sg] = a[0];
    }
    arrive(op); return t.result[p][sg];
}
// Room for the operands of a matrix step of this simdgroup.
inline uint32_t matrices(float** a, float** b) {
    Group& t = *cur; const uint32_t sg = t.fiber >> 5; const uint8_t p = t.parity[sg];
    *a = t.a[p][sg]; *b = t.b[p][sg]; return t.fiber & 31;
}
inline void* shared(uint32_t site, size_t n, size_t align) {
    Group& t = *cur;
    if (site < MAX_SITES && t.site[site]) return t.shared + t.site[site] - 1;
    return place(t, site, n, align);
}
inline void copy16(void* dst, const void* src) {
    Group& t = *cur; uint16_t& n = t.copies_pending[t.fiber];
    if (n == MAX_COPIES) die(t, "more asynchronous copies are pending than the emulator holds");
    if (src) { volatile char probe = *(const char*)src; (void)probe; }     // a bad address is found here, not at the wait
    t.copies[t.fiber][n++] = Copy{dst, src, t.batch[t.fiber]};
}
inline void copy_commit() { cur->batch[cur->fiber]++; }
inline void copy_wait(uint32_t left) {
    Group& t = *cur; const uint32_t f = t.fiber; uint16_t kept = 0;
    for (uint16_t i = 0; i < t.copies_pending[f]; i++) {
        const Copy c = t.copies[f][i];
        if (c.batch + left >= t.batch[f]) { t.copies[f][kept++] = c; continue; }
        if (c.src) memcpy(c.dst, c.src, 16); else memset(c.dst, 0, 16);
    }
    t.copies_pending[f] = kept;
}
}
