"use strict";
// Keeps the page up to date while its audit runs. A newer page replaces this one as a whole, by loading it again; where
// the reader was, and what the reader opened, chose or highlighted, goes with it. Names reach the page as text only.
(() => {
  const bar = document.getElementById("live"), main = document.getElementById("main");
  const part = (selector) => bar.querySelector(selector);
  const first = JSON.parse(bar.dataset.progress), shown = first.shown, KEPT = "equipoise view";
  const follow = part("[name=follow]"), fresh = part(".fresh"), spoken = part("[role=status]");
  const AT_REST = 5000, APART = 15000;

  // What the reader changed --------------------------------------------------------------------------------------------
  const named = (element) => {
    if (element.matches("details")) {
      const summary = element.querySelector("summary");
      return (summary.querySelector("bdi, .says") ?? summary.firstChild ?? summary).textContent.trim();
    }
    return element.id || element.name || element.getAttribute("aria-label") || element.textContent.trim();
  };
  const keyed = (selector) => {
    const seen = new Map(), found = new Map();
    for (const element of document.querySelectorAll(selector)) {
      const place = element.parentElement.closest("[aria-labelledby], aside")?.getAttribute("aria-labelledby") ?? "";
      const key = [place, element.localName, named(element)].join("\n"), times = seen.get(key) ?? 0;
      seen.set(key, times + 1);
      found.set(key + "\n" + times, element);
    }
    return found;
  };
  const CHANGED = "details, select, input, button[aria-pressed]", FOCUSED = "a[href], button, select, input, summary, [tabindex]";
  const value = (element) => {
    if (element.matches("details")) return element.open;
    if (element.matches("[type=checkbox], [type=radio]")) return element.checked;
    return element.matches("button") ? element.getAttribute("aria-pressed") === "true" : element.value;
  };
  const change = (element, to) => {
    if (value(element) === to) return;
    if (element.matches("details")) element.open = to;
    else if (element.matches("button")) { if (to) element.click(); }
    else {
      if (element.matches("[type=checkbox], [type=radio]")) element.checked = to;
      else if (element.matches("select") && ![...element.options].some((option) => option.value === to)) return;
      else element.value = to;
      for (const type of ["input", "change"]) element.dispatchEvent(new Event(type, {bubbles: true}));
    }
  };
  const before = new Map([...keyed(CHANGED)].map(([key, element]) => [key, value(element)]));
  const anchors = () => [...main.querySelectorAll("[id]")].filter((element) => element.getClientRects().length);
  const keep = () => {
    const changed = [...keyed(CHANGED)].map(([key, element]) => [key, value(element)]).filter(([key, now]) => before.get(key) !== now);
    const anchor = anchors().findLast((element) => element.getBoundingClientRect().top < innerHeight / 3);
    const focused = [...keyed(FOCUSED)].find(([, element]) => element === document.activeElement);
    const across = [...keyed(".scroll")].filter(([, element]) => element.scrollLeft).map(([key, element]) => [key, element.scrollLeft]);
    const place = scrollY > 0 && anchor ? {id: anchor.id, top: anchor.getBoundingClientRect().top} : null;
    sessionStorage.setItem(KEPT, JSON.stringify({changed, across, place, y: scrollY, focused: focused?.[0]}));
  };
  const renew = () => {
    keep();
    history.scrollRestoration = "manual";
    location.reload();
  };

  let acted = 0;
  const act = () => { acted = performance.now(); };
  for (const type of ["pointermove", "pointerdown", "wheel", "touchmove", "keydown", "input"]) addEventListener(type, act, {capture: true, passive: true});
  const restore = () => {
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    sessionStorage.removeItem(KEPT);
    history.scrollRestoration = "auto";
    if (!kept) return;
    const set = (buttons) => {
      const found = keyed(CHANGED);
      for (const [key, to] of kept.changed) {
        const element = found.get(key);
        if (element && element.matches("button") === buttons) change(element, to);
      }
    };
    const go = () => {
      if (acted) return;
      const anchor = kept.place && document.getElementById(kept.place.id);
      if (anchor) scrollBy({top: anchor.getBoundingClientRect().top - kept.place.top, behavior: "instant"});
      else scrollTo({top: kept.y, behavior: "instant"});
    };
    set(false);
    for (const [key, left] of kept.across) keyed(".scroll").get(key)?.scrollTo({left, behavior: "instant"});
    keyed(FOCUSED).get(kept.focused)?.focus({preventScroll: true});
    go();
    // Charts are drawn later, and what stands below them moves.
    const size = new ResizeObserver(go);
    size.observe(main);
    const drawn = () => {
      const undrawn = [...document.querySelectorAll("[data-chart]")].some((chart) => !chart.querySelector("svg, canvas"));
      if (undrawn && performance.now() < 8000) return setTimeout(drawn, 50);
      set(true);
      setTimeout(() => size.disconnect(), 500);
    };
    drawn();
  };

  // How far the audit is -----------------------------------------------------------------------------------------------
  const STATES = {running: "Audit running", stopped: "Stopped?", complete: "Audit finished", lost: "No answer"};
  let state = "";
  const cell = (row, tag, text, scope) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (scope) made.scope = scope;
    row.append(made);
    return made;
  };
  const tabulate = (parts) => {
    const probes = [...new Set(parts.map(([, probe]) => probe))], rows = new Map();
    for (const [who, probe, done, total] of parts) rows.set(who, {...rows.get(who), [probe]: [done, total]});
    const table = part("table"), head = table.createTHead(), body = document.createElement("tbody");
    head.replaceChildren(document.createElement("tr"));
    cell(head.rows[0], "th", "Classifier", "col");
    for (const probe of probes) {
      const named = cell(head.rows[0], "th", "", "col");
      for (const piece of probe.split(/(?<=[:?&])/)) named.append(piece, document.createElement("wbr"));
    }
    for (const [who, counts] of rows) {
      const row = body.insertRow();
      const name = document.createElement("bdi");
      name.textContent = who;
      cell(row, "th", "", "row").append(name);
      for (const probe of probes) {
        const [done, total] = counts[probe], all = done === total;
        cell(row, "td", `${all ? "✓ " : ""}${done} of ${total}`).className = all ? "all" : done ? "" : "none";
      }
    }
    for (const old of table.tBodies) old.remove();
    table.append(body);
  };
  const show = (said) => {
    const stale = said.page !== null && said.page !== shown, ended = said.state === "complete" && !stale && said.mark === shown;
    bar.hidden = (ended || said.state === "waiting") && !said.trouble;
    bar.classList.toggle("stopped", said.state === "stopped");
    const [title, count, left] = part(".far").children;
    title.textContent = STATES[said.state] ?? "";
    count.textContent = said.total ? said.count : "";
    left.textContent = said.state === "complete" && !stale && !said.trouble ? "its last page is being made" : said.left;
    part("progress").max = said.total || 1;
    part("progress").value = said.done;
    part(".again").hidden = said.state !== "stopped";
    part(".again code").textContent = said.command;
    part(".trouble").hidden = !said.trouble;
    part(".trouble").textContent = said.trouble ?? "";
    fresh.hidden = !stale;
    tabulate(said.parts);
    if (state && state !== said.state) spoken.textContent = title.textContent;
    state = said.state;
    const rest = document.hidden || performance.now() - acted > AT_REST || !acted;
    const free = rest && !getSelection().toString() && !document.querySelector("dialog[open]");
    const due = performance.now() > APART || said.state === "complete";
    if (stale && (shown === null || (follow.checked && free && due))) renew();
  };
  const ask = async () => {
    try {
      const answer = await fetch("/progress");
      if (!answer.ok) throw new Error(answer.statusText);
      show(await answer.json());
    } catch {
      state = "lost";
      bar.hidden = false;
      part(".far").replaceChildren(...["strong", "span", "span"].map((tag) => document.createElement(tag)));
      const [title, count] = part(".far").children;
      title.textContent = STATES.lost;
      count.textContent = "The server has ended or is busy; this page stays as it is.";
    }
    setTimeout(ask, state === "running" || state === "waiting" ? 1500 : 4000);
  };
  fresh.addEventListener("click", renew);
  restore();
  show(first);
  setTimeout(ask, 1500);
})();
