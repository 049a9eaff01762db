"""Rate of NumPy's float64 matrix product per second of one core, the yardstick for `examples/attention_speed.rs` and `benches/oracles.rs`."""

import time

import numpy as np


def main():
    for m, k, n in [(2048, 2048, 2048), (1024, 1024, 1024), (64, 64, 4096), (64, 4096, 64)]:
        a, b = np.random.rand(m, k), np.random.rand(k, n)
        repeats = max(1, int(2e8 / (m * k * n)))
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            for _ in range(repeats):
                a @ b
            best = min(best, (time.process_time() - start) / repeats)
        print(f"{m}x{k}x{n}: {2 * m * k * n / best * 1e-9:.1f} GFLOP/s")


if __name__ == "__main__":
    main()
