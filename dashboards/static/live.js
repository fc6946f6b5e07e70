// Keeps an open page up to date: title and icon always, its sections while somebody looks at it; and says since when if
// nothing is heard. All content comes from the server.
"use strict";
(() => {
  const STALE_AFTER_MS = 5000;
  const FETCH_MS = 5000;
  const HOLD_MS = 2500;
  const UNHEARD_MS = 3000;
  const root = document.documentElement;
  const told = document.body.dataset;
  const byId = (id) => document.getElementById(id);
  const fetcher = byId("sections");
  if (!fetcher) return;

  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
  const every = Number(fetcher.dataset.every) * 1000;
  let heard = Date.now(); // anything from the service
  let seen = Date.now(); // what the page shows
  let lookedAt = Date.now(); // since when somebody may look
  let lost = "";
  let newest = null;
  let revision = byId("revision") ? byId("revision").value : "";

  // -- title, icon, and whether this is live ------------------------------------------------------------------------

  const stale = () => {
    const now = Date.now();
    return Boolean(lost) || now - heard > STALE_AFTER_MS || (!document.hidden && now - Math.max(seen, lookedAt) > STALE_AFTER_MS + every);
  };

  function showState() {
    const isStale = stale();
    const icon = newest ? byId("icon").getAttribute("data-" + newest.icon) : byId("top") && byId("top").dataset.icon;
    if (icon && byId("icon").getAttribute("href") !== icon) byId("icon").setAttribute("href", icon);
    if (newest) root.dataset.severity = newest.severity;
    const state = byId("state");
    const own = told.follows !== "state" || !state ? told.title : newest ? newest.title : state.dataset.title + " – Crossfade";
    const title = isStale ? "stale: " + own : own;
    if (document.title !== title) document.title = title;
  }

  function showLive() {
    const isStale = stale();
    const since = clock(new Date(document.hidden ? heard : Math.min(heard, seen)));
    root.classList.toggle("is-stale", isStale);
    root.classList.toggle("is-live", !isStale);
    byId("live").textContent = isStale ? "stale since " + since : "live";
    const place = byId("stale");
    const text = "Stale since " + since + ": " + (lost || "nothing is heard from the service") + ". What you see may be old. Rolling back may still work.";
    if (isStale && place.textContent !== text) place.textContent = text;
    place.hidden = !isStale;
    showState();
  }

  // A screen reader is told a new headline, not every figure.
  let headline = byId("headline") ? byId("headline").textContent : "";
  function announce() {
    if (told.follows !== "state" || !byId("headline") || byId("headline").textContent === headline) return;
    headline = byId("headline").textContent;
    byId("announce").textContent = headline;
  }

  // What was foreseen for a number holds for the rollout it was asked about.
  function notice(now) {
    if (String(now) === String(revision)) return false;
    revision = now;
    document.dispatchEvent(new Event("crossfade:changed"));
    if (byId("typed-effect")) byId("typed-effect").textContent = "";
    return true;
  }

  // -- what the page shows ------------------------------------------------------------------------------------------

  let had = "";
  let asking = false;
  let again = false;
  let tried = 0;
  let patience = 0;
  let heldUntil = 0;

  // Hidden pages fetch nothing. A look that begins before a change may miss it, so another one follows.
  function look(now) {
    if (document.hidden || Date.now() < heldUntil) return;
    if (asking && Date.now() - tried < 2 * FETCH_MS) again = again || Boolean(now);
    else if (now || Date.now() - seen >= every) {
      asking = true;
      again = false;
      tried = Date.now();
      clearTimeout(patience);
      patience = setTimeout(() => window.htmx.trigger(fetcher, "htmx:abort"), FETCH_MS);
      window.htmx.trigger(fetcher, "crossfade:look");
    }
  }

  // The few connections of a browser belong to a click: what else waits for an answer gives up its own.
  function hold(own) {
    heldUntil = Date.now() + HOLD_MS;
    window.htmx.trigger(fetcher, "htmx:abort");
    document.dispatchEvent(new Event("crossfade:hold"));
    if (!own) return;
    if (port) port.postMessage({ hold: true });
    if (mine) mine.close();
  }

  function release() {
    heldUntil = 0;
    if (mine && !spoken) mine.open();
    look(true);
  }

  document.addEventListener("htmx:config:request", (event) => {
    const { request, sourceElement } = event.detail.ctx;
    if (sourceElement === fetcher) {
      request.headers["Crossfade-Shown"] = had;
      request.timeout = 2 * FETCH_MS; // not reached: htmx would call it an error, and `stale since` says it
    } else if (request.method === "POST") {
      request.headers["Crossfade-Live"] = String(Boolean(newest) && !stale());
      hold(true);
    }
  });
  document.addEventListener("htmx:response:error", (event) => {
    const ctx = event.detail.ctx;
    if (ctx.sourceElement !== fetcher) return;
    lost = ctx.response.status === 401 ? "you are signed out" : "the service answered " + ctx.response.status;
    showLive();
  });
  document.addEventListener("htmx:finally:request", (event) => {
    const ctx = event.detail.ctx;
    if (ctx.sourceElement !== fetcher) {
      if (ctx.request.method !== "POST") return;
      had = ""; // the answer may have brought other sections than those that were counted
      if (stale()) newest = null; // and a newer title
      release();
      return;
    }
    asking = false;
    clearTimeout(patience);
    if (ctx.status === "swapped" && ctx.response.raw.ok) {
      had = ctx.response.raw.headers.get("Crossfade-Shown") || "";
      seen = heard = Date.now();
      lost = "";
      showLive();
      announce();
      if (!document.hidden) document.dispatchEvent(new Event("crossfade:seen"));
    }
    if (again) look(true);
  });
  document.addEventListener("htmx:after:swap", () => {
    if (byId("revision")) notice(byId("revision").value);
    document.dispatchEvent(new Event("crossfade:swapped"));
  });
  document.addEventListener("visibilitychange", () => {
    lookedAt = Date.now();
    showLive();
    look(true);
  });

  // -- what it hears ------------------------------------------------------------------------------------------------

  let port = null;
  let spoken = 0; // when the shared worker last said something; 0: there is none, or it fell silent
  let mine = null;

  function onMessage(message) {
    if (message.change) {
      newest = message.change;
      heard = Date.now();
      lost = "";
      showLive();
      look(notice(newest.revision));
    } else if (message.hold) {
      hold(false);
    } else if ("lost" in message) {
      lost = message.lost;
      showLive();
    }
  }

  function listenAlone() {
    spoken = 0;
    mine = mine || new ChangesStream(told.changes, onMessage);
    if (Date.now() >= heldUntil) mine.open();
  }

  function listen() {
    if (!window.SharedWorker) return listenAlone();
    try {
      const worker = new SharedWorker(told.worker, { name: "crossfade" });
      worker.onerror = listenAlone;
      port = worker.port;
    } catch {
      return listenAlone();
    }
    port.onmessage = (event) => {
      spoken = Date.now();
      if (mine) mine.close();
      onMessage(event.data);
    };
    spoken = Date.now();
    port.postMessage({ open: told.changes });
  }

  window.addEventListener("pagehide", () => {
    if (port) port.postMessage({ bye: true });
    if (mine) mine.close();
  });
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    if (port) port.postMessage({ open: told.changes });
    else listenAlone();
  });

  // A form that is sent without htmx leaves the page, over the same few connections.
  document.addEventListener("submit", (event) => { if (!event.defaultPrevented) hold(true); });

  // htmx knows the page from then on, and not earlier.
  document.addEventListener("DOMContentLoaded", listen);
  showLive();
  setInterval(() => {
    if ((port || mine) && (!spoken || Date.now() - spoken > STALE_AFTER_MS)) listenAlone();
    // Where no stream comes through, the page is kept up to date all the same.
    if (Date.now() - Math.max(seen, tried) > (stale() ? UNHEARD_MS : FETCH_MS / 2)) look(true);
    showLive();
  }, 1000);
})();
