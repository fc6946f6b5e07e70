// A WebSocket client to watch: what it hears, whether a number was left out, and how often its socket was closed.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const LINES = 400;
  const counters = { sent: 0, answered: 0, gaps: 0, closed: 0 };
  const TERMINAL = ["agent_completed", "agent_stopped", "thread_history", "thread_switched", "error"];
  let socket = null;
  let last = 0;
  let timer = null;

  function show() {
    for (const name of ["sent", "answered", "gaps", "closed"]) byId(name).textContent = String(counters[name]);
    byId("seq").textContent = String(last);
    byId("gaps").className = counters.gaps ? "tone-bad" : "";
    byId("closed").parentElement.className = counters.closed ? "tone-bad" : "";
  }

  function line(seq, type, text) {
    const log = byId("log");
    const item = document.createElement("p");
    for (const part of [seq, type, text]) {
      const span = document.createElement("span");
      span.textContent = String(part);
      item.append(span);
    }
    const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
    log.append(item);
    while (log.children.length > LINES) log.firstElementChild.remove();
    if (follows) log.scrollTop = log.scrollHeight;
  }

  function setSocket(text, tone) {
    byId("socket").textContent = text;
    byId("socket").className = tone;
  }

  function onEvent(raw) {
    const event = JSON.parse(raw);
    if (event.seq !== last + 1) counters.gaps += event.seq - last - 1;
    last = event.seq;
    if (event.number !== undefined && TERMINAL.includes(event.type)) counters.answered += 1;
    line(event.seq, event.type, JSON.stringify(event.payload, (name, value) => (name === "resume_token" ? "…" : value)));
    show();
  }

  // What happens to the rollout stands between what the socket hears.
  let headline = byId("headline").textContent;
  // Watched itself: an event of the stream may come before what it brought stands in the page.
  new MutationObserver(() => {
    const now = byId("headline").textContent;
    if (now === headline) return;
    headline = now;
    if (socket) line("–", "rollout", now);
  }).observe(byId("state").parentElement, { childList: true, characterData: true, subtree: true });

  function look() {
    if (socket && socket.readyState === WebSocket.OPEN) window.htmx.trigger(byId("served"), "crossfade:look");
  }
  document.addEventListener("crossfade:seen", look);

  function open(user) {
    if (socket) {
      socket.onclose = null;
      socket.close(1000);
    }
    last = 0;
    const scheme = location.protocol === "https:" ? "wss://" : "ws://";
    const opened = new WebSocket(scheme + location.host + byId("connect").dataset.socket + "?user=" + encodeURIComponent(user));
    socket = opened;
    byId("served-user").value = user;
    setSocket("opening", "none");
    opened.onopen = () => {
      setSocket("open", "tone-good");
      byId("send").disabled = false;
      byId("served").className = "";
      look();
    };
    opened.onmessage = (event) => onEvent(event.data);
    opened.onclose = (event) => {
      const was = byId("socket").textContent === "open";
      setSocket(was ? "closed" : "refused", "tone-bad");
      if (was) counters.closed += 1;
      byId("send").disabled = true;
      byId("served").className = "none";
      byId("served").textContent = "not open";
      line("–", was ? "closed" : "refused", was ? "code " + event.code : "the service did not open the socket: sign-in of clients, or a limit");
      show();
    };
  }

  function say(content) {
    if (!socket || socket.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({ type: "user_message", payload: { content } }));
    counters.sent += 1;
    show();
  }

  byId("connect").addEventListener("submit", (event) => {
    event.preventDefault();
    open(byId("user").value);
  });
  byId("say").addEventListener("submit", (event) => {
    event.preventDefault();
    say(byId("content").value);
    byId("content").value = "";
  });
  byId("steady").addEventListener("change", (event) => {
    clearInterval(timer);
    if (event.target.checked) timer = setInterval(() => say("message " + (counters.sent + 1)), 3000);
  });
  byId("connect").hidden = false;
  byId("say").hidden = false;
})();
