#include "emulator.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

#if defined(__APPLE__)
#define SYMBOL "_emu_switch"
#else
#define SYMBOL "emu_switch"
#endif
#if defined(__x86_64__)
asm(".text\n.globl " SYMBOL "\n" SYMBOL ":\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
#elif defined(__aarch64__)
asm(".text\n.globl " SYMBOL "\n" SYMBOL ":\n"
    "sub sp,sp,#160\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\nstp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\n"
    "stp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
    "mov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
    "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\nldp x27,x28,[sp,#64]\nldp x29,x30,[sp,#80]\n"
    "ldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\nadd sp,sp,#160\nret\n");
#else
#error "the emulator runs on x86-64 and arm64"
#endif

namespace emu {
__attribute__((visibility("default"))) __thread Group* cur;

enum { STACK = 128 << 10, GUARD = 64 << 10 };

static void fail(Group& t, const char* why) {
    snprintf(t.error, t.error_size, "in group (%u, %u, %u), thread %u: %s", t.at[0], t.at[1], t.at[2], t.fiber, why);
    t.failed = true;
}
__attribute__((visibility("default"))) void die(Group& t, const char* why) {
    fail(t, why);
    emu_switch(&t.sp[t.fiber], t.main_sp);
    abort();
}
__attribute__((visibility("default"))) void* place(Group& t, uint32_t site, size_t n, size_t align) {
    if (site >= MAX_SITES) die(t, "the unit declares more arrays in threadgroup memory than the emulator numbers");
    const uint32_t at = (t.used + align - 1) & ~(uint32_t)(align - 1);
    if (at + n > t.limit) {
        char why[96];
        snprintf(why, sizeof why, "threadgroup memory of %zu bytes and more, of %u", at + n, t.limit);
        die(t, why);
    }
    t.used = at + n;
    t.site[site] = at + 1;
    memset(t.shared + at, 0xff, n);      // NaN, in every type
    return t.shared + at;
}

static void entry() {
    Group& t = *cur; void** a = t.args;
    ((void (*)(void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*))t.kernel)(
        a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]);
    if (t.copies_pending[t.fiber]) die(t, "the kernel ended with asynchronous copies pending");
    arrive(END);
    abort();
}

// Order 0 is forward, 1 is backward, anything else is shuffled.
static void arrange(uint32_t n, uint64_t& rng, uint32_t order, uint8_t* next, uint8_t* first, uint8_t* last) {
    uint8_t p[32];
    for (uint32_t i = 0; i < n; i++) p[i] = order == 1 ? n - 1 - i : i;
    if (order > 1)
        for (uint32_t i = n - 1; i > 0; i--) {
            rng = rng * 6364136223846793005ull + 1442695040888963407ull;
            const uint32_t j = (rng >> 33) % (i + 1);
            const uint8_t x = p[i]; p[i] = p[j]; p[j] = x;
        }
    for (uint32_t i = 0; i < n; i++) next[p[i]] = p[(i + 1) % n];
    *first = p[0]; *last = p[n - 1];
}

// Buffers end where a page that may not be touched begins, and begin after another.
struct Buffer { char *map, *data; size_t size, mapped; };
static std::mutex buffers_mu;
static std::vector<Buffer> buffers;
static size_t page() { static const size_t p = sysconf(_SC_PAGESIZE); return p; }

static struct sigaction old_segv, old_bus;
static void fault(int sig, siginfo_t* info, void* context) {
    Group* t = cur;
    if (t) {             // in a kernel: leave it, and this handler with it
        const char* at = (const char*)info->si_addr;
        char why[160];
        snprintf(why, sizeof why, "memory at %p, which is in no buffer, or a stack that is full", (const void*)at);
        for (const Buffer& b : buffers)
            if (at >= b.map && at < b.map + b.mapped)
                snprintf(why, sizeof why, "%lld bytes past the begin of a buffer of %zu", (long long)(at - b.data), b.size);
        die(*t, why);
    }
    const struct sigaction& old = sig == SIGBUS ? old_bus : old_segv;
    if (old.sa_flags & SA_SIGINFO) old.sa_sigaction(sig, info, context);
    else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) old.sa_handler(sig);
    else { signal(sig, SIG_DFL); raise(sig); }
}
}

using namespace emu;

EXPORT void emu_start() {
    struct sigaction a = {};
    a.sa_sigaction = fault;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &a, &old_segv);
    sigaction(SIGBUS, &a, &old_bus);
}

// Memory that holds NaN, aligned to 16 bytes; NULL if there is none.
EXPORT void* emu_alloc(uint64_t size) {
    const size_t room = (size + 15) & ~(size_t)15, whole = (room + page() - 1) / page() * page();
    Buffer b; b.size = size; b.mapped = whole + 2 * GUARD;
    void* m = mmap(0, b.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (m == MAP_FAILED) return 0;
    b.map = (char*)m;
    if (mprotect(b.map + GUARD, whole, PROT_READ | PROT_WRITE)) { munmap(m, b.mapped); return 0; }
    b.data = b.map + GUARD + whole - room;
    memset(b.map + GUARD, 0xff, whole);
    std::lock_guard<std::mutex> lock(buffers_mu);
    buffers.push_back(b);
    return b.data;
}
EXPORT void emu_free(void* data) {
    std::lock_guard<std::mutex> lock(buffers_mu);
    for (size_t i = 0; i < buffers.size(); i++)
        if (buffers[i].data == data) {
            munmap(buffers[i].map, buffers[i].mapped);
            buffers[i] = buffers.back(); buffers.pop_back();
            return;
        }
}

// What a worker runs groups in. Launches are many and short, and to make the stacks of a group takes longer than most of them run; so rooms are kept,
// but not too many: each stack is two mappings, and Linux lets a process have 65,530.
enum { EACH = STACK + GUARD, KEPT = 16 };
struct Room {
    Group group;
    uint32_t threads;                    // that have a stack
    char *stacks, *shared;
    size_t shared_size;
    Copy (*copies)[MAX_COPIES];
};
static std::mutex rooms_mu;
static std::vector<Room*> rooms;         // that nobody is in

// A room for so many threads with so much threadgroup memory, and a group of which nothing is known yet.
static Room* enter(uint32_t threads, uint32_t limit) {
    Room* r = 0;
    {
        std::lock_guard<std::mutex> lock(rooms_mu);
        if (!rooms.empty()) { r = rooms.back(); rooms.pop_back(); }
    }
    if (!r) {
        r = (Room*)calloc(1, sizeof(Room));
        r->stacks = (char*)mmap(0, (size_t)MAX_THREADS * EACH, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
        r->copies = (Copy(*)[MAX_COPIES])calloc(MAX_THREADS, sizeof *r->copies);
    }
    for (; r->threads < threads; r->threads++) mprotect(r->stacks + (size_t)r->threads * EACH + GUARD, STACK, PROT_READ | PROT_WRITE);
    if (r->shared_size < limit) {
        free(r->shared);
        r->shared_size = (limit + 63) / 64 * 64 + 64;
        r->shared = (char*)aligned_alloc(64, r->shared_size);
    }
    memset(&r->group, 0, sizeof r->group);
    r->group.threads = threads; r->group.simdgroups = threads / 32; r->group.limit = limit;
    r->group.shared = r->shared; r->group.copies = r->copies;
    return r;
}
static void leave(Room* r) {
    {
        std::lock_guard<std::mutex> lock(rooms_mu);
        if (rooms.size() < KEPT) { rooms.push_back(r); return; }
    }
    munmap(r->stacks, (size_t)MAX_THREADS * EACH); free(r->shared); free(r->copies); free(r);
}

struct Launch {
    void* kernel; uint32_t grid[3], threads, pool, limit, order, workers; uint64_t timeout_ms;
    void** args; uint64_t arg_count;
    char* error; uint64_t error_size;
};

// Runs a launch: args are buffers' addresses, or the addresses of values. Returns 0, or 1 with a message in error,
// or 2 if it ran past its deadline.
EXPORT int emu_launch(const Launch* l) {
    if (l->threads == 0 || l->threads % 32 || l->threads > MAX_THREADS || l->arg_count > 16) { snprintf(l->error, l->error_size, "a launch of groups of %u threads with %llu arguments", l->threads, (unsigned long long)l->arg_count); return 1; }
    if (l->pool > l->limit) { snprintf(l->error, l->error_size, "%u bytes of threadgroup memory asked for, of %u", l->pool, l->limit); return 1; }
    const uint64_t total = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
    std::atomic<uint64_t> next{0}; std::atomic<int> failed{0}; int stop = 0;
    std::mutex mu; std::condition_variable done; uint32_t running = l->workers;
    auto work = [&] {
        char message[512];
        static const size_t alternate = 64 << 10;
        stack_t own = {};                // for the handler of faults, of which a full stack is one
        own.ss_sp = malloc(alternate); own.ss_size = alternate;
        sigaltstack(&own, 0);
        Room* room = enter(l->threads, l->limit);
        Group* t = &room->group;
        t->kernel = (void (*)())l->kernel;
        memcpy(t->grid, l->grid, sizeof t->grid); memcpy(t->args, l->args, l->arg_count * sizeof(void*));
        t->stop = &stop; t->error = message; t->error_size = sizeof message;
        for (uint64_t i; (i = next++) < total && !failed;) {
            uint64_t rng = l->order * 1000003ull + i;
            arrange(32, rng, l->order, t->lane_next, &t->lane_first, &t->lane_last);
            arrange(t->simdgroups, rng, l->order, t->simd_next, &t->simd_first, &t->simd_last);
            t->at[0] = i % l->grid[0]; t->at[1] = i / l->grid[0] % l->grid[1]; t->at[2] = i / l->grid[0] / l->grid[1];
            memset(t->site, 0, sizeof t->site); memset(t->parity, 0, sizeof t->parity);
            memset(t->copies_pending, 0, sizeof t->copies_pending); memset(t->batch, 0, sizeof t->batch);
            t->used = (l->pool + 15) & ~15u; t->pool = t->shared; memset(t->pool, 0xff, l->pool);
            for (uint32_t f = 0; f < l->threads; f++) {
                // Not all stacks at the same place of a page: their tops would share few sets of the cache.
                void** s = (void**)(room->stacks + (size_t)(f + 1) * EACH - (f % 16) * 128 - 64);
#if defined(__x86_64__)
                *--s = 0; *--s = (void*)entry; s -= 6;
#else
                s -= 20; s[11] = (void*)entry;
#endif
                t->sp[f] = s;
            }
            t->fiber = (t->simd_first << 5) | t->lane_first;
            cur = t; emu_switch(&t->main_sp, t->sp[t->fiber]); cur = 0;
            if (t->failed) {
                std::lock_guard<std::mutex> lock(mu);
                if (!failed) snprintf(l->error, l->error_size, "%s", message);
                failed = 1;
            }
        }
        stack_t none = {};
        none.ss_flags = SS_DISABLE;
        sigaltstack(&none, 0);
        free(own.ss_sp); leave(room);
        std::lock_guard<std::mutex> lock(mu);
        if (--running == 0) done.notify_all();
    };
    std::vector<std::thread> workers;
    for (uint32_t i = 0; i < l->workers; i++) workers.emplace_back(work);
    {
        std::unique_lock<std::mutex> lock(mu);
        if (!done.wait_for(lock, std::chrono::milliseconds(l->timeout_ms), [&] { return running == 0; })) *(volatile int*)&stop = 1;
    }
    for (auto& w : workers) w.join();
    return failed && stop ? 2 : failed.load();
}
