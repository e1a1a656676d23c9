//! What a model's file says that clients are told.

use anyhow::Result;
use inferno_model::architecture::Architecture;
use inferno_server::Card;

use crate::cli;
use crate::load::Opened;

/// `level` is what else answers depend on: the instruction set, and the type of keys and values.
pub(super) fn card(args: &cli::Serve, opened: &Opened, arch: &Architecture, level: &str) -> Result<Card> {
    let metadata = opened.file.metadata();
    let mut names = args.alias.clone();
    if names.is_empty() {
        names.clone_from(&opened.names);
    }
    if names.is_empty() {
        let stem = opened.path().and_then(|path| path.file_stem());
        names.push(stem.map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned()));
    }
    let own = metadata.opt_str("general.name").ok().flatten().map(str::to_owned);
    names.extend(own.filter(|name| !name.is_empty() && !names.contains(name)));
    let (n_params, dtype) = opened.size();
    let file = opened.path().and_then(|path| path.file_name());
    let file = file.map_or_else(|| format!("{}.gguf", names[0]), |name| name.to_string_lossy().into_owned());
    let family = metadata.opt_str("general.architecture").ok().flatten().unwrap_or_default();
    Ok(Card {
        names,
        context_train: opened.architecture(None)?.context_len,
        n_params,
        file,
        n_bytes: opened.file.file_bytes(),
        dim: arch.dim,
        dtype: dtype.to_owned(),
        family: family.to_owned(),
        fingerprint: fingerprint(opened, level)?,
        template: crate::template::source(args.chat_template.as_ref(), opened),
    })
}

/// Bytes of each tensor that are looked at.
const SAMPLE: usize = 4096;

/// The same for the same build, weights and level: FNV-1a (64 bits) over them. Of each tensor its first bytes stand for all.
pub(super) fn fingerprint(opened: &Opened, level: &str) -> Result<String> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        hash = bytes.iter().fold(hash, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(level.as_bytes());
    add(&opened.file.file_bytes().to_le_bytes());
    let mut sample = vec![0; SAMPLE];
    for tensor in opened.file.tensors() {
        add(tensor.name.as_bytes());
        let n = SAMPLE.min(tensor.n_bytes as usize);
        opened.file.read_at(tensor, 0, &mut sample[..n])?;
        add(&sample[..n]);
    }
    Ok(format!("fp_{hash:016x}"))
}
