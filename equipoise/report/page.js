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
  const views = new Map();
  const embed = (place, spec) => {
    const options = {renderer: "svg", actions: false, defaultStyle: false, tooltip: showTip};
    // Vega puts a role and a label of its own on the element it draws in; ours says more.
    const plot = make("div");
    plot.setAttribute("aria-hidden", "true");
    place.replaceChildren(plot);
    return vegaEmbed(plot, spec, options).then(({view}) => {
      views.get(place)?.finalize();
      views.set(place, view);
      view.addEventListener("click", (_, item) => item?.datum?.classifier && single(item.datum.classifier));
      if (focused !== null) view.signal("focus", focused).run();
    });
  };
  // Whoever singles out a classifier (a chip, a point, the gallery) says so to the document, and all follow.
  let focused = null;
  const single = (name) => {
    document.dispatchEvent(new CustomEvent("equipoise:focus", {detail: name === focused ? null : name}));
  };
  const chips = [...document.querySelectorAll("[data-focus]")];
  for (const chip of chips) chip.addEventListener("click", () => single(chip.dataset.focus));
  document.addEventListener("equipoise:focus", ({detail}) => {
    focused = detail;
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.focus === focused));
    for (const view of views.values()) view.signal("focus", focused).run();
  });
  for (const place of document.querySelectorAll("[data-chart]")) embed(place, data.charts[place.dataset.chart]);

  // Trade-off: the reader chooses two axes. What is drawn and said of each pair is in the data already.
  const axes = document.getElementById("axes");
  if (axes) {
    const {up, across} = axes.elements, place = document.querySelector('[data-chart="trade_off-0"]');
    const {classifiers, rungs, axes: all, pairs} = data.trade_off;
    const draw = () => {
      const spec = structuredClone(data.charts["trade_off-0"]), pair = pairs[across.value + "-" + up.value];
      const ways = {x: all[across.value], y: all[up.value]}, rows = [];
      for (const {encoding} of spec.layer) {
        for (const [way, {title, scale, axis}] of Object.entries(ways)) {
          if (encoding[way]?.scale) Object.assign(encoding[way], {title, scale, axis});
          for (const tip of encoding.tooltip ?? []) if (tip.field === way + "_text") tip.title = title;
        }
      }
      for (const [who, place, crowded, against] of pair.rows) {
        rows[who] = {...classifiers[who], place, crowded, against};
        for (const [way, {found}] of Object.entries(ways)) {
          for (const [end, value] of Object.entries(found[who])) rows[who][way + end] = value;
        }
      }
      spec.datasets = {
        rows: rows.filter(Boolean),
        rungs: rungs.filter(([, who]) => rows[who]).map(([ladder, who]) => ({...rows[who], ladder})),
        front: pair.stairs,
      };
      place.setAttribute("aria-label", pair.words);
      document.getElementById("front").replaceChildren(...pair.sentences.map((said) => make("p", "", said)));
      return embed(place, spec);
    };
    let before = [up.value, across.value];
    axes.addEventListener("change", ({target}) => {
      // An axis against itself says nothing: the two change places.
      if (up.value === across.value) (target === up ? across : up).value = before[target === up ? 0 : 1];
      before = [up.value, across.value];
      draw();
    });
    axes.hidden = false;
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
    for (const details of document.querySelectorAll("details:not(.data)")) details.open = true;
    for (const view of views.values()) view.signal("width", Math.min(view.signal("width"), 620)).run();
  });
  addEventListener("afterprint", () => dispatchEvent(new Event("resize")));
})();
