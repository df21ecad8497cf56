// What a page can do beyond being read: themes, points that answer, a table that sorts and filters. Needs no network.
"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const block = one("#page-data");
  const data = block ? JSON.parse(block.textContent) : { columns: {}, tips: {}, filters: {} };
  root.classList.add("js");

  // Theme: that of the system until somebody chooses. Storage may be refused to a file.
  const themes = ["auto", "light", "dark"];
  const remembered = () => { try { return localStorage.getItem("jepa-scale-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("jepa-scale-theme", theme); } catch { /* not kept */ } };
  const wear = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    const button = one("#theme");
    if (button) { button.textContent = `Theme: ${theme}`; button.dataset.now = theme; }
  };
  wear(themes.includes(remembered()) ? remembered() : "auto");
  one("#theme")?.addEventListener("click", (event) => {
    const next = themes[(themes.indexOf(event.target.dataset.now) + 1) % themes.length];
    remember(next);
    wear(next);
  });

  // Boxes that scroll must be reachable by keyboard, and those that do not must not be in the way.
  const reach = () => all(".wide, .card, pre").forEach((box) => {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    cue(box);
  });
  const cue = (box) => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  all(".wide, .card").forEach((box) => box.addEventListener("scroll", () => cue(box), { passive: true }));
  addEventListener("resize", reach);
  all("details").forEach((box) => box.addEventListener("toggle", reach));

  // What is led to is unfolded first.
  const reveal = (target) => {
    for (let box = target?.closest("details") ?? (target && one("details.section", target)); box;
      box = box.parentElement.closest("details")) box.open = true;
  };
  const unfold = () => {
    if (location.hash.length > 1) reveal(document.getElementById(decodeURIComponent(location.hash.slice(1))));
  };
  addEventListener("hashchange", unfold);
  unfold();

  // Copy and download.
  const save = (name, kind, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const say = (button, text) => {
    const before = button.dataset.said ??= button.textContent;
    button.textContent = text;
    setTimeout(() => { button.textContent = before; }, 2000);
  };
  all("button[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    const source = one(`#${button.dataset.copy}`);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say(button, "Copied");
    } catch {
      getSelection().selectAllChildren(source);
      say(button, "Selected: press Ctrl+C");
    }
  }));
  all("button[data-save]").forEach((button) => button.addEventListener("click", () => {
    save(button.dataset.name, "text/yaml", one(`#${button.dataset.save}`).textContent);
  }));

  // The table of runs.
  const table = one("#runs-table");
  const rows = table ? all("tbody tr", table) : [];
  const field = one("#filter");
  const raw = (row, key) => data.columns[key]?.[row.dataset.r] ?? null;

  const compare = (key, sign) => (a, b) => {
    const [x, y] = [raw(a, key), raw(b, key)];
    // What is missing comes last whichever way the rest goes.
    if (x === null || y === null) return (x === null) - (y === null) || a.dataset.r - b.dataset.r;
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
    return sign * order || a.dataset.r - b.dataset.r;
  };
  const sort = (header, key) => {
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    rows.sort(compare(key, sign));
    one("tbody", table).append(...rows);
  };
  all("th button[data-key]", table ?? root).forEach((button) => {
    button.addEventListener("click", () => sort(button.closest("th"), button.dataset.key));
  });

  // A word is looked for in the row's text; column=value, < and > compare with the data.
  const tests = { "=": (x, y) => x === y, "!=": (x, y) => x !== y, "<": (x, y) => x < y, ">": (x, y) => x > y,
    "<=": (x, y) => x <= y, ">=": (x, y) => x >= y };
  // A quoted part keeps its spaces: arm="a=1, b=2". Quotes themselves are not compared.
  const unquoted = (value) => String(value).replaceAll('"', "");
  const condition = (word) => {
    const found = word.match(/^(\w+)(<=|>=|!=|=|<|>)(.+)$/);
    if (found && found[1] in data.columns) {
      const [, key, sign, value] = found;
      return (row) => {
        const x = raw(row, key);
        const number = Number(value);
        if (x === null) return false;
        return typeof x === "number" ? tests[sign](x, number) : tests[sign](unquoted(x), value);
      };
    }
    const wanted = word.toLowerCase();
    return (row) => row.textContent.toLowerCase().includes(wanted);
  };
  const filter = () => {
    const words = (field.value.match(/(?:[^\s"]+|"[^"]*"?)+/g) ?? []).map(unquoted);
    const wanted = words.map(condition);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !wanted.every((test) => test(row));
      shown += !row.hidden;
    }
    one("#shown").textContent = words.length ? `${shown} of ${rows.length} runs` : `${rows.length} runs`;
  };
  if (field) {
    field.addEventListener("input", filter);
    one("#clear").addEventListener("click", () => { field.value = ""; filter(); field.focus(); });
    filter();
  }

  const quoted = (value) => {
    // A spreadsheet would run a text that begins like a formula.
    const formula = typeof value === "string" && /^[=+\-@\t\r]/.test(value);
    const text = value === null ? "" : formula ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  one("#csv")?.addEventListener("click", () => {
    const keys = Object.keys(data.columns);
    const lines = rows.filter((row) => !row.hidden).map((row) => keys.map((key) => quoted(raw(row, key))).join(","));
    save(`${data.file}.csv`, "text/csv", [keys.join(","), ...lines, ""].join("\r\n"));
  });

  // Points of figures: the pointer asks the nearest one, the keyboard walks over them.
  const tip = one("#tip");
  const NEAR = 22; // pixels
  let origin = null; // where Escape leads back to

  const circle = (svg, name, point) => {
    const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", name);
    ring.setAttribute("r", "6.5");
    ring.setAttribute("cx", point.getAttribute("x"));
    ring.setAttribute("cy", point.getAttribute("y"));
    svg.append(ring);
    return ring;
  };
  const pinned = (key) => {
    all(".pin").forEach((ring) => ring.remove());
    all("tr.pinned").forEach((row) => row.classList.remove("pinned"));
    all(`[data-p="${key}"]`).forEach((point) => circle(point.closest("svg"), "pin", point).dataset.of = key);
  };
  const open = (point) => {
    const key = point.dataset.p;
    if (!table) return;
    reveal(table);
    pinned(key);
    origin = point;
    if (key in data.filters) {
      field.value = data.filters[key];
      filter();
      table.closest("section").scrollIntoView({ block: "start" });
      field.focus({ preventScroll: true });
      return;
    }
    const row = one(`#run-${key.slice(1)}`);
    if (!row) return;
    if (row.hidden) { field.value = ""; filter(); }
    row.classList.add("pinned");
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "center", inline: "nearest" });
  };
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    tip.hidden = true;
    if (origin && !origin.contains(document.activeElement)) origin.focus();
    origin = null;
  });

  const figure = (svg) => {
    // The marker's own position; no transform lies between it and the drawing's coordinates.
    const points = all(".pt", svg).map((element) => ({ element, x: +element.getAttribute("x"),
      y: +element.getAttribute("y"), tip: data.tips[element.dataset.p] })).filter((point) => point.tip);
    if (!points.length) return;
    points.sort((a, b) => a.x - b.x || a.y - b.y);
    const ring = circle(svg, "ring", points[0].element);
    ring.setAttribute("visibility", "hidden");

    let current = points[0], hovered = null, touched = null;
    const offer = (point) => {
      // One stop of the Tab key for each figure; only the point that has it needs a name.
      for (const name of ["tabindex", "role", "aria-label"]) current.element.removeAttribute(name);
      current = point;
      point.element.setAttribute("tabindex", "0");
      point.element.setAttribute("role", "button");
      point.element.setAttribute("aria-label", point.tip.join("; "));
    };
    const hide = () => { ring.setAttribute("visibility", "hidden"); tip.hidden = true; };
    const show = (point) => {
      ring.setAttribute("cx", point.x);
      ring.setAttribute("cy", point.y);
      ring.setAttribute("visibility", "visible");
      tip.replaceChildren(...point.tip.map((line, place) => {
        const part = document.createElement(place ? "span" : "b");
        part.textContent = line;
        return part;
      }));
      tip.hidden = false;
      const at = new DOMPoint(point.x, point.y).matrixTransform(svg.getScreenCTM());
      const width = Math.min(tip.offsetWidth, root.clientWidth - 8);
      const left = Math.max(4, Math.min(at.x + 12, root.clientWidth - width - 4));
      const above = at.y - tip.offsetHeight - 12;
      tip.style.left = `${left + scrollX}px`;
      tip.style.top = `${(above > 0 ? above : at.y + 14) + scrollY}px`;
    };
    const nearest = (event) => {
      const matrix = svg.getScreenCTM();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      let best = null, least = NEAR / matrix.a;
      for (const point of points) {
        // Of a mean and a run that lie on each other, the mean.
        const behind = point.element.dataset.p[0] === "r" ? 1.5 : 0;
        const distance = Math.hypot(point.x - at.x, point.y - at.y) + behind;
        if (distance < least) [best, least] = [point, distance];
      }
      return best;
    };
    // Only points at another height count as above or below, the closer ones across first.
    const beyond = (sign) => points.filter((point) => sign * (point.y - current.y) > 0.5).reduce((best, point) => {
      const far = Math.abs(point.y - current.y) + 4 * Math.abs(point.x - current.x);
      return best && best.far <= far ? best : { far, point };
    }, null)?.point;
    const step = (by) => points[Math.max(0, Math.min(points.length - 1, points.indexOf(current) + by))];

    offer(current);
    svg.addEventListener("pointermove", (event) => {
      hovered = nearest(event);
      svg.style.cursor = hovered ? "pointer" : "";
      if (hovered) show(hovered); else hide();
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("click", (event) => {
      // What was shown is what is opened: a click is rounded to whole pixels.
      const point = event.pointerType === "touch" ? nearest(event) : hovered;
      if (!point) return;
      offer(point);
      // A finger cannot hover: its first touch asks, the second opens.
      if (event.pointerType === "touch" && touched !== point) { touched = point; show(point); return; }
      hide();
      open(point.element);
    });
    svg.addEventListener("focusin", () => show(current));
    svg.addEventListener("focusout", hide);
    svg.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowUp: () => beyond(-1),
        ArrowDown: () => beyond(1), Home: () => points[0], End: () => points[points.length - 1] };
      if (event.key in moves) {
        event.preventDefault();
        const next = moves[event.key]();
        if (next) { offer(next); next.element.focus(); show(next); }
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        hide();
        open(current.element);
      }
    });
  };
  all("figure svg").forEach(figure);
  reach();
})();
