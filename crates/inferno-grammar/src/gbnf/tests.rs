use crate::source::GrammarError;

/// A grammar as Lark, with the vocabulary of two tokens.
fn to_lark(text: &str) -> Result<String, GrammarError> {
    super::to_lark(text, &|written| match written {
        "<a>" => Ok(vec![(5, 5)]),
        "!<[6]>" => Ok(vec![(0, 5), (7, 7)]),
        _ => Err(format!("`{written}` is not a token")),
    })
}

fn refusal(text: &str) -> (String, String) {
    let error = to_lark(text).unwrap_err();
    (error.path, error.reason)
}

#[test]
fn faults_have_their_lines() {
    for (text, path, reason) in [
        ("", "", "no rule `root`"),
        ("a ::= \"x\"", "", "no rule `root`"),
        ("root ::= a\na ::= b\n", "line 2", "`b` is not defined"),
        ("root ::= a b\na ::= \"x\"", "line 1", "`b` is not defined"),
        ("root ::= \"a\nb\"", "line 1", "not closed"),
        ("root ::=\n  (\"a\" | \"b\"\n", "line 2", "add `)`"),
        ("root ::= \"a\")", "line 1", "closes no group"),
        ("root ::= [a-z", "line 1", "class is not closed"),
        ("root ::= [z-a]", "line 1", "swap"),
        ("root ::= []", "line 1", "no characters"),
        ("# c\nroot ::= * \"a\"", "line 2", "repetition comes after"),
        ("root ::= \"a\"{3,2}", "line 1", "swap"),
        ("root ::= \"a\"{x}", "line 1", "malformed"),
        ("root ::= \"a\"{100000}", "line 1", "2000"),
        ("root ::= \"\\q\"", "line 1", "not an escape"),
        ("root ::= \"\\uD800\"", "line 1", "not a character"),
        ("root ::= \"\\x4\"", "line 1", "2 hexadecimal"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2", "twice"),
        ("root = \"a\"", "line 1", "begins with"),
        ("root ::= \"a\" x\nx ::= \"b\" x", "line 2", "without end"),
        ("root ::= root", "line 1", "without end"),
        ("root ::= \"a\"\n  <think>", "line 2", "`<think>` is not a token"),
        ("root ::= <think", "line 1", "a token is malformed"),
        ("root ::= !\"a\"", "line 1", "a token is malformed"),
        ("root ::= <a\n>", "line 1", "a token is malformed"),
        ("root ::= \"a\" %", "line 1", "`%`"),
    ] {
        let found = refusal(text);
        assert_eq!(found.0, path, "{text:?}: {}", found.1);
        assert!(found.1.contains(reason), "{text:?}: {}", found.1);
    }
}

#[test]
fn regular_grammars_are_one_lexeme() {
    let lark = to_lark("root ::= item+\nitem ::= \"- \" [^\\n]{1,5} \"\\n\"").unwrap();
    assert!(lark.starts_with("start: L0\n"), "{lark}");
    assert_eq!(lark.matches("\nL").count(), 1, "{lark}");
}

#[test]
fn lexemes_are_broken_only_where_more_could_be_taken_for_them() {
    let text = "root ::= \"(\" root \")\" | word\nword ::= [a-z]+ \" \"?\n";
    assert!(to_lark(text).unwrap().contains("r0: (L0 r0 L1 | L2)"), "{}", to_lark(text).unwrap());
    // What follows the word could be taken for more of it.
    let text = "root ::= \"(\" root \"x\" | word\nword ::= [a-z]+\n";
    let lark = to_lark(text).unwrap();
    assert!(lark.contains("(L0 r0 L1 | r1)"), "{lark}");
}

#[test]
fn tokens_are_no_parts_of_lexemes() {
    let lark = to_lark("root ::= <a> !<[6]>* [a-z]+ \"x\"? | <a>{2}").unwrap();
    assert!(lark.contains("(<[5]> (<[0-5,7]>)* L0 | (<[5]>){2})"), "{lark}");
}

#[test]
fn hostile_grammars_end() {
    let chain: String = (0..4000).map(|i| format!("r{i} ::= r{}\n", i + 1)).collect();
    assert!(refusal(&format!("root ::= r0\n{chain}r4000 ::= \"x\"")).1.contains("too many rules"));
    let powers: String = (0..40).map(|i| format!("r{i} ::= r{} r{}\n", i + 1, i + 1)).collect();
    assert!(to_lark(&format!("root ::= r0 | \"(\" root \")\"\n{powers}r40 ::= \"x\"")).is_ok());
    let repeats = "[a-z]{0,2000}".repeat(200);
    assert!(to_lark(&format!("root ::= {repeats} | \"(\" root \")\"")).is_ok());
    let deep = "(".repeat(5000);
    assert!(refusal(&format!("root ::= {deep}")).1.contains("too deeply"));
}
