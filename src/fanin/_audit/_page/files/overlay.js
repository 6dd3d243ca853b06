// Another audit drawn into the charts: the axis is made to hold both, and every line drawn again.

const kindsOf = {
  std: { layers: "std", stream: "std", batch: "batch_std" },
  gradient: { layers: "gradient", stream: "gradient" },
  correlation: { layers: "correlation", stream: "correlation", positions: "positions" },
  units: { dead: "dead", saturated: "saturated", entropy: "entropy" },
};

// A correlation that is negative by no more than this needs no axis below zero.
const noise = 0.1;

// Lines of this page's audit only: with those of both the chart would be full.
const besides = ["batch", "positions"];

function overlay(charts, report, other) {
  const undo = charts.figures.map((figure) => overlayOne(figure, charts.steps, report, other));
  return () => undo.forEach((step) => step());
}

function overlayOne(figure, steps, report, other) {
  const measure = figure.dataset.measure;
  const width = Number(figure.dataset.steps);
  const spectra = measure === "spectrum";
  const own = spectra ? spectrumLine(report, width) : linesOf(report, measure, placer(steps));
  const otherPlacer = placerOfOther(steps, report, other);
  const theirs = spectra ? spectrumLine(other, width) : linesOf(other, measure, otherPlacer);
  for (const kind of besides) delete theirs[kind];
  const alone = axisOf(figure);
  drawLines(figure, widened(figure, theirs), own);
  const added = [...drawOther(figure, theirs), addLegend(figure, theirs)];
  return () => {
    added.forEach((element) => element.remove());
    drawLines(figure, alone, own);
  };
}

function placer(steps) {
  return (place) => across(steps, place.index);
}

// By name where the two models share names, else spread evenly over the chart.
function placerOfOther(steps, report, other) {
  const mine = keyed(report.places);
  const theirs = [...keyed(other.places)].filter(([, place]) => isStep(place));
  const shared = theirs.filter(([key]) => mine.has(key));
  if (2 * shared.length >= theirs.length) {
    const found = new Map([...keyed(other.places)].map(([key, place]) => [place, mine.get(key)]));
    return (place) => (found.get(place) ? across(steps, found.get(place).index) : null);
  }
  const own = theirs.map(([, place]) => place);
  return (place) => 0.5 + ((across(own, place.index) - 0.5) * steps.length) / own.length;
}

function linesOf(report, measure, place) {
  const lines = {};
  for (const [kind, name] of Object.entries(kindsOf[measure])) {
    const points = placesOf(report, kind).map((one) => [place(one), measures[name](one)]);
    lines[kind] = points.filter(([x, value]) => x !== null && isDrawn(value));
  }
  return lines;
}

function placesOf(report, kind) {
  const steps = report.places.filter(isStep);
  const stream = steps.filter((place) => !place.weight);
  const layers = steps.filter((place) => place.weight);
  if (besides.includes(kind)) return stream.length ? stream : layers;
  return { layers, stream }[kind] ?? steps;
}

function spectrumLine(report, width) {
  const values = (report.spectrum?.values ?? []).map(numberIn);
  const place = (rank) => 0.5 + ((rank + 0.5) * width) / values.length;
  const least = roundingUnit(report) * Math.max(...values.filter(Number.isFinite));
  const points = values
    .map((value, rank) => [place(rank), value])
    .filter(([, value]) => Number.isFinite(value) && value > least);
  return { [report.spectrum?.exact ? "layers" : "extremes"]: points };
}

function widened(figure, lines) {
  const axis = axisOf(figure);
  const values = Object.values(lines).flat().map(([, value]) => value);
  if (!axis.log) return { ...axis, low: values.some((value) => value < -noise) ? -1 : axis.low };
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const low = Math.min(axis.low, ...logs.map(Math.floor));
  return { log: true, low, high: Math.max(axis.high, ...logs.map(Math.ceil)) };
}

function ticksOf(axis) {
  if (!axis.log) return axis.low < 0 ? [-1, 0, 1] : [0, 0.5, 1];
  const step = Math.ceil((axis.high - axis.low) / 4);
  const first = Math.ceil(axis.low / step) * step;
  const count = Math.floor((axis.high - first) / step) + 1;
  return Array.from({ length: count }, (_, order) => first + order * step);
}

function drawLines(figure, axis, lines) {
  const field = figure.querySelector(".field");
  Object.assign(figure.dataset, { low: axis.low, high: axis.high });
  const width = Number(figure.dataset.steps);
  const span = axis.high - axis.low;
  const clipped = field.querySelector(".clipped");
  for (const svg of [field, clipped]) svg.setAttribute("viewBox", `0.5 ${-axis.high} ${width} ${span}`);
  clipped.setAttribute("y", -axis.high);
  clipped.setAttribute("height", span);
  drawTicks(figure, axis, width);
  for (const [kind, points] of Object.entries(lines)) {
    const path = field.querySelector(`.line.${kind}:not(.before)`);
    path?.setAttribute("d", pathOf(axis, points));
  }
}

function drawTicks(figure, axis, width) {
  const ticks = ticksOf(axis);
  const share = (tick) => (100 * (axis.high - tick)) / (axis.high - axis.low);
  const texts = ticks.map((tick) => {
    const text = svgElement("text", { x: "100%", y: `${share(tick)}%` });
    text.textContent = tickText(tick, axis.log);
    return text;
  });
  const lines = ticks.map((tick) => svgElement("path", { d: `M0.5,${-tick}h${width}` }));
  figure.querySelector(".scale").replaceChildren(...texts);
  figure.querySelector(".grid").replaceChildren(...lines);
}

function pathOf(axis, points) {
  const spots = points.map(([x, value]) => `${x},${-height(axis, value)}`);
  return spots.length ? `M${spots.join("L")}` : "";
}

function drawOther(figure, lines) {
  const axis = axisOf(figure);
  const lowest = figure.querySelector(".clipped");
  return Object.entries(lines).map(([kind, points]) => {
    const path = svgElement("path", { class: `line ${kind} before`, d: pathOf(axis, points) });
    lowest.after(path);
    return path;
  });
}

function addLegend(figure, lines) {
  const item = document.createElement("li");
  if (Object.values(lines).every((points) => points.length === 0)) item.hidden = true;
  const key = svgElement("svg", { class: "key", viewBox: "0 0 22 8", "aria-hidden": "true" });
  key.append(svgElement("path", { class: "line before", d: "M1,4H21" }));
  item.append(key, "before");
  figure.querySelector(".legend").append(item);
  return item;
}
