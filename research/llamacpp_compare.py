"""Compares Orrery with llama.cpp on this machine's processor, in one run, on the same weights.

    python3 research/llamacpp_compare.py --llama-cpp DIR [--dir DIR] [options]

DIR is a checkout of llama.cpp, which is built with cmake and a C++ compiler, or --dir has what was built before. Needs Go, 2 GB on a
disk for the weights, the shape of Llama-3.2-1B with random numbers, written as GGUF files by research/makemodel, and 2 GB for states.
Nothing else should use the machine meanwhile. Tried with llama.cpp 3f545becc of 22 August 2026.

Each case is measured in turns: Orrery, llama.cpp, Orrery. The median of all runs counts, of llama-bench, which measures prompts and
decoding without a context, the mean that it gives. Where llama.cpp can keep keys and values in a format with flash attention and
without, the faster of the two counts.

Contexts are not computed, which takes llama.cpp many minutes for 16,384 tokens. Orrery's bench fills them with made-up keys and values.
Of llama.cpp the state of 256 real tokens is saved, repeated up to the depth (llamacpp_state.py) and restored, as llama-bench restores the
contexts that it has computed before, and decoding is then timed as llama-bench does (llamacpp_depth.c). --check shows that both are
equally fast: it has llama-bench compute contexts of that depth, and compares.

--pool compares nodes of one thread on a processor each: the better mode of orrery bench pool, and llama.cpp with its layers over RPC servers.
"""

import argparse
import contextlib
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import time

import llamacpp_state

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
KV = {"f16": "f16", "q8_0": "q8", "q4_0": "q4"}  # llama.cpp's names, and ours
REAL = 256  # cells that are computed, and then repeated


def numbers(text):
    return [int(n) for n in text.split(",") if n]


def words(text):
    return [w for w in text.split(",") if w]


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--llama-cpp", metavar="DIR", help="checkout to build llama.cpp from (default: it is in --dir, built before)")
    p.add_argument("--orrery", metavar="FILE", help="orrery, built (default: it is built from this checkout)")
    p.add_argument("--dir", default="/tmp/orrery-llamacpp", help="for weights, states and programs (default: %(default)s)")
    p.add_argument("--weights", type=words, default="q8_0,q4_0", help="as makemodel --gguf names them (default: %(default)s)")
    p.add_argument("--threads", type=numbers, default="1,2", help="(default: %(default)s)")
    p.add_argument("--depths", type=numbers, default="0,4096,16384", help="of decode (default: %(default)s)")
    p.add_argument("--kv", type=words, default="f16,q8_0", help="of decode behind a context (default: %(default)s)")
    p.add_argument("--prompts", type=numbers, default="512,4096", help="of prefill (default: %(default)s)")
    p.add_argument("--pool", type=numbers, default="0,16384", metavar="DEPTHS", help="of decode by nodes of a thread each (default: %(default)s)")
    p.add_argument("--nodes", type=int, default=2, help="of --pool (default: %(default)s)")
    p.add_argument("--flash", type=words, default="on,off", help="llama.cpp's flash attention, where it may choose (default: %(default)s)")
    p.add_argument("--tokens", type=int, default=16, help="of each run of decode (default: %(default)s)")
    p.add_argument("--repeat", type=int, default=3, help="runs (default: %(default)s)")
    p.add_argument("--turns", type=int, choices=(1, 2), default=2, help="of Orrery: before llama.cpp's, or before and after (default: %(default)s)")
    p.add_argument("--check", type=numbers, default="", metavar="DEPTHS", help="compare restored contexts with computed ones, and nothing else")
    p.add_argument("--prepare", action="store_true", help="build and write what the measurements need, and measure nothing")
    p.add_argument("--json", metavar="FILE", help="keep the figures there too")
    o = p.parse_args()
    for name in set(o.kv) - set(KV):
        p.error(f"--kv: {name} is not one of {', '.join(KV)}")
    for name in set(o.flash) - {"on", "off"}:
        p.error(f"--flash: {name} is neither on nor off")
    return o


def run(command, **more):
    """Runs a command to its end, and gives what it printed."""
    r = subprocess.run(command, stdout=subprocess.PIPE, text=True, **more)
    if r.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {r.returncode}")
    return r.stdout


def build(o):
    """Makes the programs, and gives llama.cpp's folder of them and the path of orrery."""
    to, orrery = os.path.join(o.dir, "llama.cpp"), o.orrery
    if o.llama_cpp:
        off = ["CURL", "OPENSSL", "BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_SERVER", "BUILD_APP", "BUILD_UI"]
        flags = ["CMAKE_BUILD_TYPE=Release", "GGML_NATIVE=ON", "GGML_RPC=ON", "BUILD_SHARED_LIBS=OFF", f"CMAKE_PROJECT_llama.cpp_INCLUDE={HERE}/llamacpp_depth.cmake"]
        run(["cmake", "-S", o.llama_cpp, "-B", to] + [f"-D{flag}" for flag in flags] + [f"-DLLAMA_{name}=OFF" for name in off])
        run(["cmake", "--build", to, "-j", str(os.cpu_count()), "--target", "llama-bench", "llamacpp_depth", "ggml-rpc-server"])
    programs = os.path.join(to, "bin")
    if not os.path.exists(os.path.join(programs, "llamacpp_depth")):
        sys.exit(f"{programs} has no llamacpp_depth; --llama-cpp says what to build it from")
    if not orrery:
        orrery = os.path.join(o.dir, "orrery")
        run(["go", "build", "-o", orrery, "./cmd/orrery"], cwd=REPO)
    return programs, orrery


def model(o, weights):
    path = os.path.join(o.dir, f"llama-1b-{weights}.gguf")
    if not os.path.exists(path):
        run(["go", "run", "./research/makemodel", "--config", "research/configs/Llama-3.2-1B.json", "--gguf", "--weights", weights, "--out", path], cwd=REPO)
    return path


class Theirs:
    def __init__(self, o, programs):
        self.o, self.programs = o, programs

    def program(self, name):
        return os.path.join(self.programs, name)

    def bench(self, path, threads, *more):
        """Tokens/s of a test of llama-bench."""
        command = [self.program("llama-bench"), "-m", path, "-t", str(threads), "-r", str(self.o.repeat), "-o", "json", *more]
        return json.loads(run(command, stderr=subprocess.DEVNULL))[0]["avg_ts"]

    def best(self, measure, ways):
        """The tokens/s of the faster way, and of each."""
        each = {flash: measure(flash) for flash in ways}
        return max(each.values()), "flash attention " + ", ".join(f"{flash}: {speed:.2f}" for flash, speed in each.items())

    def ways(self, kv):
        return self.o.flash if kv == "f16" else ["on"]  # quantized values need flash attention

    def prefill(self, path, threads, tokens):
        cold = ["--no-warmup"] if tokens > 1024 else []  # it would be a prompt as long
        return self.best(lambda flash: self.bench(path, threads, "-p", str(tokens), "-n", "0", "-fa", flash, *cold), self.o.flash)

    def decode(self, path, threads, depth, kv):
        if depth == 0:
            return self.best(lambda flash: self.computed(path, threads, 0, kv, flash), ["on"])
        return self.best(lambda flash: self.restored(path, threads, depth, kv, flash), self.ways(kv))

    def pool(self, path, nodes, depth, kv):
        with self.servers(nodes) as addresses:
            if depth == 0:
                return self.best(lambda flash: self.computed(path, 1, 0, kv, flash, "--rpc", addresses), ["on"])
            return self.best(lambda flash: self.restored(path, 1, depth, kv, flash, "-w", addresses), self.ways(kv))

    def computed(self, path, threads, depth, kv, flash, *more):
        """Tokens/s behind a context that llama-bench computes."""
        return self.bench(path, threads, "-p", "0", "-n", str(self.o.tokens), "-d", str(depth), "-ctk", kv, "-ctv", kv, "-fa", flash, *more)

    def restored(self, path, threads, depth, kv, flash, *more):
        """Tokens/s behind a context that is restored."""
        how = ["-m", path, "-t", str(threads), "-k", kv, "-f", flash]
        out = run([self.program("llamacpp_depth"), *how, "-s", self.state(path, kv, flash, depth), "-d", str(depth), "-n", str(self.o.tokens), "-r", str(self.o.repeat), *more])
        return self.o.tokens / statistics.median(float(line) for line in out.split())

    def state(self, path, kv, flash, depth):
        """The file of a state of that depth, for models of this shape, whatever their weights."""
        states = os.path.join(self.o.dir, "states")
        os.makedirs(states, exist_ok=True)
        short, long = (os.path.join(states, f"{kv}-flash-{flash}-{n}") for n in (f"{REAL}-computed", depth))
        if not os.path.exists(short):
            run([self.program("llamacpp_depth"), "-m", path, "-t", str(os.cpu_count()), "-k", kv, "-f", flash, "-s", short + ".new", "-o", str(REAL)])
            os.rename(short + ".new", short)
        if not os.path.exists(long):
            with open(short, "rb") as f:
                try:
                    state = llamacpp_state.parse(f.read())
                except llamacpp_state.StateError as e:
                    sys.exit(f"{short}: {e}")
            with open(long + ".new", "wb") as f:
                f.writelines(llamacpp_state.pieces(llamacpp_state.repeated(state, depth)))
            os.rename(long + ".new", long)
        return long

    @contextlib.contextmanager
    def servers(self, nodes):
        """Runs an RPC server of one thread on each of the first processors, and gives their addresses."""
        cores = sorted(os.sched_getaffinity(0))
        if nodes > len(cores):
            sys.exit(f"--nodes: {nodes} nodes need as many processors; there are {len(cores)}")
        running, addresses = [], []
        try:
            for core in cores[:nodes]:
                port = free_port()
                command = ["taskset", "-c", str(core), self.program("ggml-rpc-server"), "-t", "1", "-p", str(port)]
                running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                addresses.append(f"127.0.0.1:{port}")
                wait_for(port, running[-1])
            yield ",".join(addresses)
        finally:
            for server in running:
                server.kill()
                server.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, server):
    """Waits until the server takes connections, for ten seconds at the most."""
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as e:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(server.args)}: nothing listens on port {port}: {e}")
            time.sleep(0.05)


class Ours:
    def __init__(self, o, orrery):
        self.o, self.orrery = o, orrery

    def run(self, what, path, *more):
        return json.loads(run([self.orrery, "bench", what, "--model", path, "--format", "json", *more]))["rows"]

    def prefill(self, path, threads, tokens):
        row = self.run("prefill", path, "--device", "cpu", "--threads", str(threads), "--repeat", str(self.o.repeat), "--tokens", str(tokens))[0]
        return row["tokens_per_second"]["median"], row["share_of_peak"]["median"], ""

    def decode(self, path, threads, depth, kv):
        row = self.run("decode", path, "--device", "cpu", "--threads", str(threads), "--repeat", str(self.o.repeat), *self.behind(depth, kv))[0]
        return row["tokens_per_second"]["median"], row["share_of_read"], ""

    def pool(self, path, nodes, depth, kv):
        rows = self.run("pool", path, "--nodes", str(nodes), "--modes", "pipeline,pooled", "--rounds", str(self.o.repeat), *self.behind(depth, kv))
        row = max(rows, key=lambda r: r["tokens_per_second"]["median"])
        return row["tokens_per_second"]["median"], math.nan, row["mode"] + ", "

    def behind(self, depth, kv):
        return ["--tokens", str(self.o.tokens), "--depth", str(depth), "--kv", KV[kv]]


def cases(o):
    """What is to be measured: what, weights, threads or nodes, tokens before or of the prompt, and KV if there is any to read."""
    for weights in o.weights:
        for threads in o.threads:
            for tokens in o.prompts:
                yield "prefill", weights, threads, tokens, None
            for depth in o.depths:
                for kv in o.kv if depth > 0 else o.kv[:1]:
                    yield "decode", weights, threads, depth, kv
        for depth in o.pool:
            for kv in o.kv if depth > 0 else o.kv[:1]:
                yield "pool", weights, o.nodes, depth, kv


def measure(o, theirs, ours, what, weights, threads, size, kv):
    """Measures one case in turns."""
    args = (model(o, weights), threads, size) + ((kv,) if kv else ())
    rows = [getattr(ours, what)(*args)]
    their, how = getattr(theirs, what)(*args)
    if o.turns > 1:
        rows.append(getattr(ours, what)(*args))
    mine, share = (statistics.median(row[i] for row in rows) for i in range(2))
    case = {"what": what, "weights": weights, "threads": threads, "size": size, "kv": kv, "orrery": mine, "llama.cpp": their, "how": rows[0][2] + how, "ratio": mine / their}
    if not math.isnan(share):  # of nodes none is measured
        case.update(share=share, their_share=share * their / mine)
    return case


def prepare(o, theirs):
    for what, weights, _, size, kv in cases(o):
        path = model(o, weights)
        if what != "prefill" and size > 0:
            for flash in theirs.ways(kv):
                theirs.state(path, kv, flash, size)
    for depth in o.check:
        for kv in o.kv:
            for flash in theirs.ways(kv):
                theirs.state(model(o, o.weights[0]), kv, flash, depth)


def check(o, theirs):
    """Rows of tokens/s behind computed contexts and behind restored ones."""
    for weights in o.weights:
        path = model(o, weights)
        for threads in o.threads:
            for depth in o.check:
                for kv in o.kv:
                    for flash in theirs.ways(kv):
                        before = theirs.restored(path, threads, depth, kv, flash)
                        computed = theirs.computed(path, threads, depth, kv, flash)
                        after = theirs.restored(path, threads, depth, kv, flash)
                        yield {"weights": weights, "threads": threads, "size": depth, "kv": kv, "how": f"flash attention {flash}", "computed": computed,
                               "restored_before": before, "restored_after": after}


NAMES = {"prefill": "prefill of", "decode": "decode at", "pool": "nodes at"}


def compared(c):
    return [f"{NAMES[c['what']]} {c['size']}", c["weights"], str(c["threads"]), c["kv"] or "", f"{c['orrery']:.2f}", f"{c['llama.cpp']:.2f}", f"{c['ratio']:.2f}",
            *(f"{100 * c[share]:.0f}%" if share in c else "" for share in ("share", "their_share")), c["how"]]


def checked(c):
    return [f"decode at {c['size']}", c["weights"], str(c["threads"]), c["kv"], f"{c['computed']:.2f}", f"{c['restored_before']:.2f}", f"{c['restored_after']:.2f}", c["how"]]


def table(heads, rows):
    lines = [heads] + rows
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |" for line in lines)


def main():
    o = options()
    os.makedirs(o.dir, exist_ok=True)
    programs, orrery = build(o)
    theirs, ours = Theirs(o, programs), Ours(o, orrery)
    if o.prepare:
        return prepare(o, theirs)
    if o.check:
        heads, row, found = ["what", "weights", "threads", "KV", "computed", "restored before", "after", "how"], checked, check(o, theirs)
    else:
        heads, row = ["what", "weights", "threads", "KV", "orrery", "llama.cpp", "ratio", "share", "llama.cpp's", "how"], compared
        found = (measure(o, theirs, ours, *case) for case in cases(o))
    done = []
    for case in found:
        done.append(case)
        print(" ".join(row(case)), file=sys.stderr, flush=True)
        if o.json:
            with open(o.json, "w") as f:
                json.dump(done, f, indent=1)
    print("tokens/s." if o.check else "tokens/s. Share: of a plain read in decode, of what the multipliers do at the most in prefill, both measured beside Orrery's runs.")
    print(table(heads, [row(case) for case in done]))


main()
