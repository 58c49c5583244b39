// What a step needs around its messages. counts is a lane's memory, in which the other end's GPU may write too: which words are which is told. words is
// of this end alone.
constexpr constant uint FAILED = 0;
// The words of the queue: the host gives the first; a gate the others, why the step is poisoned (0: it is not), and by which operation.
constexpr constant uint ABORT = 0, POISON = 1, PLACE = 2;
constexpr constant uint WHY_FAILED = 1, WHY_ABORTED = 2, WHY_LATE = 3, WHY_LENGTH = 4;

struct GateParams {
    uint waits;                           // whether a message is awaited, or only asked whether the step is poisoned
    uint ready, want, looks;              // which of counts must reach what; how often it is looked at, at most
    uint place;                           // of this operation in the step
    uint grids;                           // launches whose sizes are set to nothing: those of the batch, or one for all
    uint bytes, length;                   // which of counts has the message's bytes, and what it must be; 0: anything
};
// GATE looks until why is known: 0 if the message has come, or none is awaited and the step is not poisoned. Else it poisons the step.
#define GATE(counts, words, control, P, why)                                                                         \
    host_look();                                                                                                     \
    uint ready = P.waits != 0 ? counts[P.ready] : 0;                                                                 \
    why = control[POISON];                                                                                           \
    if (why == 0 && P.waits != 0) {                                                                                  \
        for (uint i = 0; int(ready - P.want) < 0; i++) {                                                             \
            const uint gone = words[FAILED], end = control[ABORT];                                                   \
            host_look();                                                                                             \
            ready = counts[P.ready];                                                                                 \
            if (int(ready - P.want) >= 0) break;                                                                     \
            if (gone != 0) { why = WHY_FAILED; break; }                                                              \
            if (end != 0) { why = WHY_ABORTED; break; }                                                              \
            if (i >= P.looks) { why = WHY_LATE; break; }                                                             \
        }                                                                                                            \
        host_fence();                                                                                                \
        if (why != 0) { control[PLACE] = P.place; control[POISON] = why; }                                           \
    }
// CHECK poisons the step if the message that has come has another length than it must have.
#define CHECK(counts, control, P, why)                                                                               \
    if (why == 0 && P.length != 0 && counts[P.bytes] != P.length) {                                                  \
        why = WHY_LENGTH;                                                                                            \
        control[PLACE] = P.place;                                                                                    \
        control[POISON] = why;                                                                                       \
    }

// One simdgroup.
KERNEL(gate, 32, 1)(HOST_BUF(0, uint, counts), HOST_BUF(1, uint, words), HOST_BUF(2, uint, control), BUF(3, uint, grids), ARG(4, GateParams, P) GRID_ARGS) {
    const Ctx t = WAITING_GRID;
    uint why = 0;
    if (t.lane == 0) {
        GATE(counts, words, control, P, why)
        host_pass();
        CHECK(counts, control, P, why)
    }
    if (simd_max(float(why)) > 0.0f) for (uint i = t.lane; i < P.grids * 3u; i += 32u) grids[i] = 0;
}

// Writes words of a message again, past the caches of the GPU, so that they are in the memory that the host, or the kernels behind a gate, read.
struct PublishParams {
    uint count;                           // words at most
    uint bytes;                           // which of counts has the message's bytes, or 0: all of count
};
KERNEL(publish, 256, 1)(HOST_BUF(0, uint, slot), HOST_BUF(1, uint, counts), ARG(2, PublishParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    uint n = P.count;
    if (P.bytes != 0) n = min(n, (counts[P.bytes] + 3u) / 4u);
    const uint first = t.tg.x * 4096u, end = min(n, first + 4096u);
    for (uint i = first + t.tid; i < end; i += 256u) slot[i] = slot[i];
    host_fence();
}

// Counts a message as signalled.
struct SignalParams {
    uint done, count;                     // which of counts becomes what
    uint at, bytes;                       // which of them has the message's bytes, and how many those are; at is 0 where none were filled
};
#define COUNT(counts, P)                                                                                             \
    if (P.at != 0) counts[P.at] = P.bytes;                                                                           \
    host_fence();                                                                                                    \
    counts[P.done] = P.count;
KERNEL(signal, 32, 1)(HOST_BUF(0, uint, counts), ARG(1, SignalParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    if (t.lane == 0) {
        COUNT(counts, P)
        host_fence();
    }
}

// Copies n bytes, 16 KiB a group.
struct CopyParams {
    ulong n;
    uint wide;                            // whether both begin at a multiple of 16 bytes
};
KERNEL(copy_bytes, 256, 1)(BUF(0, const uchar, src), BUF(1, uchar, dst), ARG(2, CopyParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong first = ulong(t.tg.x) * 16384u;
    const ulong end = first + 16384u < P.n ? first + 16384u : P.n;
    ulong tail = first;
    if (P.wide != 0) {
        tail = end - (end - first) % 16u;
        for (ulong i = first + t.tid * 16u; i < tail; i += 4096u) *(device uint4*)(dst + i) = *(device const uint4*)(src + i);
    }
    for (ulong i = tail + t.tid; i < end; i += 256u) dst[i] = src[i];
}
