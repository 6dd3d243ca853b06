// A table that sorts, filters and shows no more rows than were asked for.

const collator = new Intl.Collator("en", { numeric: true });

function makeTable(kind, records, columns) {
  const table = document.querySelector(`table[data-kind="${kind}"]`);
  if (table === null) return null;
  const state = { rows: rowsOf(table, kind, records), column: "", down: false, shown: 0 };
  const first = Number(table.dataset.first);
  const view = { kind, table, state, columns, first, body: table.tBodies[0] };
  state.shown = first;
  view.more = makeMore(view);
  makeSorting(view);
  makeFilter(view);
  draw(view);
  return view;
}

function rowsOf(table, kind, records) {
  const waiting = document.querySelector(`template[data-kind="${kind}"]`);
  const inside = waiting === null ? [] : [...waiting.content.querySelectorAll("tr")];
  const known = new Map(records.map((record, order) => [record.index ?? order, record]));
  const rows = [...table.tBodies[0].rows, ...inside].map((element) => {
    const index = Number(element.id.slice(kind.length + 1));
    const record = known.get(index);
    const words = `${record.name} ${record.operation ?? record.role}`.toLowerCase();
    return { element, index, record, words, other: "other" in element.dataset };
  });
  return rows.sort((one, two) => one.index - two.index);
}

function makeMore(view) {
  const place = document.querySelector(`.more[data-kind="${view.kind}"]`);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Show ${view.first} more`;
  button.addEventListener("click", () => {
    view.state.shown += view.first;
    draw(view);
  });
  place.append(button);
  return { status: place.querySelector("span"), button };
}

function makeSorting(view) {
  for (const head of view.table.tHead.rows[0].cells) {
    if (head.textContent === "") continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(view, head));
    head.append(button);
  }
}

function sortBy(view, head) {
  const { state } = view;
  state.down = state.column === head.dataset.column && !state.down;
  state.column = head.dataset.column;
  for (const other of view.table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
  draw(view);
}

function makeFilter(view) {
  const controls = document.querySelector(`.controls[data-kind="${view.kind}"]`);
  view.search = controls.querySelector("input[type=search]");
  view.severity = controls.querySelector("select");
  view.everything = controls.querySelector("input[type=checkbox]");
  controls.hidden = false;
  for (const control of [view.search, view.severity, view.everything]) {
    control?.addEventListener("input", () => {
      view.state.shown = view.first;
      draw(view);
    });
  }
}

function passes(view, row) {
  const words = view.search.value.toLowerCase().split(/\s+/);
  const wanted = view.severity?.value ?? "";
  const severity = ["error", "warning", "note"].find((one) => row.element.classList.contains(one));
  if (row.other && !view.everything?.checked) return false;
  if (wanted !== "" && !(wanted === "any" ? severity : severity === wanted)) return false;
  return words.every((word) => row.words.includes(word));
}

function draw(view) {
  const { state } = view;
  const found = state.rows.filter((row) => passes(view, row));
  if (state.column !== "") found.sort((one, two) => order(view, one, two));
  const shown = found.slice(0, state.shown);
  view.body.replaceChildren(...shown.map((row) => row.element));
  view.more.status.textContent = `${shown.length.toLocaleString("en-US")} of ${found.length.toLocaleString("en-US")} rows`;
  view.more.button.hidden = shown.length === found.length;
}

// What was not measured comes last, whichever way the rest is sorted.
function order(view, one, two) {
  const value = view.columns[view.state.column];
  const [first, second] = [value(one.record), value(two.record)];
  const known = (found) => found !== null && !Number.isNaN(found);
  if (!known(first) || !known(second)) return known(second) - known(first);
  const sign = view.state.down ? -1 : 1;
  if (typeof first === "string") return sign * collator.compare(first, second);
  return sign * (first > second ? 1 : first < second ? -1 : 0);
}

function mark(view, index) {
  view.table.querySelector("tr.chosen")?.classList.remove("chosen");
  const row = document.getElementById(`${view.kind}-${index}`);
  row?.classList.add("chosen");
}

// Brings the row of this number into view, whatever hides it now.
function reveal(view, index) {
  const wanted = view.state.rows.find((row) => row.index === index);
  if (wanted === undefined) return;
  if (!passes(view, wanted)) {
    view.search.value = "";
    if (view.severity) view.severity.value = "";
    if (wanted.other && view.everything) view.everything.checked = true;
  }
  while (!wanted.element.isConnected || !view.body.contains(wanted.element)) {
    view.state.shown += view.first;
    draw(view);
  }
  draw(view);
  wanted.element.tabIndex = -1;
  wanted.element.focus({ preventScroll: true });
  wanted.element.scrollIntoView({ block: "center", inline: "nearest" });
}
