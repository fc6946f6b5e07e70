// Hears what changes. As a SharedWorker it holds one stream for all pages of a browser, which opens only six connections to
// a service; a page that has no SharedWorker uses the same class for a stream of its own.
"use strict";

class ChangesStream {
  static SILENT_MS = 5000;
  static AGAIN_MS = [500, 1000, 2000, 3000];
  static ASK_MS = 2000;
  static ASKS = 15;

  // `tell` gets `{ change }` for each message and `{ lost }` with a reason, or an empty one, whenever there is none.
  constructor(address, tell) {
    this.address = address;
    this.tell = tell;
    this.running = null;
    this.failures = 0;
    this.hurry = () => {};
  }

  open() {
    if (this.running) return;
    const running = { control: new AbortController() };
    this.running = running;
    this.run(running);
  }

  close() {
    const running = this.running;
    this.running = null;
    if (running) running.control.abort();
    this.hurry();
  }

  async run(running) {
    while (this.running === running) {
      running.control = new AbortController();
      const lost = await this.hear(running.control);
      if (this.running !== running) return;
      if (lost !== null) this.tell({ lost });
      await this.pause(ChangesStream.AGAIN_MS[Math.min(this.failures, ChangesStream.AGAIN_MS.length - 1)] * (0.7 + 0.6 * Math.random()));
      this.failures += 1;
    }
  }

  pause(duration) {
    return new Promise((done) => {
      const timer = setTimeout(done, duration);
      this.hurry = () => { clearTimeout(timer); done(); };
    });
  }

  request(address, accept, control) {
    return fetch(address, { headers: { Accept: accept, "HX-Request": "true" }, cache: "no-store", signal: control.signal });
  }

  // Until there is no stream; why, in words, or null when it simply ended and the next is to follow.
  async hear(control) {
    let timer = 0;
    // A connection may be dead without an end: a service that stood still, a network that was left.
    const awaitMore = () => {
      clearTimeout(timer);
      timer = setTimeout(() => control.abort(), ChangesStream.SILENT_MS);
    };
    try {
      awaitMore();
      const answer = await this.request(this.address, "text/event-stream", control);
      if (answer.status === 401) return "you are signed out";
      if (answer.status === 429 || answer.status === 503) return await this.ask(control, awaitMore);
      if (!answer.ok) return "the service answered " + answer.status;
      return await this.read(answer.body.getReader(), awaitMore);
    } catch {
      return "";
    } finally {
      clearTimeout(timer);
      control.abort();
    }
  }

  async read(reader, awaitMore) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return this.failures ? "" : null;
      awaitMore();
      const parts = (text + decoder.decode(value, { stream: true })).split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        if (!part.startsWith("data: ")) continue;
        this.failures = 0;
        this.tell({ change: JSON.parse(part.slice(6)) });
      }
    }
  }

  // There are too many streams: ask now and then, and try for a stream again after a while.
  async ask(control, awaitMore) {
    for (let asked = 0; asked < ChangesStream.ASKS; asked += 1) {
      awaitMore();
      const answer = await this.request(this.address + "/now", "application/json", control);
      if (!answer.ok) return answer.status === 401 ? "you are signed out" : "the service answered " + answer.status;
      this.failures = 0;
      this.tell({ change: await answer.json() });
      await this.pause(ChangesStream.ASK_MS);
      if (control.signal.aborted) break;
    }
    return null;
  }
}

if (typeof SharedWorkerGlobalScope !== "undefined" && self instanceof SharedWorkerGlobalScope) {
  const ALIVE_MS = 2000;
  const pages = new Set();
  const tellAll = (message) => { for (const page of pages) page.postMessage(message); };
  let stream = null;
  self.addEventListener("connect", (event) => {
    const page = event.ports[0];
    page.addEventListener("message", ({ data }) => {
      if (data.open) {
        pages.add(page);
        page.postMessage({ alive: true });
        stream = stream || new ChangesStream(data.open, tellAll);
        stream.open();
        stream.hurry(); // whoever comes may have signed in just now
      } else if (data.hold) {
        for (const other of pages) if (other !== page) other.postMessage({ hold: true });
      } else if (data.bye) {
        pages.delete(page);
        if (!pages.size && stream) stream.close();
      }
    });
    page.start();
  });
  setInterval(() => tellAll({ alive: true }), ALIVE_MS);
}
