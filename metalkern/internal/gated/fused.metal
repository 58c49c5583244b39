// A message and what is done with it in one launch, on devices whose kernels see what others write without more.

// Copies n words by all T threads, four at a time where wide says that both begin at a multiple of 16 bytes. Several reads are on their way at a time: from the
// host's memory each takes a microsecond.
#define TRANSFER(T, to, from, read, n, wide, t)                                                                      \
    {                                                                                                                \
        uint tail = 0;                                                                                               \
        if (wide != 0) {                                                                                             \
            const uint quads = n / 4u;                                                                               \
            device uint4* target = (device uint4*)(to);                                                              \
            uint i = t.tid;                                                                                          \
            for (; i + 3u * T < quads; i += 4u * T) {                                                                \
                const uint4 a0 = read((from) + 4u * i), a1 = read((from) + 4u * (i + T));                             \
                const uint4 a2 = read((from) + 4u * (i + 2u * T)), a3 = read((from) + 4u * (i + 3u * T));             \
                target[i] = a0; target[i + T] = a1; target[i + 2u * T] = a2; target[i + 3u * T] = a3;                 \
            }                                                                                                        \
            if (i + T < quads) {                                                                                     \
                const uint4 a0 = read((from) + 4u * i), a1 = read((from) + 4u * (i + T));                             \
                target[i] = a0; target[i + T] = a1;                                                                  \
                i += 2u * T;                                                                                         \
            }                                                                                                        \
            if (i < quads) target[i] = read((from) + 4u * i);                                                        \
            tail = quads * 4u;                                                                                       \
        }                                                                                                            \
        for (uint i = tail + t.tid; i < n; i += T) (to)[i] = (from)[i];                                               \
    }
FN uint4 read4(device const uint* p) { return *(device const uint4*)p; }

struct ReceiveParams {
    GateParams gate;
    SignalParams signal;                  // then the slot is counted as free
    uint count[3], wide[3];               // words that go to each of a, b and c, one after the other
};
// A gate behind which the message is copied. One group.
KERNEL(receive, 512, 1)(HOST_BUF(0, uint, counts), HOST_BUF(1, uint, words), HOST_BUF(2, uint, control), BUF(3, uint, grids), HOST_BUF(4, uint, done), HOST_BUF(5, uint, message),
                        BUF(6, uint, a), BUF(7, uint, b), BUF(8, uint, c), ARG(9, ReceiveParams, P) GRID_ARGS) {
    const Ctx t = WAITING_GRID;
    SHARED(uint, poisoned, 2);             // by the gate, and by the check
    if (t.tid == 0) {
        uint why = 0;
        GATE(counts, words, control, P.gate, why)
        host_pass();
        if (why != 0) for (uint i = 0; i < P.gate.grids * 3u; i++) grids[i] = 0;
        poisoned[0] = why;
        poisoned[1] = 0;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (poisoned[0] != 0) return;
    if (t.tid == 32) {                    // meanwhile
        uint why = 0;
        CHECK(counts, control, P.gate, why)
        if (why != 0) for (uint i = 0; i < P.gate.grids * 3u; i++) grids[i] = 0;
        poisoned[1] = why;
    }
    TRANSFER(512u, a, message, host_read4, P.count[0], P.wide[0], t)
    TRANSFER(512u, b, message + P.count[0], host_read4, P.count[1], P.wide[1], t)
    TRANSFER(512u, c, message + P.count[0] + P.count[1], host_read4, P.count[2], P.wide[2], t)
    threadgroup_barrier(mem_flags::mem_device);
    if (t.tid == 0 && poisoned[1] == 0) { COUNT(done, P.signal) }
}

struct SendParams {
    uint count, wide;                     // words
    SignalParams signal;
};
// Fills a slot, and counts its message as signalled. One group.
KERNEL(send, 512, 1)(HOST_BUF(0, uint, counts), BUF(1, uint, message), BUF(2, const uint, src), ARG(3, SendParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    TRANSFER(512u, message, src, read4, P.count, P.wide, t)
    threadgroup_barrier(mem_flags::mem_device);
    if (t.tid == 0) { COUNT(counts, P.signal) }
}
