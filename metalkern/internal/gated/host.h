// Memory that the processor changes, and reads, while a kernel runs.
#if defined(__METAL_VERSION__)
#if __METAL_VERSION__ >= 320
#pragma METAL internals : enable
#define HOST_BUF(i, T, n) volatile coherent(system) device T* n [[buffer(i)]]
// 3 is the scope of the whole system, for which Metal's library has no public name.
FN void host_fence() { atomic_thread_fence(mem_flags::mem_device, memory_order_seq_cst, static_cast<thread_scope>(3)); }
#else
#define HOST_BUF(i, T, n) volatile device T* n [[buffer(i)]]
FN void host_fence() {}          // gates only look once then, behind an event
#endif
#elif defined(DIALECT_CPP)
#define HOST_BUF(i, T, n) BUF(i, volatile T, n)
FN void host_fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#else
#define HOST_BUF(i, T, n) BUF(i, volatile T, n)
FN void host_fence() { asm volatile("fence.sc.sys;" ::: "memory"); }
#endif
