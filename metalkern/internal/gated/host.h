// Memory that the processor changes, and reads, while a kernel runs.
// WAITING_GRID is GRID in kernels that wait for others than the kernel before: the next one starts at host_pass, or when they end, so that it keeps nobody from the
// multiprocessors meanwhile, least of all those who are waited for.
// host_read4 reads 16 bytes of it, on devices that see it without more.
// host_fence orders what was written before with what is written after, for the processor; host_look lets the next read see what it has written.
#if defined(__METAL_VERSION__)
#define WAITING_GRID GRID
FN void host_pass() {}
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
#define WAITING_GRID GRID
FN void host_pass() {}
#define HOST_BUF(i, T, n) BUF(i, volatile T, n)
FN void host_fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
FN void host_look() { host_fence(); }
FN uint4 host_read4(const volatile uint* p) { return *(const uint4*)p; }
#else
#define WAITING_GRID (waiting_ctx(k_halt))
#if __CUDA_ARCH__ >= 900
FN uint follow_only() { uint zero; asm volatile("griddepcontrol.wait;\nmov.u32 %0, 0;" : "=r"(zero) :: "memory"); return zero; }
FN void host_pass() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#else
FN uint follow_only() { return 0; }
FN void host_pass() {}
#endif
FN Ctx waiting_ctx(const volatile uint* halt) {
    const uint zero = follow_only();
    if (halt && *halt == 0) asm volatile("exit;");
    const uint t = s_tid() + zero;
    return Ctx{uint3(s_x() + zero, s_y() + zero, s_z() + zero), uint3(s_nx(), s_ny(), s_nz()), t, t & 31, t >> 5};
}
#define HOST_BUF(i, T, n) BUF(i, volatile T, n)
FN void host_fence() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }
FN void host_look() {}           // volatile is enough
FN uint4 host_read4(const volatile uint* p) {
    uint4 v;
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
    return v;
}
#endif
