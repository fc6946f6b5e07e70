// Times in the reader's zone, and the keys.
"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
  const utc = (at) => at.toISOString().replace("T", " ").slice(0, 19) + " UTC";
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const TIME = /(?:(\d{1,2}) ([A-Z][a-z]{2}) )?(\d\d):(\d\d)(?::(\d\d))? UTC/;

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

  document.addEventListener("crossfade:swapped", localTimes);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog[open]")) return;
    const key = event.key.toLowerCase();
    const focused = { r: "rollback-button", n: "note", "/": "search" }[key];
    if (focused && byId(focused)) {
      event.preventDefault();
      byId(focused).focus();
    } else if (key === "r") {
      location.assign(document.querySelector(".brand a").href);
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
})();
