// Asks every second what has changed, and puts it where it belongs. Without it the page reloads itself.
"use strict";
(() => {
  const SLOW_MS = 10_000, PATIENCE_MS = 20_000, SPEAK_MS = 15_000, MOVED_MS = 1_500;
  const page = document.body, byId = (id) => document.getElementById(id);
  let since = page.dataset.since, rest = 1_000, lostAt = null, spokenAt = 0, timer = 0;

  // A section's inside is replaced as a whole: what is open in it stays open, what has the focus keeps it.
  function replace(section, html) {
    const open = [...section.querySelectorAll("details[open][id]")].map((one) => one.id);
    const scrolled = [...section.querySelectorAll(".events, pre, .scroll")].map((one) => [one.scrollTop, one.scrollLeft]);
    const active = section.contains(document.activeElement) ? document.activeElement : null;
    const href = active && active.getAttribute("href"), inside = active && active.closest("details[id]");
    section.innerHTML = html; // escaped by the server, as the page itself is
    for (const id of open) if (byId(id)) byId(id).open = true;
    section.querySelectorAll(".events, pre, .scroll").forEach((one, index) => {
      if (scrolled[index]) [one.scrollTop, one.scrollLeft] = scrolled[index];
    });
    if (!active) return;
    const again = href ? [...section.querySelectorAll("a")].find((one) => one.getAttribute("href") === href)
      : inside && byId(inside.id) && byId(inside.id).querySelector("summary");
    if (again) again.focus({ preventScroll: true });
  }

  function move([job, word, title], signs) {
    const cell = byId(`j${job}`), [sign, letter, tone] = signs[word];
    if (!cell) return;
    if (cell.lastChild.data !== letter || cell.firstChild.textContent !== sign) {
      cell.firstChild.textContent = sign;
      cell.lastChild.data = letter;
      cell.className = `${tone} moved`;
      setTimeout(() => cell.classList.remove("moved"), MOVED_MS);
    }
    cell.title = title;
  }

  function speak(text) {
    const spoken = byId("spoken");
    if (!text || spoken.textContent === text || Date.now() - spokenAt < SPEAK_MS) return;
    spokenAt = Date.now();
    spoken.textContent = text;
  }

  function state(name, text) {
    byId("pulse").className = `pulse ${name}`;
    byId("pulse-text").textContent = text;
  }

  function apply(news) {
    if (news.reload) return location.reload();
    for (const cell of news.cells || []) move(cell, news.signs);
    for (const [name, html] of Object.entries(news.sections || {})) {
      const section = byId(`s-${name}`);
      if (section) replace(section, html);
    }
    byId("away").textContent = news.away;
    byId("away").hidden = !news.away;
    state(news.away ? "old" : "live", news.away ? `as of ${news.at || "never"}` : `live, ${news.at}`);
    speak(news.spoken);
    since = news.since;
    rest = news.rest;
  }

  function found() {
    lostAt = null;
    byId("lost").hidden = true;
  }

  function lost() {
    lostAt = lostAt || new Date();
    const at = lostAt.toISOString().slice(11, 19);
    byId("lost").textContent = `This page cannot reach its server since ${at} UTC. It tries again by itself.`;
    byId("lost").hidden = false;
    state("old", "not connected");
  }

  async function look() {
    clearTimeout(timer);
    try {
      const url = new URL(page.dataset.changes, location.href);
      url.searchParams.set("since", since);
      url.searchParams.set("layout", page.dataset.layout);
      const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const news = await answer.json();
      found();
      apply(news);
    } catch {
      lost();
    }
    timer = setTimeout(look, document.hidden ? SLOW_MS : rest);
  }

  // Ten thousand links are one stop of the Tab key; arrows go on from there.
  function walk(table) {
    const [start, ...others] = table.querySelectorAll("td a");
    let stop = start;
    for (const one of others) one.tabIndex = -1;
    const enter = (cell) => { stop.tabIndex = -1; stop = cell; stop.tabIndex = 0; };
    table.addEventListener("focusin", (event) => { if (event.target.matches("td a")) enter(event.target); });
    table.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td a"), td = cell && cell.parentElement;
      if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
      const side = [...td.parentElement.querySelectorAll("td a")], at = side.indexOf(cell);
      const beside = (row) => row && row.cells[td.cellIndex].querySelectorAll("a")[[...td.children].indexOf(cell)];
      const next = { ArrowRight: side[at + 1], ArrowLeft: side[at - 1], Home: side[0], End: side[side.length - 1],
        ArrowDown: beside(td.parentElement.nextElementSibling), ArrowUp: beside(td.parentElement.previousElementSibling) };
      if (!(event.key in next)) return;
      event.preventDefault();
      if (next[event.key]) next[event.key].focus();
    });
  }

  for (const one of document.querySelectorAll(".matrix table")) walk(one);
  for (const one of document.querySelectorAll("pre.tail")) one.scrollTop = one.scrollHeight;
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  timer = setTimeout(look, rest);
})();
