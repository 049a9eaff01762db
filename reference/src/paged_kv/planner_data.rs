//! Published shapes of models and memory sizes of GPUs, each with its source.

use super::planner::{Gpu, Model};

const MIB: u64 = 1 << 20;

/// Models the planner knows. The tests check each shape against the published number of parameters.
///
/// The configuration files named were not at hand. The same numbers were found in copies of them: Llama 2
/// in h2oAI's model card of the 70B clone and in scottlogic-alex/llm-memory-calculator, Llama 3 in
/// oumi's `configs/recipes/llama3_1`, Mistral in sumitdotml/transformers, Qwen3 in
/// rasbt/LLMs-from-scratch (`QWEN3_CONFIG_8B`).
pub const MODELS: &[Model] = &[
    Model {
        name: "Llama-2-7B",
        layers: 32,
        hidden: 4096,
        query_heads: 32,
        kv_heads: 32,
        head_size: 128,
        intermediate: 11_008,
        vocabulary: 32_000,
        window: None,
        query_key_norm: false,
        source: "config.json of meta-llama/Llama-2-7b-hf; arXiv 2307.09288",
    },
    Model {
        name: "Llama-2-13B",
        layers: 40,
        hidden: 5120,
        query_heads: 40,
        kv_heads: 40,
        head_size: 128,
        intermediate: 13_824,
        vocabulary: 32_000,
        window: None,
        query_key_norm: false,
        source: "config.json of meta-llama/Llama-2-13b-hf; arXiv 2307.09288",
    },
    Model {
        name: "Llama-2-70B",
        layers: 80,
        hidden: 8192,
        query_heads: 64,
        kv_heads: 8,
        head_size: 128,
        intermediate: 28_672,
        vocabulary: 32_000,
        window: None,
        query_key_norm: false,
        source: "config.json of meta-llama/Llama-2-70b-hf; arXiv 2307.09288",
    },
    Model {
        name: "Llama-3-8B",
        layers: 32,
        hidden: 4096,
        query_heads: 32,
        kv_heads: 8,
        head_size: 128,
        intermediate: 14_336,
        vocabulary: 128_256,
        window: None,
        query_key_norm: false,
        source: "config.json of meta-llama/Meta-Llama-3-8B; arXiv 2407.21783, table 3",
    },
    Model {
        name: "Llama-3-70B",
        layers: 80,
        hidden: 8192,
        query_heads: 64,
        kv_heads: 8,
        head_size: 128,
        intermediate: 28_672,
        vocabulary: 128_256,
        window: None,
        query_key_norm: false,
        source: "config.json of meta-llama/Meta-Llama-3-70B; arXiv 2407.21783, table 3",
    },
    Model {
        name: "Mistral-7B",
        layers: 32,
        hidden: 4096,
        query_heads: 32,
        kv_heads: 8,
        head_size: 128,
        intermediate: 14_336,
        vocabulary: 32_000,
        window: Some(4096),
        query_key_norm: false,
        source: "config.json of mistralai/Mistral-7B-v0.1; arXiv 2310.06825, table 1",
    },
    Model {
        name: "Qwen3-8B",
        layers: 36,
        hidden: 4096,
        query_heads: 32,
        kv_heads: 8,
        head_size: 128,
        intermediate: 12_288,
        vocabulary: 151_936,
        window: None,
        query_key_norm: true,
        source: "config.json of Qwen/Qwen3-8B; arXiv 2505.09388, table 1",
    },
];

/// GPUs the planner knows. The figure is `memory.total` of nvidia-smi: what a program can hope for, a
/// little less than the rounded size on the datasheet.
pub const GPUS: &[Gpu] = &[
    Gpu {
        name: "RTX 4090",
        memory: 24_564 * MIB,
        source: "nvidia-smi output in github.com/RLinf/RLinf/issues/255 (24564MiB)",
    },
    Gpu {
        name: "A100-40",
        memory: 40_960 * MIB,
        source: "list of nvidia-smi totals in github.com/modal-labs/modal-client/pull/2797",
    },
    Gpu {
        name: "A100-80",
        memory: 81_920 * MIB,
        source: "list of nvidia-smi totals in github.com/modal-labs/modal-client/pull/2797",
    },
    Gpu {
        name: "H100",
        memory: 81_559 * MIB,
        source: "nvidia-smi output in github.com/NVIDIA/nccl/issues/1264 (SXM5, 81559MiB); the same \
                 in github.com/modal-labs/modal-client/pull/2797",
    },
    Gpu {
        name: "H200",
        memory: 143_771 * MIB,
        source: "nvidia-smi logs of eight public repositories (driver 570.158.01 among them: NVIDIA \
                 H200, 143771MiB); none of them is a vendor's document",
    },
];
