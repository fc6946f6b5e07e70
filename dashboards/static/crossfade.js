// Title, icon, "live" or "stale since", what went wrong with a click, and the key R. All content comes from the server.
"use strict";
(() => {
  const STALE_AFTER_MS = 5000;
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const clock = (at) => new Date(at).toISOString().slice(11, 19) + " UTC";
  let heard = Date.now();
  let reason = "";
  let revision = byId("revision") ? byId("revision").value : "";

  function showState() {
    const state = byId("state");
    if (!state || !state.dataset.title) return;
    const title = state.dataset.title + " – Crossfade";
    if (document.title !== title) {
      document.title = title;
      const announce = byId("announce");
      if (announce) announce.textContent = byId("headline").textContent;
    }
    if (byId("icon").getAttribute("href") !== state.dataset.icon) byId("icon").setAttribute("href", state.dataset.icon);
  }

  function showLive() {
    const live = byId("live");
    const stale = byId("stale");
    if (!live || !stale) return;
    const isStale = Boolean(reason) || Date.now() - heard > STALE_AFTER_MS;
    root.classList.toggle("is-stale", isStale);
    root.classList.toggle("is-live", !isStale);
    live.textContent = isStale ? "stale since " + clock(heard) : "live";
    if (isStale && stale.hidden) {
      stale.textContent = "Stale since " + clock(heard) + ": " + (reason || "nothing is heard from the service") +
        ". What you see may be old. Rolling back may still work.";
    }
    stale.hidden = !isStale;
    // htmx tries again by itself once it was connected; a first attempt that failed is ours to repeat. It ignores this
    // while a connection, or its next attempt, is under way.
    if (isStale) window.htmx.trigger(byId("stream"), "crossfade:connect");
  }

  // What was foreseen for a number holds for the rollout it was asked about, and a reason for the command it was given.
  function forgetEffect() {
    const field = byId("revision");
    if (!field || field.value === revision) return;
    revision = field.value;
    byId("typed-effect").textContent = "";
  }

  function forgetFields(source) {
    if (!source.closest("#change")) return;
    byId("reason").value = "";
    byId("typed").value = "";
  }

  function hear() {
    heard = Date.now();
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

  document.addEventListener("htmx:sse:after:message", () => { hear(); showState(); forgetEffect(); });
  document.addEventListener("htmx:after:swap", (event) => {
    const ctx = event.detail.ctx;
    if (ctx && ctx.request && ctx.request.method === "POST" && ctx.response.status === 200) forgetFields(ctx.sourceElement);
    showState();
    forgetEffect();
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
  document.addEventListener("htmx:error", (event) => {
    const source = event.detail.ctx && event.detail.ctx.sourceElement;
    if (!source || source.id === "stream" || source.id === "typed") return;
    fail("No answer from the service: it is not known whether this was done. Try again.", source);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "r" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    const button = byId("rollback-button");
    if (button) button.focus();
  });

  if (byId("live")) {
    showLive();
    setInterval(showLive, 1000);
  }
})();
