"use strict";
// Charts and highlighting of the page. Whatever comes from the run reaches the page as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Charts -----------------------------------------------------------------------------------------------------------
  const tip = make("div", "tip");
  tip.hidden = true;
  document.body.append(tip);
  const showTip = (_, event, item, value) => {
    tip.hidden = !value || typeof value !== "object";
    if (tip.hidden) return;
    tip.replaceChildren(...Object.entries(value).flatMap(([key, text]) => [make("span", "key", key), make("span", "", text)]));
    const width = tip.offsetWidth, height = tip.offsetHeight;
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
    tip.style.top = (event.clientY + height + 24 > innerHeight ? event.clientY - height - 12 : event.clientY + 14) + "px";
  };
  const views = [];
  for (const place of document.querySelectorAll("[data-chart]")) {
    const options = {renderer: "svg", actions: false, defaultStyle: false, tooltip: showTip};
    vegaEmbed(place, data.charts[place.dataset.chart], options).then((result) => views.push(result.view));
  }
  let focused = null;
  for (const chip of document.querySelectorAll("[data-focus]")) {
    chip.addEventListener("click", () => {
      focused = focused === chip.dataset.focus ? null : chip.dataset.focus;
      for (const other of document.querySelectorAll("[data-focus]")) {
        other.setAttribute("aria-pressed", String(other.dataset.focus === focused));
      }
      for (const view of views) view.signal("focus", focused).run();
    });
  }
  // One set at a time; the others keep their width, so that their charts stay right.
  const choices = [...document.querySelectorAll("[data-choice]")];
  const show = (choice) => {
    for (const other of choices) {
      other.setAttribute("aria-pressed", String(other === choice));
      document.getElementById(other.dataset.choice).classList.toggle("away", other !== choice);
    }
  };
  for (const choice of choices) choice.addEventListener("click", () => show(choice));
  if (choices.length) show(choices[0]);
  // The width of the paper is not the width of the screen.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const view of views) view.signal("width", Math.min(view.signal("width"), 620)).run();
  });
  addEventListener("afterprint", () => dispatchEvent(new Event("resize")));
})();
