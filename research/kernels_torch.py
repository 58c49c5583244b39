"""Times what docs/kernels.md compares Orrery's kernels with: PyTorch's attention and matrix products, on one NVIDIA GPU.

    python3 research/kernels_torch.py

Needs torch with CUDA. Times are medians, by the GPU's own clock.
"""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def seconds(f, runs=7, inner=3):
    """Median time of f, having run it twice before."""
    f()
    f()
    torch.cuda.synchronize()
    times = []
    for _ in range(runs):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(inner):
            f()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / inner * 1e-3)
    return sorted(times)[runs // 2]


def half(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.half)


def attention(q, k, v, backend, **options):
    """Time of scaled_dot_product_attention, or None where the backend cannot."""
    try:
        with sdpa_kernel([BACKENDS[backend]]):
            return seconds(lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **options))
    except RuntimeError:
        return None


def main():
    torch.manual_seed(0)
    x = torch.randn(1 << 29, device="cuda")
    y = torch.empty_like(x)
    bandwidth = 8 * x.numel() / seconds(lambda: y.copy_(x))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: copies {bandwidth / 1e9:.0f} GB/s")
    del x, y
    for group in 4, 8:
        keys = 200 << 10
        q, k, v = half(1, 8 * group, 1, 128), half(1, 8, keys, 128), half(1, 8, keys, 128)
        for backend in BACKENDS:
            if t := attention(q, k, v, backend):
                print(f"decode attention, {keys} keys, groups of {group}, {backend}: {t * 1e6:.1f} µs, {4 * k.numel() / t / bandwidth:.0%} of copying")
        del q, k, v
    for tokens in 8 << 10, 32 << 10:
        q, k, v = half(1, 32, tokens, 128), half(1, 8, tokens, 128), half(1, 8, tokens, 128)
        for backend in BACKENDS:
            if t := attention(q, k, v, backend, is_causal=True):
                print(f"prefill attention, {tokens} tokens, {backend}: {t * 1e3:.2f} ms, {2 * tokens * tokens * 4096 / t / 1e12:.0f} TFLOP/s")
    for tokens, rows, cols in (8192, 8192, 8192), (2048, 14336, 4096), (1, 14336, 4096):
        count = max(1, (400 << 20) // (rows * cols * 2))
        ws = [torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16) for _ in range(count)]
        x = torch.randn(tokens, cols, device="cuda", dtype=torch.bfloat16)
        turn = iter(range(1 << 60))
        t = seconds(lambda: x @ ws[next(turn) % count].t(), inner=20 if tokens == 1 else 3)
        print(f"[{rows}][{cols}] bf16, {tokens} tokens: {t * 1e6:.1f} µs, {2 * tokens * rows * cols / t / 1e12:.0f} TFLOP/s, {2 * rows * cols / t / bandwidth:.0%} of copying")


if __name__ == "__main__":
    main()
