// Tests of the chat page, which run in it. Those of its parts come first; then the page itself is used as a person would.

import { Conversation, addCall, messages } from "./conversation.js";
import { webAddress } from "./inline.js";
import { LONGEST, Markdown } from "./markdown.js";
import { Key, toolsProblem } from "./settings.js";
import { Memory, merged, openStore } from "./store.js";
import { EventParser, failureOf } from "./stream.js";
import { statsOf } from "./turns.js";

const tests = [];
const test = (name, run) => tests.push({ name, run });

function check(is, words) {
  if (!is) throw new Error(words);
}

function same(found, expected, words = "") {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  check(a === b, `${words} expected ${b}, found ${a}`);
}

/// Waits until `is` holds, for as long as the whole test may take.
async function until(is, words) {
  const since = performance.now();
  while (!is()) {
    check(performance.now() - since < 30_000, `it never came to this: ${words}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function shown(text, pieces = [text]) {
  const root = document.createElement("div");
  const markdown = new Markdown(root);
  for (const piece of pieces) markdown.append(piece);
  markdown.finish();
  return root;
}

/// Markup without what all nodes have: groups, directions, frames of code.
function markup(root) {
  const copy = root.cloneNode(true);
  for (const node of copy.querySelectorAll(".blocks, .table, .piece")) node.replaceWith(...node.childNodes);
  for (const node of copy.querySelectorAll(".code")) node.replaceWith(node.querySelector("pre"));
  for (const node of copy.querySelectorAll("*")) {
    for (const name of ["dir", "tabindex", "role", "aria-label", "title", "target", "rel"]) node.removeAttribute(name);
  }
  return copy.innerHTML;
}

const PARAGRAPH = /^<p>(.*)<\/p>$/s;

test("inline marks", () => {
  const cases = [
    ["*a* _b_ **c** __d__ ~~e~~ `f`", "<em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> <del>e</del> <code>f</code>"],
    ["***a***", "<em><strong>a</strong></em>"],
    ["**a *b* c**", "<strong>a <em>b</em> c</strong>"],
    ["*a **b** c*", "<em>a <strong>b</strong> c</em>"],
    ["a * b * c, 2 * 3", "a * b * c, 2 * 3"],
    ["snake_case_name and __init__", "snake_case_name and <strong>init</strong>"],
    ["**bold", "**bold"],
    ["**a*", "*<em>a</em>"],
    ["`` a ` b `` and `c", "<code>a ` b</code> and `c"],
    ["`*a*` \\*b\\* \\`c\\`", "<code>*a*</code> *b* `c`"],
    ["one\ntwo", "one<br>two"],
    ["a<br>b", "a<br>b"],
    ["&lt;b&gt; &amp; &#65; &#x42; &nope; &#0;", "&lt;b&gt; &amp; A B &amp;nope; &amp;#0;"],
    ["<b>x</b> 1 < 2", "&lt;b&gt;x&lt;/b&gt; 1 &lt; 2"],
    ["[a](https://b.example/c)", '<a href="https://b.example/c" data-host="b.example">a</a>'],
    ['[a *b*](<https://b.example/c d> "t")', '<a href="https://b.example/c%20d" data-host="b.example">a <em>b</em></a>'],
    ["[a](https://b.example/x_(y))", '<a href="https://b.example/x_(y)" data-host="b.example">a</a>'],
    ["[a](/b) [c](#d) [e](mailto:f@g)", "[a](/b) [c](#d) [e](mailto:f@g)"],
    ["[a [b](https://c.example) d](https://e.example)", '[a <a href="https://c.example/" data-host="c.example">b</a> d](<a href="https://e.example/">https://e.example</a>)'],
    ["*a [b*](https://c.example)", '*a <a href="https://c.example/" data-host="c.example">b*</a>'],
    ["see https://a.example/b_c_d?e=f*g.", 'see <a href="https://a.example/b_c_d?e=f*g">https://a.example/b_c_d?e=f*g</a>.'],
    ["(https://a.example/x)", '(<a href="https://a.example/x">https://a.example/x</a>)'],
    ["<https://a.example>", '<a href="https://a.example/">https://a.example</a>'],
    ["![b](https://c.example/d.png)", '<a href="https://c.example/d.png" class="image">b</a>'],
  ];
  for (const [text, expected] of cases) same(PARAGRAPH.exec(markup(shown(text)))?.[1], expected, text);
});

const BLOCKS = [
  ["a\n\nb", "<p>a</p><p>b</p>"],
  ["# A\n## B ##\ntext", '<h3 class="level1">A</h3><h3 class="level2">B</h3><p>text</p>'],
  ["#tag", "<p>#tag</p>"],
  ["a\n\n---\n\nb\n***", "<p>a</p><hr><p>b</p><hr>"],
  ["- a\n- b\n  - c\n- d\n\nafter", '<ul class="tight"><li><p>a</p></li><li><p>b</p><ul class="tight"><li><p>c</p></li></ul></li><li><p>d</p></li></ul><p>after</p>'],
  ["2. a\n3. b", '<ol start="2" class="tight"><li><p>a</p></li><li><p>b</p></li></ol>'],
  ["1. a\n\n   more\n\n2. b", "<ol><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>"],
  ["1. a\n   ```py\n   x = 1\n   ```\n2. b", '<ol class="tight"><li><p>a</p><pre><code>x = 1\n</code></pre></li><li><p>b</p></li></ol>'],
  ["- [ ] a\n- [x] b", '<ul class="tight"><li><p>☐ a</p></li><li><p>☑ b</p></li></ul>'],
  ["text:\n- a\n- b", '<p>text:</p><ul class="tight"><li><p>a</p></li><li><p>b</p></li></ul>'],
  ["> a\nb\n> > c\n\nd", "<blockquote><p>a<br>b</p><blockquote><p>c</p></blockquote></blockquote><p>d</p>"],
  ["```js\nlet a = `b`;\n\n  # no\n```\nafter", "<pre><code>let a = `b`;\n\n  # no\n</code></pre><p>after</p>"],
  ["~~~\n```\n~~~", "<pre><code>```\n</code></pre>"],
  ["````\n```\na\n```\n````", "<pre><code>```\na\n```\n</code></pre>"],
  ["```\nopen\nto the end", "<pre><code>open\nto the end</code></pre>"],
  ["    indented\n    code", "<pre><code>indented\ncode\n</code></pre>"],
  ["| a | b |\n|:-:|--:|\n| `x|y` | c\\|d |\n| e |", '<table><thead><tr><th class="center">a</th><th class="right">b</th></tr></thead><tbody><tr><td class="center"><code>x|y</code></td><td class="right">c|d</td></tr><tr><td class="center">e</td><td class="right"></td></tr></tbody></table>'],
  ["a | b\nno table", "<p>a | b<br>no table</p>"],
  ["text\n```\ncode\n```", "<p>text</p><pre><code>code\n</code></pre>"],
  ["a\r\n\r\nb\r\n", "<p>a</p><p>b</p>"],
];

test("blocks", () => {
  for (const [text, expected] of BLOCKS) same(markup(shown(text)), expected, text);
});

test("a streamed text looks as a whole one, wherever it is cut", () => {
  for (const [text] of BLOCKS) {
    const whole = markup(shown(text));
    same(markup(shown(text, [...text])), whole, `${text}, by characters:`);
    for (let at = 1; at < text.length; at += 3) same(markup(shown(text, [text.slice(0, at), text.slice(at)])), whole, `${text}, at ${at}:`);
  }
});

/// Nothing of what a model writes is more than text, structure and links of the web.
function checkHarmless(root) {
  const allowed = "DIV P EM STRONG DEL CODE BR A H3 H4 H5 H6 HR UL OL LI BLOCKQUOTE PRE TABLE THEAD TBODY TR TH TD SPAN BUTTON svg path";
  const tags = new Set(allowed.split(" "));
  const names = new Set(
    "class dir href title target rel data-host start tabindex role aria-label aria-hidden type viewBox d".split(" "),
  );
  for (const node of root.querySelectorAll("*")) {
    check(tags.has(node.tagName), `an element ${node.tagName}`);
    for (const { name } of node.attributes) check(names.has(name), `an attribute ${name} of ${node.tagName}`);
    if (node.tagName === "A") check(/^https?:$/.test(node.protocol), `a link to ${node.href}`);
  }
}

test("hostile text stays text", () => {
  const hostile = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<svg/onload="alert(1)">',
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>*{display:none}</style><link rel=stylesheet href=//evil.example>",
    "<base href=//evil.example><meta http-equiv=refresh content=0>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\tscript:alert(1))",
    "[a](java\nscript:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](\\javascript:alert(1))",
    "[a](<javascript:alert(1)>)",
    "[a](\u0001javascript:alert(1))",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](vbscript:x) [b](file:///etc/passwd) [c](blob:https://a/b) [d](//evil.example) [e](about:blank)",
    "[a](https://user:password@evil.example)",
    "[a](https://x\"onmouseover=\"alert(1))",
    "![a](https://evil.example/?secret)",
    "![a](data:image/svg+xml,<svg onload=alert(1)>)",
    "<javascript:alert(1)> <https://a.example\"onclick=alert(1)>",
    "```<script>\nalert(1)\n```",
    "| <img src=x> | <b> |\n|---|---|\n| [x](javascript:1) | ![y](http://evil.example) |",
    "> <form action=//evil.example><input></form>",
    "1. <!-- --><![CDATA[ ]]><?x?>",
  ];
  for (const text of hostile) {
    for (const root of [shown(text), shown(text, [...text])]) {
      checkHarmless(root);
      check(root.querySelector("img, script, style, iframe, form, input") === null, text);
    }
  }
  same(shown("<script>alert(1)</script>").textContent, "<script>alert(1)</script>");
});

test("text cannot be turned around", () => {
  same(shown("a\u202egnp.exe\u202c `b\u202dc`").textContent, "a\ufffdgnp.exe\u202c b\ufffdc");
  check(shown("```\nif \u2066// a\u2069\u202a\n```").querySelector("code").textContent === "if \ufffd// a\ufffd\ufffd\n", "code is turned");
});

test("only addresses of the web are links", () => {
  for (const text of ["https://a.example", "HTTP://a.example/b", "http:a.example"]) check(webAddress(text), text);
  for (const text of ["javascript:1", "data:,a", "//a.example", "/a", "", "ftp://a.example", "https://a@b.example", "https://", `https://a.example/${"a".repeat(3000)}`]) {
    check(webAddress(text) === null, text);
  }
});

function depth(root) {
  let most = 0;
  const walk = (node, n) => {
    most = Math.max(most, n);
    for (const child of node.children) walk(child, n + 1);
  };
  walk(root, 0);
  return most;
}

test("texts made to be slow or deep", () => {
  const n = 6_000;
  const texts = ["*", "_", "~", "`", "[", "![", "]", "[](", "[a](", "<", "&", "\\", "|", "> ", "- ", "1. ", "*a ", "**a*", "a**b_c", "(", "https://", "` ``", "# ", "| a ", "[a](https://b.example)", "<http://a", "&#", "\t", "    ", "-\t", "***a_ "];
  for (const text of texts) {
    const long = text.repeat(Math.ceil(n / text.length));
    const root = shown(`${long}x\n\n|-${" ".repeat(n)}x\n${long}`);
    check(depth(root) < 60, `${text} is ${depth(root)} deep`);
    checkHarmless(root);
  }
  const stairs = Array.from({ length: 100 }, (_, i) => `${"  ".repeat(i)}- a`).join("\n");
  check(depth(shown(stairs)) < 60, "stairs");
});

test("a million characters without a space are cut into pieces and none is lost", () => {
  for (const [before, letter, n] of [["", "a", 1e6], ["```\n", "b", 1e6], ["- ", "c", 1e5], ["", "😀", 1e5]]) {
    const root = document.createElement("div");
    const markdown = new Markdown(root);
    markdown.append(before);
    const piece = letter.repeat(20_000);
    for (let done = 0; done < n; done += piece.length) markdown.append(piece);
    markdown.finish();
    let found = 0;
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data;
      check(text.length <= LONGEST + 1, `a text of ${text.length}`);
      check(!/[\ud800-\udbff]$/.test(text), "a character is cut in two");
      found += text.replaceAll(/[^abc\u{1f600}]/gu, "").length;
    }
    check(found >= n && found <= n + 40_000, `${found} characters of ${letter}`);
  }
});

test("blocks that have ended stay the same nodes", () => {
  const root = document.createElement("div");
  const markdown = new Markdown(root);
  markdown.append("one\n\ntwo");
  const first = root.querySelector("p");
  markdown.append(" and more\n\nthree");
  check(root.querySelector("p") === first, "the first paragraph was built again");
  same(root.textContent, "onetwo and morethree");
});

test("events, wherever the stream is cut", () => {
  const stream = ': keep-alive\n\ndata: {"a": 1}\n\ndata:b\r\n\r\nevent: x\ndata: c\ndata: d\n\nid: 7\n\ndata: [DONE]\n\n';
  const expected = [{ comment: "keep-alive" }, { data: '{"a": 1}' }, { data: "b" }, { data: "c\nd" }, { data: "[DONE]" }];
  for (let at = 0; at <= stream.length; at++) {
    const parser = new EventParser();
    same([...parser.feed(stream.slice(0, at)), ...parser.feed(stream.slice(at))], expected, `cut at ${at}`);
  }
});

test("failures in words", () => {
  const of = (...all) => {
    const { kind, message, seconds } = failureOf(...all);
    return [kind, message, seconds];
  };
  same(of(401, { message: "a key is needed" }), ["key", "A key is needed.", 0]);
  same(of(503, { message: "busy!" }, "7"), ["later", "Busy!", 7]);
  same(of(429, {}, "soon"), ["later", "The server answered 429.", 0]);
  same(of(400, { message: "`x` is 3, expected 4" })[0], "refused");
  same(of(502, null)[1], "The server answered 502.");
  same(of(400, { message: "too long", code: "context_length_exceeded" })[1], "Too long. Begin a new chat, or edit an earlier message.");
});

test("branches of a conversation", () => {
  const conversation = new Conversation();
  const first = conversation.add(null, { role: "user", content: "a\nb" });
  const answer = conversation.add(first.id, { role: "assistant", content: "1" });
  const again = conversation.add(first.id, { role: "assistant", content: "2" });
  same(conversation.path().map(({ content }) => content), ["a\nb", "2"]);
  same(conversation.siblings(again).map(({ content }) => content), ["1", "2"]);
  const below = conversation.add(again.id, { role: "user", content: "c" });
  conversation.show(answer);
  same(conversation.leaf, answer.id);
  conversation.show(again);
  same(conversation.leaf, below.id);
  same(conversation.title, "a");
  same(new Conversation(conversation.data()).path().length, 3);
});

test("messages of a request", () => {
  const user = (content) => ({ role: "user", content });
  const answer = (content, more = {}) => ({ role: "assistant", content, reasoning: "", calls: [], ...more });
  same(messages([user("a"), answer(""), user("b")], "s"), [{ role: "system", content: "s" }, { role: "user", content: "a\n\nb" }]);
  const calls = [];
  addCall(calls, { index: 0, id: "x", function: { name: "f", arguments: '{"a"' } });
  addCall(calls, { index: 0, function: { arguments: ":1}" } });
  same(messages([answer("", { calls, reasoning: "r" }), { role: "tool", call: "x", name: "f", content: "2" }], ""), [
    { role: "assistant", content: "", reasoning_content: "r", tool_calls: [{ id: "x", type: "function", function: { name: "f", arguments: '{"a":1}' } }] },
    { role: "tool", tool_call_id: "x", name: "f", content: "2" },
  ]);
});

test("two tabs add turns to one conversation", () => {
  const node = (id, updated, content) => ({ id, updated, content });
  const both = merged({ id: "c", nodes: [node("a", 1, "old"), node("b", 2, "ours")] }, { nodes: [node("a", 3, "theirs"), node("d", 1, "more")] });
  same(both.nodes.map(({ content }) => content), ["theirs", "more", "ours"]);
});

test("what is stored is there again, in a database and in memory", async () => {
  const database = await openStore();
  check(database.isKept, "there is no database");
  for (const store of [database, new Memory()]) {
    const conversation = new Conversation();
    conversation.add(null, { role: "user", content: "kept" });
    await store.save(conversation.data());
    await store.save(conversation.data());
    same((await store.load(conversation.id)).nodes[0].content, "kept");
    same((await store.list()).map(({ title }) => title), ["kept"]);
    await store.remove(conversation.id);
    same([await store.load(conversation.id), await store.list()], [null, []]);
  }
});

test("numbers below an answer", () => {
  same(statsOf({ finish: "stop", stats: { tokens: 1200, rate: 41.234, first: 210, prompt: 30, cached: 10 } }), "1,200 tokens · 41.2 tokens/s · first after 210 ms · prompt 30 (10 cached)");
  same(statsOf({ finish: "length" }), "Stopped at the limit of tokens");
  same(statsOf({ finish: null }), "Interrupted");
});

test("tools are a list", () => {
  same([toolsProblem(""), toolsProblem("[]")], [null, null]);
  check(toolsProblem("{}") && toolsProblem("[") && toolsProblem("x"), "no list");
});

test("one dialog answers all that ask for a key", async () => {
  const dialog = document.getElementById("key").cloneNode(true);
  document.body.append(dialog);
  const key = new Key(dialog);
  const give = (value) => {
    dialog.querySelector("form").elements.key.value = value;
    dialog.querySelector("form").requestSubmit();
  };
  const asked = [key.ask("a"), key.ask("b")];
  give("sk-a");
  // The dialog is closed, and those that asked are not told yet.
  asked.push(key.ask("c"));
  same([await Promise.all(asked), key.value, dialog.open], [[true, true, true], "sk-a", false]);
  const again = key.ask("d");
  check(dialog.open, "the next question opens the dialog");
  dialog.close("cancelled");
  same([await again, key.value], [false, "sk-a"]);
  dialog.remove();
});

// The page itself.

const $ = (id) => document.getElementById(id);
const press = (target, key, more = {}) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
const last = (selector) => [...document.querySelectorAll(selector)].pop();
const named = (name, within = document) => within.querySelector(`[aria-label="${name}"]`);
const isIdle = () => $("stop").hidden && !$("send").hidden;

function write(text) {
  $("prompt").value = text;
  press($("prompt"), "Enter");
}

/// Answers of a model that the test plays. `calls` has the requests; every answer is a function of one.
function play(answers) {
  const real = window.fetch;
  const calls = [];
  window.fetch = async (path, options) => {
    if (!String(path).endsWith("/chat/completions")) return real(path, options);
    const call = { body: JSON.parse(options.body), headers: options.headers, signal: options.signal };
    calls.push(call);
    return answers[Math.min(calls.length, answers.length) - 1](call);
  };
  return { calls, end: () => (window.fetch = real) };
}

function streamed(events, { isOpen = false } = {}) {
  return ({ signal }) => {
    const body = new ReadableStream({
      start(controller) {
        const encoder = new TextEncoder();
        for (const event of events) controller.enqueue(encoder.encode(`data: ${JSON.stringify(event)}\n\n`));
        if (!isOpen) {
          controller.enqueue(encoder.encode("data: [DONE]\n\n"));
          controller.close();
        }
        signal?.addEventListener("abort", () => controller.error(new DOMException("", "AbortError")));
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  };
}

const text = (content) => ({ choices: [{ delta: { content } }] });
const finish = (reason) => ({ choices: [{ delta: {}, finish_reason: reason }] });
const usage = { choices: [], usage: { prompt_tokens: 5, completion_tokens: 3 }, timings: { predicted_per_second: 12.34 } };

test("the model is named", () => until(() => $("model").value === "ember", "the model's name"));

test("a hostile answer of the server is text, and asking again is another version", async () => {
  const title = document.title;
  $("prompt").value = "Hello";
  press($("prompt"), "Enter", { shiftKey: true });
  check(isIdle(), "Shift+Enter sends");
  write("Hello");
  await until(() => isIdle() && last(".assistant .text")?.textContent.includes("The end."), "the answer");
  const root = last(".assistant .text");
  checkHarmless(root);
  same([document.title, window.length, root.querySelectorAll("img, script, iframe").length], [title, 0, 0]);
  check(root.textContent.includes('<script>document.title = "hacked"</script>'), "the script is not shown");
  same([...root.querySelectorAll("a")].map(({ href }) => href), ["https://evil.example/?q", "https://example.org/a_b"]);
  check(/\d+ tokens · .* tokens\/s/.test(last(".stats").textContent), last(".stats").textContent);
  named("Ask again", last(".assistant")).click();
  await until(() => isIdle() && last(".versions")?.textContent === "2 / 2", "the second version");
  check(last(".assistant .text").textContent.includes("The end."), "no second answer");
  named("Previous version", last(".assistant")).click();
  same(last(".versions").textContent, "1 / 2");
});

test("an edited turn is a branch", async () => {
  const server = play([streamed([text("edited"), finish("stop"), usage])]);
  named("Edit").click();
  const field = named("Edit the message");
  field.value = "Hello again";
  press(field, "Enter");
  await until(() => isIdle() && last(".assistant .text")?.textContent === "edited", "the answer");
  server.end();
  same(server.calls[0].body.messages, [{ role: "user", content: "Hello again" }]);
  same(last(".user .versions").textContent, "2 / 2");
  same(last(".stats").textContent.split(" · ").slice(0, 2), ["3 tokens", "12.3 tokens/s"]);
  named("Previous version", last(".user")).click();
  check(last(".user .plain").textContent === "Hello", "the first branch is gone");
});

test("Escape stops, and an answer goes on", async () => {
  const server = play([streamed([text("half an ans")], { isOpen: true }), streamed([text("wer"), finish("stop"), usage])]);
  write("stop me");
  await until(() => last(".assistant .text")?.textContent === "half an ans", "the half");
  same([last(".assistant").getAttribute("aria-busy"), $("send").hidden], ["true", true]);
  press(document.body, "Escape");
  await until(isIdle, "the end");
  check(last(".stats").textContent.startsWith("Stopped"), last(".stats").textContent);
  named("Continue the answer", last(".assistant")).click();
  await until(() => isIdle() && last(".assistant .text").textContent === "half an answer", "the rest");
  server.end();
  check(server.calls[0].signal.aborted, "the request goes on");
  const body = server.calls[1].body;
  same([body.continue_final_message, body.messages.pop().content], [true, "half an ans"]);
});

test("thoughts and calls are shown, and results go back", async () => {
  const call = (part) => ({ choices: [{ delta: { tool_calls: [{ index: 0, ...part }] } }] });
  const server = play([
    streamed([
      { choices: [{ delta: { reasoning_content: "let me <b>see</b>" } }] },
      call({ id: "c1", function: { name: "weather", arguments: '{"city":' } }),
      call({ function: { arguments: '"<i>Oslo"}' } }),
      finish("tool_calls"),
      usage,
    ]),
    streamed([text("rain"), finish("stop"), usage]),
  ]);
  write("weather?");
  await until(() => isIdle() && last(".call"), "the call");
  check(/^Thought for/.test(last(".thoughts summary").textContent), last(".thoughts summary").textContent);
  check(last(".thoughts").textContent.includes("let me <b>see</b>"), "the thought");
  check(last(".call").textContent.includes('"city": "<i>Oslo"'), last(".call").textContent);
  const form = last(".calls form");
  form.querySelector("textarea").value = "wet";
  form.requestSubmit();
  await until(() => isIdle() && last(".assistant .text").textContent === "rain", "the answer");
  server.end();
  same(server.calls[1].body.messages.slice(-2), [
    { role: "assistant", content: "", reasoning_content: "let me <b>see</b>", tool_calls: [{ id: "c1", type: "function", function: { name: "weather", arguments: '{"city":"<i>Oslo"}' } }] },
    { role: "tool", tool_call_id: "c1", name: "weather", content: "wet" },
  ]);
});

const refusal = (status, message, headers = {}) => () => new Response(JSON.stringify({ error: { message } }), { status, headers });

test("a key is asked for, sent, and kept only if it is to be", async () => {
  const server = play([refusal(401, "a key is needed"), streamed([text("in"), finish("stop")])]);
  write("with a key");
  await until(() => $("key").open, "the dialog");
  const form = $("key").querySelector("form");
  form.elements.key.value = " sk-secret ";
  form.requestSubmit();
  await until(() => isIdle() && last(".assistant .text").textContent === "in", "the answer");
  server.end();
  same([server.calls[0].headers.authorization, server.calls[1].headers.authorization], [undefined, "Bearer sk-secret"]);
  same(localStorage.getItem("inferno.key"), null);
  check(!document.documentElement.textContent.includes("sk-secret"), "the key is on the page");
});

test("a busy server and a server that is gone can be asked again", async () => {
  const gone = () => {
    throw new TypeError("failed to fetch");
  };
  const cut = ({ signal }) => {
    const whole = streamed([text("broken")], { isOpen: true })({ signal });
    const reader = whole.body.getReader();
    const body = new ReadableStream({
      async pull(controller) {
        controller.enqueue((await reader.read()).value);
        controller.close();
      },
    });
    return new Response(body);
  };
  const server = play([refusal(503, "the queue is full", { "retry-after": "30" }), gone, cut, streamed([text("fine"), finish("stop")])]);
  write("busy?");
  const failed = () => isIdle() && last(".failure p")?.textContent;
  await until(() => failed() === "The queue is full.", "503");
  check(/^Try again \(in \d+ s\)$/.test(last(".failure button").textContent), last(".failure button").textContent);
  last(".failure button").click();
  await until(() => /does not answer/.test(failed()), "no server");
  last(".failure button").click();
  await until(() => /ended before/.test(failed()), "an end too early");
  same(last(".assistant .text").textContent, "broken");
  last(".failure button").click();
  await until(() => isIdle() && last(".assistant .text").textContent === "fine", "the answer");
  server.end();
  check(last(".failure").hidden, "the failure stays");
});

test("settings are sent, and wrong ones are not kept", async () => {
  $("open-settings").click();
  const form = $("settings").querySelector("form");
  form.elements.temperature.value = "3";
  form.requestSubmit();
  check($("settings").open && !$("settings").querySelector(".error").hidden, "a temperature of 3 is taken");
  form.elements.temperature.value = "0.5";
  form.elements.system.value = "Be brief.";
  form.elements.theme.value = "dark";
  form.requestSubmit();
  same([$("settings").open, document.documentElement.dataset.theme], [false, "dark"]);
  const server = play([streamed([text("ok"), finish("stop")])]);
  write("settings");
  await until(() => isIdle() && last(".assistant .text").textContent === "ok", "the answer");
  server.end();
  const { body } = server.calls[0];
  same([body.temperature, body.messages[0], "seed" in body], [0.5, { role: "system", content: "Be brief." }, false]);
});

test("conversations are kept and can be opened and deleted", async () => {
  const { hash } = location;
  check(/^#c=[0-9a-f]{24}$/.test(hash), hash);
  $("new").click();
  check(!$("welcome").hidden && document.querySelectorAll(".turn").length === 0, "no new chat");
  await until(() => document.querySelectorAll("nav li").length === 1, "the list");
  document.querySelector("nav a").click();
  await until(() => last(".assistant .text")?.textContent === "ok", "the old chat");
  same(location.hash, hash);
  window.confirm = () => true;
  document.querySelector("nav li button").click();
  await until(() => document.querySelectorAll("nav li").length === 0 && !$("welcome").hidden, "an empty list");
});

test("the page obeys its own policy", () => {
  same(violations, []);
  let isRefused = false;
  try {
    document.createElement("div").innerHTML = "<b>x</b>";
  } catch {
    isRefused = true;
  }
  check(isRefused || !window.trustedTypes, "markup can be made");
});

const violations = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => violations.push(`${violatedDirective} ${blockedURI}`));
const problems = [];
window.addEventListener("error", ({ message }) => problems.push(message));
window.addEventListener("unhandledrejection", ({ reason }) => problems.push(String(reason?.stack ?? reason)));

const report = { passed: 0, failed: [], times: {} };
for (const { name, run } of tests) {
  const from = performance.now();
  try {
    await run();
    report.passed++;
  } catch (error) {
    report.failed.push({ name, error: String(error?.message ?? error) });
  }
  report.times[name] = Math.round(performance.now() - from);
}
if (problems.length > 0) report.failed.push({ name: "the page", error: problems.join("\n") });
await fetch("page/report", { method: "POST", body: JSON.stringify(report) });
