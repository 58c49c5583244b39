"""Makes the goldens of package model: tiny random models and what transformers computes from them, in float32 on a CPU.

usage: make_goldens.py OUT [RECALL]

RECALL is the folder of the embedded model (default: ../recall/model beside this script). Needs torch, transformers, tokenizers,
safetensors and numpy. OUT gets

    weights/NAME/*.safetensors   weights, shared by the cases that differ in config.json alone; one of them sharded
    CASE/config.json             as a model's folder has it
    CASE/weights.txt             NAME of the weights
    CASE/ids.txt                 token ids, one a line
    CASE/logits.npy              float32 [tokens][vocabulary]
    recall/ids.txt               a document with two codes, a question and its answer, for the embedded model
    recall/positions.txt         positions whose logits are kept, one a line
    recall/logits.npy            float32 [positions][4096]
"""
import json
import math
import os
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer

LAYERS, HIDDEN, FFN, VOCAB, TOKENS = 4, 64, 80, 160, 96
LLAMA = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS,
    num_attention_heads=4, num_key_value_heads=2, vocab_size=VOCAB, max_position_embeddings=512, rms_norm_eps=1e-5,
    hidden_act="silu", bos_token_id=1, eos_token_id=2,
)
QWEN3 = dict(
    LLAMA, architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=16, rms_norm_eps=1e-6, eos_token_id=[2, 3],
    attention_bias=False, use_sliding_window=False,
)
QWEN3_MOE = dict(
    QWEN3, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", moe_intermediate_size=32, num_experts=8, num_experts_per_tok=3,
    norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[1],
)
SPARSE = dict(QWEN3_MOE, num_experts=12, num_experts_per_tok=4, norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[])
MIXTRAL = dict(
    LLAMA, architectures=["MixtralForCausalLM"], model_type="mixtral", intermediate_size=40, num_local_experts=5, num_experts_per_tok=2,
    sliding_window=None,
)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)

# Weights: name -> (config that decides the shapes, tied, dtype, number of files).
WIDE = dict(LLAMA, head_dim=32, num_key_value_heads=1, attention_bias=True, mlp_bias=True)
WEIGHTS = {
    "llama-tied-f32": (LLAMA, True, torch.float32, 1),
    "llama-untied-bf16": (LLAMA, False, torch.bfloat16, 2),
    "llama-wide-f16": (WIDE, True, torch.float16, 1),
    "qwen3-tied-bf16": (QWEN3, True, torch.bfloat16, 1),
    "qwen3-untied-f16": (QWEN3, False, torch.float16, 1),
    "qwen3_moe-untied-bf16": (QWEN3_MOE, False, torch.bfloat16, 2),
    "qwen3_moe-sparse-f16": (SPARSE, True, torch.float16, 1),
    "mixtral-bf16": (MIXTRAL, False, torch.bfloat16, 1),
}

# Cases: name -> (weights, what config.json says besides). Old and new spellings of the rope fields are mixed on purpose; the first
# case leaves rope_theta to the family's default.
CASES = {
    "llama-default-tied": ("llama-tied-f32", dict()),
    "llama-default-untied": ("llama-untied-bf16", dict(rope_parameters=dict(rope_type="default", rope_theta=1000.0))),
    "llama-linear-tied": ("llama-tied-f32", dict(rope_theta=500.0, rope_scaling=dict(type="linear", factor=4.0))),
    "llama-linear-untied": ("llama-untied-bf16", dict(rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=2.5))),
    "llama-llama3-tied": ("llama-tied-f32", dict(rope_theta=1000.0, rope_scaling=LLAMA3)),
    "llama-llama3-untied": ("llama-untied-bf16", dict(rope_parameters=dict(LLAMA3, rope_theta=1000.0))),
    "llama-wide": ("llama-wide-f16", dict(rope_theta=2000.0)),
    "qwen3-tied": ("qwen3-tied-bf16", dict(rope_theta=1000.0)),
    "qwen3-untied": ("qwen3-untied-f16", dict(rope_parameters=dict(rope_type="default", rope_theta=100000.0))),
    "qwen3_moe-normalized": ("qwen3_moe-untied-bf16", dict(rope_theta=1000.0)),
    "qwen3_moe-sparse": ("qwen3_moe-sparse-f16", dict(rope_theta=10000.0)),
    "mixtral": ("mixtral-bf16", dict(rope_theta=1000.0)),
}

# By how much of their spread the logits of the last expert that a token goes to and of the next are apart, at least: where they are nearly the
# same, a rounding decides which it is, and that is another model.
MARGIN = 0.05


def random_weights(cfg, tied, gen):
    """Tensors with a spread that keeps the residual stream near 1, attention scores near 1.5 and logits at several units."""
    d, ffn = cfg["hidden_size"], cfg["intermediate_size"]
    hd = cfg.get("head_dim", d // cfg["num_attention_heads"])
    q, kv = cfg["num_attention_heads"] * hd, cfg["num_key_value_heads"] * hd
    t = {}

    def linear(name, rows, cols, bias):
        t[name + ".weight"] = torch.randn(rows, cols, generator=gen) * (1.25 / math.sqrt(cols))
        if bias:
            t[name + ".bias"] = torch.randn(rows, generator=gen) * 0.5

    def norm(name, n):
        t[name + ".weight"] = 1 + 0.2 * torch.randn(n, generator=gen)

    t["model.embed_tokens.weight"] = torch.randn(cfg["vocab_size"], d, generator=gen) * 0.5
    for i in range(cfg["num_hidden_layers"]):
        p = f"model.layers.{i}."
        ab, mb = cfg.get("attention_bias", False), cfg.get("mlp_bias", False)
        norm(p + "input_layernorm", d)
        linear(p + "self_attn.q_proj", q, d, ab)
        linear(p + "self_attn.k_proj", kv, d, ab)
        linear(p + "self_attn.v_proj", kv, d, ab)
        linear(p + "self_attn.o_proj", d, q, ab)
        if cfg["model_type"].startswith("qwen3"):
            norm(p + "self_attn.q_norm", hd)
            norm(p + "self_attn.k_norm", hd)
        norm(p + "post_attention_layernorm", d)
        if cfg["model_type"] == "mixtral":
            routed(linear, p + "block_sparse_moe", ("w1", "w3", "w2"), cfg["num_local_experts"], d, ffn)
        elif "num_experts" in cfg and i not in cfg["mlp_only_layers"] and (i + 1) % cfg["decoder_sparse_step"] == 0:
            routed(linear, p + "mlp", ("gate_proj", "up_proj", "down_proj"), cfg["num_experts"], d, cfg["moe_intermediate_size"])
        else:
            linear(p + "mlp.gate_proj", ffn, d, mb)
            linear(p + "mlp.up_proj", ffn, d, mb)
            linear(p + "mlp.down_proj", d, ffn, mb)
    norm("model.norm", d)
    if not tied:
        t["lm_head.weight"] = torch.randn(cfg["vocab_size"], d, generator=gen) * 0.5
    return t


def routed(linear, name, parts, experts, d, width):
    """A router and the experts behind it."""
    linear(name + ".gate", experts, d, False)
    for e in range(experts):
        for part, rows, cols in zip(parts, (width, width, d), (d, d, width)):
            linear(f"{name}.experts.{e}.{part}", rows, cols, False)


def save_weights(folder, tensors, dtype, files):
    """Writes model.safetensors, or shards of about equal size with an index."""
    os.makedirs(folder)
    tensors = {k: v.to(dtype).contiguous() for k, v in tensors.items()}
    if files == 1:
        save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})
        return
    total = sum(v.numel() * v.element_size() for v in tensors.values())
    shards, done = [{} for _ in range(files)], 0
    for k, v in tensors.items():
        shards[min(files - 1, done * files // total)][k] = v
        done += v.numel() * v.element_size()
    index = {}
    for i, s in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{files:05d}.safetensors"
        save_file(s, f"{folder}/{name}", metadata={"format": "pt"})
        index.update({k: name for k in s})
    with open(f"{folder}/model.safetensors.index.json", "w") as f:
        json.dump(dict(metadata=dict(total_size=total), weight_map=index), f, indent=1)


def load(folder):
    """The model in a folder, in float32."""
    m, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    lost = set(info["missing_keys"]) - {"lm_head.weight"} | set(info["unexpected_keys"])
    if lost:
        raise SystemExit(f"{folder}: transformers did not take {sorted(lost)}")
    return m.eval()


def logits(m, ids):
    """What transformers computes: float32 [tokens][vocabulary]."""
    with torch.no_grad():
        return m(torch.tensor([ids])).logits[0].float().numpy()


def decided(m, gen, experts, active):
    """Token ids, each drawn until all routers of the layers tell the experts of its position clearly from the others."""
    margins = []

    def look(gate, args):
        x = torch.nn.functional.linear(args[0].reshape(-1, gate.weight.shape[1])[-1], gate.weight)
        top = x.sort(descending=True).values
        margins.append(((top[active - 1] - top[active]) / x.std()).item())

    hooks = [g.register_forward_pre_hook(look) for _, g in m.named_modules() if getattr(g, "weight", None) is not None and g.weight.shape[:1] == (experts,)]
    ids, drawn, least = [], 0, math.inf
    while len(ids) < TOKENS:
        margins.clear()
        drawn += 1
        ids.append(torch.randint(4, VOCAB, (1,), generator=gen).item())
        logits(m, ids)
        if min(margins) < MARGIN:
            ids.pop()
        else:
            least = min(least, min(margins))
    for h in hooks:
        h.remove()
    print(f"{len(hooks)} routers, {drawn} tokens drawn for {TOKENS}, margins of {least:.3f} and more", flush=True)
    return ids


def lines(path, values):
    with open(path, "w") as f:
        f.write("".join(f"{v}\n" for v in values))


def tiny(out):
    for seed, (name, (cfg, tied, dtype, files)) in enumerate(WEIGHTS.items()):
        gen = torch.Generator().manual_seed(1000 + seed)
        save_weights(f"{out}/weights/{name}", random_weights(cfg, tied, gen), dtype, files)
    for seed, (name, (weights, extra)) in enumerate(CASES.items()):
        folder = f"{out}/{name}"
        os.makedirs(folder)
        base, tied, dtype, _ = WEIGHTS[weights]
        cfg = dict(base, tie_word_embeddings=tied, torch_dtype=str(dtype).removeprefix("torch."), **extra)
        with open(f"{folder}/config.json", "w") as f:
            json.dump(cfg, f, indent=1)
        lines(f"{folder}/weights.txt", [weights])
        gen, experts = torch.Generator().manual_seed(seed), base.get("num_experts", base.get("num_local_experts"))
        with tempfile.TemporaryDirectory() as tmp:
            shutil.copy(f"{folder}/config.json", tmp)
            for f in os.listdir(f"{out}/weights/{weights}"):
                shutil.copy(f"{out}/weights/{weights}/{f}", tmp)
            m = load(tmp)
        ids = decided(m, gen, experts, base["num_experts_per_tok"]) if experts else torch.randint(4, VOCAB, (TOKENS,), generator=gen).tolist()
        lines(f"{folder}/ids.txt", ids)
        got, other, inv = logits(m, ids), logits(m, ids[-2::-1] + ids[-1:]), m.model.rotary_emb.inv_freq.float().numpy()
        np.save(f"{folder}/logits.npy", got)
        effect = np.sqrt(np.mean((got[-1] - other[-1]) ** 2)) / got.std()
        print(f"{name}: spread {got.std():.3f}, effect of the context's order on the last logits {effect:.2f} spreads, "
              f"inverse frequencies {np.array2string(inv, precision=5)}", flush=True)


DOCUMENT = """falcon (noun): diurnal birds of prey having long pointed powerful wings adapted for swift flight.
harbor (noun): a sheltered port where ships can take on or discharge cargo. Also: seaport, haven.
The secret code of the amber falcon is 48213.
kettle (noun): a metal pot for stewing or boiling; usually has a lid. Also: boiler.
stocktake (noun): making an itemized list of merchandise or supplies on hand. Also: inventory, stocktaking.
glacial (adj): relating to or derived from a glacier; "glacial deposit".
The secret code of the silent kettle is 905637.
meadow (noun): a field where grass or alfalfa are grown to be made into hay. Also: hayfield.
whittle (verb): cut small bits or pare shavings from; "whittle a piece of wood". Also: pare.
swiftly (adv): in a swift manner; "she moved swiftly". Also: fleetly.
"""
ANSWER = "The secret code of the silent kettle is 905637.<|im_end|>"


def recall(out, folder):
    os.makedirs(f"{out}/recall")
    tk = Tokenizer.from_file(f"{folder}/tokenizer.json")
    prompt = tk.encode(DOCUMENT + "<|im_start|>user\nWhat is the secret code of the silent kettle?<|im_end|>\n<|im_start|>assistant\n").ids
    answer = tk.encode(ANSWER).ids
    ids = prompt + answer
    got = logits(load(folder), ids)
    first = len(prompt) - 1  # these logits choose the answer's first token
    at = [0, 100] + list(range(first + len(answer) - 8, first + len(answer)))
    lines(f"{out}/recall/ids.txt", ids)
    lines(f"{out}/recall/positions.txt", at)
    np.save(f"{out}/recall/logits.npy", got[at])
    said = tk.decode(got[first:first + len(answer)].argmax(-1).tolist(), skip_special_tokens=False)
    print(f"recall: {len(ids)} tokens, spread {got[at].std():.3f}, says {said!r}", flush=True)


if __name__ == "__main__":
    out = sys.argv[1]
    source = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "../recall/model")
    print("torch", torch.__version__, "transformers", transformers.__version__)
    torch.manual_seed(0)
    tiny(out)
    recall(out, source)
