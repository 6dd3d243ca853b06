// Pointing at the charts: one chosen place, shown in every chart, in the readout and in the table.

const svgName = "http://www.w3.org/2000/svg";

function svgElement(name, attributes) {
  const element = document.createElementNS(svgName, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function axisOf(figure) {
  const { low, high, log } = figure.dataset;
  return { low: Number(low), high: Number(high), log: log === "yes" };
}

function height(axis, value) {
  const raw = axis.log ? (value > 0 ? Math.log10(value) : axis.low) : value;
  return Math.min(axis.high, Math.max(axis.low, raw));
}

function isDrawn(value) {
  return value !== null && Number.isFinite(value);
}

// Where the place of this number is drawn: on its step, or half a step behind the last one.
function across(steps, index) {
  const before = steps.filter((step) => step.index <= index).length;
  return before > 0 && steps[before - 1].index === index ? before : before + 0.5;
}

function makeCharts(report, onChoose) {
  const steps = report.places.filter(isStep);
  const figures = [...document.querySelectorAll(".chart")];
  const byDepth = figures.filter((figure) => figure.dataset.measure !== "spectrum");
  const pointers = byDepth.map((figure) => makePointer(figure, steps));
  for (const figure of byDepth) listen(figure, steps, onChoose);
  const show = (place, said) => {
    for (const pointer of pointers) pointer(place);
    for (const figure of byDepth) speak(figure, steps, place, said);
  };
  return { figures, steps, show };
}

function makePointer(figure, steps) {
  const field = figure.querySelector(".field");
  const cursor = svgElement("path", { class: "cursor" });
  const spot = svgElement("path", { class: "spot" });
  field.querySelector(".clipped").after(cursor);
  field.append(spot);
  return (place) => {
    const axis = axisOf(figure);
    const x = across(steps, place.index);
    const value = measures[figure.dataset.measure]?.(place) ?? null;
    cursor.setAttribute("d", `M${x},${-axis.high}V${-axis.low}`);
    spot.setAttribute("d", isDrawn(value) ? `M${x},${-height(axis, value)}h0` : "");
  };
}

function listen(figure, steps, onChoose) {
  const field = figure.querySelector(".field");
  const title = figure.querySelector("h3").textContent;
  const setup = { tabindex: 0, role: "slider", "aria-label": `${title}, layer by layer` };
  const bounds = { "aria-valuemin": 1, "aria-valuemax": steps.length, "aria-valuenow": 1 };
  for (const [key, value] of Object.entries({ ...setup, ...bounds })) field.setAttribute(key, value);
  const chooseAt = (event) => onChoose(steps[stepUnder(field, event, steps.length)]);
  field.addEventListener("pointermove", chooseAt);
  field.addEventListener("pointerdown", chooseAt);
  field.addEventListener("focus", () => onChoose(steps[at(field)]));
  field.addEventListener("keydown", (event) => {
    const next = stepAfter(event.key, at(field), steps.length);
    if (next === null) return;
    event.preventDefault();
    onChoose(steps[next]);
  });
}

function at(field) {
  return Number(field.getAttribute("aria-valuenow")) - 1;
}

function stepUnder(field, event, count) {
  const box = field.getBoundingClientRect();
  const step = Math.floor(((event.clientX - box.left) / box.width) * count);
  return Math.min(count - 1, Math.max(0, step));
}

function stepAfter(key, now, count) {
  const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  const ends = { Home: 0, End: count - 1 };
  if (key in ends) return ends[key];
  return key in moves ? Math.min(count - 1, Math.max(0, now + moves[key])) : null;
}

function speak(figure, steps, place, said) {
  const field = figure.querySelector(".field");
  const step = Math.min(steps.length, Math.floor(across(steps, place.index)));
  field.setAttribute("aria-valuenow", Math.max(1, step));
  field.setAttribute("aria-valuetext", said);
}
