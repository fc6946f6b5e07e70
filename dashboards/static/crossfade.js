// Title, icon, "live" or "stale since", what went wrong with a click, times in the reader's zone, and the keys.
// All content comes from the server.
"use strict";
(() => {
  const STALE_AFTER_MS = 5000;
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
  const utc = (at) => at.toISOString().replace("T", " ").slice(0, 19) + " UTC";
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const TIME = /(?:(\d{1,2}) ([A-Z][a-z]{2}) )?(\d\d):(\d\d)(?::(\d\d))? UTC/;
  let heard = Date.now();
  let connected = false;
  let connecting = false;
  let reason = "";
  let revision = byId("revision") ? byId("revision").value : "";

  // The moment that a text means. A text without a day means the last such time of day, within the hour to come.
  function momentOf(found) {
    const now = new Date();
    const [, day, month, hours, minutes, seconds] = found;
    const at = new Date(now);
    at.setUTCHours(Number(hours), Number(minutes), Number(seconds || 0), 0);
    if (day) at.setUTCMonth(MONTHS.indexOf(month), Number(day));
    if (at - now > 3600000) day ? at.setUTCFullYear(at.getUTCFullYear() - 1) : at.setUTCDate(at.getUTCDate() - 1);
    return at;
  }

  function localText(at, found) {
    const day = found[1] ? at.getDate() + " " + MONTHS[at.getMonth()] + " " : "";
    return day + (found[5] ? clock(at) : clock(at).slice(0, 5));
  }

  // Times come in UTC, because the server does not know where its reader is; UTC stays what a pointer resting on it says.
  function localTimes() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
      const parent = walker.currentNode.parentElement;
      if (parent && !parent.closest("pre, code, q, textarea, script, .id, .log") && TIME.test(walker.currentNode.data)) found.push(walker.currentNode);
    }
    for (const node of found) {
      const match = TIME.exec(node.data);
      const own = node.parentElement.closest("time");
      const at = own && own.dateTime ? new Date(own.dateTime) : momentOf(match);
      const part = node.splitText(match.index);
      part.splitText(match[0].length);
      if (own) {
        part.data = localText(at, match);
        own.title = utc(at);
        continue;
      }
      const time = document.createElement("time");
      time.dateTime = at.toISOString();
      time.title = utc(at);
      time.textContent = localText(at, match);
      part.replaceWith(time);
    }
    if (found.some((node) => node.nextSibling && TIME.test(node.parentElement.textContent))) localTimes();
  }

  function showState() {
    const icon = byId("top") && byId("top").dataset.icon;
    if (icon && byId("icon").getAttribute("href") !== icon) byId("icon").setAttribute("href", icon);
    const state = byId("state");
    if (!state || !state.dataset.title) return;
    const title = state.dataset.title + " – Crossfade";
    if (document.title !== title) {
      document.title = title;
      const announce = byId("announce");
      if (announce) announce.textContent = byId("headline").textContent;
    }
  }

  function showLive() {
    const live = byId("live");
    const stale = byId("stale");
    if (!live || !stale) return;
    const isStale = Boolean(reason) || Date.now() - heard > STALE_AFTER_MS;
    root.classList.toggle("is-stale", isStale);
    root.classList.toggle("is-live", !isStale);
    live.textContent = isStale ? "stale since " + clock(new Date(heard)) : "live";
    if (isStale && stale.hidden) {
      stale.textContent = "Stale since " + clock(new Date(heard)) + ": " + (reason || "nothing is heard from the service") +
        ". What you see may be old. Rolling back may still work.";
    }
    stale.hidden = !isStale;
    // htmx tries again by itself once it was connected, and ignores this then; a first attempt that failed is ours to
    // repeat. One that waits for its answer is not: htmx would keep the second for later and hear two streams.
    if (isStale && !connecting) window.htmx.trigger(byId("stream"), "crossfade:connect");
  }

  // What was foreseen for a number holds for the rollout it was asked about, and a reason for the command it was given.
  function forgetEffect() {
    const field = byId("revision");
    if (!field || field.value === revision) return;
    revision = field.value;
    document.dispatchEvent(new Event("crossfade:changed"));
    const effect = byId("typed-effect");
    if (effect) effect.textContent = "";
  }

  function forgetFields(source) {
    if (!source.closest("#change")) return;
    for (const field of [byId("reason"), byId("typed")]) if (field) field.value = "";
  }

  function hear() {
    heard = Date.now();
    connected = true;
    reason = "";
    showLive();
  }

  function fail(text, source) {
    const place = source && source.closest && source.closest(".act") ? "message-rollback" : "message-controls";
    const box = byId(place) || byId("message-rollback");
    if (!box) return;
    const line = document.createElement("p");
    line.className = "tone-bad";
    line.setAttribute("role", "alert");
    line.textContent = text;
    box.replaceChildren(line);
  }

  document.addEventListener("htmx:config:request", (event) => {
    if (event.detail.ctx.sourceElement.id === "stream") connecting = true;
    event.detail.ctx.request.headers["Crossfade-Live"] = String(connected && root.classList.contains("is-live"));
  });
  document.addEventListener("htmx:sse:after:message", () => { hear(); showState(); forgetEffect(); localTimes(); });
  document.addEventListener("htmx:after:swap", (event) => {
    const ctx = event.detail.ctx;
    if (ctx && ctx.request && ctx.request.method === "POST" && ctx.response.status === 200) forgetFields(ctx.sourceElement);
    showState();
    forgetEffect();
    localTimes();
  });
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) reason = "you are signed out";
    showLive();
  });
  document.addEventListener("htmx:response:error", (event) => {
    const ctx = event.detail.ctx;
    const status = ctx.response.status;
    if (ctx.sourceElement.id === "stream") {
      reason = status === 401 ? "you are signed out" : "the service answered " + status;
      showLive();
    } else if (status === 401) {
      fail("Not done: you are signed out. Sign in again.", ctx.sourceElement);
    } else if (status !== 409) {
      fail("Not done: the service answered " + status + ". Reload the page and look before you try again.", ctx.sourceElement);
    }
  });
  document.addEventListener("htmx:finally:request", (event) => {
    if (event.detail.ctx.sourceElement.id === "stream") connecting = false;
  });
  document.addEventListener("htmx:error", (event) => {
    const source = event.detail.ctx && event.detail.ctx.sourceElement;
    if (!source || ["stream", "typed", "served"].includes(source.id)) return;
    fail("No answer from the service: it is not known whether this was done. Try again.", source);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog[open]")) return;
    const key = event.key.toLowerCase();
    const focused = { r: "rollback-button", n: "note", "/": "search" }[key];
    if (focused && byId(focused)) {
      event.preventDefault();
      byId(focused).focus();
    } else if (key === "r") {
      location.assign("/");
    } else if (key === "?" && byId("keys")) {
      byId("keys").showModal();
    } else if (/^[a-z]$/.test(key)) {
      const link = document.querySelector("nav [data-key=" + key + "]");
      if (link) link.click();
    }
  });

  if (byId("show-keys")) {
    byId("show-keys").hidden = false;
    byId("show-keys").addEventListener("click", () => byId("keys").showModal());
  }
  // Where the button would be out of sight above, it goes along.
  const deck = document.querySelector(".deck");
  if (deck) new IntersectionObserver(([seen]) => root.classList.toggle("is-scrolled", !seen.isIntersecting)).observe(deck);
  localTimes();
  if (byId("live")) {
    showLive();
    setInterval(showLive, 1000);
  }
})();
