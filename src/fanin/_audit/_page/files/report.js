// A report as it was written, this page's own or another one, and what is read from it.

// JSON has no word for what is not finite: such a number is the text "nan", "inf" or "-inf".
function numberIn(value) {
  if (value === undefined || value === null) return null;
  return { nan: NaN, inf: Infinity, "-inf": -Infinity }[value] ?? Number(value);
}

function rootIn(value) {
  const square = numberIn(value);
  return square === null ? null : Math.sqrt(square);
}

function stdOf(place) {
  return numberIn(place.signal.finite) === 0 ? null : rootIn(place.signal.second_moment);
}

// The length of the gradient of one input.
function gradientOf(place) {
  const root = rootIn(place.signal.gradient);
  return root === null ? null : root * Math.sqrt(place.signal.size);
}

const units = { float64: 1e-16, complex128: 1e-16, float16: 1e-3, bfloat16: 8e-3 };

// The share of the largest singular value under which one is rounding.
function roundingUnit(report) {
  const dtypes = (report.parameters ?? []).map((one) => String(one.dtype).replace("torch.", ""));
  const floating = dtypes.filter((one) => /^(float|bfloat|complex)/.test(one));
  return floating.length ? Math.max(...floating.map((one) => units[one] ?? 1e-7)) : 1e-7;
}

function entries(shape) {
  return (shape ?? []).reduce((product, axis) => product * axis, 1);
}

const measures = {
  std: stdOf,
  batch_std: (place) => rootIn(place.signal.variance),
  gradient: gradientOf,
  correlation: (place) => numberIn(place.signal.correlation),
  positions: (place) => numberIn(place.signal.position_correlation),
  dead: (place) => numberIn(place.dead),
  saturated: (place) => numberIn(place.saturated),
  entropy: (place) => numberIn(place.entropy),
};

const placeColumns = {
  ...measures,
  index: (place) => place.index,
  name: (place) => place.name,
  shape: (place) => entries(place.shape),
  variance: (place) => numberIn(place.signal.variance),
};

const parameterColumns = {
  name: (parameter) => parameter.name,
  role: (parameter) => parameter.role,
  shape: (parameter) => entries(parameter.shape),
  std: (parameter) => rootIn(parameter.second_moment),
  update: (parameter) => numberIn(parameter.update),
  gradient: (parameter) => rootIn(parameter.gradient),
  state: (parameter) => numberIn(parameter.finite),
};

const shares = new Set(["dead", "saturated", "entropy"]);

function valueText(column, value) {
  return shares.has(column) ? percentText(value) : numberText(value);
}

function isStep(place) {
  return Boolean(place.weight) || (place.stream !== undefined && place.stream !== null);
}

// Names may come twice, where a module runs twice: the how-manieth it is makes them distinct.
function keyed(records) {
  const seen = new Map();
  return new Map(
    (records ?? []).map((record) => {
      const count = (seen.get(record.name) ?? 0) + 1;
      seen.set(record.name, count);
      return [`${record.name} #${count}`, record];
    }),
  );
}

function readReport(text, schema) {
  const opened = text.trimStart().startsWith("{") ? text : textInPage(text);
  const report = JSON.parse(opened);
  if (report?.format !== "fanin audit") throw new Error("it is not an audit of fanin");
  if (schema !== undefined && report.schema !== schema) {
    throw new Error("it was saved by another version of fanin");
  }
  const lists = [report.places, report.parameters, report.findings, report.growths];
  const isWhole = lists.every((list) => list === undefined || Array.isArray(list));
  const places = report.places ?? [];
  if (!isWhole || !places.every((place) => place?.signal)) throw new Error("it is damaged");
  return { ...report, places: adopted(places) };
}

// What was measured of an activation or of attention is shown at the layer before it as well.
function adopted(places) {
  const found = places.map((place) => ({ ...place }));
  let layer = null;
  for (const place of found) {
    if (place.weight) layer = place;
    else if (layer !== null) for (const name of shares) layer[name] ??= place[name];
  }
  return found;
}

function textInPage(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const inside = page.getElementById("report");
  if (inside === null) throw new Error("there is no audit in it");
  return inside.textContent;
}

function verdictText(report) {
  const said = ["error", "warning"].flatMap((severity) => {
    const count = (report.findings ?? []).filter((one) => one.severity === severity).length;
    return count ? [`${count} ${severity}${count === 1 ? "" : "s"}`] : [];
  });
  return said.join(", ") || "healthy";
}

function headNumbers(report) {
  const layers = report.places.filter((place) => place.weight);
  const correlations = layers.map(measures.correlation).filter((value) => value !== null);
  const parameters = report.parameters ?? [];
  const output = outputStd(report, layers.at(-1));
  const ratio = gradientRatio(report, layers);
  return {
    loss: numberText(numberIn(report.loss?.value)),
    output: numberText(output),
    gradient: ratio === null ? "–" : `${numberText(ratio)}×`,
    correlation: numberText(correlations.at(-1) ?? null),
    size: parameters.reduce((sum, one) => sum + entries(one.shape), 0).toLocaleString("en-US"),
  };
}

// None where the output is not finite: its std would be that of the entries that are.
function outputStd(report, last) {
  const found = numberIn(report.loss?.output_std);
  const broken = found === 0 && !Number.isFinite(numberIn(report.loss?.value));
  if (broken || (last && (numberIn(last.signal.finite) ?? 1) < 1)) return null;
  return found ?? (last ? stdOf(last) : null);
}

function gradientRatio(report, layers) {
  const growth = (report.growths ?? []).find((one) => one.direction === "backward");
  if (growth) return rootIn(growth.total);
  const known = layers.map(gradientOf).filter((length) => length !== null);
  const [first, last] = [known[0], known.at(-1)];
  if (known.length < 2 || !last || !Number.isFinite(first) || !Number.isFinite(last)) return null;
  return first / last;
}
