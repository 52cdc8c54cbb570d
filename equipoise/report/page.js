"use strict";
// Charts, highlighting and gallery of the page. Whatever comes from the run reaches the page as text, never as HTML.
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
    vegaEmbed(place, data.charts[place.dataset.chart], options).then((result) => {
      // The words of the chart stand on its place; what Vega says of single marks has no names.
      place.querySelector("svg").setAttribute("aria-hidden", "true");
      views.push(result.view);
    });
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

  // Gallery ----------------------------------------------------------------------------------------------------------
  const filters = document.getElementById("filters");
  if (!filters) return;
  const {rows, pictures, classifiers, threats, classes, beyond, pixelated} = data.gallery;
  const cards = document.getElementById("cards"), shown = document.getElementById("shown"), more = document.getElementById("more");
  const className = (k, who) => k === null ? "?" : classes[k] ?? beyond[who][k - classes.length] ?? "class " + k;
  const fields = filters.elements;
  const fill = (select, names, used) => names.forEach((name, k) => {
    if (used.has(k)) select.append(new Option(name, k));
  });
  fill(fields.classifier, classifiers, new Set(rows.map((row) => row.classifier)));
  fill(fields.threat, threats, new Set(rows.map((row) => row.threat)));
  fill(fields.label, classes, new Set(rows.map((row) => row.label)));
  if (!rows.some((row) => row.outcome === "fooled")) fields.outcome.value = "";
  // Radii of different norms cannot be sorted together, so one threat is chosen to begin with.
  fields.threat.selectedIndex = Math.min(1, fields.threat.length - 1);
  cards.classList.toggle("pixelated", pixelated);

  const radius = (row) => row.sort === null ? Infinity : row.sort;
  const orders = {
    nearest: (a, b) => radius(a) === radius(b) ? 0 : radius(a) - radius(b),
    farthest: (a, b) => radius(a) === radius(b) ? 0 : radius(b) - radius(a),
    image: (a, b) => a.clean - b.clean || a.threat - b.threat || a.classifier - b.classifier,
  };
  const outcomes = {fooled: "fooled", withstood: "withstood", wrong: "wrong already"};

  const picture = (index, alt, title, said, right) => {
    const figure = make("figure"), image = make("img"), caption = make("figcaption");
    image.src = pictures[index];
    image.alt = alt;
    caption.append(make("span", "what", title));
    if (said !== undefined) {
      const line = make("span", right ? "right" : "mistaken");
      const name = make("bdi", "", said);
      line.append(make("span", "mark", right ? "✓ " : "✗ "), name);
      caption.append(line);
    }
    figure.append(image, caption);
    return figure;
  };
  const card = (row) => {
    const item = make("li", "card"), head = make("div", "head"), three = make("div", "three"), foot = make("p", "foot");
    const said = (k) => className(k, row.classifier), truth = said(row.label), after = said(row.after);
    const title = make("p", "truth", "True class ");
    title.append(make("bdi", "", truth));
    head.append(title, make("span", "tag " + row.outcome, outcomes[row.outcome]));
    const clean = picture(row.clean, "Image of class " + truth, "clean", row.before === null ? undefined : said(row.before), row.before === row.label);
    const attacked = picture(row.adversarial, "The same, attacked, seen as " + after, row.outcome === "withstood" ? "attempt" : "adversarial", after, row.after === row.label);
    const change = picture(row.change, "The change, amplified", "change");
    change.lastChild.append(make("span", "right", "× " + row.factor));
    three.append(clean, attacked, change);
    const who = make("span");
    who.append(make("bdi", "", classifiers[row.classifier]), " · " + threats[row.threat]);
    foot.append(who, make("span", "", "distance " + row.distance + " · smallest radius " + row.radius));
    item.append(head, three, foot);
    item.title = row.id + (row.group === null ? "" : ", " + row.group);
    return item;
  };

  const BATCH = 24;
  let chosen = [], hung = 0;
  const hang = () => {
    cards.append(...chosen.slice(hung, hung + BATCH).map(card));
    hung = Math.min(hung + BATCH, chosen.length);
    more.hidden = hung === chosen.length;
  };
  const choose = () => {
    const is = (name, value) => fields[name].value === "" || fields[name].value === String(value);
    chosen = rows.filter((row) => ["classifier", "threat", "label", "outcome"].every((name) => is(name, row[name])));
    chosen.sort(orders[fields.sort.value]);
    shown.textContent = `${chosen.length} of ${rows.length} cards match.`;
    cards.replaceChildren();
    hung = 0;
    hang();
  };
  filters.addEventListener("change", choose);
  more.addEventListener("click", hang);
  choose();
})();
