// Memory that the processor changes, and reads, while a kernel runs.
// host_read4 reads 16 bytes of it, on devices that see it without more.
// host_fence orders what was written before with what is written after, for the processor; host_look lets the next read see what it has written.
#if defined(__METAL_VERSION__)
#if __METAL_VERSION__ >= 320
#pragma METAL internals : enable
#define HOST_BUF(i, T, n) volatile coherent(system) device T* n [[buffer(i)]]
// 3 is the scope of the whole system, for which Metal's library has no public name.
FN void host_fence() { atomic_thread_fence(mem_flags::mem_device, memory_order_seq_cst, static_cast<thread_scope>(3)); }
FN void host_look() { host_fence(); }
#else
#define HOST_BUF(i, T, n) volatile device T* n [[buffer(i)]]
FN void host_fence() {}          // gates only look once then, behind an event
FN void host_look() {}
#endif
#elif defined(DIALECT_CPP)
#define HOST_BUF(i, T, n) BUF(i, volatile T, n)
FN void host_fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
FN void host_look() { host_fence(); }
FN uint4 host_read4(const volatile uint* p) { return *(const uint4*)p; }
#else
#define HOST_BUF(i, T, n) BUF(i, volatile T, n)
FN void host_fence() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }
FN void host_look() {}           // volatile is enough
FN uint4 host_read4(const volatile uint* p) {
    uint4 v;
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
    return v;
}
#endif
