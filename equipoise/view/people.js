// One picture at a time: a class, how sure, and the next. What is shown next is shown once the server has the answer.
"use strict";

const $ = (id) => document.getElementById(id);
const classes = [...document.querySelectorAll("[data-seen]")];
const levels = [...$("sureness").querySelectorAll("button")];
const find = $("find");
let turn = null, chosen = null, since = 0, busy = false;

function say(text) {
  $("said").textContent = text;
}

function fail(text) {
  $("fault").textContent = text;
  $("fault").hidden = !text;
}

function name(seen) {
  const button = classes.find((b) => Number(b.dataset.seen) === seen);
  return seen < 0 ? "cannot tell" : button.querySelector("bdi").textContent;
}

async function ask(query, sent) {
  if (busy) return;
  busy = true;
  try {
    const how = sent && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent) };
    const response = await fetch($("asking").dataset.turn + query, how || {});
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    fail("");
    show(found);
  } catch (error) {
    const lost = error instanceof TypeError || error instanceof SyntaxError;
    fail(lost ? "The answer could not be stored: the server does not reply. Start it again, then answer once more." : error.message);
  } finally {
    busy = false;
  }
}

function show(found) {
  turn = found;
  choose(null);
  $("bar").max = turn.of;
  $("bar").value = turn.answered;
  $("asking").hidden = !turn.token;
  $("done").hidden = Boolean(turn.token);
  $("place").textContent = turn.token ? `Picture ${turn.place} of ${turn.of}` : `${turn.answered} of ${turn.of}`;
  if (!turn.token) {
    $("done").focus();
    return;
  }
  scrollTo(0, 0);
  const place = turn.place;
  $("picture").alt = `Picture ${place}`;
  since = performance.now();
  $("picture").onload = () => { since = performance.now(); };
  $("picture").src = $("asking").dataset.picture + turn.token;
  $("back").disabled = !turn.back;
  $("keep").hidden = $("before").hidden = !turn.answer;
  if (turn.answer) {
    const [seen, sure] = turn.answer;
    const word = sure ? `, ${levels[sure - 1].firstChild.textContent.trim()}` : "";
    $("before").textContent = `You said: \u2068${name(seen)}\u2069${word}.`;
  }
  say(`Picture ${place} of ${turn.of}. ${turn.answer ? $("before").textContent : ""}`);
  if (find) {
    find.value = "";
    narrow();
    find.focus();
  } else if (document.activeElement instanceof HTMLElement) {
    document.activeElement.blur();
  }
}

function choose(seen) {
  chosen = seen;
  for (const button of classes) {
    if (button.dataset.seen >= 0) button.setAttribute("aria-pressed", String(Number(button.dataset.seen) === seen));
  }
  $("sureness").disabled = seen === null;
  if (seen === null) return;
  say(`${name(seen)}. How sure are you, from 1 to 4?`);
  if (find) find.blur();
  $("sureness").scrollIntoView({ block: "nearest" });
}

function send(seen, sureness) {
  const seconds = Math.round(performance.now() - since) / 1000;
  ask("", { token: turn.token, seen, sureness, seconds });
}

function pick(seen) {
  if (seen < 0) send(seen, null);
  else choose(seen);
}

function back() {
  if (chosen !== null) {
    choose(null);
    say("No class chosen.");
  } else if (turn && turn.back) {
    ask(`?token=${turn.back}`);
  }
}

function narrow() {
  const part = find.value.trim().toLowerCase();
  for (const button of classes) {
    if (button.dataset.seen >= 0) button.hidden = !button.textContent.toLowerCase().includes(part);
  }
}

for (const button of classes) button.addEventListener("click", () => pick(Number(button.dataset.seen)));
for (const button of levels) button.addEventListener("click", () => send(chosen, Number(button.dataset.sure)));
for (const id of ["back", "again"]) $(id).addEventListener("click", back);
$("keep").addEventListener("click", () => ask(""));
if (find) find.addEventListener("input", narrow);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !turn) return;
  const typing = event.target === find;
  const key = event.key.toLowerCase();
  if (typing && find.value && key === "enter") {
    const first = classes.find((b) => !b.hidden && b.dataset.seen >= 0);
    if (first) pick(Number(first.dataset.seen));
  } else if (typing && (find.value || !["arrowleft", "backspace", "."].includes(key))) {
    return;
  } else if (key === "arrowleft" || key === "backspace" || (key === "escape" && chosen !== null)) {
    back();
  } else if (!turn.token) {
    return;
  } else if (key === "enter" && turn.answer && chosen === null && !(event.target instanceof HTMLButtonElement)) {
    ask("");
  } else if (chosen !== null && ["1", "2", "3", "4"].includes(key)) {
    send(chosen, Number(key));
  } else {
    const button = chosen === null && classes.find((b) => b.dataset.key && b.dataset.key === key);
    if (!button) return;
    pick(Number(button.dataset.seen));
  }
  event.preventDefault();
});

ask("");
