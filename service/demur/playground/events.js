// Server-sent events, read from a response that the page asked for itself (EventSource can only GET).

/** Yields {name, data} for each event of `stream`; comments (pings) are passed over. */
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      yield* blocks.map(read).filter(Boolean);
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have broken off already, which `read` has said
  }
}

function read(block) {
  const fields = { event: "message", data: [] };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = line.match(/^([^:]*):? ?(.*)$/s);
    if (name === "data") fields.data.push(value);
    else if (name === "event") fields.event = value;
  }
  return fields.data.length ? { name: fields.event, data: fields.data.join("\n") } : null;
}
