"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const facts = read("facts"), specs = read("charts"), thumbnails = read("thumbnails");
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  const fileOf = (path) => path.slice(path.lastIndexOf("/") + 1);

  // Thumbnails stand in the page once, and wherever a photo is shown.

  function picture(key) {
    const image = make("img", { alt: fileOf(facts.paths[key]) });
    image.src = `data:image/webp;base64,${thumbnails[key]}`;
    return image;
  }

  function fill(frame) {
    if (frame.dataset.photo in thumbnails) frame.replaceChildren(picture(frame.dataset.photo));
    else {
      frame.textContent = "no thumbnail";
      frame.classList.add("is-empty");
    }
  }

  function framed(key) {
    if (!Object.keys(thumbnails).length) return [];
    const frame = make("span", { class: "frame", "data-photo": key });
    fill(frame);
    return [frame];
  }

  function pathOf(key) {
    const path = facts.paths[key], file = fileOf(path);
    const folder = make("span", { class: "folder" }, path.slice(0, path.length - file.length));
    return make("p", { class: "card-path" }, make("span", { class: "path", title: path }, folder, file));
  }

  // The theme: the system's until the button is pressed.

  const system = matchMedia("(prefers-color-scheme: dark)"), printed = matchMedia("print");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const remembered = {
    get: () => { try { return localStorage.getItem("headstart-theme"); } catch { return null; } },
    set: (name) => { try { localStorage.setItem("headstart-theme", name); } catch { /* a file may not */ } },
  };

  function nameTheme() {
    one("#theme .theme-name").textContent = isDark() ? "Light" : "Dark";
    one("#theme").setAttribute("aria-label", isDark() ? "Change to light colours" : "Change to dark colours");
  }

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    nameTheme();
    repaint();
  }

  // Charts: what a style looks like is said here, in the page's own colours.

  function config(colour) {
    const text = colour("--text"), muted = colour("--muted"), accent = colour("--accent");
    const raised = colour("--raised"), wrong = colour("--wrong"), page = colour("--page");
    const font = getComputedStyle(document.body).fontFamily;
    const point = { shape: "circle", filled: true, opacity: 1 };
    const number = { fontSize: 11, fontWeight: 650, baseline: "middle", align: "center", dy: 0.5 };
    return {
      background: "transparent", font, padding: 4, aria: false,
      view: { stroke: null },
      axis: {
        labelColor: muted, titleColor: muted, gridColor: colour("--grid"), domainColor: colour("--line"),
        tickColor: colour("--line"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, titlePadding: 9,
        labelPadding: 5, tickSize: 4,
      },
      range: { category: [...Array(8).keys()].map((n) => colour(`--class-${n}`)) },
      // A style's `color` is what Vega-Lite fills a filled mark with, and strokes any other with.
      style: {
        front: { color: muted, strokeWidth: 1.25, strokeDash: [4, 3] },
        interval: { color: muted, strokeWidth: 1.5, opacity: 0.8 },
        chosen: { ...point, filled: false, size: 520, color: wrong, strokeWidth: 1.75 },
        finetune: { ...point, size: 290, color: accent, stroke: page, strokeWidth: 1 },
        features: { ...point, size: 290, color: page, stroke: accent, strokeWidth: 1.75 },
        finetune_number: { ...number, color: colour("--on-accent") },
        features_number: { ...number, color: accent },
        export: { ...point, size: 230, shape: "diamond", color: page, stroke: muted, strokeWidth: 1.5 },
        export_number: { ...number, color: text },
        zero: { color: text, strokeWidth: 1.25 },
        difference: { filled: true, opacity: 1, size: 120, color: accent, stroke: page, strokeWidth: 1 },
        row_name: { fontSize: 13, color: text, align: "left", baseline: "middle" },
        pass: { strokeWidth: 2 },
        pass_point: { ...point, size: 45 },
        ring: { ...point, filled: false, size: 190, color: text, strokeWidth: 1.75 },
        diagonal: { color: muted, strokeWidth: 1.25, strokeDash: [4, 3] },
        gap: { color: wrong, strokeWidth: 2, opacity: 0.85 },
        measured: { ...point, size: 75, color: accent, stroke: page, strokeWidth: 1 },
        band: { color: accent, opacity: 0.16 },
        curve: { color: accent, strokeWidth: 2 },
        curve_point: { ...point, size: 18, color: accent },
        expected: { ...point, size: 95, color: page, stroke: accent, strokeWidth: 2 },
        spot: { filled: true, size: 26, shape: "circle" },
        mistake: { ...point, filled: false, size: 95, color: text, strokeWidth: 1.4 },
        looked_at: { ...point, filled: false, size: 260, color: wrong, strokeWidth: 2.75 },
      },
    };
  }

  const byName = (name) => `var(${name})`;

  function resolved(name) {
    // A canvas knows no custom properties, and light-dark() is only resolved where it is used.
    const probe = document.body.appendChild(make("span", { hidden: "" }));
    probe.style.color = `var(${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  const views = new Map();

  async function draw(place) {
    const name = place.dataset.chart, isMap = name === "map", spec = structuredClone(specs[name]);
    if (isMap) Object.assign(spec, { datasets: { spots: spots() } });
    views.get(name)?.finalize();
    const options = {
      actions: false, defaultStyle: false, ast: true, mode: "vega-lite", tooltip: showTip,
      // Thousands of spots are slow as SVG; all else is SVG, whose colours follow the page by themselves.
      renderer: isMap ? "canvas" : "svg", config: config(isMap ? resolved : byName),
    };
    const drawn = await vegaEmbed(place, spec, options);
    views.set(name, drawn);
    place.dataset.drawn = "";
    return drawn;
  }

  const isSeen = (place) => place.getClientRects().length > 0;

  async function drawSeen() {
    for (const place of all("[data-chart]:not([data-drawn])").filter(isSeen)) {
      if (place.dataset.chart === "map") await drawMap();
      else await draw(place);
    }
  }

  const repaint = () => { if (views.has("map")) drawMap(); };

  function showTip(handler, event, item, value) {
    const tip = one("#tip");
    tip.hidden = value == null || value === "";
    if (tip.hidden) return;
    const lines = Object.entries(value).map(([key, text]) => make("div", {}, make("span", {}, `${key} `), make("b", {}, String(text))));
    tip.replaceChildren(...lines);
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 12 : event.clientY + 14}px`;
  }

  // The map: the nearest spot to the pointer, or the next one by arrow keys, is shown beside it.

  const NEAR_PX = 18;
  const spotRows = facts.spots.map(([key, across, up, label, predicted, part], index) => ({
    index, key, across, up, part, label: facts.classes[label] ?? "", predicted: predicted < 0 ? null : facts.classes[predicted],
  }));
  let lookedAt = -1, chosenClass = "";

  function spots() {
    return spotRows.map((row) => ({
      across: row.across, up: row.up, label: row.label, key: row.index,
      colour: facts.coloured.includes(row.label) ? row.label : facts.others,
      is_wrong: row.predicted !== null && row.predicted !== row.label,
    }));
  }

  async function drawMap() {
    const place = one("[data-chart=map]"), spec = specs.map;
    spec.layer[0].encoding.color.scale = {
      domain: [...facts.coloured, facts.others],
      range: [...facts.coloured.map((_, n) => resolved(`--class-${n}`)), resolved("--class-others")],
    };
    const { view } = await draw(place);
    view.signal("chosen", chosenClass).signal("shown", lookedAt).run();
    return view;
  }

  const mapView = () => views.get("map").view;
  const isShown = (row) => !chosenClass || row.label === chosenClass;

  function inPixels(row) {
    const view = mapView();
    return [view.scale("x")(row.across), view.scale("y")(row.up)];
  }

  function nearest([x, y]) {
    let best = null, least = NEAR_PX;
    for (const row of spotRows.filter(isShown)) {
      const [left, top] = inPixels(row), distance = Math.hypot(left - x, top - y);
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  // The nearest in that direction, those far off to the side counting less.
  function next([stepX, stepY]) {
    const from = spotRows[lookedAt];
    const [x0, y0] = from ? inPixels(from) : [mapView().width() / 2, mapView().height() / 2];
    let best = null, least = Infinity;
    for (const row of spotRows.filter((each) => each !== from && isShown(each))) {
      const [x, y] = inPixels(row), along = (x - x0) * stepX + (y - y0) * stepY;
      const aside = Math.abs((x - x0) * stepY) + Math.abs((y - y0) * stepX), distance = along + 2 * aside;
      if (along > 0 && distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  function lookAt(row) {
    if (!row || row.index === lookedAt) return;
    lookedAt = row.index;
    mapView().signal("shown", lookedAt).runAsync();
    const says = row.predicted === null ? `${row.part}` : row.predicted === row.label ? "found, on test" : `taken for ${row.predicted}, on test`;
    one("#map-photo").replaceChildren(
      ...framed(row.key),
      make("p", {}, make("b", {}, row.label), " ", make("span", { class: "quiet" }, says)),
      pathOf(row.key),
    );
  }

  function zoom(factor, about) {
    const view = mapView();
    const whole = [-0.03, 1.03];
    for (const [axis, signal] of [["x", "frame_across"], ["y", "frame_up"]]) {
      const [from, to] = view.scale(axis).domain(), middle = about?.[axis] ?? (from + to) / 2;
      view.signal(signal, factor ? [middle - (middle - from) * factor, middle + (to - middle) * factor] : whole);
    }
    view.runAsync();
  }

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function setUpMap() {
    const place = one("[data-chart=map]");
    if (!place) return;
    const at = (event) => {
      const view = mapView(), box = one("canvas", place).getBoundingClientRect(), [left, top] = view.origin();
      return [event.clientX - box.left - left, event.clientY - box.top - top];
    };
    for (const kind of ["pointermove", "click"]) {
      place.addEventListener(kind, (event) => { if (views.has("map") && !event.buttons) lookAt(nearest(at(event))); });
    }
    place.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in STEPS) lookAt(next(STEPS[event.key]));
      else if (event.key === "+" || event.key === "=") zoom(0.6, middleOf(lookedAt));
      else if (event.key === "-") zoom(1 / 0.6, middleOf(lookedAt));
      else if (event.key === "0") zoom(0);
      else return;
      event.preventDefault();
    });
    for (const button of all("[data-zoom]")) {
      button.addEventListener("click", () => zoom(Number(button.dataset.zoom), middleOf(lookedAt)));
    }
    one("#map-class").addEventListener("change", (event) => {
      chosenClass = event.target.value;
      mapView().signal("chosen", chosenClass).runAsync();
    });
  }

  const middleOf = (index) => (index < 0 ? null : { x: spotRows[index].across, y: spotRows[index].up });

  // Confusion matrices.

  const MANY = 24, MOST = 150, PAIRS = 12;

  function cellName({ i, j, n }) {
    const [label, answer] = [facts.classes[i], facts.classes[j]];
    return `${counted(n, "photo")} of ${label} ${i === j ? "found" : `taken for ${answer}`}`;
  }

  function cellButton(cell, total) {
    const isRight = cell.i === cell.j, part = cell.n / total;
    // Of mistakes the root: few of a row are mistaken, and they are what one looks for.
    const depth = Math.ceil(8 * (isRight ? part : Math.sqrt(part)));
    const button = make("button", { type: "button", class: `${isRight ? "right" : "wrong"} d${depth}`, tabindex: -1 }, String(cell.n));
    button.setAttribute("aria-label", cellName(cell));
    button.title = cellName(cell);
    return button;
  }

  function matrix(place) {
    const candidate = Number(place.dataset.matrix), cells = facts.cells[candidate], names = facts.classes;
    const totals = names.map(() => 0), at = new Map();
    for (const cell of cells) {
      totals[cell.i] += cell.n;
      at.set(`${cell.i} ${cell.j}`, cell);
    }
    const heads = names.map((name) => make("th", { scope: "col", title: name }, make("span", {}, name)));
    const corner = make("th", { scope: "col" }, make("span", { class: "corner" }, "answer →"), make("span", { class: "corner" }, "label ↓"));
    const rows = names.map((name, i) => {
      const boxes = names.map((_, j) => {
        const cell = at.get(`${i} ${j}`), box = make("td");
        if (!cell) box.append(make("span"));
        else {
          const button = cellButton(cell, totals[i]);
          Object.assign(button.dataset, { i, j });
          button.addEventListener("click", () => openCell(candidate, cell));
          box.append(button);
        }
        return box;
      });
      return make("tr", {}, make("th", { scope: "row", title: name }, name), ...boxes);
    });
    const caption = make("caption", {}, "Test photos of each class, by answer.");
    place.append(make("table", {}, caption, make("thead", {}, make("tr", {}, corner, ...heads)), make("tbody", {}, ...rows)));
    place.classList.toggle("many", names.length > MANY);
    rove(place);
  }

  // One cell of the matrix is in the order of the Tab key; arrow keys move to the next one that is not empty.
  function rove(place) {
    const buttons = all("button", place);
    if (buttons.length) buttons[0].tabIndex = 0;
    place.addEventListener("keydown", (event) => {
      const from = event.target.closest("button"), step = STEPS[event.key];
      if (!from || !step) return;
      event.preventDefault();
      const [x, y] = [Number(from.dataset.j), Number(from.dataset.i)];
      const isAhead = (each) => {
        const [across, down] = [Number(each.dataset.j) - x, Number(each.dataset.i) - y];
        return step[0] ? down === 0 && across * step[0] > 0 : across === 0 && down * step[1] > 0;
      };
      const ahead = buttons.filter(isAhead), to = step[0] + step[1] > 0 ? ahead[0] : ahead.at(-1);
      if (!to) return;
      from.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    });
  }

  function commonest(place) {
    const candidate = Number(place.dataset.pairs);
    const wrong = facts.cells[candidate].filter((cell) => cell.i !== cell.j).sort((a, b) => b.n - a.n);
    place.append(make("h5", {}, wrong.length ? "Commonest mistakes" : "It made no mistake on test."));
    if (!wrong.length) return;
    const list = make("ol");
    for (const cell of wrong.slice(0, PAIRS)) {
      const names = make("span", {}, facts.classes[cell.i], make("span", { class: "quiet" }, " taken for "), facts.classes[cell.j]);
      const button = make("button", { type: "button" }, names, make("span", { class: "n" }, counted(cell.n, "photo")));
      button.addEventListener("click", () => openCell(candidate, cell));
      list.append(make("li", {}, button));
    }
    place.append(list);
  }

  function openCell(candidate, cell) {
    const dialog = one("#cell");
    one("#cell-title").textContent = cellName(cell);
    const listed = cell.photos.length;
    const rest = listed < cell.n ? (listed ? `; the ${listed} it was surest of are shown` : "; this run holds no predictions of single photos") : ", surest first";
    one(".dialog-note", dialog).textContent = `${facts.candidates[candidate]}${rest}`;
    const cards = cell.photos.map((key, n) => make(
      "li", { class: "card" }, ...framed(key),
      make("p", { class: "card-text" }, make("span", { class: "quiet" }, `${(cell.sure[n] / 10).toFixed(1)}% sure`)),
      pathOf(key),
    ));
    one(".cards", dialog).replaceChildren(...cards);
    dialog.showModal();
    one("#cell-title").focus();
    dialog.scrollTop = 0;
  }

  function setUpMatrices() {
    for (const place of all("[data-matrix]")) {
      if (facts.classes.length > MOST) place.remove();
      else if (isSeen(place) && !place.childElementCount) matrix(place);
    }
    for (const place of all("[data-pairs]")) if (isSeen(place) && !place.childElementCount) commonest(place);
  }

  // Tabs, as in https://www.w3.org/WAI/ARIA/apg/patterns/tabs/.

  function select(tab) {
    for (const each of all("[role=tab]")) {
      const isSelected = each === tab;
      each.setAttribute("aria-selected", isSelected);
      each.tabIndex = isSelected ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).hidden = !isSelected;
    }
    setUpMatrices();
    return drawSeen();
  }

  function setUpTabs() {
    const tabs = all("[role=tab]");
    tabs.forEach((tab, number) => {
      tab.addEventListener("click", () => select(tab));
      tab.addEventListener("keydown", (event) => {
        const to = { ArrowRight: number + 1, ArrowLeft: number - 1, Home: 0, End: tabs.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        const next = tabs[(to + tabs.length) % tabs.length];
        next.focus();
        select(next);
      });
    });
  }

  // Tables that sort.

  function valueOf(cell) {
    const data = one("data", cell);
    if (data) return Number(data.value);
    const text = cell.dataset.sort ?? cell.textContent.trim();
    return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
  }

  function compare(a, b) {
    const [isNumberA, isNumberB] = [typeof a === "number", typeof b === "number"];
    if (isNumberA !== isNumberB) return isNumberA ? -1 : 1;
    return isNumberA ? a - b : a.localeCompare(b, "en", { numeric: true });
  }

  function sortBy(button) {
    const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
    const now = head.getAttribute("aria-sort"), first = button.dataset.first ?? "ascending";
    const other = { ascending: "descending", descending: "ascending" };
    const order = now === "none" ? first : other[now];
    for (const each of all("th[aria-sort]", table)) each.setAttribute("aria-sort", each === head ? order : "none");
    const body = table.tBodies[0], sign = order === "ascending" ? 1 : -1;
    body.append(...[...body.rows].sort((a, b) => sign * compare(valueOf(a.cells[column]), valueOf(b.cells[column]))));
  }

  // Which section is being read, in the navigation.

  function follow() {
    const links = new Map(all(".top nav a").map((link) => [link.hash.slice(1), link]));
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const link = links.get(entry.target.id);
        if (!link || !entry.isIntersecting) continue;
        for (const each of links.values()) each.removeAttribute("aria-current");
        link.setAttribute("aria-current", "true");
        link.parentElement.parentElement.parentElement.scrollTo({ left: link.offsetLeft - 60 });
      }
    }, { rootMargin: "-30% 0px -65% 0px" });
    for (const section of all("main > section")) seen.observe(section);
  }

  async function start() {
    const theme = remembered.get();
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    nameTheme();
    one("#theme").hidden = false;
    one("#theme").addEventListener("click", () => {
      const name = isDark() ? "light" : "dark";
      remembered.set(name);
      setTheme(name);
    });
    system.addEventListener("change", () => { nameTheme(); repaint(); });
    printed.addEventListener("change", repaint);
    all(".frame[data-photo]").forEach(fill);
    all(".sort").forEach((button) => button.addEventListener("click", () => sortBy(button)));
    one("#cell .close").addEventListener("click", () => one("#cell").close());
    one("#cell").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });
    setUpTabs();
    setUpMatrices();
    setUpMap();
    follow();
    await drawSeen();
    document.documentElement.dataset.ready = "";
  }

  start();
})();
