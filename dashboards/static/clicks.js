// Says what becomes of a click: at once that it was sent, after two seconds that there is no answer, and what went wrong.
"use strict";
(() => {
  const LATE_MS = 2000;
  const byId = (id) => document.getElementById(id);
  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
  const waiting = new WeakMap();

  // Beside what was clicked; a form that has no place for messages gets one.
  function placeOf(source) {
    const known = source.closest(".act") ? byId("message-rollback") : source.closest("#change") ? byId("message-controls") : null;
    if (known) return known;
    const form = source.closest("form");
    if (!form) return byId("message-rollback");
    const next = form.nextElementSibling;
    if (next && next.matches(".message")) return next;
    const made = document.createElement("div");
    made.className = "message";
    made.setAttribute("role", "status");
    form.after(made);
    return made;
  }

  function say(source, text, bad) {
    const place = placeOf(source);
    if (!place) return null;
    const line = document.createElement("p");
    line.className = bad ? "tone-bad" : "quiet";
    if (bad) line.setAttribute("role", "alert");
    line.textContent = text;
    place.replaceChildren(line);
    return line;
  }

  function sent(source) {
    const since = clock(new Date());
    const line = say(source, "Sent at " + since + ".", false);
    clearTimeout(waiting.get(source));
    waiting.set(source, setTimeout(() => {
      if (!line || !line.isConnected) return;
      const live = document.documentElement.classList.contains("is-live");
      const why = live ? "The service is heard, so it may still be done." : "Nothing is heard from the service: it may not have arrived.";
      say(source, "Sent at " + since + ", no answer yet. " + why, true);
    }, LATE_MS));
  }

  function answered(source) {
    clearTimeout(waiting.get(source));
    waiting.delete(source);
  }

  // A reason holds for the command it was given.
  function forgetFields(source) {
    if (!source.closest("#change")) return;
    for (const field of [byId("reason"), byId("typed")]) if (field) field.value = "";
  }

  const clicked = (event) => {
    const ctx = event.detail.ctx;
    return ctx && ctx.request && ctx.request.method === "POST" ? ctx : null;
  };
  document.addEventListener("htmx:config:request", (event) => {
    const ctx = clicked(event);
    if (ctx) sent(ctx.sourceElement);
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const ctx = clicked(event);
    if (ctx && ctx.response.status === 200) forgetFields(ctx.sourceElement);
  });
  document.addEventListener("htmx:response:error", (event) => {
    const ctx = clicked(event);
    if (!ctx) return;
    answered(ctx.sourceElement);
    const status = ctx.response.status;
    if (status === 401) say(ctx.sourceElement, "Not done: you are signed out. Sign in again.", true);
    else if (status !== 409) {
      say(ctx.sourceElement, "Not done: the service answered " + status + ". Reload the page and look before you try again.", true);
    }
  });
  document.addEventListener("htmx:error", (event) => {
    const ctx = clicked(event);
    if (!ctx) return;
    answered(ctx.sourceElement);
    say(ctx.sourceElement, "No answer from the service: it is not known whether this was done. Try again.", true);
  });
  document.addEventListener("htmx:finally:request", (event) => {
    const ctx = clicked(event);
    if (ctx) answered(ctx.sourceElement);
  });
  // A form that is sent without htmx leaves the page when the answer comes.
  document.addEventListener("submit", (event) => {
    if (!event.defaultPrevented && event.target.method === "post") sent(event.target);
  });
})();
