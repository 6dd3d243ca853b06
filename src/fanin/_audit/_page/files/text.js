// Numbers as text: the same words as fanin's `number` and `Axis.label`.

function numberText(value) {
  if (value === null) return "–";
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(2).replace("e+", "e");
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

function percentText(share) {
  return share === null ? "–" : `${Number((100 * share).toPrecision(3))} %`;
}

function tickText(tick, isLog) {
  if (!isLog) return String(tick);
  if (Math.abs(tick) < 4) return String(Number((10 ** tick).toPrecision(1)));
  const raised = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  return `10${[...String(tick)].map((sign) => raised[sign]).join("")}`;
}

function findingTitle(code) {
  const words = code.replace(/[-_]/g, " ");
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}
