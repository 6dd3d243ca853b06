// Two audits beside each other: "before → now" in every number, findings new, still there, gone.

function compare(page, other) {
  const undo = [
    overlay(page.charts, page.report, other),
    compareTiles(other),
    compareTable(page.places, page.report.places, other.places),
    compareTable(page.parameters, page.report.parameters, other.parameters),
    compareFindings(page.report, other),
  ];
  return () => undo.forEach((step) => step());
}

function was(text) {
  const span = document.createElement("span");
  span.className = "was";
  span.textContent = `${text} → `;
  return span;
}

function removing(added) {
  return () => added.forEach((element) => element.remove());
}

function compareTiles(other) {
  const numbers = headNumbers(other);
  const added = [];
  for (const tile of document.querySelectorAll(".tile")) {
    const value = tile.querySelector(".value");
    const text = numbers[tile.dataset.tile];
    if (text === value.textContent) continue;
    const line = document.createElement("p");
    line.className = "was";
    line.textContent = `before: ${text}`;
    value.after(line);
    added.push(line);
  }
  return removing(added);
}

function compareTable(view, own, theirs) {
  if (view === null) return () => {};
  const keys = new Map([...keyed(own)].map(([key, record]) => [record, key]));
  const known = keyed(theirs);
  const added = view.state.rows.flatMap((row) => {
    const before = known.get(keys.get(row.record));
    return before === undefined ? [] : compareRow(view, row, before);
  });
  return removing(added);
}

function compareRow(view, row, before) {
  const added = [];
  [...view.table.tHead.rows[0].cells].forEach((head, order) => {
    const column = head.dataset.column;
    if (head.classList.contains("text") || column === "index") return;
    const text = valueText(column, view.columns[column](before));
    const cell = row.element.cells[order];
    if (text === cell.textContent) return;
    const span = was(text);
    cell.prepend(span);
    added.push(span);
  });
  return added;
}

function findingKey(finding) {
  return `${finding.code} ${finding.where}`;
}

function compareFindings(report, other) {
  const own = new Set((report.findings ?? []).map(findingKey));
  const theirs = new Set((other.findings ?? []).map(findingKey));
  const gone = (other.findings ?? []).filter((finding) => !own.has(findingKey(finding)));
  const added = [...markCards(theirs), ...listGone(gone)];
  const block = document.querySelector(".gone");
  block.hidden = gone.length === 0;
  const remove = removing(added);
  return () => {
    remove();
    block.hidden = true;
  };
}

function markCards(theirs) {
  return [...document.querySelectorAll(".card")].map((card) => {
    const badge = document.createElement("span");
    badge.className = "badge change";
    badge.textContent = theirs.has(card.dataset.finding) ? "still there" : "new";
    card.querySelector("h3").append(badge);
    return badge;
  });
}

function listGone(findings) {
  const list = document.querySelector(".gone ul");
  return findings.map((finding) => {
    const item = document.createElement("li");
    const title = findingTitle(finding.code);
    item.textContent = `${finding.severity}: ${title} at ${finding.where} (${finding.measured})`;
    list.append(item);
    return item;
  });
}

function comparedText(report, other) {
  const own = keyed(report.places);
  const theirs = [...keyed(other.places).keys()];
  const shared = theirs.filter((key) => own.has(key)).length;
  const recipe = other.recipe ? `, ${other.recipe}` : "";
  const places = `${shared} of ${theirs.length} operations are in both`;
  return `Compared with ${other.model}${recipe} (${verdictText(other)}): before → now. ${places}.`;
}
