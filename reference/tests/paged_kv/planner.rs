//! The planner against published parameter counts and cache sizes, and against plain loops.

use reference::numbers::DType;
use reference::paged_kv::Format;
use reference::paged_kv::planner::{CachePlan, Context, Flops, GPUS, Load, MODELS, Model};

const HALF: Format = Format::Float(DType::F16);

fn model(name: &str) -> Model {
    *MODELS.iter().find(|model| model.name == name).expect(name)
}

/// Parameter counts as the models' files state them (`total_size` of the 16-bit safetensors index,
/// halved).
#[test]
fn parameter_counts_are_the_published_ones() {
    for (name, parameters) in [
        ("Llama-2-7B", 6_738_415_616),
        ("Llama-2-13B", 13_015_864_320),
        ("Llama-2-70B", 68_976_648_192),
        ("Llama-3-8B", 8_030_261_248),
        ("Llama-3-70B", 70_553_706_496),
        ("Mistral-7B", 7_241_732_096),
        ("Qwen3-8B", 8_190_735_360),
    ] {
        assert_eq!(model(name).parameters(), parameters, "{name}");
    }
    assert_eq!(MODELS.len(), 7);
}

/// Llama-2-7B in f16: half a MiB per token, 2 GiB at 4096 tokens, the figure everybody quotes.
#[test]
fn cache_sizes_by_hand() {
    let plan = |name, format| CachePlan {
        model: model(name),
        format,
        page: 16,
    };
    assert_eq!(plan("Llama-2-7B", HALF).bytes_per_token(), 512 << 10);
    assert_eq!(plan("Llama-2-7B", HALF).bytes_per_sequence(4096), 2 << 30);
    assert_eq!(plan("Llama-3-8B", HALF).bytes_per_token(), 128 << 10);
    assert_eq!(
        plan("Llama-3-8B", Format::Int8).bytes_per_token(),
        32 * 2 * 8 * 130
    );
    assert_eq!(
        plan("Llama-3-8B", Format::Int4).bytes_per_token(),
        32 * 2 * 8 * 68
    );
    // One token takes a whole page.
    assert_eq!(
        plan("Llama-3-8B", HALF).bytes_per_sequence(1),
        16 * (128 << 10)
    );
    let growth = plan("Llama-3-8B", HALF).growth(1024, 8192);
    assert_eq!(growth.len(), 4);
    assert_eq!(growth[3], (8192, 1 << 30));
}

#[test]
fn the_longest_context_fits_and_one_page_more_does_not() {
    for &model in MODELS {
        for gpu in GPUS {
            for format in [HALF, Format::Int8, Format::Int4] {
                for sequences in [1, 7] {
                    let plan = CachePlan {
                        model,
                        format,
                        page: 16,
                    };
                    let load = Load {
                        sequences,
                        ..Load::default()
                    };
                    let fixed = model.parameters() * 2 + load.reserve;
                    let used = |tokens| fixed + sequences * plan.bytes_per_sequence(tokens);
                    match plan.longest_context(gpu, &load) {
                        Context::Tokens(tokens) => {
                            assert!(used(tokens) <= gpu.memory, "{} {}", model.name, gpu.name);
                            assert!(used(tokens + 1) > gpu.memory, "{} {}", model.name, gpu.name);
                        }
                        Context::Unbounded => assert!(used(1 << 40) <= gpu.memory),
                        Context::WeightsDoNotFit { short_by } => {
                            assert_eq!(gpu.memory + short_by, fixed);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn smaller_formats_hold_longer_contexts() {
    let context = |format| {
        let plan = CachePlan {
            model: model("Llama-3-8B"),
            format,
            page: 16,
        };
        match plan.longest_context(&GPUS[0], &Load::default()) {
            Context::Tokens(tokens) => tokens,
            other => panic!("{other:?}"),
        }
    };
    let (half, int8, int4) = (context(HALF), context(Format::Int8), context(Format::Int4));
    assert!(half < int8 && int8 < int4);
    // 256 : 130 : 68 bytes per vector.
    assert!((int8 as f64 / half as f64 - 256.0 / 130.0).abs() < 1e-3);
    assert!((int4 as f64 / half as f64 - 256.0 / 68.0).abs() < 1e-3);
    // A 70B model in 16 bits does not fit in 80 GB.
    let plan = CachePlan {
        model: model("Llama-3-70B"),
        format: HALF,
        page: 16,
    };
    let h100 = GPUS.iter().find(|gpu| gpu.name == "H100").unwrap();
    let answer = plan.longest_context(h100, &Load::default());
    assert!(matches!(answer, Context::WeightsDoNotFit { .. }));
}

/// The closed forms against counting every token and every key it sees.
#[test]
fn flops_are_those_of_a_plain_count() {
    for name in ["Llama-3-8B", "Mistral-7B"] {
        let model = Model {
            window: model(name).window.map(|_| 50),
            ..model(name)
        };
        let per_key = 4 * u128::from(model.layers * model.query_heads * model.head_size);
        let token = |position: u64| {
            let keys = (1..=position).filter(|k| model.window.is_none_or(|w| k + w > position));
            2 * u128::from(model.matmul_parameters()) + per_key * keys.count() as u128
        };
        let (prompt, new) = (40, 30);
        let mut expected = Flops {
            without_cache: 0,
            with_cache: 0,
        };
        for step in 0..new {
            let tokens: Vec<u128> = (1..=prompt + step).map(token).collect();
            let whole: u128 = tokens.iter().sum();
            expected.without_cache += whole;
            expected.with_cache += if step == 0 {
                whole
            } else {
                tokens[tokens.len() - 1]
            };
        }
        let flops = Flops::of_generation(&model, prompt, new);
        assert_eq!(flops, expected);
        assert!(flops.saved() > 0);
    }
}
