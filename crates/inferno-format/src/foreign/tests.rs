#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use super::*;

/// The first bytes of files, and what they are.
#[test]
fn files_are_known_by_their_first_bytes() {
    let tar = [&[b'x'; 257][..], b"ustar\0", &[0; 100]].concat();
    let safetensors = [&90u64.to_le_bytes()[..], br#"{"__metadata__":{"format":"pt"}}"#].concat();
    let empty_safetensors = [&2u64.to_le_bytes()[..], b"{}"].concat();
    let torch = [&b"PK\x03\x04\0\0\x08\x08"[..], &[0; 18], b"\x10\0archive/data.pklFB"].concat();
    let late_pdf = [&b"\n\n"[..], b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"].concat();
    let cut_text = "é".repeat(600).into_bytes();
    let cases: &[(&[u8], Option<Foreign>)] = &[
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj", Some(Foreign::Pdf)),
        (&late_pdf, Some(Foreign::Pdf)),
        (&safetensors, Some(Foreign::Safetensors)),
        (&empty_safetensors, Some(Foreign::Safetensors)),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            Some(Foreign::LfsPointer),
        ),
        (b"/annex/objects/MD5-s1--1\n", Some(Foreign::AnnexPointer)),
        (b"<!DOCTYPE html>\n<html class=\"\">", Some(Foreign::Html)),
        (b"\xef\xbb\xbf\r\n <HTML><head>", Some(Foreign::Html)),
        (b"<?xml version=\"1.0\"?><!DOCTYPE html><html>", Some(Foreign::Html)),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", Some(Foreign::Xml)),
        (br#"{"error":"Repository not found"}"#, Some(Foreign::Json)),
        (b"[package]\nname = \"x\"", Some(Foreign::Text)),
        (b"Entry not found", Some(Foreign::Text)),
        (&cut_text[..1001], Some(Foreign::Text)),
        (b"\xff\xfeh\0i\0", Some(Foreign::Text)),
        (b"PK\x03\x04\x14\0\0\0\x08\0model.gguf", Some(Foreign::Zip)),
        (b"PK\x05\x06\0\0", Some(Foreign::Zip)),
        (&torch, Some(Foreign::PyTorch)),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", Some(Foreign::Pickle)),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", Some(Foreign::Onnx)),
        (b"\x1c\0\0\0TFL3\x14\0 \0", Some(Foreign::TfLite)),
        (b"\x1f\x8b\x08\x08", Some(Foreign::Gzip)),
        (b"\x28\xb5\x2f\xfd\x04", Some(Foreign::Zstd)),
        (b"\xfd7zXZ\0\0\x04", Some(Foreign::Xz)),
        (b"BZh91AY&SY", Some(Foreign::Bzip2)),
        (b"7z\xbc\xaf\x27\x1c\0\x04", Some(Foreign::SevenZip)),
        (&tar, Some(Foreign::Tar)),
        (b"lmgg\0\x7d\0\0", Some(Foreign::OldGgml)),
        (b"fmgg\x01\0\0\0", Some(Foreign::OldGgml)),
        (b"tjgg\x03\0\0\0", Some(Foreign::OldGgml)),
        (b"FUGG\0\0\0\x03", Some(Foreign::BigEndianGguf)),
        (b"\x89HDF\r\n\x1a\n\0", Some(Foreign::Hdf5)),
        (b"\x93NUMPY\x01\0", Some(Foreign::Numpy)),
        (b"\x89PNG\r\n\x1a\n", Some(Foreign::Image)),
        (b"MZqFpD='\n", Some(Foreign::Llamafile)),
        (b"\x7fELF\x02\x01", Some(Foreign::Program)),
        (&[0; 64], Some(Foreign::Zeros)),
        (b"GGUf\x03\0\0\0", None),
        (b"\x01\x02\x03\x04\xff\xfe\xfd", None),
        (b"", None),
    ];
    for (head, expected) in cases {
        assert_eq!(Foreign::of(head), *expected, "{:?}", String::from_utf8_lossy(head));
    }
    assert_eq!(Foreign::of(&cut_text[..1001]), Some(Foreign::Text), "cut inside of a character");
}

#[test]
fn each_is_said_in_one_line_that_says_what_to_do() {
    let text = Foreign::LfsPointer.to_string();
    assert!(
        text.starts_with("a Git LFS pointer, not a GGUF model; ") && text.contains("`git lfs pull`"),
        "{text}"
    );
    for (_, format) in MAGICS {
        let text = format.to_string();
        assert!(text.len() < 240 && !text.contains('\n') && !text.ends_with("; "), "{text}");
    }
}
