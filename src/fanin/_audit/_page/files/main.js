// The page: its report, what is chosen, and the report that it is compared with.

function makePage() {
  const report = readReport(document.getElementById("report").textContent);
  const page = { report, other: null, undo: () => {} };
  page.charts = makeCharts(report, (place) => choose(page, place));
  page.places = makeTable("place", report.places, placeColumns);
  page.parameters = makeTable("parameter", report.parameters ?? [], parameterColumns);
  page.readout = document.querySelector(".readout");
  page.readout?.removeAttribute("hidden");
  return page;
}

function choose(page, place) {
  const facts = factsOf(page, place);
  page.charts.show(place, [place.name, ...facts.map((fact) => fact.join(" "))].join(", "));
  page.readout?.replaceChildren(...readoutOf(place, facts));
  mark(page.places, place.index);
}

const named = {
  std: "std",
  variance: "variance over the batch",
  gradient: "gradient",
  correlation: "correlation",
  positions: "of positions",
  dead: "dead",
  saturated: "saturated",
  entropy: "entropy",
};

function factsOf(page, place) {
  const before = page.other?.get(page.keys.get(place));
  return Object.entries(named).flatMap(([column, label]) => {
    const now = valueText(column, placeColumns[column](place));
    const then = before ? valueText(column, placeColumns[column](before)) : now;
    if (now === "–" && then === "–") return [];
    return [[label, now === then ? now : `${then} → ${now}`]];
  });
}

function readoutOf(place, facts) {
  const name = document.createElement("strong");
  name.textContent = place.name;
  const pieces = facts.map(([label, text]) => {
    const piece = document.createElement("div");
    const word = document.createElement("span");
    word.textContent = `${label} `;
    piece.append(word, text);
    return piece;
  });
  return [name, ...pieces];
}

function startComparing(page, other) {
  stopComparing(page);
  page.other = keyed(other.places);
  page.keys = new Map([...keyed(page.report.places)].map(([key, place]) => [place, key]));
  page.undo = compare(page, other);
  tell(comparedText(page.report, other));
  document.getElementById("alone").hidden = false;
}

function stopComparing(page) {
  page.undo();
  Object.assign(page, { other: null, undo: () => {} });
  document.getElementById("alone").hidden = true;
}

function tell(text, trouble = false) {
  const status = document.getElementById("compared");
  status.textContent = text;
  status.classList.toggle("trouble", trouble);
}

async function openFile(page, file) {
  try {
    startComparing(page, readReport(await file.text(), page.report.schema));
  } catch (error) {
    tell(`${file.name} cannot be compared: ${error.message}.`, true);
  }
}

function makeComparison(page) {
  const input = document.getElementById("other");
  const hint = document.getElementById("compared").textContent;
  document.querySelector(".compare").hidden = false;
  input.addEventListener("change", async () => {
    if (input.files.length > 0) await openFile(page, input.files[0]);
    input.value = "";
  });
  document.getElementById("alone").addEventListener("click", () => {
    stopComparing(page);
    tell(hint);
    input.focus();
  });
  const before = document.getElementById("before");
  if (before !== null) startComparing(page, readReport(before.textContent));
}

function makeLinks(page) {
  for (const link of document.querySelectorAll(".where a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const index = Number(link.hash.slice("#place-".length));
      reveal(page.places, index);
      const place = page.report.places.find((one) => one.index === index);
      if (place) choose(page, place);
    });
  }
  page.places.body.addEventListener("pointerover", (event) => {
    const id = event.target.closest("tr")?.id.slice("place-".length);
    const place = page.report.places.find((one) => one.index === Number(id));
    if (place) choose(page, place);
  });
}

function makeCopying() {
  for (const block of document.querySelectorAll(".remedy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      button.textContent = (await copied(block.querySelector("code"))) ? "Copied" : "Selected";
    });
    block.append(button);
  }
}

// Where the clipboard is not to be had the code is selected, to be copied by hand.
async function copied(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return false;
  }
}

const page = makePage();
makeComparison(page);
makeLinks(page);
makeCopying();
