"""Compares Orrery with llama.cpp on this machine's processor, in one run, on the same weights.

    python3 research/llamacpp_compare.py --llama-cpp DIR [--dir DIR] [options]
    python3 research/llamacpp_compare.py --llama-bench FILE [--dir DIR] [options]

DIR is a checkout of llama.cpp, of which llama-bench is built, with cmake and a C++ compiler; FILE is one that was built
before. Needs Go, and 2 GB on a disk for the weights: the shape of Llama-3.2-1B with random numbers, written as GGUF files by
research/makemodel. Nothing else should use the machine meanwhile.

Each case is measured in turns: Orrery, llama-bench, Orrery. Of Orrery the median of all runs counts, of llama-bench the mean that
it gives. Where llama.cpp can keep keys and values in a format with flash attention and without, the faster of the two counts.
llama-bench computes a context up to each depth before it measures, which takes minutes at 16384; Orrery fills it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KV = {"f16": "f16", "q8_0": "q8", "q4_0": "q4"}  # llama.cpp's names, and ours


def numbers(text):
    return [int(n) for n in text.split(",") if n]


def words(text):
    return [w for w in text.split(",") if w]


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--llama-cpp", metavar="DIR", help="checkout to build llama-bench from")
    where.add_argument("--llama-bench", metavar="FILE", help="llama-bench, built")
    p.add_argument("--orrery", metavar="FILE", help="orrery, built (default: it is built from this checkout)")
    p.add_argument("--dir", default="/tmp/orrery-llamacpp", help="for weights and programs (default: %(default)s)")
    p.add_argument("--weights", type=words, default="q8_0,q4_0", help="(default: %(default)s)")
    p.add_argument("--threads", type=numbers, default="1,2", help="(default: %(default)s)")
    p.add_argument("--depths", type=numbers, default="0,4096,16384", help="of decode (default: %(default)s)")
    p.add_argument("--kv", type=words, default="f16,q8_0", help="of decode behind a context (default: %(default)s)")
    p.add_argument("--prompts", type=numbers, default="512,4096", help="of prefill (default: %(default)s)")
    p.add_argument("--flash", type=words, default="on,off", help="llama.cpp's flash attention, where it may choose (default: %(default)s)")
    p.add_argument("--context-threads", type=int, metavar="N", help="of llama.cpp, for contexts that it only decodes behind (default: those it decodes with)")
    p.add_argument("--tokens", type=int, default=16, help="of each run of decode (default: %(default)s)")
    p.add_argument("--repeat", type=int, default=3, help="runs (default: %(default)s)")
    p.add_argument("--json", metavar="FILE", help="keep the figures there too")
    o = p.parse_args()
    for name in set(o.kv) - set(KV):
        p.error(f"--kv: {name} is not one of {', '.join(KV)}")
    return o


def run(command, **more):
    """Runs a command to its end, and gives what it printed."""
    r = subprocess.run(command, stdout=subprocess.PIPE, text=True, **more)
    if r.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {r.returncode}")
    return r.stdout


def build(o):
    """Makes the programs that are not there yet, and gives their paths."""
    bench, orrery = o.llama_bench, o.orrery
    if not bench:
        to = os.path.join(o.dir, "llama.cpp")
        off = ["CURL", "OPENSSL", "BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_SERVER", "BUILD_APP", "BUILD_UI"]
        run(["cmake", "-S", o.llama_cpp, "-B", to, "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF"] + [f"-DLLAMA_{name}=OFF" for name in off])
        run(["cmake", "--build", to, "--target", "llama-bench", "-j", str(os.cpu_count())])
        bench = os.path.join(to, "bin", "llama-bench")
    if not orrery:
        orrery = os.path.join(o.dir, "orrery")
        run(["go", "build", "-o", orrery, "./cmd/orrery"], cwd=REPO)
    return bench, orrery


def model(o, weights):
    path = os.path.join(o.dir, f"llama-1b-{weights}.gguf")
    if not os.path.exists(path):
        run(["go", "run", "./research/makemodel", "--config", "research/configs/Llama-3.2-1B.json", "--gguf", "--weights", weights, "--out", path], cwd=REPO)
    return path


class Theirs:
    def __init__(self, o, bench):
        self.o, self.bench = o, bench

    def run(self, path, threads, *more):
        """Tokens/s of one test; of several numbers of threads those of the last."""
        out = run([self.bench, "-m", path, "-t", threads, "-r", str(self.o.repeat), "-o", "json", *more], stderr=subprocess.DEVNULL)
        return json.loads(out)[-1]["avg_ts"]

    def prefill(self, path, threads, tokens):
        return max((self.run(path, str(threads), "-p", str(tokens), "-n", "0", "-fa", fa), f"flash attention {fa}") for fa in self.o.flash)

    def decode(self, path, threads, depth, kv):
        ways = self.o.flash if kv == "f16" and depth > 0 else ["on"]  # quantized values need flash attention
        all_threads = f"{self.o.context_threads},{threads}" if self.o.context_threads and depth > 0 else str(threads)
        return max((self.run(path, all_threads, "-p", "0", "-n", str(self.o.tokens), "-d", str(depth), "-ctk", kv, "-ctv", kv, "-fa", fa), f"flash attention {fa}") for fa in ways)


class Ours:
    def __init__(self, o, orrery):
        self.o, self.orrery = o, orrery

    def run(self, what, path, threads, *more):
        return json.loads(run([self.orrery, "bench", what, "--device", "cpu", "--model", path, "--threads", str(threads), "--repeat", str(self.o.repeat), "--format", "json", *more]))

    def prefill(self, path, threads, tokens):
        return self.run("prefill", path, threads, "--tokens", str(tokens))["rows"][0]

    def decode(self, path, threads, depth, kv):
        return self.run("decode", path, threads, "--tokens", str(self.o.tokens), "--depth", str(depth), "--kv", KV[kv])["rows"][0]


def measure(o, theirs, ours, weights, threads, what, size, kv=""):
    """Measures one case in turns."""
    path = model(o, weights)
    args = (path, threads, size) + ((kv,) if kv else ())
    rows = [getattr(ours, what)(*args)]
    their, how = getattr(theirs, what)(*args)
    rows.append(getattr(ours, what)(*args))
    mine = statistics.median(r["tokens_per_second"]["median"] for r in rows)
    share = statistics.median(r["share_of_read"] if what == "decode" else r["share_of_peak"]["median"] for r in rows)
    return {"what": what, "weights": weights, "threads": threads, "size": size, "kv": kv, "orrery": mine, "llama.cpp": their, "how": how, "ratio": mine / their,
            "share": share, "their_share": share * their / mine}


def table(cases):
    lines = [["what", "weights", "threads", "KV", "orrery", "llama.cpp", "ratio", "share", "llama.cpp's", "how"]]
    for c in cases:
        what = f"prefill of {c['size']}" if c["what"] == "prefill" else f"decode at {c['size']}"
        lines.append([what, c["weights"], str(c["threads"]), c["kv"], f"{c['orrery']:.2f}", f"{c['llama.cpp']:.2f}", f"{c['ratio']:.2f}", f"{100 * c['share']:.0f}%",
                      f"{100 * c['their_share']:.0f}%", c["how"]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |" for line in lines)


def main():
    o = options()
    os.makedirs(o.dir, exist_ok=True)
    bench, orrery = build(o)
    theirs, ours = Theirs(o, bench), Ours(o, orrery)
    cases = []

    def note(case):
        cases.append(case)
        print(table([case]).splitlines()[-1], file=sys.stderr, flush=True)

    for weights in o.weights:
        for threads in o.threads:
            for tokens in o.prompts:
                note(measure(o, theirs, ours, weights, threads, "prefill", tokens))
            for depth in o.depths:
                for kv in o.kv if depth > 0 else o.kv[:1]:
                    note(measure(o, theirs, ours, weights, threads, "decode", depth, kv))
    print("tokens/s. Share: of a plain read in decode, of what the multipliers do at the most in prefill, both measured beside Orrery's runs.")
    print(table(cases))
    if o.json:
        with open(o.json, "w") as f:
            json.dump(cases, f, indent=1)


main()
