// Times llama.cpp's decoding behind a context that is restored from a file rather than computed.
//
//     llamacpp_depth -m MODEL -s STATE -o CELLS                   computes CELLS random tokens and keeps their state in STATE
//     llamacpp_depth -m MODEL -s STATE -d DEPTH -n TOKENS -r RUNS  restores STATE, of DEPTH tokens, and prints the seconds that
//                                                                 each run of TOKENS took, a line each
//     both: -t THREADS  -k f16|q8_0|q4_0 (keys and values)  -f on|off (flash attention)  -w HOST:PORT,… (RPC servers)
//
// What is timed is what llama-bench times: llama_decode of one random token and llama_synchronize, with the threads that it
// would use, in a context of as many cells. One token is decoded before, and after each run the context is cut back.
// llamacpp_compare.py builds this with llama.cpp (llamacpp_depth.cmake), and llamacpp_state.py makes long states of short ones.

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ggml-backend.h"
#include "ggml.h"
#include "llama.h"

struct options {
    const char *model, *state;
    char *servers;
    int threads, cells, depth, tokens, runs;
    enum ggml_type kv;
    bool flash;
};

static void fail(const char *what, const char *which) {
    fprintf(stderr, "llamacpp_depth: %s: %s\n", which, what);
    exit(1);
}

static int number(const char *text, const char *flag) {
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || n < 1 || n > INT_MAX / 2) {
        fail("a whole number from 1 on is needed", flag);
    }
    return (int)n;
}

static enum ggml_type storage(const char *name) {
    const enum ggml_type types[] = {GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, ggml_type_name(types[i])) == 0) {
            return types[i];
        }
    }
    fail("f16, q8_0 or q4_0 is needed", "-k");
    return GGML_TYPE_COUNT;
}

static bool on(const char *text) {
    if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0) {
        fail("on or off is needed", "-f");
    }
    return strcmp(text, "on") == 0;
}

static struct options parse(int argc, char **argv) {
    struct options o = {.threads = 1, .kv = GGML_TYPE_F16};
    for (int c; (c = getopt(argc, argv, "m:s:o:d:n:r:t:k:f:w:")) != -1;) {
        switch (c) {
        case 'm': o.model = optarg; break;
        case 's': o.state = optarg; break;
        case 'o': o.cells = number(optarg, "-o"); break;
        case 'd': o.depth = number(optarg, "-d"); break;
        case 'n': o.tokens = number(optarg, "-n"); break;
        case 'r': o.runs = number(optarg, "-r"); break;
        case 't': o.threads = number(optarg, "-t"); break;
        case 'k': o.kv = storage(optarg); break;
        case 'f': o.flash = on(optarg); break;
        case 'w': o.servers = optarg; break;
        default: exit(2);
        }
    }
    if (!o.model || !o.state || (!o.cells && (!o.depth || !o.tokens || !o.runs))) {
        fail("-m, -s, and either -o or -d, -n and -r are needed", argv[0]);
    }
    return o;
}

// connect_servers makes each of HOST:PORT,… a device, over which llama.cpp then spreads the layers.
static void connect_servers(char *servers) {
    ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
    ggml_backend_reg_t (*add)(const char *) = rpc ? (ggml_backend_reg_t(*)(const char *))ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server") : NULL;
    if (!add) {
        fail("this llama.cpp is built without RPC", "-w");
    }
    for (char *rest, *server = strtok_r(servers, ",", &rest); server; server = strtok_r(NULL, ",", &rest)) {
        ggml_backend_reg_t reg = add(server);
        if (!reg) {
            fail("no RPC server answers there", server);
        }
        ggml_backend_register(reg);
    }
}

// attach_threads gives the context the pool of threads that llama-bench gives it.
static void attach_threads(struct llama_context *ctx, int threads) {
    ggml_backend_reg_t cpu = ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    struct ggml_threadpool *(*make)(struct ggml_threadpool_params *) =
        (struct ggml_threadpool * (*)(struct ggml_threadpool_params *)) ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_new");
    struct ggml_threadpool_params p = ggml_threadpool_params_default(threads);
    struct ggml_threadpool *pool = make ? make(&p) : NULL;
    if (!pool) {
        fail("the threads cannot be made", "-t");
    }
    llama_attach_threadpool(ctx, pool, NULL);
}

static void decode(struct llama_context *ctx, llama_token *tokens, int n) {
    int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(ctx)));
    for (int i = 0; i < n; i++) {
        tokens[i] = rand() % vocabulary;
    }
    if (llama_decode(ctx, llama_batch_get_one(tokens, n)) != 0) {
        fail("llama_decode failed", "decoding");
    }
    llama_synchronize(ctx);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void save(struct llama_context *ctx, const struct options *o) {
    llama_token *tokens = calloc((size_t)o->cells, sizeof *tokens);
    if (!tokens) {
        fail("no memory for so many tokens", "-o");
    }
    decode(ctx, tokens, o->cells);
    if (llama_state_seq_save_file(ctx, o->state, 0, tokens, 0) == 0) {
        fail("cannot be written", o->state);
    }
    free(tokens);
}

static void measure(struct llama_context *ctx, const struct options *o) {
    llama_memory_t memory = llama_get_memory(ctx);
    llama_token token;
    size_t kept = 0;
    if (llama_state_seq_load_file(ctx, o->state, 0, &token, 1, &kept) == 0) {
        fail("cannot be restored with this model, -k and -f", o->state);
    }
    if (llama_memory_seq_pos_max(memory, 0) + 1 != o->depth) {
        fail("has not as many tokens as -d says", o->state);
    }
    decode(ctx, &token, 1);
    for (int run = 0; run < o->runs; run++) {
        if (!llama_memory_seq_rm(memory, 0, o->depth, -1)) {
            fail("the context cannot be cut back", o->model);
        }
        double began = now();
        for (int i = 0; i < o->tokens; i++) {
            decode(ctx, &token, 1);
        }
        printf("%.9f\n", now() - began);
    }
}

static void errors_only(enum ggml_log_level level, const char *text, void *data) {
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv);
    ggml_backend_load_all();
    llama_log_set(errors_only, NULL);
    llama_backend_init();
    if (o.servers) {
        connect_servers(o.servers);
    }
    struct llama_model *model = llama_model_load_from_file(o.model, llama_model_default_params());
    if (!model) {
        fail("cannot be loaded", o.model);
    }
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = (uint32_t)(o.cells ? o.cells : o.depth + o.tokens);
    p.n_batch = p.n_ctx < 2048 ? p.n_ctx : 2048;
    p.n_threads = p.n_threads_batch = o.threads;
    p.type_k = p.type_v = o.kv;
    p.flash_attn_type = o.flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    struct llama_context *ctx = llama_init_from_model(model, p);
    if (!ctx) {
        fail("no context can be made for it with this -k and -f", o.model);
    }
    attach_threads(ctx, o.threads);
    if (o.cells) {
        save(ctx, &o);
    } else {
        measure(ctx, &o);
    }
    llama_free(ctx);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
