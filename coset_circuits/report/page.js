"use strict";
// Opens the findings' rows, says which tables go on sideways, and draws the neurons. Without it
// the page has its text, tables and figures still. Names of groups and networks go into the page as text only, never as HTML.
(() => {
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  function shown(value) {
    if (value === null || Number.isNaN(value)) return "–";
    return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(3));
  }
  const sum = (list) => list.reduce((a, b) => a + b, 0);

  function make(tag, text = "", attributes = {}) {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // Boxes of tables and figures

  // One that fits is no stop for the keyboard, and its head may stay in sight.
  function watchBoxes() {
    const boxes = new ResizeObserver((entries) => new Set(entries.map(({ target }) => target.closest(".scroll"))).forEach(measure));
    function measure(box) {
      // Boxes of closed rows are seen when these are opened.
      if (!box.clientWidth) return;
      const hidden = box.scrollWidth - box.clientWidth;
      box.classList.toggle("fits", hidden < 2);
      box.classList.toggle("beyond", hidden - box.scrollLeft > 1);
      box.tabIndex = hidden < 2 ? -1 : 0;
    }
    for (const box of document.querySelectorAll(".scroll")) {
      boxes.observe(box);
      boxes.observe(box.firstElementChild);
      box.addEventListener("scroll", () => measure(box), { passive: true });
    }
  }

  // Findings

  function openFindings() {
    const buttons = [...document.querySelectorAll(".findings button")];
    const isOpen = (button) => button.getAttribute("aria-expanded") === "true";
    const set = (button, open) => {
      button.setAttribute("aria-expanded", open);
      find(button.getAttribute("aria-controls")).classList.toggle("shown", open);
    };
    for (const button of buttons) {
      set(button, false);
      button.addEventListener("click", () => set(button, !isOpen(button)));
    }
    const all = find("open-all");
    all?.addEventListener("click", () => {
      const open = !buttons.every(isOpen);
      buttons.forEach((button) => set(button, open));
      all.textContent = open ? "Close all rows" : "Open all rows";
    });
  }

  // Neurons: what is known of them

  function network(data) {
    const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const tables = data.tables.map(({ low, high, levels }) => ({ low, high, levels: bytes(levels) }));
    const elements = Array.from({ length: data.order }, (_, g) => g);
    const kept = new Map();

    function values(table, j) {
      const { low, high, levels } = tables[table];
      const step = (high[j] - low[j]) / 255;
      return elements.map((g) => low[j] + step * levels[j * data.order + g]);
    }

    function rightCosets(subgroup) {
      if (!kept.has(subgroup)) {
        kept.set(subgroup, Array.from(new Uint16Array(bytes(data.cosets.subgroups[subgroup].cosets).buffer)));
      }
      return kept.get(subgroup);
    }

    // Right cosets Hg, left cosets gK, double cosets HgK: of a neuron's left table, right table
    // and unembedding.
    function cells(table, j) {
      if (!data.cosets) return null;
      const ofH = rightCosets(data.cosets.H[j]);
      const onTheRight = rightCosets(data.cosets.K[j]);
      const ofK = data.cosets.inverse.map((g) => onTheRight[g]);
      return table === 0 ? ofH : table === 1 ? ofK : joined(ofH, ofK);
    }

    const leading = elements.slice(0, 0);
    for (let j = 0; j < data.width; j++) {
      const [left, right] = data.shares[j];
      const both = left.map((share, i) => share + right[i]);
      leading.push(both.indexOf(Math.max(...both)));
    }

    // One neuron's table, its elements sorted by cell, the cell of the lowest mean first.
    function view(table, j) {
      const own = values(table, j);
      const labels = cells(table, j);
      const phases = labels ? null : data.phases[leading[j]];
      const members = new Map();
      elements.forEach((g) => {
        const label = labels ? labels[g] : 0;
        if (!members.has(label)) members.set(label, []);
        members.get(label).push(g);
      });
      const sorted = [...members].map(([label, inside]) => ({
        inside,
        mean: sum(inside.map((g) => own[g])) / inside.length,
        isShared: table === 2 && labels !== null && label === labels[data.cosets.x[j]],
      })).sort((a, b) => a.mean - b.mean);
      let start = 0;
      for (const cell of sorted) {
        cell.start = start;
        start += cell.inside.length;
      }
      const order = phases ? elements.slice().sort((a, b) => phases[a] - phases[b])
        : sorted.flatMap((cell) => cell.inside);
      return { values: own, cells: labels ? sorted : [], order, phases };
    }

    const subgroup = (j) => data.cosets && data.cosets.subgroups[data.cosets.H[j]];
    return {
      ...data, view, leading, subgroup,
      className: (j) => (data.cosets?.passes[j] ? subgroup(j).name : "none"),
      residual: (family, j) => Math.max(family.fvu[0][j], family.fvu[1][j]),
      range: (j) => {
        const ends = tables.slice(0, 2).map(({ low, high }) => [low[j], high[j]]);
        return [Math.min(...ends.map((e) => e[0])), Math.max(...ends.map((e) => e[1]))];
      },
    };
  }

  // The cells of the finest partition that both of these refine.
  function joined(one, two) {
    const above = new Map();
    const top = (cell) => {
      while (above.has(cell)) cell = above.get(cell);
      return cell;
    };
    one.forEach((label, g) => {
      const [a, b] = [top(label), top(-1 - two[g])];
      if (a !== b) above.set(b, a);
    });
    return one.map(top);
  }

  // Neurons: how they are drawn

  // On paper whatever the screen's scheme; canvases are drawn before the print styles apply.
  const PAPER = { ink: "#000", soft: "#444", tint: "#f3f3f3", line: "#bbb",
    left: "#0072b2", right: "#c25400", unembed: "#007d5a" };
  let isPrinting = false;

  function palette() {
    if (isPrinting) return PAPER;
    const style = getComputedStyle(root);
    return Object.fromEntries(Object.keys(PAPER).map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  const SERIES = ["left", "right", "unembed"];

  function prepared(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = isPrinting ? 3 : Math.max(1, window.devicePixelRatio || 1);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = `${canvas.dataset.large ? 11 : 9}px system-ui, sans-serif`;
    return { context, width, height };
  }

  // Each element a point, cells as bands, their means as strokes. Returns where points stand.
  function drawTable(context, box, seen, colour, colours, [low, high], isLarge) {
    const margin = 0.06 * (high - low) || 1;
    [low, high] = [low - margin, high + margin];
    const span = high - low;
    const x = (place) => box.x + (box.width * (place + 0.5)) / seen.order.length;
    const y = (value) => box.y + box.height * (1 - (value - low) / span);
    seen.cells.forEach((cell, i) => {
      if (i % 2 && !cell.isShared) return;
      context.globalAlpha = cell.isShared ? 0.22 : 1;
      context.fillStyle = cell.isShared ? colours.unembed : colours.tint;
      const width = (box.width * cell.inside.length) / seen.order.length;
      context.fillRect(box.x + (box.width * cell.start) / seen.order.length, box.y, width, box.height);
    });
    context.globalAlpha = 1;
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    if (low < 0 && high > 0) {
      context.strokeRect(box.x, y(0), box.width, 0);
    }
    context.strokeStyle = colours.soft;
    context.lineWidth = isLarge ? 1.5 : 1;
    context.beginPath();
    for (const cell of seen.cells) {
      context.moveTo(x(cell.start - 0.45), y(cell.mean));
      context.lineTo(x(cell.start + cell.inside.length - 0.55), y(cell.mean));
    }
    if (seen.cells.length) context.stroke();
    context.fillStyle = colour;
    context.globalAlpha = seen.order.length > 300 && !isLarge ? 0.4 : 0.75;
    const radius = isLarge ? 1.8 : 1;
    const points = seen.order.map((g, place) => {
      const along = seen.phases ? ((seen.phases[g] + Math.PI) / (2 * Math.PI)) * seen.order.length - 0.5 : place;
      return { g, x: x(along), y: y(seen.values[g]) };
    });
    for (const point of points) {
      context.fillRect(point.x - radius, point.y - radius, 2 * radius, 2 * radius);
    }
    context.globalAlpha = 1;
    return points;
  }

  function drawShares(context, box, shares, colours) {
    const height = box.height / 3;
    shares.forEach((row, i) => {
      const base = box.y + height * (i + 1);
      context.fillStyle = colours.line;
      context.fillRect(box.x, base - 1, box.width, 1);
      context.fillStyle = colours[SERIES[i]];
      const width = box.width / row.length;
      row.forEach((share, k) => {
        const tall = share * (height - 3);
        context.fillRect(box.x + k * width + width * 0.1, base - 1 - tall, Math.max(1, width * 0.8), tall);
      });
    });
  }

  function drawCard(canvas, known, j) {
    const { context, width, height } = prepared(canvas);
    const colours = palette();
    const [w, h] = [width / 2 - 4, height / 2 - 13];
    const box = (column, row) => ({ x: column * (w + 8), y: row * (h + 14) + 11, width: w, height: h });
    const titles = ["left", "right", "irreps", "unembedding"];
    context.fillStyle = colours.soft;
    titles.forEach((title, i) => context.fillText(title, box(i % 2, i >> 1).x, box(0, i >> 1).y - 2));
    const shared = known.range(j);
    drawTable(context, box(0, 0), known.view(0, j), colours.left, colours, shared);
    drawTable(context, box(1, 0), known.view(1, j), colours.right, colours, shared);
    drawShares(context, box(0, 1), known.shares[j], colours);
    const seen = known.view(2, j);
    drawTable(context, box(1, 1), seen, colours.unembed, colours, ends(seen.values));
  }

  const ends = (values) => [Math.min(...values), Math.max(...values)];

  function axes(context, box, colours, low, high, below) {
    context.fillStyle = colours.soft;
    context.textAlign = "right";
    const margin = 0.06 * (high - low) || 1;
    const isClear = Math.min(-low, high) > 0.12 * (high - low);
    for (const value of isClear ? [low, 0, high] : [low, high]) {
      const y = box.y + box.height * (1 - (value - low + margin) / (high - low + 2 * margin));
      context.fillText(shown(value), box.x - 5, y + 4);
    }
    context.textAlign = "right";
    const wide = context.measureText(below).width;
    context.fillText(below, box.x + (box.width + Math.min(wide, box.width)) / 2, box.y + box.height + 16);
    context.textAlign = "left";
  }

  // Neurons: the enlarged one

  function enlarger(known) {
    const dialog = find("enlarged");
    const canvases = [...dialog.querySelectorAll("canvas")];
    const readout = find("readout");
    let [list, at, origin] = [[], 0, null];

    function below(table, seen) {
      if (seen.phases) return `elements by phase of ${known.irreps[known.leading[list[at]]]} (−π to π)`;
      if (!seen.cells.length) return "elements in the group's order";
      const kind = ["right cosets Hg", "left cosets gK", "double cosets HgK"][table];
      return `elements by cell: ${seen.cells.length} ${kind}, lowest mean first`;
    }

    function tablePanel(canvas, table, j) {
      const { context, width, height } = prepared(canvas);
      const colours = palette();
      const seen = known.view(table, j);
      const [low, high] = table < 2 ? known.range(j) : ends(seen.values);
      const box = { x: 46, y: 8, width: width - 52, height: height - 32 };
      axes(context, box, colours, low, high, below(table, seen));
      const points = drawTable(context, box, seen, colours[SERIES[table]], colours, [low, high], true);
      const levels = seen.cells.map((cell) => shown(cell.mean)).join(", ");
      const told = levels && seen.cells.length <= 24 ? ` Means of the cells: ${levels}.` : "";
      canvas.setAttribute("aria-label", `${["Left pre-activation", "Right pre-activation", "Unembedding"][table]} of ${known.order} ${below(table, seen)}, from ${shown(low)} to ${shown(high)}.${told}`);
      canvas.onpointermove = (event) => {
        const place = event.offsetX;
        const near = points.reduce((a, b) => (Math.abs(b.x - place) < Math.abs(a.x - place) ? b : a));
        const cell = seen.cells.findIndex((c) => c.inside.includes(near.g));
        const inside = cell < 0 ? "" : `, cell ${cell + 1} of ${seen.cells.length}, its mean ${shown(seen.cells[cell].mean)}`;
        readout.textContent = `Element ${known.labels[near.g]}: ${shown(seen.values[near.g])}${inside}`;
      };
    }

    function sharesPanel(canvas, j) {
      const { context, width, height } = prepared(canvas);
      const colours = palette();
      const isNamed = known.irreps.length <= 16;
      const box = { x: 74, y: 8, width: width - 80, height: height - (isNamed ? 66 : 32) };
      drawShares(context, box, known.shares[j], colours);
      context.textAlign = "right";
      ["left", "right", "unembed"].forEach((name, i) => {
        context.fillStyle = colours.soft;
        context.fillText(name, box.x - 6, box.y + (box.height * (i + 0.6)) / 3);
      });
      if (isNamed) {
        known.irreps.forEach((name, k) => {
          context.save();
          context.translate(box.x + (box.width * (k + 0.5)) / known.irreps.length + 3, box.y + box.height + 6);
          context.rotate(-Math.PI / 4);
          context.fillText(name, 0, 6);
          context.restore();
        });
      } else {
        context.textAlign = "center";
        context.fillText(`${known.irreps.length} irreps, ${known.irreps[0]} to ${known.irreps.at(-1)}`, box.x + box.width / 2, box.y + box.height + 16);
      }
      const largest = strongest(j).map(([name, share]) => `${name} ${shown(100 * share)}%`).join(", ");
      canvas.setAttribute("aria-label", `Share of variance by irrep, largest of the pre-activations: ${largest}.`);
      canvas.onpointermove = (event) => {
        const k = Math.floor(((event.offsetX - box.x) / box.width) * known.irreps.length);
        if (k in known.irreps) readout.textContent = `Irrep ${known.irreps[k]}: left ${shown(known.shares[j][0][k])}, right ${shown(known.shares[j][1][k])}, unembedding ${shown(known.shares[j][2][k])} of the variance`;
      };
    }

    function strongest(j) {
      const [left, right] = known.shares[j];
      return left.map((share, k) => [known.irreps[k], (share + right[k]) / 2])
        .sort((a, b) => b[1] - a[1]).slice(0, 3).filter(([, share]) => share > 0.005);
    }

    function formingPanel(canvas, j) {
      const { context, width, height } = prepared(canvas);
      const colours = palette();
      const box = { x: 46, y: 8, width: width - 52, height: height - 32 };
      const { steps } = known.formation;
      const all = [...known.formation.left[j], ...known.formation.right[j]].filter((v) => v > 0);
      const [low, high] = all.length ? [Math.log10(Math.min(...all)), 0] : [-1, 0];
      // Step 0 has no place on a logarithmic axis.
      const [first, last] = [steps.find((step) => step > 0) || 1, steps.at(-1)];
      const x = (step) => box.x + (box.width * Math.log10(step / first)) / (Math.log10(last / first) || 1);
      const margin = 0.06 * (high - low);
      const y = (value) => box.y + (box.height * (high + margin - Math.log10(Math.max(value, 1e-16)))) / (high - low + 2 * margin);
      axes(context, box, colours, low, high, `training step, ${first} to ${last} (logarithmic)`);
      ["left", "right"].forEach((side, i) => {
        context.strokeStyle = colours[side];
        context.setLineDash(i ? [5, 3] : []);
        context.lineWidth = 1.6;
        context.beginPath();
        known.formation[side][j].forEach((value, k) => {
          if (value !== null && steps[k] > 0) context.lineTo(x(steps[k]), y(value));
        });
        context.stroke();
      });
      context.setLineDash([]);
      canvas.setAttribute("aria-label", `log10 of the variance left outside the final cells, by training step, from ${shown(known.formation.left[j][0])} to ${shown(known.formation.left[j].at(-1))} on the left.`);
    }

    function facts(j) {
      const list = find("enlarged-facts");
      list.replaceChildren();
      const add = (name, value) => list.append(make("dt", name), make("dd", value));
      for (const family of known.families) {
        const [left, right, unembed] = family.fvu.map((column) => shown(column[j]));
        add(family.title, `${family.roles[j]}; FVU left ${left}, right ${right}, unembedding ${unembed}`);
      }
      const H = known.subgroup(j);
      if (H) {
        const K = known.cosets.subgroups[known.cosets.K[j]];
        const spanned = (group) => `⟨${group.generators.join(", ") || "e"}⟩`;
        const verdict = known.cosets.passes[j] ? "" : " (the best, though it does not pass)";
        add("subgroup", `H = ${spanned(H)}, ${H.name} of order ${H.order}${verdict}; K = x⁻¹Hx = ${spanned(K)}, x = ${known.labels[known.cosets.x[j]]}`);
      }
      add("irreps", strongest(j).map(([name, share]) => `${name} ${shown(100 * share)}%`).join(", ") || "none");
    }

    function levels(j) {
      const body = find("enlarged-levels");
      body.replaceChildren();
      const kinds = ["left, Hg", "right, gK", "unembedding, HgK"];
      kinds.forEach((kind, table) => {
        for (const cell of known.view(table, j).cells) {
          const named = cell.inside.slice(0, 3).map((g) => known.labels[g]).join(", ");
          const row = make("tr");
          row.append(make("th", `${kind}${cell.isShared ? " (shared coset)" : ""}`, { scope: "row", class: "name" }),
            make("td", `${named}${cell.inside.length > 3 ? ", …" : ""}`, { class: "text" }),
            make("td", String(cell.inside.length)), make("td", shown(cell.mean)));
          body.append(row);
        }
      });
      body.closest("details").hidden = !body.children.length;
    }

    function draw() {
      const j = list[at];
      find("enlarged-title").textContent = `Neuron ${j}`;
      find("enlarged-place").textContent = `${at + 1} of ${list.length} shown`;
      readout.textContent = "Point at a picture to read its values; ← and → go to the next neuron.";
      for (const canvas of canvases) {
        const what = canvas.dataset.large;
        if (what === "irreps") sharesPanel(canvas, j);
        else if (what === "formation") formingPanel(canvas, j);
        else tablePanel(canvas, Number(what), j);
      }
      facts(j);
      levels(j);
    }

    const go = (by) => {
      at = (at + by + list.length) % list.length;
      draw();
    };
    find("previous").addEventListener("click", () => go(-1));
    find("next").addEventListener("click", () => go(1));
    find("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => origin?.(list[at]));
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") go(-1);
      if (event.key === "ArrowRight") go(1);
    });
    return {
      open(neurons, j, back) {
        [list, at, origin] = [neurons, neurons.indexOf(j), back];
        dialog.showModal();
        draw();
      },
      redraw: () => dialog.open && draw(),
    };
  }

  // Neurons: the gallery and its filters

  function gallery(known) {
    const place = find("gallery");
    const dialog = enlarger(known);
    const filters = Object.fromEntries(["family", "role", "class", "irrep", "residual", "sort"]
      .map((name) => [name, find(`filter-${name}`)]));
    const family = () => known.families[Number(filters.family.value)];
    const every = Array.from({ length: known.width }, (_, j) => j);
    let chosen = every;
    const undrawn = new Set();
    const inSight = new Set();

    const cards = every.map((j) => {
      const card = make("button", "", { type: "button", class: "neuron", tabindex: "-1", "data-neuron": j });
      card.append(make("span"), make("canvas", "", { "aria-hidden": "true" }));
      card.addEventListener("click", () => dialog.open(chosen, j, focus));
      return card;
    });

    function draw(j) {
      undrawn.delete(j);
      drawCard(cards[j].querySelector("canvas"), known, j);
    }

    const sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const j = Number(target.dataset.neuron);
        if (isIntersecting) inSight.add(j);
        else inSight.delete(j);
        if (isIntersecting && undrawn.has(j)) draw(j);
      }
    }, { rootMargin: "400px" });
    cards.forEach((card) => sight.observe(card));

    function redraw() {
      every.forEach((j) => undrawn.add(j));
      inSight.forEach((j) => cards[j].isConnected && draw(j));
      dialog.redraw();
    }

    function focus(j) {
      every.forEach((k) => { cards[k].tabIndex = k === j ? 0 : -1; });
      cards[j].focus();
    }

    const tests = {
      role: (j, value) => family().roles[j] === value,
      class: (j, value) => known.className(j) === value,
      irrep: (j, value) => known.irreps[known.leading[j]] === value,
      residual: (j, value) => {
        const left = known.residual(family(), j);
        return value.startsWith(">") ? left > Number(value.slice(1)) : left <= Number(value.slice(1));
      },
    };

    function options(select, values) {
      const old = select.value;
      const choices = [["", `all (${known.width})`], ...values];
      select.replaceChildren(...choices.map(([value, text]) => make("option", text, { value })));
      select.value = choices.some(([value]) => value === old) ? old : "";
    }

    function counted(of) {
      const counts = new Map();
      every.forEach((j) => counts.set(of(j), (counts.get(of(j)) || 0) + 1));
      return [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => [name, `${name} (${count})`]);
    }

    function offer() {
      const own = family();
      options(filters.role, counted((j) => own.roles[j]));
      options(filters.class, known.cosets ? counted(known.className) : []);
      filters.class.closest("label").hidden = !known.cosets;
      options(filters.irrep, counted((j) => known.irreps[known.leading[j]]));
      const bounds = [["≤1e-6", "at most 10⁻⁶"], ["≤1e-4", "at most 10⁻⁴"],
        [`≤${known.threshold}`, `at most ${known.threshold}`], [`>${known.threshold}`, `more than ${known.threshold}`]];
      options(filters.residual, bounds.map(([value, text]) =>
        [value, `${text} (${every.filter((j) => tests.residual(j, value)).length})`]));
    }

    const sorts = {
      role: (a, b) => rank(a) - rank(b) || a - b,
      number: (a, b) => a - b,
      residual: (a, b) => known.residual(family(), b) - known.residual(family(), a),
    };
    let ranks = new Map();
    const rank = (j) => ranks.get(family().roles[j]) + (family().dull[j] ? known.width : 0);

    function show() {
      const own = family();
      ranks = new Map(counted((j) => own.roles[j]).map(([name], i) => [name, i]));
      chosen = every.filter((j) => Object.entries(tests)
        .every(([name, test]) => !filters[name].value || test(j, filters[name].value)));
      chosen.sort(sorts[filters.sort.value]);
      const content = [];
      let before = null;
      for (const j of chosen) {
        const role = own.roles[j];
        if (filters.sort.value === "role" && role !== before) {
          const count = chosen.filter((k) => own.roles[k] === role).length;
          content.push(make("h4", `${role}: ${count} neuron${count > 1 ? "s" : ""}`));
          before = role;
        }
        const irrep = known.irreps[known.leading[j]];
        const card = cards[j];
        card.classList.toggle("dull", own.dull[j]);
        const name = make("b", String(j));
        name.append(make("em", role));
        card.firstChild.replaceChildren(name, make("i", irrep));
        card.setAttribute("aria-label", `Neuron ${j}: ${role}; leading irrep ${irrep}; ` +
          `subgroup class ${known.className(j)}; residual ${shown(known.residual(own, j))}`);
        card.tabIndex = j === chosen[0] ? 0 : -1;
        undrawn.add(j);
        content.push(card);
      }
      place.replaceChildren(...content);
      find("gallery-count").textContent = `${chosen.length} of ${known.width} neurons shown`;
    }

    place.addEventListener("keydown", (event) => {
      const at = chosen.indexOf(Number(event.target.dataset.neuron));
      const columns = getComputedStyle(place).gridTemplateColumns.split(" ").length;
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns,
        Home: 0, End: chosen.length - 1 };
      if (at < 0 || !(event.key in moves)) return;
      event.preventDefault();
      focus(chosen[Math.max(0, Math.min(chosen.length - 1, moves[event.key]))]);
    });

    function choose(changes) {
      for (const [name, value] of Object.entries(changes)) filters[name].value = value;
      offer();
      show();
    }

    known.families.forEach((own, i) => filters.family.append(make("option", own.title, { value: i })));
    Object.values(filters).forEach((select) => select.addEventListener("change", () => choose({})));
    const reset = { role: "", class: "", irrep: "", residual: "" };
    find("reset").addEventListener("click", () => choose(reset));
    choose({});

    for (const node of document.querySelectorAll("[id*='-used-']")) {
      const lines = [...node.querySelectorAll("text")].map((line) => line.textContent.trim());
      const name = lines.slice(0, -1).join("");
      node.setAttribute("data-class", name);
      node.addEventListener("click", () => {
        choose({ ...reset, class: name });
        find("neurons-heading").scrollIntoView();
      });
    }

    let width = place.clientWidth;
    new ResizeObserver(() => {
      if (place.clientWidth !== width) redraw();
      width = place.clientWidth;
    }).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    const print = (now) => () => {
      isPrinting = now;
      if (now) chosen.forEach(draw);
      else redraw();
    };
    window.addEventListener("beforeprint", print(true));
    window.addEventListener("afterprint", print(false));
  }

  root.classList.add("js");
  watchBoxes();
  openFindings();
  const held = find("neuron-data");
  if (held) gallery(network(JSON.parse(held.textContent)));
})();
