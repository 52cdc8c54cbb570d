// Who answers: a name, and whether it is the same person as before.
"use strict";

const $ = (id) => document.getElementById(id);

function fail(text) {
  $("fault").textContent = text;
  $("fault").hidden = !text;
}

function turn(known) {
  $("who").hidden = known;
  $("known").hidden = !known;
  $(known ? "before" : "name").focus();
}

async function join(same) {
  const name = $("name").value;
  try {
    const sent = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name, same }) };
    const response = await fetch($("who").dataset.to, sent);
    const found = await response.json();
    fail(found.error || "");
    if (found.at) location.assign(found.at);
    if (!found.answered) return;
    $("called").textContent = name.trim();
    $("answered").textContent = found.answered === 1 ? "1 question" : `${found.answered} questions`;
    turn(true);
  } catch {
    fail("The server does not reply. Start it again.");
  }
}

$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  join(false);
});
$("same").addEventListener("click", () => join(true));
$("other").addEventListener("click", () => turn(false));
