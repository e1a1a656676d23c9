// An answer on its way: the request for it, and what its parts do to its turn.

import { addCall, messages } from "./conversation.js";

/// The request for the turn `node`, which goes on behind its text if it has some.
export function requestFor(conversation, node, model, system, fields) {
  const goesOn = node.content !== "";
  const turns = conversation.path(goesOn ? node.id : node.parent);
  return {
    model,
    messages: messages(turns, system),
    ...fields,
    ...(goesOn ? { continue_final_message: true, add_generation_prompt: false } : {}),
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    return_progress: true,
  };
}

/// Listeners that write the parts of an answer into `node`. `changed` is told of new text, `news` of everything that can be
/// seen.
export function recorder(node, { changed, news }) {
  const { live } = node;
  const grow = (change) => {
    const now = performance.now();
    live.first ??= now;
    live.last = now;
    change(now);
    changed();
    news();
  };
  const endThoughts = (now) => {
    if (node.reasoning && node.thought === undefined) node.thought = now - live.first;
  };
  return {
    text: (text) =>
      grow((now) => {
        endThoughts(now);
        node.content += text;
      }),
    reasoning: (text) =>
      grow(() => {
        node.reasoning += text;
      }),
    call: (call) =>
      grow((now) => {
        endThoughts(now);
        addCall(node.calls, call);
      }),
    finish: (finish) => {
      live.finish = finish;
    },
    progress: (progress) => {
      live.progress = progress;
      news();
    },
    queued: (place, n) => {
      live.queued = [place, n];
      news();
    },
    usage: (usage, timings) => {
      node.stats = statistics(usage, timings, live, node.stats);
    },
  };
}

/// Numbers of an answer: the server's own where it tells them, else those that are seen from here.
function statistics(usage, timings, { start, first, last }, before) {
  const tokens = usage?.completion_tokens ?? before?.tokens ?? 0;
  const seen = tokens > 1 && last > first ? ((tokens - 1) / (last - first)) * 1000 : 0;
  return {
    tokens,
    rate: timings?.predicted_per_second || seen,
    first: first ? first - start : 0,
    prompt: usage?.prompt_tokens ?? before?.prompt ?? 0,
    cached: usage?.prompt_tokens_details?.cached_tokens ?? before?.cached ?? 0,
  };
}
