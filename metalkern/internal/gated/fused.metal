// A message and what is done with it in one launch, on devices whose kernels see what the processor writes without more.

struct ReceiveParams {
    GateParams gate;
    uint count[3];                        // words that go to each of a, b and c, one after the other
    uint base, done;                      // then the slot is counted as free, as signal does it
};
// A gate behind which the message is copied. One group.
KERNEL(receive, 512, 1)(HOST_BUF(0, uint, words), HOST_BUF(1, uint, control), BUF(2, uint, grids), HOST_BUF(3, uint, message), BUF(4, uint, a), BUF(5, uint, b), BUF(6, uint, c),
                        ARG(7, ReceiveParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(uint, poisoned, 2);             // by the gate, and by the check
    if (t.tid == 0) {
        uint why = 0;
        GATE(words, control, P.gate, why)
        if (why != 0) for (uint i = 0; i < P.gate.grids * 3u; i++) grids[i] = 0;
        poisoned[0] = why;
        poisoned[1] = 0;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (poisoned[0] != 0) return;
    if (t.tid == 32) {                    // meanwhile
        uint why = 0;
        CHECK(words, control, P.gate, why)
        if (why != 0) for (uint i = 0; i < P.gate.grids * 3u; i++) grids[i] = 0;
        poisoned[1] = why;
    }
    for (uint i = t.tid; i < P.count[0]; i += 512u) a[i] = message[i];
    for (uint i = t.tid; i < P.count[1]; i += 512u) b[i] = message[P.count[0] + i];
    for (uint i = t.tid; i < P.count[2]; i += 512u) c[i] = message[P.count[0] + P.count[1] + i];
    threadgroup_barrier(mem_flags::mem_device);
    if (t.tid == 0 && poisoned[1] == 0) {
        host_fence();
        words[P.base + DONE] = P.done;
    }
}

struct SendParams {
    uint count;                           // words
    SignalParams signal;
};
// Fills a slot, and counts its message as signalled. One group.
KERNEL(send, 512, 1)(HOST_BUF(0, uint, words), HOST_BUF(1, uint, message), BUF(2, const uint, src), ARG(3, SendParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    for (uint i = t.tid; i < P.count; i += 512u) message[i] = src[i];
    threadgroup_barrier(mem_flags::mem_device);
    if (t.tid == 0) {
        words[P.signal.base + BYTES + P.signal.slot] = P.signal.bytes;
        host_fence();
        words[P.signal.base + DONE] = P.signal.count;
    }
}
