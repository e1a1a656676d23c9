//! Grammars in GBNF have exactly their language.

use inferno_grammar::GrammarSource;

use crate::walk::{Walker, small_tokenizer_with};

/// Checks the texts that a grammar takes, and those that it does not.
fn check(grammar: &str, takes: &[&str], refuses: &[&str]) {
    let walker = Walker::small();
    let compiled = walker.compile(&GrammarSource::Gbnf(grammar.to_owned())).unwrap();
    for text in takes {
        assert_eq!(walker.accepts(&compiled, text), Ok(()), "{grammar}\n{text:?}");
    }
    for text in refuses {
        assert!(walker.accepts(&compiled, text).is_err(), "{grammar}\n{text:?}");
    }
}

#[test]
fn literals_classes_and_repetitions() {
    check("root ::= \"a/b\\\"\\\\\\n\\x41\\u00e9\\U0001F600\"", &["a/b\"\\\nAé😀"], &["a/b", "a/b\"\\\nAé"]);
    check(
        "root ::= [a-c\\]\\-^] [^a-z\\n] . [-x]",
        &["aA\n-", "]!éx", "^9 -"],
        &["dAxx", "aaxx", "a\nxx", "aAxa"],
    );
    check(
        "root ::= \"a\"{2} \"b\"{1,} \"c\"{0,2} \"d\"? \"e\"{0}",
        &["aab", "aabbbccd"],
        &["ab", "aa", "aabccc", "aabe"],
    );
    check("root ::= (\"x\" | \"\") \"y\"*", &["", "x", "xyy", "yy"], &["xx", "yx"]);
    check("root ::= \"\"", &[""], &["a"]);
    check(
        "# c\nroot ::= # more\n  \"a\"   # a\n  | (\n \"b\" |\n \"c\" )\nother ::= root",
        &["a", "b", "c"],
        &["ab", "d"],
    );
}

#[test]
fn lexing_takes_no_answer_away() {
    // A regular grammar, and the same within brackets, where it is no lexeme of its own.
    for body in
        ["[a-z]* \"z\"", "\"a\"* \"ab\"?", "(\"ab\" | \"a\") (\"bc\" | \"c\")?", "\"a\"? \"a\"? \"a\""]
    {
        let takes: &[&str] = match body {
            "[a-z]* \"z\"" => &["z", "az", "zzz"],
            "\"a\"* \"ab\"?" => &["", "a", "ab", "aaab"],
            "\"a\"? \"a\"? \"a\"" => &["a", "aa", "aaa"],
            _ => &["ab", "a", "abbc", "abc", "ac"],
        };
        check(&format!("root ::= {body}"), takes, &["b", "aba", "aaaaB"]);
        let wrapped = takes.iter().flat_map(|t| [(*t).to_owned(), format!("(({t}))"), format!("z{t}z")]);
        let wrapped: Vec<String> = wrapped.collect();
        let wrapped: Vec<&str> = wrapped.iter().map(String::as_str).collect();
        let grammar = format!("root ::= \"(\" root \")\" | \"z\" root \"z\" | inner\ninner ::= {body}");
        check(&grammar, &wrapped, &["b", "(a", "(zaba)", "a)"]);
    }
    // Characters that share their first byte.
    check(
        "root ::= \"(\" root \")\" | \"é\"+ (\"è\" root)?",
        &["é", "éé", "(éèé)", "éèééè(é)"],
        &["è", "éèè"],
    );
    // Palindromes, and left recursion.
    check(
        "root ::= \"a\" root \"a\" | \"b\" root \"b\" | [ab]?",
        &["", "a", "abba", "ababa"],
        &["ab", "aab"],
    );
    check("root ::= root \"+\" [0-9]+ | [0-9]+", &["1", "1+22+3"], &["", "+1", "1+"]);
}

const JSON: &str = r#"
# Any value, with a blank or a line break where one may stand.
root   ::= gap any
any    ::= ( map | list | text | digits | "true" | "false" | "null" ) gap
map    ::= "{" gap ( entry ( "," gap entry )* )? "}"
entry  ::= text gap ":" gap any
list   ::= "[" gap ( any ( "," gap any )* )? "]"
text   ::= "\"" ( [^\x00-\x1f"\\] | "\\" ( [bfnrt"\\/] | "u" hex{4} ) )* "\""
hex    ::= [0-9A-Fa-f]
digits ::= "-"? ( "0" | [1-9] [0-9]* ) ( "." [0-9]+ )? ( [Ee] [-+]? [0-9]+ )?
gap    ::= ( " " | "\n" [ \t]{0,8} )?
"#;

#[test]
fn json() {
    check(
        JSON,
        &["{}", "{\"a\": [1, -2.5e3, true ,null]}\n", " { \"\\u00e9\\n\": {\"é\":[ ]\n  }}", "0"],
        &["", "{\"a\" 1}", "{\"a\": 01}", "{\"a\": \"\\q\"}", "{\"a\":  1}", "{\"a\": tru}", "{,}", "1."],
    );
}

#[test]
fn recursion_for_white_space() {
    let grammar =
        "root ::= \"[\" blank (root blank (\",\" blank root blank)*)? \"]\"\nblank ::= | [ \\n] blank";
    check(grammar, &["[]", "[ [  ] ,[\n]]", "[[],[]  ]"], &["[", "[,]", "[[] []]", "[]]"]);
}

#[test]
fn sums_and_lists() {
    let sums = "root ::= line+\nline ::= name gap \"=\" gap sum \";\\n\"\nsum ::= product ([+-] gap product)*\n\
        product ::= atom ([*/] gap atom)*\natom ::= name gap | count gap | \"(\" gap sum \")\" gap | \"-\" atom\n\
        name ::= [a-z] [0-9_a-z]*\ncount ::= [0-9]+\ngap ::= [ \\t]*";
    check(
        sums,
        &["a=1;\n", "x1 = (a + 2)*3 ;\nb=--c;\n"],
        &["a=1", "a=+1;\n", "a=(1;\n", "1a=2;\n", "a=1 2;\n"],
    );
    let list =
        "root ::= title? entry{2,}\ntitle ::= [^\\n*]+ \":\\n\"\nentry ::= \"* \" [^\\r\\n\\u2028]+ \"\\n\"";
    check(
        list,
        &["* a\n* b\n", "To do:\n* a: b\n* c\n* d\n"],
        &["* a\n", "* \n* b\n", "x\n* a\n* b\n", "* a\n* b"],
    );
}

#[test]
fn games_statements_and_japanese() {
    let game = "root ::= turn+\nturn ::= [1-9] [0-9]? \".\" \" \" ply (\" \" ply)? \"\\n\"\nply ::= (step | piece | king) mark?\n\
        step ::= file \"x\" square | square (\"=\" [QRBN])?\npiece ::= [QRBNK] (file | rank)? \"x\"? square\n\
        king ::= \"0-0\" (\"-0\")?\nsquare ::= file rank\nfile ::= [a-h]\nrank ::= [1-8]\nmark ::= \"+\" | \"#\"";
    check(
        game,
        &["1. e4 e5\n2. Nf3\n", "9. 0-0-0 Qdxd5+\n", "10. e8=Q# 0-0\n"],
        &["1. e9\n", "1.e4\n", "0. e4\n"],
    );
    let program = r#"
root      ::= function*
function  ::= type " " word "(" ( type " " word ( ", " type " " word )* )? ")" block
block     ::= " {" statement* " }"
type      ::= "int" | "bool" | "int[]"
statement ::= " " ( type " " word " = " value ";" | word " = " value ";" | call ";" | "return " value ";" | branch | loop )
branch    ::= "if (" test ")" block ( " else" block )?
loop      ::= "while (" test ")" block
test      ::= value " " ( "<" | "<=" | "==" ) " " value
value     ::= part ( " + " part )*
part      ::= word | [0-9]+ | call | "(" value ")"
call      ::= word "(" ( value ( ", " value )* )? ")"
word      ::= [A-Z_a-z] [0-9A-Z_a-z]*
"#;
    check(
        program,
        &[
            "",
            "int main() { return x; }",
            "int f(int[] c, bool d) { x = 1 + g(y, (3)); while (a <= b) { f(); } return 0; }",
            "int f() { int x = 1; if (a < b) { } else { whiley = 2; int2 = 3; } }",
        ],
        &["int main() { return x }", "main() { }", "int f() { while (a) { } }", "int f() { x = 1 +; }"],
    );
    let japanese = "root ::= part ([、・ ] part)* \"。\"?\npart ::= kana+ | kanji+ kana*\nkana ::= [ぁ-んァ-ヶー]\nkanji ::= [\\u4e00-\\u9fff]";
    check(japanese, &["こんにちは", "日本語、カタカナ。", "食べる"], &["hello", "日本 ", "한", "。"]);
}

#[test]
fn a_grammar_of_too_many_symbols_is_told_so() {
    let walker = Walker::small();
    let grammar = format!("root ::= \"(\" root \")\" | [a-z]* \"{}\"", "ab".repeat(40_000));
    let error = walker.compile(&GrammarSource::Gbnf(grammar)).unwrap_err();
    assert!(error.reason.contains("too large: simplify it"), "{error}");
}

#[test]
fn tokens_by_name_and_number() {
    let walker = Walker::new(small_tokenizer_with(&["<think>", "</think>"]));
    let n_text = walker.tokenizer.vocab_size() as u32 - 2;
    let (begin, end) = (n_text, n_text + 1);
    let byte = |c: char| {
        (0..n_text).find(|&id| walker.tokenizer.piece(id) == Some(c.to_string().as_bytes())).unwrap()
    };
    let compile = |grammar: &str| walker.compile(&GrammarSource::Gbnf(grammar.to_owned()));
    // As llama.cpp's guide has it, by text and by number.
    let by_text = "root ::= <think> thinking </think> .*\nthinking ::= !</think>*";
    let by_number =
        by_text.replace("<think>", &format!("<[{begin}]>")).replace("</think>", &format!("<[{end}]>"));
    for grammar in [by_text, &by_number] {
        let compiled = compile(grammar).unwrap();
        assert_eq!(compiled.shortest(), 2, "{grammar}");
        let takes = |tokens: &[u32]| walker.takes(&compiled, tokens);
        assert!(takes(&[begin, end]), "{grammar}");
        assert!(takes(&[begin, byte('H'), begin, byte('<'), end, byte('Y'), byte('.')]), "{grammar}");
        assert!(!takes(&[begin, byte('H')]), "{grammar}");
        assert!(!takes(&[byte('H'), end]), "{grammar}");
        assert!(!takes(&[begin, end, end]), "{grammar}");
    }
    // A token of text, and all tokens but one.
    let compiled = compile(
        &format!("root ::= <[{}]> ![a] \"c\"", byte('a')).replace("![a]", &format!("!<[{}]>", byte('b'))),
    )
    .unwrap();
    assert!(walker.takes(&compiled, &[byte('a'), byte('x'), byte('c')]));
    assert!(!walker.takes(&compiled, &[byte('a'), byte('b'), byte('c')]));
    for (grammar, reason) in [
        ("root ::= <ab>", "expected one"),
        ("root ::= \"a\"\nx ::= <[100000]>", "line 2"),
        ("root ::= <|end|>", "ends an answer"),
    ] {
        let error = compile(grammar).unwrap_err();
        assert!(error.reason.contains(reason), "{grammar}: {error}");
    }
}
