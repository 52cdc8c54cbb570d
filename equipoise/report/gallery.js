"use strict";
// The gallery: a row for every image and classifier, of which only those in view are in the page. Row r is the image
// r / classifiers (rounded down) and the classifier r % classifiers. Whatever comes from the run reaches the page as text.
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const [hall, list, shown, closer] = ["hall", "cards", "shown", "closer"].map((id) => document.getElementById(id));
  const fields = form.elements;
  const value = (name) => fields[name] && fields[name].value !== "" ? fields[name].value : null;
  const index = (name) => value(name) === null ? -1 : Number(value(name));
  const make = (tag, className, ...content) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...content);
    return element;
  };

  // Numbers ----------------------------------------------------------------------------------------------------------
  const MISSING = 65535, UNSURE = 255, [FOOLED, WITHSTOOD, WRONG, UNASKED] = [0, 1, 2, 3];
  const bytes = async (text) => {
    const characters = atob(text), packed = new Uint8Array(characters.length);
    for (let i = 0; i < packed.length; i++) packed[i] = characters.charCodeAt(i);
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(plain).arrayBuffer());
  };
  const words = async (text) => {
    const parts = await bytes(text), length = parts.length / 2, whole = new Uint16Array(length);
    for (let i = 0; i < length; i++) whole[i] = parts[i] | parts[i + length] << 8;
    return whole;
  };
  // The number that 16 bits of floating point stand for; missing ones are NaN.
  const real = (half) => {
    const sign = half & 0x8000 ? -1 : 1, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction / 2 ** 24);
  };
  // Whole numbers in the order of the reals; missing ones come last.
  const rank = (half) => (half & 0x7fff) > 0x7c00 ? MISSING : half & 0x8000 ? 0x8000 - (half & 0x7fff) : 0x8000 + half;
  const number = (x) => {
    if (x === null || Number.isNaN(x)) return "–";
    if (!Number.isFinite(x)) return "none found";
    const decimals = x === 0 ? 3 : Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(x)))));
    return x.toFixed(decimals).replace("-", "−");
  };
  const count = (x) => x.toLocaleString("en-US");

  let data, columns, images = 0, many = 0, total = 0;
  const unpack = async () => {
    const holder = document.getElementById("gallery-data");
    if (holder.dataset.source) {
      const script = make("script");
      script.src = holder.dataset.source;
      await new Promise((resolve, reject) => {
        [script.onload, script.onerror] = [resolve, () => reject(new Error("Its data are missing."))];
        document.body.append(script);
      });
    }
    data = JSON.parse(holder.textContent);
    holder.remove();
    const packed = data.columns, many16 = ["label", "group", "proximity", "prediction", "margin", "made", "followed"];
    columns = Object.fromEntries(await Promise.all(many16.map(async (name) => [name, await words(packed[name])])));
    columns.confidence = await bytes(packed.confidence);
    columns.id = JSON.parse(new TextDecoder().decode(await bytes(packed.id)));
    columns.threats = await Promise.all(packed.threats.map(async (one) => (
      {outcome: await bytes(one.outcome), radius: await words(one.radius), prediction: await words(one.prediction)}
    )));
    images = columns.label.length;
    many = data.classifiers.length;
    columns.exhibit = new Int32Array(images).fill(-1);
    data.exhibits.forEach((exhibit, k) => columns.exhibit[exhibit.image] = k);
    columns.samples = [columns.exhibit.indexOf(-1), columns.exhibit.findIndex((k) => k >= 0)];
    columns.known = new Uint8Array(images * many);
    for (let r = 0; r < columns.known.length; r++) {
      const asked = columns.threats.some((one) => one.outcome[r] !== UNASKED) || columns.followed[r] !== MISSING;
      columns.known[r] = asked || said(columns.prediction, r) !== MISSING ? 1 : 0;
      total += columns.known[r];
    }
  };
  // Predictions are kept as their difference from the label.
  const said = (column, row) => column[row] + columns.label[Math.floor(row / many)] & MISSING;
  const className = (k, who) => data.classes[k] ?? data.beyond[who][k - data.classes.length] ?? "class " + k;

  // Filter and order -------------------------------------------------------------------------------------------------
  const threats = () => index("threat") < 0 ? columns.threats.map((_, k) => k) : [index("threat")];
  // Under several threats: fooled by any, withstood all.
  const outcome = (row, among) => {
    let least = UNASKED;
    for (const k of among) {
      const one = columns.threats[k].outcome[row];
      if (one === WRONG) return WRONG;
      if (one < least) least = one;
    }
    return among.length || said(columns.prediction, row) === columns.label[Math.floor(row / many)] ? least : WRONG;
  };
  const followed = (row) => columns.followed[row] === MISSING ? null : 2 * columns.followed[row] > columns.made[Math.floor(row / many)];
  const chosenOf = {
    fooled: (row, among) => outcome(row, among) === FOOLED,
    withstood: (row, among) => outcome(row, among) === WITHSTOOD,
    wrong: (row, among) => outcome(row, among) === WRONG,
    followed: (row) => followed(row) === true,
    ignored: (row) => followed(row) === false,
  };
  // Radii are in units of their threat's own, so that those of different norms can be compared.
  const ranks = {
    proximity: (row) => rank(columns.proximity[Math.floor(row / many)]),
    margin: (row) => rank(columns.margin[row]),
    radius: (row, among) => {
      let least = MISSING;
      for (const k of among) least = Math.min(least, rank(columns.threats[k].radius[row]));
      return least;
    },
  };
  const filter = () => {
    const who = index("classifier"), label = index("label"), group = index("group"), among = threats();
    const pictures = value("pictures"), fits = chosenOf[value("outcome")];
    const from = who < 0 ? 0 : who, to = who < 0 ? many : who + 1;
    const rows = new Uint32Array(images * (to - from));
    let length = 0;
    for (let image = 0; image < images; image++) {
      if (label >= 0 && columns.label[image] !== label || group >= 0 && columns.group[image] !== group) continue;
      if (pictures && (pictures === "with") !== columns.exhibit[image] >= 0) continue;
      for (let row = image * many + from; row < image * many + to; row++) {
        if (columns.known[row] && (!fits || fits(row, among))) rows[length++] = row;
      }
    }
    return rows.subarray(0, length);
  };
  // Sorting by counting: one pass over the rows for their ranks, one to put them in place; ties stay by image.
  const sort = (rows) => {
    const of = ranks[value("sort")], down = value("order") === "descending", among = threats();
    if (!of) return down ? rows.reverse() : rows;
    const keys = new Uint16Array(rows.length), starts = new Uint32Array(MISSING + 2), sorted = new Uint32Array(rows.length);
    for (let i = 0; i < rows.length; i++) {
      const key = of(rows[i], among);
      keys[i] = down && key !== MISSING ? MISSING - 1 - key : key;
      starts[keys[i] + 1]++;
    }
    for (let k = 0; k <= MISSING; k++) starts[k + 1] += starts[k];
    for (let i = 0; i < rows.length; i++) sorted[starts[keys[i]]++] = rows[i];
    return sorted;
  };

  // A row ------------------------------------------------------------------------------------------------------------
  const outcomes = ["fooled", "withstood", "wrong already"];
  const answer = (prediction, row) => {
    if (prediction === MISSING) return "";
    const right = prediction === columns.label[Math.floor(row / many)];
    const mark = make("span", "mark", right ? "✓ " : "✗ ");
    mark.setAttribute("aria-hidden", "true");
    const name = make("bdi", "", className(prediction, row % many));
    const line = make("span", right ? "answer right" : "answer mistaken", mark, make("span", "unseen", right ? "rightly " : "wrongly "), name);
    line.title = name.textContent;
    return line;
  };
  const image = (picture, alt) => {
    const element = make("img");
    element.decoding = "async";
    element.alt = alt;
    element.src = data.pictures[picture];
    return element;
  };
  const nothing = () => make("span", "nothing", "–");
  const figure = (title, picture, ...lines) => make(
    "figure", "", make("span", "what", ...[].concat(title)), ...(picture ? [picture] : []), make("figcaption", "", ...lines),
  );
  const line = (text) => make("span", "small", text);
  const confidence = (row) => columns.confidence[row] === UNSURE ? "" : Math.round(columns.confidence[row] / 2.54) + "% sure";
  // What is shown of a row, from left to right; without pictures, what was said of them.
  const figures = (row) => {
    const at = Math.floor(row / many), who = row % many, exhibit = data.exhibits[columns.exhibit[at]];
    const truth = className(columns.label[at], who), found = [];
    const of = (picture, alt) => !exhibit ? null : picture === undefined || picture === null ? nothing() : image(picture, alt);
    found.push(figure("original", of(exhibit?.original, "Image of class " + truth), answer(said(columns.prediction, row), row), line(confidence(row))));
    if (data.shows.other && exhibit) {
      const other = exhibit.other, named = other ? className(other[1], who) : "";
      const lines = other ? [make("span", "answer", "as ", make("bdi", "", named)), line("distance " + number(other[2]))] : [line("none")];
      found.push(figure("counterfactual", of(other?.[0], "The same as " + named), ...lines));
    }
    if (data.shows.gradient && exhibit) found.push(figure("gradient", of(exhibit.gradients[who], "Input gradient")));
    for (const k of threats()) {
      const {outcome, radius, prediction} = columns.threats[k], [title, unit] = data.threats[k];
      const attack = exhibit?.attacked[k + "," + who], verdict = outcomes[outcome[row]];
      const tag = make("span", "tag " + (verdict ?? "").split(" ")[0], verdict ?? "not yet");
      const seen = said(prediction, row), left = "The same, attacked, seen as " + className(seen, who);
      const lines = [answer(seen, row), line("radius " + number(real(radius[row]) * unit))];
      const pair = make("div", "pair", figure([title, tag], of(attack?.[0], left), ...lines));
      if (exhibit) pair.append(figure("change", of(attack?.[1], "The change, amplified"), line(attack ? "× " + number(attack[2]) : "")));
      found.push(pair);
    }
    if (!exhibit) found.push(make("p", "small", "no pictures kept"));
    return found;
  };
  const dot = (who) => {
    const mark = make("span", "dot");
    mark.style.background = `var(--c${who})`;
    return mark;
  };
  const about = (row) => {
    const at = Math.floor(row / many), who = row % many, half = columns.margin[row];
    const open = make("button", "open", make("bdi", "", columns.id[at]));
    open.type = "button";
    open.tabIndex = -1;
    open.title = columns.id[at];
    const lines = [
      make("p", "truth", make("span", "small", "true class "), make("bdi", "", className(columns.label[at], who))),
      make("p", "by", dot(who), make("bdi", "", data.classifiers[who])),
      open,
    ];
    if (data.groups.length) lines.push(make("p", "small", make("bdi", "", data.groups[columns.group[at]] ?? "no group")));
    if (half !== MISSING) lines.push(make("p", "small", "margin " + number(real(half))));
    if (data.shows.made) {
      const made = columns.made[at], done = columns.followed[row], near = real(columns.proximity[at]);
      lines.push(make("p", "small", made && done !== MISSING ? `followed ${done} of ${made}` : "no counterfactuals"));
      lines.push(make("p", "small", Number.isNaN(near) ? "" : "proximity " + number(near)));
    }
    return make("div", "about", ...lines);
  };
  const build = (row, place) => {
    const bare = columns.exhibit[Math.floor(row / many)] < 0;
    const item = make("li", bare ? "row bare" : "row", about(row), make("div", "figures", ...figures(row)));
    item.tabIndex = -1;
    item.setAttribute("aria-setsize", rows.length);
    item.setAttribute("aria-posinset", place + 1);
    return item;
  };

  // What is in view --------------------------------------------------------------------------------------------------
  // Browsers cannot lay out more than some ten million pixels. In taller lists the scroll bar moves in proportion and
  // small steps move by themselves: `shift` is how much further down the rows are than the bar says.
  const LIMIT = 8e6, BEYOND = 2;
  let rows = new Uint32Array(), pictured = new Uint32Array(1), heights = [0, 0], shift = 0, before = 0, active = 0;
  const live = new Map();
  const top = (place) => place * heights[0] + pictured[place] * (heights[1] - heights[0]);
  const all = () => top(rows.length);
  const at = (y) => {
    let low = 0, high = Math.max(0, rows.length - 1);
    while (low < high) {
      const middle = low + high + 1 >> 1;
      if (top(middle) <= y) low = middle; else high = middle - 1;
    }
    return low;
  };
  const draw = () => {
    const y = hall.scrollTop + shift, inside = list.contains(document.activeElement);
    const first = Math.max(0, at(y) - BEYOND), last = Math.min(rows.length - 1, at(y + hall.clientHeight) + BEYOND);
    if (!inside && (active < first || active > last)) active = at(y);
    for (const [place, item] of live) {
      if (place >= first && place <= last || inside && place === active) continue;
      item.remove();
      live.delete(place);
    }
    for (let place = first; place <= last; place++) {
      if (live.has(place)) continue;
      const item = build(rows[place], place), next = [...live.keys()].filter((other) => other > place);
      list.insertBefore(item, next.length ? live.get(Math.min(...next)) : null);
      live.set(place, item);
    }
    for (const [place, item] of live) {
      item.style.transform = `translateY(${top(place) - shift}px)`;
      item.tabIndex = place === active ? 0 : -1;
    }
  };
  const longest = () => Math.max(0, all() - hall.clientHeight);
  // The bar's place for a place among the rows, and the other way round.
  const scale = () => longest() ? Math.min(1, (Math.min(LIMIT, all()) - hall.clientHeight) / longest()) : 1;
  const scrollTo = (y) => {
    const to = Math.max(0, Math.min(y, longest()));
    before = to * scale();
    shift = to - before;
    hall.scrollTop = before;
    draw();
  };
  let drawing = 0, settling = 0;
  hall.addEventListener("scroll", () => {
    const now = hall.scrollTop;
    if (all() > LIMIT && Math.abs(now - before) > 4 * hall.clientHeight) shift = now / scale() - now;
    before = now;
    if (!drawing) drawing = requestAnimationFrame(() => { drawing = 0; draw(); });
    clearTimeout(settling);
    if (all() > LIMIT) settling = setTimeout(() => scrollTo(hall.scrollTop + shift), 150);
  }, {passive: true});
  // Rows with pictures are of one height, and so are those without: one of each is laid out to learn it.
  const measure = () => {
    const samples = columns.samples.map((image) => image < 0 ? null : build(image * many, 0));
    for (const item of samples) if (item) item.style.visibility = "hidden", list.append(item);
    heights = samples.map((item) => item ? item.getBoundingClientRect().height : 0);
    for (const item of samples) item?.remove();
    list.style.height = Math.min(LIMIT, all()) + "px";
  };
  const renew = () => {
    for (const item of live.values()) item.remove();
    live.clear();
    measure();
  };
  const choose = () => {
    rows = sort(filter());
    pictured = new Uint32Array(rows.length + 1);
    for (let i = 0; i < rows.length; i++) pictured[i + 1] = pictured[i] + (columns.exhibit[Math.floor(rows[i] / many)] >= 0);
    active = 0;
    renew();
    scrollTo(0);
    const hidden = rows.length - pictured[rows.length];
    shown.textContent = `${count(rows.length)} of ${count(total)} rows match` + (hidden ? `, ${count(hidden)} of them without pictures.` : ".");
  };

  // Keyboard and mouse -----------------------------------------------------------------------------------------------
  const go = (place) => {
    if (!rows.length) return;
    active = Math.max(0, Math.min(rows.length - 1, place));
    const y = hall.scrollTop + shift, low = top(active + 1) - hall.clientHeight;
    if (top(active) < y) scrollTo(top(active));
    else if (low > y) scrollTo(Math.min(low, top(active)));
    else draw();
    live.get(active).focus({preventScroll: true});
  };
  const placeOf = (element) => {
    const item = element.closest("li.row");
    return item ? Number(item.getAttribute("aria-posinset")) - 1 : -1;
  };
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const y = hall.scrollTop + shift, page = Math.max(1, at(y + hall.clientHeight) - at(y));
    const to = {ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: rows.length - 1}[event.key];
    if (to !== undefined) go(to);
    else if (event.key === "Enter" || event.key === " ") enlarge(active);
    else return;
    event.preventDefault();
  });
  list.addEventListener("focusin", (event) => {
    active = placeOf(event.target);
    for (const [place, item] of live) item.tabIndex = place === active ? 0 : -1;
  });
  list.addEventListener("click", (event) => {
    if (event.target.closest("button, img")) enlarge(placeOf(event.target));
  });
  let viewed = 0;
  const enlarge = (place) => {
    viewed = place;
    go(place);
    const row = rows[place], at = Math.floor(row / many), who = row % many, exhibit = data.exhibits[columns.exhibit[at]];
    const name = (k) => k === MISSING ? "–" : make("bdi", "", className(k, who));
    const facts = [["The image", [
      ["Id", make("bdi", "", columns.id[at])],
      ...(data.groups.length ? [["Group", make("bdi", "", data.groups[columns.group[at]] ?? "none")]] : []),
      ["True class", name(columns.label[at])],
    ]], ["As it is", [
      ["Prediction", name(said(columns.prediction, row))],
      ["Confidence", confidence(row).split(" ")[0] || "–"],
      ["Margin of the true class", number(real(columns.margin[row]))],
    ]]];
    if (data.shows.made) {
      const done = columns.followed[row];
      facts.push(["Counterfactuals of other classes", [
        ["Proximity, mean L2 distance", number(real(columns.proximity[at]))],
        ["Followed", done === MISSING ? "–" : `${done} of ${columns.made[at]}`],
      ]]);
    }
    columns.threats.forEach(({outcome, radius, prediction}, k) => {
      const [title, unit] = data.threats[k], attack = exhibit?.attacked[k + "," + who];
      facts.push([title, [
        ["Outcome", outcomes[outcome[row]] ?? "not yet"],
        ["Prediction", name(said(prediction, row))],
        ["Smallest radius", number(real(radius[row]) * unit)],
        ...(attack ? [["Distance of the picture", number(attack[3])], ["Margin there", number(attack[4])]] : []),
        ...(attack && attack[5] ? [["Broken by", attack[5]]] : []),
      ]]);
    });
    const heading = make("h3", "", make("bdi", "", className(columns.label[at], who)), " as seen by ", make("bdi", "", data.classifiers[who]));
    heading.id = "closer-title";
    const button = (text, act, off) => {
      const element = make("button", "chip", text);
      element.type = "button";
      element.disabled = Boolean(off);
      element.addEventListener("click", act);
      return element;
    };
    const step = (to, by) => {
      enlarge(to);
      const [back, next] = closer.querySelectorAll(".chip");
      (by < 0 ? back : next).focus();
    };
    closer.replaceChildren(
      make(
        "div", "bar", heading,
        make(
          "div", "steps", button("Previous", () => step(place - 1, -1), place === 0),
          button("Next", () => step(place + 1, 1), place === rows.length - 1), button("Close", () => closer.close()),
        ),
      ),
      make("div", "figures", ...(exhibit ? figures(row) : [make("p", "note", "The run keeps no pictures of this image.")])),
      make("div", "facts-of", ...facts.map(([title, pairs]) => make(
        "div", "", make("h4", "", title),
        make("dl", "", ...pairs.map(([key, text]) => make("div", "", make("dt", "", key), make("dd", "", text)))),
      ))),
    );
    if (!closer.open) closer.showModal();
  };
  closer.addEventListener("keydown", (event) => {
    const by = {ArrowLeft: 0, ArrowRight: 1}[event.key];
    if (by !== undefined) closer.querySelectorAll(".chip")[by].click();
  });
  closer.addEventListener("click", (event) => { if (event.target === closer) closer.close(); });
  // The browser gives focus back to the row that was enlarged first; the one seen last is further on.
  closer.addEventListener("close", () => go(viewed));

  // Together with the charts -----------------------------------------------------------------------------------------
  let focused = null;
  const ready = () => columns && columns.known;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (ready()) choose();
    if (event.target !== fields.classifier) return;
    focused = fields.classifier.selectedOptions[0].dataset.name ?? null;
    document.dispatchEvent(new CustomEvent("equipoise:focus", {detail: focused}));
  });
  document.addEventListener("equipoise:focus", (event) => {
    if (event.detail === focused) return;
    focused = event.detail;
    const option = [...fields.classifier.options].find((other) => (other.dataset.name ?? null) === focused);
    if (!option) return;
    option.selected = true;
    if (ready()) choose();
  });

  // Once somebody comes near, or the page has nothing else to do ------------------------------------------------------
  let opened = false;
  const open = async () => {
    if (opened) return;
    opened = true;
    nearby.disconnect();
    try {
      await unpack();
    } catch (error) {
      shown.textContent = "DecompressionStream" in window ? "The gallery cannot be read: " + error.message : "The gallery needs a browser of 2023 or later.";
      return;
    }
    list.classList.toggle("pixelated", data.pixelated);
    closer.classList.toggle("pixelated", data.pixelated);
    choose();
    let width = hall.clientWidth;
    new ResizeObserver(() => {
      const place = at(hall.scrollTop + shift);
      if (hall.clientWidth !== width) {
        width = hall.clientWidth;
        renew();
        scrollTo(top(place));
      } else draw();
    }).observe(hall);
  };
  const nearby = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) open(); }, {rootMargin: "1500px"});
  nearby.observe(hall);
  addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(open, {timeout: 3000}));
})();
